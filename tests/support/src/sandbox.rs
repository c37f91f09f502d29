//! A separate home folder and environment for the program, with a fake issuer, so that tests see neither each other nor
//! the machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake_issuer::{CLIENT_ID, FakeIssuer, now};
#[cfg(target_os = "linux")]
use crate::locks;
use crate::process::{Names, Output, Running, until};

/// The lifetime of the issuer's access tokens, in seconds.
pub const LIFE: u64 = 864_000;

/// The surroundings of one test. Dropping it removes the folder and stops the issuer.
pub struct Sandbox {
    pub issuer: Arc<FakeIssuer>,
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Sandbox {
    /// An empty home folder, and an issuer in normal service.
    pub fn new() -> Self {
        Self::with(Arc::new(FakeIssuer::start()))
    }

    /// Another machine that uses the same issuer.
    pub fn with(issuer: Arc<FakeIssuer>) -> Self {
        #[cfg(unix)]
        crate::signals::restore_in_children();
        let folder = temporary_folder();
        fs::create_dir(folder.path().join("bin")).expect("no folder for programs");
        let environment = Vec::new();
        let mut sandbox = Self {
            issuer,
            folder,
            environment,
        };
        sandbox.set_up();
        sandbox
    }

    fn set_up(&mut self) {
        let url = self.issuer.url().to_owned();
        let folder = self.folder().to_owned();
        self.set("HOME", &folder);
        self.set("USERPROFILE", &folder);
        // Holds only what the test adds: no real browser is ever started.
        self.set("PATH", self.bin());
        self.set("CODEX_AUTH_HOME", self.home());
        self.set("CODEX_HOME", self.folder().join(".codex"));
        self.set("CODEX_AUTH_ISSUER", &url);
        self.set("CODEX_AUTH_CHATGPT_URL", format!("{url}/backend-api"));
        self.set("CODEX_AUTH_PORT", "0");
        // Windows cannot open a socket without this variable.
        if let Some(root) = std::env::var_os("SystemRoot") {
            self.set("SystemRoot", root);
        }
    }

    /// The user's home folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `CODEX_AUTH_HOME`. It does not exist at first.
    pub fn home(&self) -> PathBuf {
        self.folder().join("codex-auth")
    }

    /// The credentials file of a profile.
    pub fn file(&self, profile: &str) -> PathBuf {
        self.home().join(format!("{profile}.json"))
    }

    /// Codex's own file. It does not exist at first.
    pub fn codex_file(&self) -> PathBuf {
        self.folder().join(".codex").join("auth.json")
    }

    /// The only folder in `PATH`, empty at first.
    pub fn bin(&self) -> PathBuf {
        self.folder().join("bin")
    }
}

/// Running the program.
impl Sandbox {
    /// Sets a variable for all later runs.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.unset(&name);
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push((name, value));
    }

    pub fn unset(&mut self, name: impl AsRef<OsStr>) {
        self.environment.retain(|(known, _)| known != name.as_ref());
    }

    /// The program with these arguments, not started yet, with empty stdin.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command_line = program();
        command_line.extend(arguments.iter().map(OsString::from));
        self.command_of(&command_line)
    }

    /// Any program, in the same environment.
    pub fn command_of(&self, command_line: &[OsString]) -> Command {
        let mut command = Command::new(&command_line[0]);
        command.args(&command_line[1..]);
        command.env_clear().envs(self.environment.iter().cloned());
        command.current_dir(self.folder()).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).finish()
    }

    /// Runs it with this text on stdin.
    #[track_caller]
    pub fn run_with_stdin(&self, arguments: &[&str], text: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut running = self.start(command);
        running.write(text);
        running.finish()
    }

    /// Starts the program.
    #[track_caller]
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.start(self.command(arguments))
    }

    /// Starts a prepared command.
    #[track_caller]
    pub fn start(&self, command: Command) -> Running {
        let issuer = Arc::clone(&self.issuer);
        let folder = self.folder().to_owned();
        Running::start(command, move || names(&issuer, &folder))
    }

    /// A shell with this script, in the same environment, but able to find system programs.
    #[cfg(unix)]
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.command_of(&["/bin/sh", "-c", script].map(OsString::from));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.bin()].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).expect("no PATH"));
        command
    }

    /// Whether curl is installed; says so if not.
    #[cfg(unix)]
    pub fn has_curl(&self) -> bool {
        let found = self.start(self.shell("command -v curl")).finish().code == 0;
        if !found {
            skip("no curl here");
        }
        found
    }

    /// Puts this program into `PATH`, from a folder whose name needs quoting nearly everywhere, and returns its path.
    /// Returns `None`, and says why, if it would need an emulator.
    #[cfg(unix)]
    pub fn install(&self) -> Option<PathBuf> {
        let program = native_program()?;
        let folder = self.folder().join("it's \"a\" \\ $dir é");
        fs::create_dir(&folder).expect("no folder");
        let installed = folder.join("codex-auth");
        if fs::hard_link(&program, &installed).is_err() {
            copy_program(&program, &installed);
        }
        std::os::unix::fs::symlink(&installed, self.bin().join("codex-auth")).expect("no link");
        Some(installed)
    }

    /// Puts a shell script into `PATH`.
    #[cfg(unix)]
    pub fn script(&self, name: &str, text: &str) {
        // A separate process writes it: if this one had it open for writing while another thread forks, the child would
        // inherit the handle, and the script could not be started ("text file busy").
        let mut writer = Command::new("/bin/sh");
        writer.args(["-c", "cat > \"$0\" && chmod +x \"$0\""]);
        writer.arg(self.bin().join(name)).stdin(Stdio::piped());
        let mut child = writer.spawn().expect("no shell");
        let mut stdin = child.stdin.take().expect("no stdin");
        write!(stdin, "#!/bin/sh\n{text}\n").expect("could not write the script");
        drop(stdin);
        assert!(child.wait().expect("no shell").success());
    }
}

/// Library calls that are made to fail.
#[cfg(target_os = "linux")]
impl Sandbox {
    /// Compiles a library of C functions that replace those of the system (`LD_PRELOAD`). Returns `None`, and says why,
    /// if there is no compiler or the program is static.
    pub fn shim(&self, source: &str) -> Option<PathBuf> {
        let shim = self.folder().join("shim.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-x", "c", "-shared", "-fPIC", "-o"]);
        compiler.arg(&shim).arg("-").stdin(Stdio::piped());
        let is_made = compiler.spawn().is_ok_and(|mut child| {
            let mut stdin = child.stdin.take().expect("no stdin");
            stdin.write_all(source.as_bytes()).ok();
            drop(stdin);
            child.wait().is_ok_and(|status| status.success())
        });
        if !is_made {
            skip("no C compiler");
            return None;
        }
        if std::env::var_os("CODEX_AUTH_TEST_BIN").is_some() {
            not_applicable("a static program ignores LD_PRELOAD");
            return None;
        }
        Some(shim)
    }
}

/// Logins in the store.
impl Sandbox {
    /// Stores a new login.
    pub fn plant(&self) -> Value {
        let mut life = 0;
        self.issuer.set(|its| life = its.access_life);
        self.plant_as("default", life.cast_signed(), life)
    }

    /// Stores a login whose access token has a lifetime of `life` seconds and expires in `left` seconds; negative: it has
    /// expired.
    pub fn plant_expiring_in(&self, left: i64, life: u64) -> Value {
        self.plant_as("default", left, life)
    }

    /// The same for any profile. Later tokens of the issuer get this lifetime, too.
    pub fn plant_as(&self, profile: &str, left: i64, life: u64) -> Value {
        self.issuer.set(|its| its.access_life = life);
        let age = life.saturating_add_signed(left.saturating_neg());
        let received = now() - age;
        let last_refresh = UNIX_EPOCH + Duration::from_secs(received);
        let login = json!({
            "version": 1,
            "auth_mode": "chatgpt",
            "issuer": self.issuer.url(),
            "client_id": CLIENT_ID,
            "tokens": self.issuer.issue_tokens(age),
            "last_refresh": humantime::format_rfc3339_micros(last_refresh).to_string(),
            "expires_at": received + life,
            "expires_in": life,
        });
        self.store(profile, &login.to_string());
        login
    }

    /// Makes the stored token look older, so that it expires in `left` seconds; negative: it has expired.
    pub fn age(&self, left: i64) {
        let mut stored = self.stored();
        stored["expires_at"] = json!(now().saturating_add_signed(left));
        stored["last_refresh"] = json!("2026-01-01T00:00:00Z");
        self.store("default", &stored.to_string());
    }

    /// Writes any text to the credentials file of a profile.
    pub fn store(&self, profile: &str, text: &str) {
        put(&self.file(profile), text);
    }

    /// A login as Codex stores it, with a token of the usual lifetime that expires in `left` seconds.
    pub fn codex_login(&self, left: u64) -> Value {
        json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": self.issuer.issue_tokens(LIFE - left),
            "last_refresh": "2025-01-01T00:00:00.123456789Z",
        })
    }

    /// Writes any text to Codex's own file.
    pub fn store_codex(&self, text: &str) {
        put(&self.codex_file(), text);
    }

    /// The stored login.
    #[track_caller]
    pub fn stored(&self) -> Value {
        self.stored_as("default")
    }

    #[track_caller]
    pub fn stored_as(&self, profile: &str) -> Value {
        let text = fs::read(self.file(profile)).expect("nothing is stored");
        serde_json::from_slice(&text).expect("the stored login is not JSON")
    }

    /// Waits until the stored login meets a condition, such as refreshed in the background, and returns it.
    #[track_caller]
    pub fn await_stored(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until("the expected stored login", || {
            Some(self.stored()).filter(&wanted)
        })
    }

    /// The lock file of the default profile.
    pub fn lock_file(&self) -> PathBuf {
        self.home().join("default.lock")
    }

    /// Waits until no process has this home folder in its environment, as a worker may outlive its caller.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_end_of_workers(&self) {
        let home = self.home();
        let home = home.as_os_str().as_encoded_bytes();
        let names_it = |text: &[u8]| text.windows(home.len()).any(|part| part == home);
        until("the end of the workers", || {
            let mut processes = fs::read_dir("/proc").expect("no /proc").flatten();
            let is_any = processes.any(|process| {
                // It may exit meanwhile, or belong to another user.
                fs::read(process.path().join("environ")).is_ok_and(|text| names_it(&text))
            });
            (!is_any).then_some(())
        });
    }

    /// Waits for a worker that holds the lock, and returns it.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_worker(&self) -> u32 {
        until("a worker with the lock", || {
            locks::users(&self.lock_file()).holding.first().copied()
        })
    }

    /// Waits until `count` processes hold the lock or wait for it.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_lock_users(&self, count: usize) {
        until("the expected number of users of the lock", || {
            let users = locks::users(&self.lock_file());
            (users.holding.len() + users.waiting.len() == count).then_some(())
        });
    }

    /// Asserts that the stored login can still be refreshed, and so is not lost.
    #[track_caller]
    pub fn can_refresh(&self) -> bool {
        let stored = self.stored();
        let token = stored["tokens"]["refresh_token"].as_str();
        token.is_some_and(|token| self.issuer.would_refresh(token))
    }
}

/// A new folder. On Unix it ignores `TMPDIR`, which may be too long for a socket (unix(7)), or need quoting, which would
/// change the program's output.
pub fn temporary_folder() -> TempDir {
    let place = std::env::temp_dir();
    let is_plain = |text: &str| {
        let mut characters = text.chars();
        text.len() < 64 && characters.all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    if cfg!(windows) || place.to_str().is_some_and(is_plain) {
        return tempfile::tempdir().expect("no temporary folder");
    }
    tempfile::tempdir_in("/tmp").expect("no temporary folder")
}

/// Copies a program. As in `script`, a separate process writes the file.
#[cfg(unix)]
pub fn copy_program(from: &Path, to: &Path) {
    let mut copy = Command::new("/bin/cp");
    let copied = copy.arg(from).arg(to).status();
    assert!(copied.expect("no cp").success());
}

/// Whether callers wait for the end of their refresh, however long it takes: in a PID namespace, as in a container. Tests
/// in which callers give up are skipped there.
pub fn callers_stay() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    let stay = cfg!(target_os = "linux")
        && namespace.map_or(true, |name| name.as_os_str() != "pid:[4026531836]");
    if stay {
        not_applicable("in a container, callers wait for the end of the refresh");
    }
    stay
}

/// Says that a test is skipped, and what is missing. With `CODEX_AUTH_TEST_SKIP=fail`, as in `.ci/run`, fails instead, so
/// that a skipped check is noticed.
#[track_caller]
pub fn skip(why: &str) {
    let fails = std::env::var_os("CODEX_AUTH_TEST_SKIP").is_some_and(|value| value == "fail");
    assert!(!fails, "this test would be skipped: {why}");
    not_applicable(why);
}

/// Says why there is nothing to test on this system or in this kind of run, even where the output of passing tests is
/// hidden.
pub fn not_applicable(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {test}: {why}").ok();
}

/// Writes a private file in a private folder.
fn put(path: &Path, text: &str) {
    let mut folder = DirBuilder::new();
    let mut file = OpenOptions::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    }
    let parent = path.parent().expect("no folder");
    folder.recursive(true).create(parent).expect("no folder");
    file.write(true).create(true).truncate(true);
    let mut file = file.open(path).expect("no file");
    file.write_all(text.as_bytes()).expect("could not store");
}

/// The command line that starts the program: `CODEX_AUTH_TEST_BIN`, or the program that Cargo built beside these tests,
/// preceded by `CODEX_AUTH_TEST_RUNNER` (the path or name of an emulator) if set.
pub fn program() -> Vec<OsString> {
    let program = std::env::var_os("CODEX_AUTH_TEST_BIN").unwrap_or_else(built);
    let runner = std::env::var_os("CODEX_AUTH_TEST_RUNNER")
        .map(|name| find_program(&name).map_or(name, PathBuf::into_os_string));
    runner.into_iter().chain([program]).collect()
}

/// `program`, quoted for a shell.
pub fn program_line() -> String {
    let words = program();
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    quoted.join(" ")
}

/// Cargo puts tests into `deps` and examples into `examples`, below the folder of the program.
fn built() -> OsString {
    let ours = std::env::current_exe().expect("no path of this test");
    let folder = ours.ancestors().nth(2).expect("no folder above this test");
    let program = folder.join(format!("codex-auth{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "set CODEX_AUTH_TEST_BIN to the program");
    program.into_os_string()
}

/// The path of a program installed on this machine, which the sandbox's own `PATH` does not include.
pub fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(&name));
    places.find(|place| place.is_file())
}

/// The program, for tests in which something else starts it. Returns `None`, and says why, if it would need an emulator.
pub fn native_program() -> Option<PathBuf> {
    let mut command_line = program();
    if command_line.len() > 1 {
        not_applicable("only the test itself can start the program in its emulator");
        return None;
    }
    command_line.pop().map(PathBuf::from)
}

/// The values that expectations refer to by name. Longer ones come first, as they may contain shorter ones.
fn names(issuer: &FakeIssuer, folder: &Path) -> Names {
    let mut names: Names = issuer
        .secrets()
        .into_iter()
        .map(|(secret, name)| (secret, name.to_owned()))
        .collect();
    names.push((issuer.url().to_owned(), "[ISSUER]".to_owned()));
    let home = folder.join("codex-auth").display().to_string();
    names.push((home, "[HOME]".to_owned()));
    names.push((folder.display().to_string(), "[FOLDER]".to_owned()));
    names
}
