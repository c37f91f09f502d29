//! A disk that fails or that others control: full, read-only, linked, owned by others, full of garbage. The login stays
//! unharmed, and no request is sent whose response could not be stored.

use std::fs;

use serde_json::Value;

use crate::login::SIGNED_IN;
use support::expect::word;
use support::fake_issuer::Endpoint;
#[cfg(target_os = "linux")]
use support::process::until;
use support::sandbox::{LIFE, Sandbox};
#[cfg(target_os = "linux")]
use support::sandbox::{copy_program, program};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";

/// Asserts that a refresh fails with exit code 1 and this message before a request is sent, and that a valid token is
/// still printed.
#[cfg(unix)]
#[track_caller]
fn assert_nothing_is_sent(sandbox: &Sandbox, message: &str) {
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(1, "", &format!("codex-auth: {message}\n"));
    sandbox.run(&["token"]).assert(
        0,
        TOKEN,
        &format!("codex-auth: warning: {message}; the current token expires in [..]\n"),
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    assert!(sandbox.can_refresh());
}

// Garbage in the store.

#[test]
fn a_file_that_is_not_a_login_is_an_error_and_stays_unchanged() {
    let nuls = "\0".repeat(4096);
    let huge = " ".repeat(4 * 1024 * 1024 + 1);
    let damaged = "the file is damaged: it is not a JSON object";
    for (text, code, message) in [
        ("", 4, "the file is empty"),
        (
            "{\"tokens\":{\"access_token\":\"a",
            4,
            "the file is damaged (line 1, column 28)",
        ),
        (nuls.as_str(), 4, damaged),
        ("\u{feff}{}", 4, damaged),
        ("[]", 4, damaged),
        ("\"sk-secret\"", 4, damaged),
        (
            "{\"tokens\":{\"access_token\":7}}",
            4,
            "the file is damaged (line 1, column 27)",
        ),
        (huge.as_str(), 1, "it is larger than 4194304 bytes"),
        (
            "{\"version\":2}",
            1,
            "the file was written by a newer codex-auth: update codex-auth",
        ),
    ] {
        // A login replaces a damaged file, but no other kind.
        let advice = if code == 4 {
            ": run codex-auth login"
        } else {
            ""
        };
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let message =
            format!("codex-auth: could not read [HOME]/default.json: {message}{advice}\n");
        for arguments in [
            &["token"][..],
            &["token", "--format", "json"],
            &["token", "--force-refresh"],
            &["account-id"],
        ] {
            sandbox.run(arguments).assert(code, "", &message);
        }
        assert_eq!(fs::read_to_string(sandbox.file("default")).unwrap(), text);
    }
}

#[test]
fn a_login_without_an_access_token_is_an_error() {
    for text in ["{}", "{\"tokens\":{\"access_token\":\"a\\nb\"}}"] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        sandbox
            .run(&["token"])
            .assert(4, "", "codex-auth: could not read [HOME]/default.json: the file has no access token: run codex-auth login\n");
    }
}

#[test]
fn a_login_replaces_a_damaged_file() {
    for text in ["", "{", "[]", "{\"version\":\"x\"}"] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let mut login = sandbox.spawn(&["login"]);
        login.sign_in();
        login.finish().assert(0, "", SIGNED_IN);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.file("default")).unwrap();
    #[cfg(unix)]
    set_mode(&sandbox.home(), 0o700);
    sandbox.run(&["token"]).assert(
        1,
        "",
        "codex-auth: could not read [HOME]/default.json: [..]\n",
    );
}

// Unix files and folders.

#[cfg(unix)]
fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs a shell line as root. Without root, the test is skipped.
#[cfg(target_os = "linux")]
fn as_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        support::sandbox::skip(&format!("{test} needs root"));
    }
    is_root
}

#[cfg(unix)]
#[track_caller]
fn shell(line: &str, path: &std::path::Path) {
    let status = std::process::Command::new("sh")
        .args(["-ec", line, "sh"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success(), "{line}");
}

#[cfg(unix)]
#[test]
fn files_are_private_under_any_umask() {
    for umask in ["0000", "0022", "0777"] {
        let sandbox = Sandbox::new();
        let mut command_line: Vec<std::ffi::OsString> =
            ["/bin/sh", "-c", "umask $0; exec \"$@\"", umask]
                .into_iter()
                .map(Into::into)
                .collect();
        command_line.extend(support::sandbox::program());
        command_line.push("login".into());
        let mut login = sandbox.start(sandbox.command_of(&command_line));
        login.sign_in();
        login.finish().assert(0, "", SIGNED_IN);
        sandbox
            .run(&["token", "--force-refresh"])
            .assert(0, TOKEN, "");
        assert_eq!(mode(&sandbox.home()), 0o700, "umask {umask}");
        for entry in fs::read_dir(sandbox.home()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{} under umask {umask}", path.display());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_file_is_ever_created_for_others() {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        support::sandbox::skip("no strace");
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let trace = sandbox.folder().join("trace");
    let mut command_line: Vec<std::ffi::OsString> = vec![
        "/usr/bin/strace".into(),
        "-f".into(),
        "-o".into(),
        trace.clone().into(),
    ];
    command_line.extend(["-e".into(), "trace=openat,open,creat,mkdir,mkdirat".into()]);
    command_line.extend(support::sandbox::program());
    command_line.push("token".into());
    let mut command = sandbox.command_of(&command_line);
    command.env("CODEX_AUTH_HOME", sandbox.home());
    sandbox.start(command).finish().assert(0, TOKEN, "");
    let trace = fs::read_to_string(trace).unwrap();
    let created: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("O_CREAT"))
        .collect();
    assert!(!created.is_empty(), "the refresh created nothing:\n{trace}");
    for line in created {
        assert!(line.contains(", 0600)"), "{line}");
    }
}

#[test]
fn a_new_folder_keeps_itself_out_of_a_repository() {
    let sandbox = Sandbox::new();
    let mut login = sandbox.spawn(&["login"]);
    login.sign_in();
    assert_eq!(login.finish().code, 0);
    let ignored = sandbox.home().join(".gitignore");
    assert_eq!(fs::read_to_string(&ignored).unwrap(), "*\n");
    // If the user removes it, it is not created again.
    fs::remove_file(&ignored).unwrap();
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    assert!(!ignored.exists());
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    for (bits, advice) in [
        (0o720, "run chmod 700 [HOME]"),
        (0o702, "run chmod 700 [HOME]"),
        (0o777, "run chmod 700 [HOME]"),
        // A folder for everyone, like /tmp.
        (0o1777, "set CODEX_AUTH_HOME to a folder of your own"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant();
        set_mode(&sandbox.home(), bits);
        let message = format!(
            "codex-auth: could not read [HOME]/default.json: other users can write to its folder: {advice}\n"
        );
        sandbox.run(&["token"]).assert(1, "", &message);
        set_mode(&sandbox.home(), 0o700);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
    }
}

#[cfg(unix)]
#[test]
fn a_path_in_a_hint_can_be_pasted() {
    let mut sandbox = Sandbox::new();
    for (name, shown, word) in [
        ("it's mine", "it's mine", r"'[FOLDER]/it'\''s mine'"),
        ("a $(b)", "a $(b)", "'[FOLDER]/a $(b)'"),
    ] {
        let home = sandbox.folder().join(name);
        std::fs::create_dir(&home).unwrap();
        sandbox.set("CODEX_AUTH_HOME", &home);
        set_mode(&home, 0o777);
        std::fs::write(home.join("default.json"), "{}").unwrap();
        sandbox.run(&["token"]).assert(
            1,
            "",
            &format!(
                "codex-auth: could not read [FOLDER]/{shown}/default.json: other users can write to its folder: run chmod 700 \
                 {word}\n"
            ),
        );
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_file_is_not_replaced() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    set_mode(&sandbox.file("default"), 0o400);
    assert_nothing_is_sent(
        &sandbox,
        "could not replace [HOME]/default.json: the file is read-only: run chmod 600 [HOME]/default.json",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_of_another_user_is_not_replaced() {
    if !as_root("a file of another user") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    std::os::unix::fs::chown(sandbox.file("default"), Some(1234), None).unwrap();
    assert_nothing_is_sent(
        &sandbox,
        "could not replace [HOME]/default.json: it belongs to user 1234, but this is user 0",
    );
    std::os::unix::fs::chown(sandbox.file("default"), Some(0), None).unwrap();
    std::os::unix::fs::chown(sandbox.home(), Some(1234), None).unwrap();
    assert_nothing_is_sent(
        &sandbox,
        "could not lock [HOME]/default.json: it belongs to user 1234, but this is user 0",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_file_system_serves_a_valid_token() {
    if !as_root("a read-only file system") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant();
    shell(
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"",
        &sandbox.home(),
    );
    let _mounted = Mounted(sandbox.home());
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&["token", "--force-refresh"]).assert(
        1,
        "",
        "codex-auth: could not lock [HOME]/default.json: [HOME] is on a read-only file system: set CODEX_AUTH_HOME to a writable folder\n",
    );
    sandbox.run(&["status"]).assert(
        0,
        "Signed in as someone@mail.example (Plus) until the token expires: could not replace [HOME]/default.json: [HOME] is on a read-only file system: set CODEX_AUTH_HOME to a writable folder\n...\n",
        "",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_to_says_what_to_do() {
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;

    const STRANGER: u32 = 1234;
    if !as_root("to run as somebody else") || program().len() > 1 {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant();
    let binary = sandbox.bin().join("codex-auth");
    copy_program(std::path::Path::new(&program().pop().unwrap()), &binary);
    let (home, login) = (sandbox.home(), sandbox.file("default"));
    for path in [sandbox.folder(), &home, &login, &binary] {
        chown(path, Some(STRANGER), None).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command_line = vec![std::ffi::OsString::from(&binary)];
        command_line.extend(arguments.iter().map(std::ffi::OsString::from));
        let mut command = sandbox.command_of(&command_line);
        command.uid(STRANGER);
        sandbox.start(command).finish()
    };
    set_mode(&home, 0o500);
    let advice = "this user cannot write to [HOME]: run chmod 700 [HOME]";
    run(&["login", "--no-browser"]).assert(
        1,
        "",
        &format!("codex-auth: could not lock [HOME]/default.json: {advice}\n"),
    );
    let obstacle = format!("could not replace [HOME]/default.json: {advice}");
    run(&["status"]).assert(
        0,
        &format!("Signed in as [..] until the token expires: {obstacle}\n...\n"),
        "",
    );
    set_mode(&home, 0o700);
    fs::write(home.join("default.lock"), "").unwrap();
    set_mode(&home.join("default.lock"), 0o600);
    run(&["logout"]).assert(
        1,
        "",
        "codex-auth: could not lock [HOME]/default.json: [HOME]/default.lock: Permission denied (os error 13): codex-auth doctor says what to do\n",
    );
}

/// A mount, unmounted on drop.
#[cfg(target_os = "linux")]
struct Mounted(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        shell("umount \"$1\"", &self.0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_mounted_file_is_noticed_before_the_request() {
    if !as_root("a mounted file") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    // Like `docker run -v …/default.json:…/default.json`: the file can be written, but not replaced.
    shell("mount --bind \"$1\" \"$1\"", &sandbox.file("default"));
    let _mounted = Mounted(sandbox.file("default"));
    assert_nothing_is_sent(
        &sandbox,
        "could not replace [HOME]/default.json: [HOME]/default.json is a mount point, which cannot be replaced: mount its folder instead",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_noticed_before_the_request() {
    if !as_root("a full disk") {
        return;
    }
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.home()).unwrap();
    shell(
        "mount -t tmpfs -o size=64k,mode=700 tmpfs \"$1\"",
        &sandbox.home(),
    );
    let _mounted = Mounted(sandbox.home());
    sandbox.plant_expiring_in(200, LIFE);
    shell(
        "dd if=/dev/zero of=\"$1/ballast\" bs=4k 2>/dev/null || true",
        &sandbox.home(),
    );
    assert_nothing_is_sent(
        &sandbox,
        "could not replace [HOME]/default.json: No space left on device (os error 28)",
    );
    fs::remove_file(sandbox.home().join("ballast")).unwrap();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert!(sandbox.can_refresh());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_during_the_request_loses_nothing() {
    if !as_root("a full disk") {
        return;
    }
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.home()).unwrap();
    shell(
        "mount -t tmpfs -o size=128k,mode=700 tmpfs \"$1\"",
        &sandbox.home(),
    );
    let _mounted = Mounted(sandbox.home());
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    shell(
        "dd if=/dev/zero of=\"$1/ballast\" bs=4k 2>/dev/null || true",
        &sandbox.home(),
    );
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    assert!(sandbox.can_refresh());
}

#[cfg(target_os = "linux")]
#[test]
fn a_token_that_could_not_be_saved_is_still_given_to_the_caller() {
    if !as_root("a folder that becomes read-only") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    // From now on the login cannot be replaced.
    shell("mount --bind \"$1\" \"$1\"", &sandbox.file("default"));
    let mounted = Mounted(sandbox.file("default"));
    gate.open();
    let output = caller.finish();
    output.assert(0, TOKEN, "codex-auth: warning: the token was refreshed, but could not be stored yet: make room before it expires, or run codex-auth \
         login: could not save [HOME]/default.json: [..]\n");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    drop(mounted);
    // The new file that was left beside it replaces it at the next refresh.
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert!(sandbox.can_refresh());
}

#[cfg(unix)]
#[test]
fn a_linked_file_keeps_its_link() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let real = sandbox.folder().join("elsewhere");
    fs::create_dir(&real).unwrap();
    set_mode(&real, 0o700);
    fs::rename(sandbox.file("default"), real.join("login.json")).unwrap();
    std::os::unix::fs::symlink("../elsewhere/login.json", sandbox.file("default")).unwrap();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert!(sandbox.file("default").is_symlink());
    assert!(sandbox.can_refresh());
    sandbox
        .run(&["logout"])
        .assert(0, "", "Removed the link to [FOLDER]/elsewhere/login.json (profile default). Nothing was revoked.\n");
    assert!(real.join("login.json").exists());
    assert!(sandbox.issuer.requests_to(Endpoint::Revoke).is_empty());
    assert!(!sandbox.file("default").is_symlink());
}

/// Two names in one home folder, and one in another.
#[cfg(unix)]
#[test]
fn two_names_for_one_file_share_one_lock() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    let other = sandbox.folder().join("other-home");
    fs::create_dir(&other).unwrap();
    set_mode(&other, 0o700);
    sandbox.plant_expiring_in(-60, LIFE);
    symlink("default.json", sandbox.file("work")).unwrap();
    symlink(sandbox.file("default"), other.join("default.json")).unwrap();
    let in_other = || {
        let mut command = sandbox.command(&["token", "--force-refresh"]);
        command.env("CODEX_AUTH_HOME", &other);
        sandbox.start(command)
    };
    for _ in 0..4 {
        let callers = [
            sandbox.spawn(&["token", "--force-refresh"]),
            sandbox.spawn(&["--profile", "work", "token", "--force-refresh"]),
            in_other(),
        ];
        for caller in callers {
            caller.finish().assert(0, TOKEN, "");
        }
        assert!(sandbox.can_refresh());
    }
    assert_eq!(sandbox.issuer.reuses(), 0);
    assert!(sandbox.file("work").is_symlink() && other.join("default.json").is_symlink());
    // Signing out of the second name keeps the login for the first.
    sandbox.run(&["--profile", "work", "logout"]).assert(
        0,
        "",
        "Removed the link to [HOME]/default.json (profile work). Nothing was revoked.\n",
    );
    assert!(sandbox.can_refresh() && !sandbox.file("work").exists());
}

#[cfg(unix)]
#[test]
fn a_link_to_codexs_own_file_is_never_written_through() {
    let sandbox = Sandbox::new();
    let codexs = sandbox.codex_login(200);
    sandbox.store_codex(&codexs.to_string());
    sandbox.plant();
    fs::remove_file(sandbox.file("default")).unwrap();
    std::os::unix::fs::symlink(sandbox.codex_file(), sandbox.file("default")).unwrap();
    let message = "codex-auth: could not lock [HOME]/default.json: it is a link to Codex's own login, which codex-auth only reads: run rm [HOME]/default.json, and use --profile codex\n";
    for arguments in [
        &["token", "--force-refresh"][..],
        &["login", "--no-browser"],
    ] {
        sandbox.run(arguments).assert(1, "", message);
    }
    sandbox.run(&["logout"]).assert(
        0,
        "",
        "Removed the link to [FOLDER]/.codex/auth.json (profile default). Nothing was revoked.\n",
    );
    let found = fs::read_to_string(sandbox.codex_file()).unwrap();
    assert_eq!(found, codexs.to_string());
    assert!(sandbox.issuer.requests().is_empty());
}

#[test]
fn a_file_from_a_newer_version_is_never_overwritten() {
    let newer = "{\"version\":2,\"tokens\":{\"refresh_token\":\"r\"}}";
    let sandbox = Sandbox::new();
    sandbox.store("default", newer);
    sandbox.run(&["login", "--no-browser"]).assert(
        1,
        "",
        "codex-auth: could not replace [HOME]/default.json: the file was written by a newer codex-auth: update codex-auth\n",
    );
    assert_eq!(fs::read_to_string(sandbox.file("default")).unwrap(), newer);
    // Nor is a staged file from such a version.
    sandbox.plant_expiring_in(-60, LIFE);
    let staged = sandbox.home().join("default.json.new");
    fs::write(&staged, newer).unwrap();
    sandbox.run(&["token"]).assert(
        1,
        "",
        "codex-auth: could not lock [HOME]/default.json: could not read [HOME]/default.json.new: the file was written by a newer codex-auth: update codex-auth\n",
    );
    assert_eq!(fs::read_to_string(&staged).unwrap(), newer);
    assert!(sandbox.can_refresh() && sandbox.issuer.requests().is_empty());
}

#[test]
fn unknown_members_survive_a_refresh_and_a_file_that_grows_can_still_be_read() {
    let sandbox = Sandbox::new();
    let mut stored = sandbox.plant_expiring_in(-60, LIFE);
    let number = "123456789012345678901234567890";
    let mut with = |filling: &str| {
        stored["future"] = serde_json::json!({ "kept": [1, null], "filling": filling });
        stored["tokens"]["future"] = serde_json::json!("kept");
        let text = stored.to_string();
        text.replacen('{', &format!("{{\"big\":{number},"), 1)
    };
    // The largest file that can be refreshed.
    let filling = "x".repeat(1024 * 1024 - with("").len());
    let text = with(&filling);
    sandbox.store("default", &text);
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    let text = fs::read_to_string(sandbox.file("default")).unwrap();
    assert!(text.contains(number));
    let refreshed = sandbox.stored();
    assert_eq!(refreshed["future"], stored["future"]);
    assert_eq!(refreshed["tokens"]["future"], "kept");
}

#[cfg(unix)]
#[test]
fn a_link_into_a_folder_of_others_is_not_followed_by_a_refresh() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let real = sandbox.folder().join("elsewhere");
    fs::create_dir(&real).unwrap();
    set_mode(&real, 0o777);
    fs::rename(sandbox.file("default"), real.join("login.json")).unwrap();
    std::os::unix::fs::symlink(real.join("login.json"), sandbox.file("default")).unwrap();
    assert_nothing_is_sent(
        &sandbox,
        "could not lock [HOME]/default.json: other users can write to its folder: run chmod 700 [FOLDER]/elsewhere",
    );
}

#[cfg(unix)]
#[test]
fn a_link_planted_in_place_of_our_files_is_not_followed() {
    let refused = "codex-auth: could not lock [HOME]/default.json: [HOME]/default.lock is not a regular file: run rm -r [HOME]/default.lock\n";
    for (name, code, stdout, stderr) in [
        ("default.lock", 1, "", refused),
        ("default.json.new", 0, TOKEN, ""),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let victim = sandbox.folder().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, sandbox.home().join(name)).unwrap();
        sandbox.run(&["token"]).assert(code, stdout, stderr);
        let refreshes = sandbox.issuer.count(REFRESH);
        assert_eq!(refreshes, usize::from(code == 0), "{name}");
        assert!(sandbox.can_refresh(), "{name}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_swapped_in_during_a_request_is_not_written_to() {
    type Swap = fn(&std::path::Path, &std::path::Path) -> std::io::Result<()>;
    let swaps: [Swap; 3] = [
        |_, _| Ok(()),
        |victim, place| std::os::unix::fs::symlink(victim, place),
        |victim, place| fs::hard_link(victim, place),
    ];
    for name in ["default.json", "default.json.new"] {
        for swap in swaps {
            let sandbox = Sandbox::new();
            sandbox.plant_expiring_in(-60, LIFE);
            let gate = sandbox.issuer.hold(REFRESH);
            let caller = sandbox.spawn(&["token"]);
            sandbox.issuer.await_requests(REFRESH, 1);
            let (victim, place) = (sandbox.folder().join("victim"), sandbox.home().join(name));
            fs::write(&victim, "precious").unwrap();
            set_mode(&victim, 0o644);
            fs::remove_file(&place).unwrap();
            swap(&victim, &place).unwrap();
            let is_removed = name == "default.json" && !place.exists();
            gate.open();
            let output = caller.finish();
            if is_removed {
                // A login that was removed meanwhile stays removed, and its new tokens are revoked.
                output.assert(4, "", "codex-auth: not signed in: run codex-auth login\n");
                assert!(!place.exists());
                sandbox.issuer.await_requests(Endpoint::Revoke, 1);
                continue;
            }
            output.assert(0, TOKEN, "");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
            assert_eq!(mode(&victim), 0o644, "{name}");
            assert_eq!(mode(&sandbox.file("default")), 0o600, "{name}");
            assert!(!sandbox.file("default").is_symlink(), "{name}");
            assert!(sandbox.can_refresh(), "{name}");
        }
    }
}

/// If the folder is removed and a new login made, the new login stays: the refresh of the old one has no effect.
#[cfg(unix)]
#[test]
fn a_login_that_is_made_during_a_refresh_stays() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    fs::remove_dir_all(sandbox.home()).unwrap();
    let mut newer = sandbox.plant();
    newer["tokens"]["account_id"] = serde_json::json!("another");
    sandbox.store("default", &newer.to_string());
    gate.open();
    let output = caller.finish();
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), newer["tokens"]["access_token"]);
    sandbox.issuer.await_requests(Endpoint::Revoke, 1);
    assert_eq!(sandbox.stored(), newer);
    assert!(!sandbox.home().join("default.json.new").exists());
}

#[cfg(unix)]
#[test]
fn a_lock_that_somebody_removes_during_a_refresh_loses_nothing() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let caller = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    fs::remove_file(sandbox.lock_file()).unwrap();
    gate.open();
    caller.finish().assert(0, TOKEN, "");
    assert!(sandbox.can_refresh());
}

/// The refresh token is spent by then, so a second request with it would end the login.
#[cfg(target_os = "linux")]
#[test]
fn a_second_caller_waits_although_the_lock_file_is_gone() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let gate = sandbox.issuer.hold(REFRESH);
    let first = sandbox.spawn(&["token"]);
    sandbox.issuer.await_requests(REFRESH, 1);
    fs::remove_file(sandbox.lock_file()).unwrap();
    let second = sandbox.spawn(&["token"]);
    let waits = || {
        !support::locks::users(&sandbox.file("default"))
            .waiting
            .is_empty()
    };
    until("the second caller at the record", || waits().then_some(()));
    gate.open();
    let outputs = [first.finish(), second.finish()];
    let lines = outputs.each_ref().map(|output| {
        output.assert(0, TOKEN, "");
        output.line()
    });
    assert_eq!(lines[0], lines[1]);
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert!(sandbox.can_refresh());
}

#[test]
fn a_staged_file_that_no_refresh_can_replace_is_named_by_every_command() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(-60, LIFE);
    let staged = sandbox.home().join("default.json.new");
    for (is_folder, words) in [
        (
            true,
            format!(
                "is not a regular file: run rm -r {}",
                word("[HOME]/default.json.new")
            ),
        ),
        (
            false,
            "the file was written by a newer codex-auth: update codex-auth".to_owned(),
        ),
    ] {
        if is_folder {
            fs::create_dir(&staged).unwrap();
        } else {
            fs::remove_dir(&staged).unwrap();
            fs::write(&staged, r#"{"version":9}"#).unwrap();
        }
        let token = sandbox.run(&["token"]);
        token.assert(
            1,
            "",
            &format!("codex-auth: could not [..]default.json.new[..]{words}\n"),
        );
        for command in ["status", "doctor"] {
            let output = sandbox.run(&[command]);
            assert_ne!(output.code, 0, "{command}");
            assert!(
                output.stdout.contains("default.json.new"),
                "{}",
                output.stdout
            );
        }
    }
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
}

#[cfg(unix)]
#[test]
fn a_hard_link_is_not_written_through() {
    for name in ["default.json", "default.json.new", "default.lock"] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let (place, other) = (sandbox.home().join(name), sandbox.folder().join("other"));
        if name == "default.json" {
            fs::hard_link(&place, &other).unwrap();
        } else {
            fs::write(&other, "precious").unwrap();
            fs::hard_link(&other, &place).unwrap();
        }
        let before = fs::read_to_string(&other).unwrap();
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        assert_eq!(fs::read_to_string(&other).unwrap(), before, "{name}");
        assert!(sandbox.can_refresh(), "{name}");
    }
}

#[test]
fn a_profile_name_does_not_lead_out_of_the_folder() {
    let sandbox = Sandbox::new();
    let login = sandbox.plant();
    let outside = sandbox.folder().join("outside.json");
    fs::write(&outside, login.to_string()).unwrap();
    for name in [
        "../outside",
        "..",
        ".",
        "a/../../outside",
        "/etc/passwd",
        "outside\n",
        "",
    ] {
        for command in ["token", "status", "account-id", "login", "logout"] {
            sandbox.run(&[command, "--profile", name]).assert(
                2,
                "",
                "codex-auth: invalid value [..]: use 1 to 64 of [..]\n",
            );
        }
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), login.to_string());
    assert_eq!(sandbox.issuer.requests().len(), 0);
}

#[cfg(unix)]
#[test]
fn fifos_and_devices_do_not_hang_it() {
    for (name, message) in [
        (
            "default.json",
            "could not read [HOME]/default.json: it is not a regular file",
        ),
        (
            "default.lock",
            "could not lock [HOME]/default.json: [HOME]/default.lock is not a regular file: run rm -r [HOME]/default.lock",
        ),
        ("default.json.new", ""),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let path = sandbox.home().join(name);
        if name == "default.json" {
            fs::remove_file(&path).unwrap();
        }
        shell("mkfifo \"$1\"", &path);
        let output = sandbox.run(&["token"]);
        match message {
            "" => output.assert(0, TOKEN, ""),
            message => output.assert(1, "", &format!("codex-auth: {message}\n")),
        };
    }
}

#[cfg(unix)]
#[test]
fn a_completely_written_file_is_used_after_a_crash() {
    let sandbox = Sandbox::new();
    let old = sandbox.plant_expiring_in(-60, LIFE);
    let mut new = sandbox.plant();
    // Even if the clock was set back in between.
    new["last_refresh"] = "2001-01-01T00:00:00.000000Z".into();
    new["replaces"] = old["last_refresh"].clone();
    sandbox.store("default", &old.to_string());
    let beside = sandbox.home().join("default.json.new");
    fs::write(&beside, new.to_string()).unwrap();
    let output = sandbox.run(&["token"]);
    output.assert(0, TOKEN, "");
    assert_eq!(output.line(), new["tokens"]["access_token"]);
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    assert!(!beside.exists());
}

#[test]
fn an_incomplete_file_is_removed() {
    for left in [
        String::new(),
        "\0".repeat(8192),
        "{\"tokens\":{\"refresh".to_owned(),
        "{}".to_owned(),
    ] {
        let sandbox = Sandbox::new();
        sandbox.plant_expiring_in(-60, LIFE);
        let beside = sandbox.home().join("default.json.new");
        fs::write(&beside, &left).unwrap();
        sandbox.run(&["token"]).assert(0, TOKEN, "");
        assert_eq!(sandbox.issuer.count(REFRESH), 1);
        assert!(!beside.exists());
    }
}

#[test]
fn a_copy_of_the_login_that_was_left_behind_is_removed() {
    let sandbox = Sandbox::new();
    let planted = sandbox.plant_expiring_in(-60, LIFE);
    let beside = sandbox.home().join("default.json.new");
    fs::write(&beside, planted.to_string()).unwrap();
    sandbox.run(&["token"]).assert(0, TOKEN, "");
    assert_eq!(sandbox.issuer.count(REFRESH), 1);
    assert!(!beside.exists());
}

#[test]
fn a_logout_removes_the_leftovers_of_killed_refreshes() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let names = ["default.json.new", "default.device"];
    let of_others = ["default.json.json.new", "work.json.new", "default.json.old"];
    for name in names.iter().chain(&of_others) {
        fs::write(sandbox.home().join(name), "{}").unwrap();
    }
    let output = sandbox.run(&["logout"]);
    output.assert(0, "", "Signed out (profile default).\n");
    let is_there = |name: &&str| sandbox.home().join(name).exists();
    assert!(!names.iter().any(is_there));
    assert!(of_others.iter().all(is_there));
}

#[test]
fn a_stored_login_is_read_as_it_is_written() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(0, TOKEN, "");
    let stored = sandbox.stored();
    for (member, is_right) in [
        ("version", stored["version"] == 1),
        ("auth_mode", stored["auth_mode"] == "chatgpt"),
        ("issuer", stored["issuer"] == sandbox.issuer.url()),
        (
            "client_id",
            stored["client_id"] == support::fake_issuer::CLIENT_ID,
        ),
        ("account_id", stored["tokens"]["account_id"] == "account-1"),
        ("expires_in", stored["expires_in"] == LIFE),
        ("expires_at", stored["expires_at"].is_u64()),
        (
            "last_refresh",
            stored["last_refresh"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z')),
        ),
        ("backoff", stored["backoff"] == Value::Null),
    ] {
        assert!(is_right, "{member}: {stored}");
    }
}
