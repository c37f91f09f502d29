//! Where things are: the only reader of the environment. Each value is read and checked only when needed, so that
//! printing a fresh token reads just a few variables.

#![allow(
    clippy::disallowed_methods,
    reason = "this file is where the environment is read"
)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use serde_json::{Map, Value};

use crate::error::usage;
use crate::text::entries;
use crate::url::Url;

/// The public client of Codex CLI, which has no secret.
const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
const ISSUER: &str = "https://auth.openai.com";
const BACKEND: &str = "https://chatgpt.com/backend-api";
/// The two ports registered for the redirect URI of that client.
const CALLBACK_PORTS: [u16; 2] = [1455, 1457];

/// Every variable that is read, and what it does (`text::entries`): for the help, the man page, and `doctor`.
pub const VARIABLES: &str = include_str!("help/variables.txt");

/// What another codex-auth, whose command this is, requires of `token` (`login --from`).
pub const REQUEST: &str = "CODEX_AUTH_REQUEST";

/// The variables of workload identity. Other programs do not get to see them; the official client hides them, too.
pub const WORKLOAD: [&str; 3] = [
    "OPENAI_FEDERATION_RULE_ID",
    "OPENAI_IDENTITY_TOKEN_FILE",
    "OPENAI_WORKLOAD_IDENTITY_CONTEXT",
];

/// The file, or the folders, of the roots to trust instead of the system's, and the file of additional ones.
pub const CA_FILE: &str = "SSL_CERT_FILE";
pub const CA_FOLDERS: &str = "SSL_CERT_DIR";
pub const EXTRA_CA_FILE: &str = "CODEX_CA_CERTIFICATE";

/// Set if the user wants no colours (<https://no-color.org>).
pub const NO_COLOR: &str = "NO_COLOR";

/// Set at the far end of an SSH connection, in Linux on Windows, and on an X11 or Wayland display.
pub const SSH: [&str; 2] = ["SSH_CONNECTION", "SSH_TTY"];
pub const WSL: [&str; 1] = ["WSL_DISTRO_NAME"];
pub const SCREEN: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];
/// Set in a container (`container`: by systemd and Podman) or on a remote development machine.
pub const CONTAINER: [&str; 5] = [
    "container",
    "KUBERNETES_SERVICE_HOST",
    "REMOTE_CONTAINERS",
    "CODESPACES",
    "GITPOD_WORKSPACE_ID",
];

/// Set to the shell by completion scripts when they call this program.
pub const COMPLETE: &str = "CODEX_AUTH_COMPLETE";

/// The profile that reads Codex's own login.
pub const CODEX_PROFILE: &str = "codex";

/// The profile to use: the option, or else `CODEX_AUTH_PROFILE`, or else `default`. An invalid name is wrong usage.
pub fn profile(option: Option<String>) -> Result<String> {
    let (name, origin) = match (option, lossy("CODEX_AUTH_PROFILE")) {
        (Some(name), _) => (name, "--profile"),
        (None, Some(name)) => (name, "CODEX_AUTH_PROFILE"),
        (None, None) => return Ok("default".to_owned()),
    };
    if is_codexs(&name) {
        return Ok(CODEX_PROFILE.to_owned());
    }
    if !is_profile_name(&name) {
        let why = "use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot, and not a Windows device name";
        return Err(invalid_value(origin, &name, why));
    }
    Ok(name)
}

/// The call of this program for a profile, to which a command is added. It leaves out the default profile, unless the
/// environment names another one: following the advice must not replace a working login.
pub fn call_for(name: &str) -> String {
    match name {
        "default" if profile(None).is_ok_and(|unnamed| unnamed == name) => "codex-auth".to_owned(),
        _ => format!("codex-auth --profile {name}"),
    }
}

pub fn login_command(name: &str) -> String {
    match name {
        CODEX_PROFILE => "codex login".to_owned(),
        _ => call_for(name) + " login",
    }
}

/// Whether this is the name of Codex's profile. Case is ignored, as some file systems do.
pub fn is_codexs(name: &str) -> bool {
    name.eq_ignore_ascii_case(CODEX_PROFILE)
}

/// Whether a profile may have this name. It can be part of a file name on every system, and does not lead out of the
/// folder.
pub fn is_profile_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_short = (1..=64).contains(&name.len());
    is_short && !name.starts_with('.') && name.bytes().all(is_allowed) && !is_device(name)
}

/// Whether Windows takes a file of this name, with any extension, for a device.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    match stem.to_ascii_lowercase().as_bytes() {
        [b'c', b'o', b'm', b'0'..=b'9'] | [b'l', b'p', b't', b'0'..=b'9'] => true,
        stem => matches!(stem, b"con" | b"prn" | b"aux" | b"nul"),
    }
}

/// The folder of the stored credentials: `CODEX_AUTH_HOME`, or `codex-auth` in the platform's configuration folder.
pub fn home() -> Result<PathBuf> {
    folder("CODEX_AUTH_HOME", dirs::config_dir, "codex-auth")
}

/// The folder of Codex CLI: `CODEX_HOME`, or `.codex` in the home folder.
pub fn codex_home() -> Result<PathBuf> {
    folder("CODEX_HOME", dirs::home_dir, ".codex")
}

/// The user's home folder; empty if unknown.
pub fn user_home() -> String {
    dirs::home_dir().map_or_else(String::new, |home| home.to_string_lossy().into_owned())
}

/// The folder that a variable names, as an absolute path: a relative one would mean another login in every folder.
/// Otherwise the default, below a folder of the platform.
fn folder(name: &str, platform: fn() -> Option<PathBuf>, usual: &str) -> Result<PathBuf> {
    let Some(path) = path(name)? else {
        let why = || format!("could not find the home folder: set HOME or {name}");
        return Ok(platform().with_context(why)?.join(usual));
    };
    check_absolute(name, &path.to_string_lossy())?;
    Ok(path)
}

fn check_absolute(name: &str, path: &str) -> Result<()> {
    let is_absolute = Path::new(path).is_absolute();
    let why = "use an absolute path";
    ensure!(is_absolute, invalid_value(name, path, why));
    Ok(())
}

/// The configuration files of Codex CLI. Later ones override earlier ones.
pub fn codex_configurations() -> Result<Vec<PathBuf>> {
    let system = cfg!(unix).then(|| PathBuf::from("/etc/codex/config.toml"));
    let own = codex_home()?.join("config.toml");
    Ok(system.into_iter().chain([own]).collect())
}

/// The addresses of the session bus, if the environment has any.
#[cfg(unix)]
pub fn session_bus() -> Option<String> {
    lossy("DBUS_SESSION_BUS_ADDRESS")
}

/// The folder whose `bus` is the session bus if the environment names none.
#[cfg(unix)]
pub fn runtime_folder() -> PathBuf {
    let usual = || format!("/run/user/{}", rustix::process::geteuid().as_raw()).into();
    variable("XDG_RUNTIME_DIR").map_or_else(usual, PathBuf::from)
}

pub fn wants_seal() -> Result<bool> {
    let is_allowed = |text: &str| ["0", "1"].contains(&text);
    Ok(allowed("CODEX_AUTH_SEAL", "0", is_allowed, "use 1 or 0")? == "1")
}

/// The federation rule and the path of the identity token: from the options, or else from the variables. One without the
/// other is wrong usage.
pub fn workload(rule: Option<&str>, file: Option<&str>) -> Result<(String, String)> {
    let needed = |option: &str, given: Option<&str>, name: &str| {
        let value = given.map_or_else(|| text(name), |given| Ok(Some(given.to_owned())))?;
        let why = || usage(format!("--workload-identity needs {name} or {option}"));
        anyhow::Ok(value.filter(|it| !it.is_empty()).ok_or_else(why)?)
    };
    let rule = needed("--federation-rule", rule, WORKLOAD[0])?;
    let path = needed("--identity-token", file, WORKLOAD[1])?;
    check_absolute(file.map_or(WORKLOAD[1], |_| "--identity-token"), &path)?;
    Ok((rule, path))
}

pub fn has_workload() -> bool {
    WORKLOAD[..2].iter().all(|name| is_set(name))
}

/// The JSON object to send along with an identity token, if any.
pub fn workload_context() -> Result<Option<String>> {
    let context = text(WORKLOAD[2])?;
    let is_object = |text: &String| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    let is_usable = context.iter().all(is_object);
    ensure!(is_usable, invalid(WORKLOAD[2], "use a JSON object"));
    Ok(context)
}

/// The issuer to sign in at.
pub fn issuer() -> Result<Url> {
    url("CODEX_AUTH_ISSUER", ISSUER)
}

pub fn backend() -> Result<Url> {
    url("CODEX_AUTH_CHATGPT_URL", BACKEND)
}

pub fn client_id() -> Result<String> {
    let is_allowed = |id: &str| id.bytes().all(|byte| byte.is_ascii_graphic());
    let why = "use visible ASCII characters without spaces";
    allowed("CODEX_AUTH_CLIENT_ID", CLIENT_ID, is_allowed, why)
}

/// The ports to wait for the browser on, in this order; 0 means any free port.
pub fn callback_ports() -> Result<Vec<u16>> {
    let is_allowed = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let port = allowed("CODEX_AUTH_PORT", "", is_allowed, "use 0 to 65535")?.parse();
    Ok(port.map_or(CALLBACK_PORTS.to_vec(), |port| vec![port]))
}

/// The host of the redirect URI. Both are registered, and official clients have used both.
pub fn redirect_host() -> Result<String> {
    let is_allowed = |host: &str| ["localhost", "127.0.0.1"].contains(&host);
    let why = "use localhost or 127.0.0.1";
    allowed("CODEX_AUTH_REDIRECT_HOST", "localhost", is_allowed, why)
}

/// The proxy to use, with the name of its variable. As in curl, lower case comes first.
pub fn proxy() -> Result<Option<(&'static str, String)>> {
    let found = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
    match found {
        Some((name, value)) if value.to_ascii_lowercase().ends_with(".pac") => {
            let why = "a proxy script (.pac) is not supported: use the URL of the proxy itself";
            Err(invalid(name, why))
        }
        found => Ok(found),
    }
}

pub fn no_proxy() -> Result<Option<String>> {
    Ok(first(&["no_proxy", "NO_PROXY"])?.map(|(_, value)| value))
}

/// The variables whose paths may be relative, with absolute values: for a process that runs in another folder.
pub fn absolute_paths() -> Vec<(&'static str, OsString)> {
    let Ok(here) = env::current_dir() else {
        return Vec::new();
    };
    let absolute = |name| {
        let value = variable(name)?;
        if name != CA_FOLDERS {
            return Some((name, here.join(value).into()));
        }
        let folders = env::split_paths(&value).map(|folder| here.join(folder));
        Some((name, env::join_paths(folders).ok()?))
    };
    let names = [CA_FILE, CA_FOLDERS, EXTRA_CA_FILE];
    names.into_iter().filter_map(absolute).collect()
}

/// Whether the terminal does not support escape sequences. Windows does not set `TERM`.
pub fn has_dumb_terminal() -> bool {
    variable("TERM").map_or(cfg!(unix), |name| name == "dumb")
}

/// The browsers listed in `BROWSER`, if there are any.
pub fn browser() -> Option<String> {
    lossy("BROWSER").filter(|list| !list.trim_matches([' ', ':', ';']).is_empty())
}

/// Whether this is a sandbox of Codex, or of sandbox-runtime, which Claude Code uses.
pub fn in_sandbox() -> bool {
    any_is_set(&[
        "CODEX_SANDBOX",
        "CODEX_SANDBOX_NETWORK_DISABLED",
        "SANDBOX_RUNTIME",
    ])
}

/// Makes a path absolute, relative to the current folder.
pub fn absolute(path: &str) -> Result<String> {
    let path = std::path::absolute(path).context("could not find the current folder")?;
    Ok(path.to_string_lossy().into_owned())
}

/// Whether a program is given by its path.
pub fn has_path(program: &OsStr) -> bool {
    Path::new(program).components().count() > 1
}

/// The path of a program: as given, or in a folder of `PATH`.
pub fn find_program(program: &OsStr) -> Option<PathBuf> {
    let existing = |path: PathBuf| {
        // As execvp(3) does, skip a file that we may not execute.
        #[cfg(unix)]
        rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).ok()?;
        path.is_file().then_some(path)
    };
    if has_path(program) {
        return existing(program.into());
    }
    let mut folders = program_folders().into_iter();
    folders.find_map(|folder| existing(folder.join(program)))
}

/// Whether a program can be started. Windows adds an extension, and searches more places than `PATH`.
pub fn is_installed(program: &str) -> bool {
    cfg!(windows) || find_program(program.as_ref()).is_some()
}

pub fn program_folders() -> Vec<PathBuf> {
    variable("PATH").map_or_else(Vec::new, |list| env::split_paths(&list).collect())
}

/// The names of all variables in the table that are set. Their values may be secret.
pub fn variables_set() -> Vec<&'static str> {
    let names = entries(VARIABLES).flat_map(|(names, _)| names.split(", "));
    names.filter(|name| is_set(name)).collect()
}

/// The value of a variable, if set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable as text, with invalid UTF-8 replaced.
fn lossy(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}

pub fn is_set(name: &str) -> bool {
    variable(name).is_some()
}

pub fn any_is_set(names: &[&str]) -> bool {
    names.iter().any(|name| is_set(name))
}

/// A variable as text on one line.
pub fn text(name: &str) -> Result<Option<String>> {
    let text = path(name)?.map(|path| path.into_os_string().into_string());
    text.transpose()
        .map_err(|_| invalid(name, "not valid UTF-8"))
}

/// A variable that names a file or a host. A control character, such as the carriage return of a file edited on Windows,
/// would invisibly lead elsewhere.
pub fn path(name: &str) -> Result<Option<PathBuf>> {
    let value = variable(name);
    let mut bytes = value.iter().flat_map(|text| text.as_encoded_bytes());
    let is_clean = !bytes.any(u8::is_ascii_control);
    ensure!(is_clean, invalid(name, "it contains a control character"));
    Ok(value.map(PathBuf::from))
}

/// The value of a variable if allowed, or the default.
fn allowed(name: &str, usual: &str, is_allowed: fn(&str) -> bool, why: &str) -> Result<String> {
    let value = text(name)?.unwrap_or_else(|| usual.to_owned());
    ensure!(is_allowed(&value), invalid_value(name, &value, why));
    Ok(value)
}

/// A variable with an unusable value is wrong usage, like an option.
pub fn invalid_value(name: &str, value: &str, why: impl Display) -> Error {
    usage(format!("invalid value {value:?} for {name}: {why}"))
}

/// The same for a value that is not shown: it may be long, or contain a password.
pub fn invalid(name: &str, why: impl Display) -> Error {
    usage(format!("invalid {name}: {why}"))
}

/// The first of these variables that is set and not empty, with its name.
fn first(names: &[&'static str]) -> Result<Option<(&'static str, String)>> {
    let set = names.iter().copied().find(|name| is_set(name));
    let Some(name) = set else { return Ok(None) };
    Ok(text(name)?.map(|value| (name, value)))
}

fn url(name: &str, default: &str) -> Result<Url> {
    let url = text(name)?.unwrap_or_else(|| default.to_owned());
    Url::parse(&url).map_err(|error| invalid(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_that_may_not_be_executed_is_not_a_program() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(find_program(file.path().as_os_str()), None);
        assert_eq!(find_program("/bin/sh".as_ref()), Some("/bin/sh".into()));
    }

    #[test]
    fn profile_names_lead_nowhere() {
        for name in [
            "default",
            "a",
            "Work-2",
            "a.b_c",
            "com",
            "comx",
            "com10",
            "console",
            &"x".repeat(64),
        ] {
            assert!(is_profile_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".x",
            "a/b",
            "a\\b",
            "a b",
            "ü",
            "a\0",
            "a:b",
            "con",
            "NUL.work",
            "lpt1",
            &"x".repeat(65),
        ] {
            assert!(!is_profile_name(name), "{name}");
        }
    }
}
