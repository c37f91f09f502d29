//! The program run by a user other than root, with other users' files: what they planted is neither printed nor sent.
//! Root can read everyone's files, so the other tests cannot check this if they run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use support::process::Output;
use support::sandbox::{Sandbox, copy_program, native_program, skip};

const USER: u32 = 1234;
const ANOTHER: u32 = 1235;

/// A sandbox of USER with a login. Returns `None`, and says why, if the program cannot be run as another user.
fn of_user() -> Option<Sandbox> {
    let program = native_program()?;
    if !rustix::process::geteuid().is_root() {
        skip("only root can give files away");
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.plant();
    let binary = sandbox.bin().join("codex-auth");
    copy_program(&program, &binary);
    let (home, login) = (sandbox.home(), sandbox.file("default"));
    for path in [sandbox.folder(), &home, &login, &binary] {
        chown(path, Some(USER), None).unwrap();
    }
    Some(sandbox)
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command_line = vec![sandbox.bin().join("codex-auth").into_os_string()];
    command_line.extend(arguments.iter().map(std::ffi::OsString::from));
    let mut command = sandbox.command_of(&command_line);
    command.uid(USER);
    sandbox.start(command).finish()
}

#[test]
fn a_login_that_another_user_planted_is_not_printed() {
    let Some(sandbox) = of_user() else { return };
    run(&sandbox, &["token"]).assert(0, "[TOKEN]\n", "");
    let login = sandbox.file("default");
    fs::set_permissions(&login, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&login, Some(ANOTHER), None).unwrap();
    let stderr = "codex-auth: could not read [HOME]/default.json: it belongs to user 1235, but this is user 1234[..]\n";
    run(&sandbox, &["token"]).assert(1, "", stderr);
    run(&sandbox, &["token", "--force-refresh"]).assert(1, "", stderr);
    assert_eq!(sandbox.issuer.requests().len(), 0);
}

#[test]
fn a_login_in_a_folder_of_another_user_is_not_printed() {
    let Some(sandbox) = of_user() else { return };
    fs::set_permissions(sandbox.home(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(sandbox.home(), Some(ANOTHER), None).unwrap();
    run(&sandbox, &["token"]).assert(
        1,
        "",
        "codex-auth: could not read [HOME]/default.json: could not trust the folder [HOME]: it belongs to user 1235, but this is user 1234[..]\n",
    );
    assert_eq!(sandbox.issuer.requests().len(), 0);
}
