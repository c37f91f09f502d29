//! Where things are: the only reader of the environment. Each value is read and checked only when it is needed, so that
//! printing a fresh token looks at two variables and no more.

#![allow(
    clippy::disallowed_methods,
    reason = "this file is where the environment is read"
)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};

use crate::credentials::ForwardedRequest;
use crate::error::Failure;
use crate::text::entries;
use crate::url::Url;

/// The public client of Codex CLI: it has no secret.
const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
const ISSUER: &str = "https://auth.openai.com";
const BACKEND: &str = "https://chatgpt.com/backend-api";
/// The two ports that are registered for the redirect URI of that client.
const CALLBACK_PORTS: [u16; 2] = [1455, 1457];

/// Every variable that is read, and what it does (`text::entries`): in the help, in the man page, and for `doctor`.
pub const VARIABLES: &str = include_str!("help/variables.txt");

/// What is asked of `token` by another codex-auth, whose command it is (`login --from`).
pub const REQUEST: &str = "CODEX_AUTH_REQUEST";

/// What workload identity reads. Programs that are not ours do not see it, nor does the official client show it to them.
pub const WORKLOAD: [&str; 3] = [
    "OPENAI_FEDERATION_RULE_ID",
    "OPENAI_IDENTITY_TOKEN_FILE",
    "OPENAI_WORKLOAD_IDENTITY_CONTEXT",
];

/// What the completion scripts set when they ask this program. Its value is the shell.
pub const COMPLETE: &str = "CODEX_AUTH_COMPLETE";

/// The profile that reads Codex's own login.
pub const CODEX_PROFILE: &str = "codex";

/// The profile to use: the option, else `CODEX_AUTH_PROFILE`, else `default`. An invalid name is wrong usage.
pub fn profile(option: Option<String>) -> Result<String> {
    let (name, origin) = match (option, variable("CODEX_AUTH_PROFILE")) {
        (Some(name), _) => (name, "--profile"),
        (None, Some(name)) => (name.to_string_lossy().into_owned(), "CODEX_AUTH_PROFILE"),
        (None, None) => return Ok("default".to_owned()),
    };
    if is_codexs(&name) {
        return Ok(CODEX_PROFILE.to_owned());
    }
    if !is_profile_name(&name) {
        let message = format!(
            "invalid value {name:?} for {origin}: use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot, and not a Windows \
             device name"
        );
        return Err(Failure::Usage(message).into());
    }
    Ok(name)
}

/// The call of this program for a profile, to which a command is added. It names all but the default one, and that one too
/// where the environment names another: whoever follows it must not replace a login that works.
pub fn call_for(name: &str) -> String {
    match name {
        "default" if profile(None).is_ok_and(|unnamed| unnamed == name) => "codex-auth".to_owned(),
        _ => format!("codex-auth --profile {name}"),
    }
}

/// The command with which a person signs in to a profile.
pub fn login_command(name: &str) -> String {
    match name {
        CODEX_PROFILE => "codex login".to_owned(),
        _ => call_for(name) + " login",
    }
}

/// Whether a name is that of Codex's profile. Case does not count: to some file systems it makes no difference.
pub fn is_codexs(name: &str) -> bool {
    name.eq_ignore_ascii_case(CODEX_PROFILE)
}

/// Whether a profile may have this name. It can be part of a file name on every system, and leads to no other folder.
pub fn is_profile_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(allowed)
        && !is_device(name)
}

/// Whether Windows takes a file of this name, under any extension, for a device.
fn is_device(name: &str) -> bool {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem.to_ascii_lowercase();
    match stem.strip_prefix("com").or(stem.strip_prefix("lpt")) {
        Some(number) => number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit()),
        None => matches!(stem.as_str(), "con" | "prn" | "aux" | "nul"),
    }
}

/// What another codex-auth asks of `token`.
pub fn forwarded_request() -> Result<ForwardedRequest> {
    let Some(text) = text(REQUEST)? else {
        return Ok(ForwardedRequest::default());
    };
    ForwardedRequest::parse(&text)
        .map_err(|why| invalid(&format!("value {text:?} for {REQUEST}"), why))
}

/// The folder of the stored credentials: `CODEX_AUTH_HOME`, or `codex-auth` in the platform's configuration folder.
pub fn home() -> Result<PathBuf> {
    if let Some(home) = path("CODEX_AUTH_HOME")? {
        return Ok(home);
    }
    let base = dirs::config_dir()
        .context("could not find the configuration folder: set HOME or CODEX_AUTH_HOME")?;
    Ok(base.join("codex-auth"))
}

/// The folder of Codex CLI: `CODEX_HOME`, or `.codex` in the home folder.
pub fn codex_home() -> Result<PathBuf> {
    if let Some(home) = path("CODEX_HOME")? {
        return Ok(home);
    }
    let base =
        dirs::home_dir().context("could not find the home folder: set HOME or CODEX_HOME")?;
    Ok(base.join(".codex"))
}

/// The configuration files of Codex CLI. What a later one says wins.
pub fn codex_configurations() -> Result<Vec<PathBuf>> {
    let system = cfg!(unix).then(|| PathBuf::from("/etc/codex/config.toml"));
    let own = codex_home()?.join("config.toml");
    Ok(system.into_iter().chain([own]).collect())
}

/// The addresses of the session bus, if the environment has any.
#[cfg(unix)]
pub fn session_bus() -> Option<String> {
    variable("DBUS_SESSION_BUS_ADDRESS").map(|list| list.to_string_lossy().into_owned())
}

/// The folder in which the session bus is if there are none.
#[cfg(unix)]
pub fn runtime_folder() -> PathBuf {
    let usual = || format!("/run/user/{}", rustix::process::geteuid().as_raw()).into();
    variable("XDG_RUNTIME_DIR").map_or_else(usual, PathBuf::from)
}

/// Whether new logins are to be sealed.
pub fn wants_seal() -> Result<bool> {
    match text("CODEX_AUTH_SEAL")?.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(invalid(&format!("CODEX_AUTH_SEAL {other:?}"), "use 1 or 0")),
    }
}

/// The federation rule and the path of the identity token: the options, else the variables. One alone is wrong usage.
pub fn workload(rule: Option<&str>, file: Option<&str>) -> Result<(String, String)> {
    let needed = |option: &str, given: Option<&str>, name: &str| {
        let value = given
            .map(str::to_owned)
            .map_or_else(|| text(name), |given| Ok(Some(given)))?;
        let words = || Failure::Usage(format!("--workload-identity needs {name} or {option}"));
        anyhow::Ok(value.ok_or_else(words)?)
    };
    let rule = needed("--federation-rule", rule, WORKLOAD[0])?;
    let path = needed("--identity-token", file, WORKLOAD[1])?;
    if !Path::new(&path).is_absolute() {
        let origin = file.map_or(WORKLOAD[1], |_| "--identity-token");
        let words = format!("invalid {origin} {path:?}: use an absolute path");
        return Err(Failure::Usage(words).into());
    }
    Ok((rule, path))
}

/// Whether the environment asks for workload identity.
pub fn has_workload() -> bool {
    WORKLOAD[..2].iter().all(|name| is_set(name))
}

/// The JSON object that goes along with an identity token, if there is one.
pub fn workload_context() -> Result<Option<String>> {
    let context = text(WORKLOAD[2])?;
    let is_object = |text: &String| {
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object())
    };
    match context {
        Some(context) if !is_object(&context) => {
            let words = format!("invalid {}: use a JSON object", WORKLOAD[2]);
            Err(Failure::Usage(words).into())
        }
        context => Ok(context),
    }
}

/// Who gives the tokens.
pub fn issuer() -> Result<Url> {
    url("CODEX_AUTH_ISSUER", ISSUER)
}

/// The base of the backend that takes the tokens.
pub fn backend() -> Result<Url> {
    url("CODEX_AUTH_CHATGPT_URL", BACKEND)
}

pub fn client_id() -> Result<String> {
    let id = text("CODEX_AUTH_CLIENT_ID")?.unwrap_or_else(|| CLIENT_ID.to_owned());
    if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "use visible ASCII characters, without blanks";
        return Err(invalid("CODEX_AUTH_CLIENT_ID", why));
    }
    Ok(id)
}

/// The ports to wait for the browser on, in this order; 0 is any free one.
pub fn callback_ports() -> Result<Vec<u16>> {
    let Some(port) = text("CODEX_AUTH_PORT")? else {
        return Ok(CALLBACK_PORTS.to_vec());
    };
    match port.parse() {
        Ok(number) => Ok(vec![number]),
        Err(_) => Err(invalid(
            &format!("CODEX_AUTH_PORT {port:?}"),
            "use 0 to 65535",
        )),
    }
}

/// The host of the redirect URI. Both are registered: official clients have used one and the other.
pub fn redirect_host() -> Result<String> {
    let host = text("CODEX_AUTH_REDIRECT_HOST")?.unwrap_or_else(|| "localhost".to_owned());
    if !matches!(host.as_str(), "localhost" | "127.0.0.1") {
        let name = format!("CODEX_AUTH_REDIRECT_HOST {host:?}");
        return Err(invalid(&name, "use localhost or 127.0.0.1"));
    }
    Ok(host)
}

/// The proxy that is asked for, after the name of the variable that says so. As in curl the small letters come first.
pub fn proxy() -> Result<Option<(&'static str, String)>> {
    let found = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
    if let Some((name, value)) = &found
        && Path::new(value)
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("pac"))
    {
        let why = "a proxy script (.pac) is not supported: use the proxy that it names";
        return Err(invalid(name, why));
    }
    Ok(found)
}

/// The hosts that are reached without a proxy.
pub fn no_proxy() -> Result<Option<String>> {
    Ok(first(&["no_proxy", "NO_PROXY"])?.map(|(_, value)| value))
}

/// The file to use instead of the system's roots.
pub fn system_ca_file() -> Result<Option<PathBuf>> {
    Ok(file_name("SSL_CERT_FILE")?.map(PathBuf::from))
}

/// The folders to use instead of the system's roots.
pub fn system_ca_folders() -> Result<Option<Vec<PathBuf>>> {
    let folders = file_name("SSL_CERT_DIR")?;
    Ok(folders.map(|list| env::split_paths(&list).collect()))
}

/// The file of the roots that are trusted in addition to the system's.
pub fn extra_ca_file() -> Result<Option<PathBuf>> {
    Ok(file_name("CODEX_CA_CERTIFICATE")?.map(PathBuf::from))
}

/// The variables whose paths may be relative, with absolute ones: for a process that works in another folder.
pub fn absolute_paths() -> Vec<(&'static str, OsString)> {
    let Ok(here) = env::current_dir() else {
        return Vec::new();
    };
    let files = ["SSL_CERT_FILE", "CODEX_CA_CERTIFICATE"].into_iter();
    let mut absolute: Vec<(&str, OsString)> = files
        .filter_map(|name| Some((name, here.join(variable(name)?).into())))
        .collect();
    let folders = variable("SSL_CERT_DIR").and_then(|list| {
        env::join_paths(env::split_paths(&list).map(|folder| here.join(folder))).ok()
    });
    absolute.extend(folders.map(|list| ("SSL_CERT_DIR", list)));
    absolute
}

/// Whether the person does without colours (<https://no-color.org>: set, and not empty).
pub fn no_color() -> bool {
    is_set("NO_COLOR")
}

/// Whether the terminal knows no escape sequences. Windows does without `TERM`.
pub fn has_dumb_terminal() -> bool {
    variable("TERM").map_or(cfg!(unix), |name| name == "dumb")
}

/// The browsers that the person chose (`BROWSER`), as they wrote them.
pub fn browser() -> Option<String> {
    variable("BROWSER").map(|list| list.to_string_lossy().into_owned())
}

/// Whether we run at the far end of an SSH connection.
pub fn over_ssh() -> bool {
    ["SSH_CONNECTION", "SSH_TTY"].into_iter().any(is_set)
}

/// Whether the environment is that of a container (`container` is what systemd and Podman set) or of a remote
/// development machine.
pub fn in_container() -> bool {
    [
        "container",
        "KUBERNETES_SERVICE_HOST",
        "REMOTE_CONTAINERS",
        "CODESPACES",
        "GITPOD_WORKSPACE_ID",
    ]
    .into_iter()
    .any(is_set)
}

/// Whether this is Linux on Windows.
pub fn in_wsl() -> bool {
    is_set("WSL_DISTRO_NAME")
}

/// Whether there is a screen of X11 or Wayland.
pub fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set)
}

/// A program as it is found from every folder: one without a path is looked for in `PATH` each time.
pub fn absolute_program(program: &str) -> Result<String> {
    if Path::new(program).components().count() <= 1 {
        return Ok(program.to_owned());
    }
    absolute(program)
}

/// A path as it is found from every folder.
pub fn absolute(path: &str) -> Result<String> {
    let path = std::path::absolute(path).context("could not find the current folder")?;
    Ok(path.to_string_lossy().into_owned())
}

/// Where a program is: at its path, or in a folder of `PATH`.
pub fn find_program(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    let candidates = match path.components().count() {
        0 | 1 => program_folders(),
        _ => vec![PathBuf::new()],
    };
    let mut candidates = candidates.into_iter().map(|folder| folder.join(path));
    candidates.find(|path| path.is_file())
}

/// Whether a program can be started. Windows adds an extension, and looks in more places than `PATH`.
pub fn is_installed(program: &str) -> bool {
    cfg!(windows) || find_program(program.as_ref()).is_some()
}

/// The folders that programs are looked for in.
pub fn program_folders() -> Vec<PathBuf> {
    variable("PATH").map_or_else(Vec::new, |list| env::split_paths(&list).collect())
}

/// The names of those variables that are set. Their values may be secret.
pub fn variables_set() -> Vec<&'static str> {
    let names = entries(VARIABLES).flat_map(|(names, _)| names.split(", "));
    names.filter(|name| is_set(name)).collect()
}

/// The value of a variable, if it is set and not empty.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

pub fn is_set(name: &str) -> bool {
    variable(name).is_some()
}

/// The same as text of one line.
pub fn text(name: &str) -> Result<Option<String>> {
    let text = file_name(name)?.map(OsString::into_string).transpose();
    text.map_err(|_| invalid(name, "not valid UTF-8"))
}

/// The same for what names a file or a host. A control character, such as the carriage return of a file that was edited on
/// Windows, would lead elsewhere without being seen.
fn file_name(name: &str) -> Result<Option<OsString>> {
    let value = variable(name);
    let is_control = |byte: &u8| byte.is_ascii_control();
    match &value {
        Some(text) if text.as_encoded_bytes().iter().any(is_control) => {
            Err(invalid(name, "it has a control character in it"))
        }
        _ => Ok(value),
    }
}

/// A variable that cannot be used is wrong usage, as an option would be.
fn invalid(name: &str, why: impl Display) -> Error {
    Failure::Usage(format!("invalid {name}: {why}")).into()
}

/// The first of these variables that is set and not empty, with its name.
fn first(names: &[&'static str]) -> Result<Option<(&'static str, String)>> {
    for &name in names {
        if let Some(value) = text(name)? {
            return Ok(Some((name, value)));
        }
    }
    Ok(None)
}

/// An absolute path: a relative one would mean another login in every folder.
fn path(name: &str) -> Result<Option<PathBuf>> {
    match file_name(name)?.map(PathBuf::from) {
        Some(path) if !path.is_absolute() => {
            let name = format!("{name} {}", path.display());
            Err(invalid(&name, "use an absolute path"))
        }
        path => Ok(path),
    }
}

fn url(name: &str, default: &str) -> Result<Url> {
    let url = text(name)?.unwrap_or_else(|| default.to_owned());
    Url::parse(&url).map_err(|error| invalid(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

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
