//! The disk in trouble, or in somebody else's hands: full, read-only, linked, owned by others, full of nonsense. The login
//! stays as good as it was, and no request is sent whose answer could not be kept.

use std::fs;

use serde_json::Value;

use crate::login::SIGNED_IN;
use support::fake_issuer::Endpoint;
use support::sandbox::{LIFE, Sandbox};

const REFRESH: Endpoint = Endpoint::Refresh;
const TOKEN: &str = "[TOKEN]\n";

/// A renewal fails with exit code 1 and these words, before a request is sent; a token that still lives is served.
#[track_caller]
fn assert_nothing_is_sent(sandbox: &Sandbox, words: &str) {
    sandbox
        .run(&["token", "--force-refresh"])
        .assert(1, "", &format!("codex-auth: {words}\n"));
    sandbox.run(&["token"]).assert(
        0,
        TOKEN,
        &format!("codex-auth: {words}; the token still lives\n"),
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
    assert!(sandbox.can_refresh());
}

// Nonsense in the store.

#[test]
fn a_file_that_is_no_login_is_an_error_and_stays_as_it_is() {
    let nuls = "\0".repeat(4096);
    let huge = " ".repeat(1024 * 1024 + 1);
    for (text, words) in [
        ("", "the file is empty"),
        (
            "{\"tokens\":{\"access_token\":\"a",
            "the file is damaged: it is no JSON",
        ),
        (nuls.as_str(), "the file is damaged: it is no JSON"),
        ("\u{feff}{}", "the file is damaged: it is no JSON"),
        ("[]", "the file holds no login"),
        ("\"sk-secret\"", "the file holds no login"),
        (
            huge.as_str(),
            "it is larger than 1048576 bytes, so it is no login",
        ),
        (
            "{\"version\":2}",
            "the file is of a newer codex-auth: update this one",
        ),
        (
            "{\"version\":\"x\"}",
            "the file is of a newer codex-auth: update this one",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        let words = format!("codex-auth: could not read [HOME]/default.json: {words}\n");
        sandbox.run(&["token"]).assert(1, "", &words);
        sandbox
            .run(&["token", "--force-refresh"])
            .assert(1, "", &words);
        sandbox.run(&["account-id"]).assert(1, "", &words);
        assert_eq!(fs::read_to_string(sandbox.file("default")).unwrap(), text);
    }
}

#[test]
fn a_login_without_an_access_token_is_an_error() {
    for text in [
        "{}",
        "{\"tokens\":7}",
        "{\"tokens\":{\"access_token\":7}}",
        "{\"tokens\":{\"access_token\":\"a\\nb\"}}",
    ] {
        let sandbox = Sandbox::new();
        sandbox.store("default", text);
        sandbox
            .run(&["token"])
            .assert(1, "", "codex-auth: the stored login has no access token\n");
    }
}

#[test]
fn a_login_replaces_a_damaged_file() {
    for text in ["", "{", "[]", "{\"version\":2}"] {
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

// Files and folders of Unix.

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

/// Runs a shell line as root would; tests that need root say so and end early elsewhere.
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
        let mut words: Vec<std::ffi::OsString> = ["/bin/sh", "-c", "umask $0; exec \"$@\"", umask]
            .into_iter()
            .map(Into::into)
            .collect();
        words.extend(support::sandbox::program());
        words.push("login".into());
        let mut login = sandbox.start(sandbox.command_of(&words));
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
    let mut words: Vec<std::ffi::OsString> = vec![
        "/usr/bin/strace".into(),
        "-f".into(),
        "-o".into(),
        trace.clone().into(),
    ];
    words.extend(["-e".into(), "trace=openat,open,creat,mkdir,mkdirat".into()]);
    words.extend(support::sandbox::program());
    words.push("token".into());
    let mut command = sandbox.command_of(&words);
    command.env("CODEX_AUTH_HOME", sandbox.home());
    sandbox.start(command).finish().assert(0, TOKEN, "");
    let trace = fs::read_to_string(trace).unwrap();
    let created: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("O_CREAT"))
        .collect();
    assert!(!created.is_empty(), "the renewal created nothing:\n{trace}");
    for line in created {
        assert!(line.contains(", 0600)"), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    for bits in [0o720, 0o702, 0o777, 0o1777] {
        let sandbox = Sandbox::new();
        sandbox.plant();
        set_mode(&sandbox.home(), bits);
        let words = "codex-auth: could not read [HOME]/default.json: others can write to its folder: run chmod 700 '[HOME]'\n";
        sandbox.run(&["token"]).assert(1, "", words);
        set_mode(&sandbox.home(), 0o700);
        sandbox.run(&["token"]).assert(0, TOKEN, "");
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
        "could not make room for [HOME]/default.json: the file is read-only",
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
        "could not make room for [HOME]/default.json: it belongs to user 1234, and this is user 0",
    );
    std::os::unix::fs::chown(sandbox.file("default"), Some(0), None).unwrap();
    std::os::unix::fs::chown(sandbox.home(), Some(1234), None).unwrap();
    assert_nothing_is_sent(
        &sandbox,
        "could not lock [HOME]/default.json: it belongs to user 1234, and this is user 0",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_file_system_serves_a_token_that_lives() {
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
        "codex-auth: could not lock [HOME]/default.json: Read-only file system (os error 30)\n",
    );
    assert_eq!(sandbox.issuer.count(REFRESH), 0);
}

/// A mounted path. Dropped, it is unmounted.
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
fn a_file_that_is_mounted_by_itself_is_found_out_before_the_request() {
    if !as_root("a mounted file") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    // As `docker run -v …/default.json:…/default.json` does: it can be written, but not replaced.
    shell("mount --bind \"$1\" \"$1\"", &sandbox.file("default"));
    let _mounted = Mounted(sandbox.file("default"));
    assert_nothing_is_sent(
        &sandbox,
        "could not make room for [HOME]/default.json: [..] (os error 16)",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_found_out_before_the_request() {
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
        "could not make room for [HOME]/default.json: No space left on device (os error 28)",
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
    // Now nothing can take the place of the login.
    shell("mount --bind \"$1\" \"$1\"", &sandbox.file("default"));
    let mounted = Mounted(sandbox.file("default"));
    gate.open();
    let output = caller.finish();
    output.assert(0, TOKEN, "codex-auth: the token was renewed, but could not be stored: mend that before it ends, or run codex-auth \
         login: could not save [HOME]/default.json: [..] (os error 16)\n");
    assert_eq!(output.line(), sandbox.issuer.access_tokens().pop().unwrap());
    drop(mounted);
    // What was written beside it takes its place at the next renewal.
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
        .assert(0, "", "Signed out (profile default).\n");
    assert!(!real.join("login.json").exists());
    assert!(!sandbox.file("default").is_symlink());
}

#[cfg(unix)]
#[test]
fn a_link_into_a_folder_of_others_is_not_followed_by_a_renewal() {
    let sandbox = Sandbox::new();
    sandbox.plant_expiring_in(200, LIFE);
    let real = sandbox.folder().join("elsewhere");
    fs::create_dir(&real).unwrap();
    set_mode(&real, 0o777);
    fs::rename(sandbox.file("default"), real.join("login.json")).unwrap();
    std::os::unix::fs::symlink(real.join("login.json"), sandbox.file("default")).unwrap();
    assert_nothing_is_sent(
        &sandbox,
        "could not make room for [HOME]/default.json: others can write to its folder: run chmod 700 '[FOLDER]/elsewhere'",
    );
}

#[cfg(unix)]
#[test]
fn what_is_planted_where_our_files_go_is_not_followed() {
    let refused = "codex-auth: could not lock [HOME]/default.json: [..] (os error [..])\n";
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
        let renewals = sandbox.issuer.count(REFRESH);
        assert_eq!(renewals, usize::from(code == 0), "{name}");
        assert!(sandbox.can_refresh(), "{name}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

#[cfg(unix)]
#[test]
fn what_takes_the_place_of_our_files_during_a_request_is_not_written_to() {
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
            gate.open();
            caller.finish().assert(0, TOKEN, "");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
            assert_eq!(mode(&victim), 0o644, "{name}");
            assert_eq!(mode(&sandbox.file("default")), 0o600, "{name}");
            assert!(!sandbox.file("default").is_symlink(), "{name}");
            assert!(sandbox.can_refresh(), "{name}");
        }
    }
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
                1,
                "",
                "codex-auth: [..] is no profile name: [..]\n",
            );
        }
        // Nor does the name that a worker is told.
        sandbox.run(&["renewal-worker", name, ""]).assert(
            1,
            "",
            "codex-auth: [..] is no profile name: [..]
",
        );
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), login.to_string());
    assert_eq!(sandbox.issuer.requests().len(), 0);
}

#[cfg(unix)]
#[test]
fn fifos_and_devices_do_not_hang_it() {
    for (name, words) in [
        (
            "default.json",
            "could not read [HOME]/default.json: it is no regular file",
        ),
        (
            "default.lock",
            "could not lock [HOME]/default.json: [HOME]/default.lock is no regular file",
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
        match words {
            "" => output.assert(0, TOKEN, ""),
            words => output.assert(1, "", &format!("codex-auth: {words}\n")),
        };
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_was_written_whole_takes_its_place_after_a_crash() {
    let sandbox = Sandbox::new();
    let old = sandbox.plant_expiring_in(-60, LIFE);
    let mut new = sandbox.plant();
    // Even if the clock was set back in between.
    new["last_refresh"] = "2001-01-01T00:00:00.000000Z".into();
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
fn a_file_that_was_not_written_whole_is_removed() {
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

#[cfg(target_os = "linux")]
#[test]
fn where_there_are_no_locks_it_goes_on_without() {
    let sandbox = Sandbox::new();
    let source = "#include <errno.h>\nint flock(int f, int o) { errno = EOPNOTSUPP; return -1; }\n";
    let Some(shim) = sandbox.shim(source) else {
        return;
    };
    let unlocked = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("LD_PRELOAD", &shim);
        sandbox.start(command).finish()
    };
    sandbox.plant_expiring_in(-60, LIFE);
    unlocked(&["token"]).assert(0, TOKEN, "");
    unlocked(&["token", "--force-refresh"]).assert(0, TOKEN, "");
    unlocked(&["logout"]).assert(0, "", "Signed out (profile default).\n");
    let left: Vec<_> = fs::read_dir(sandbox.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["default.lock"]);
}

#[test]
fn a_logout_removes_what_killed_renewals_left() {
    let sandbox = Sandbox::new();
    sandbox.plant();
    let names = ["default.json.4711.new", "default.json.4712.new"];
    let of_others = [
        "default.json.json.4711.new",
        "work.json.4711.new",
        "default.json.old.new",
    ];
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
        ("pause", stored["pause"] == Value::Null),
    ] {
        assert!(is_right, "{member}: {stored}");
    }
}
