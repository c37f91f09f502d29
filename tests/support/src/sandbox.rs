//! A home folder and an environment of its own for the program, with a fake issuer: no test sees another, or the
//! machine.

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

/// The life of an access token as the issuer gives it, in seconds.
pub const LIFE: u64 = 864_000;

/// What one test runs in. Dropped, its folder is removed and its issuer stopped.
pub struct Sandbox {
    pub issuer: Arc<FakeIssuer>,
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Sandbox {
    /// An empty home folder, and an issuer that serves as usual.
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
        // Empty but for what the test puts there: no browser of this machine is ever started.
        self.set("PATH", self.bin());
        self.set("CODEX_AUTH_HOME", self.home());
        self.set("CODEX_HOME", self.folder().join(".codex"));
        self.set("CODEX_AUTH_ISSUER", &url);
        self.set("CODEX_AUTH_CHATGPT_URL", format!("{url}/backend-api"));
        self.set("CODEX_AUTH_PORT", "0");
        // Windows cannot open a socket without this one.
        if let Some(root) = std::env::var_os("SystemRoot") {
            self.set("SystemRoot", root);
        }
    }

    /// The home folder of the person.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `CODEX_AUTH_HOME`. It does not exist at first.
    pub fn home(&self) -> PathBuf {
        self.folder().join("codex-auth")
    }

    /// The file of the login of a profile.
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
    /// Sets a variable for all runs to come.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.unset(&name);
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push((name, value));
    }

    pub fn unset(&mut self, name: impl AsRef<OsStr>) {
        self.environment.retain(|(known, _)| known != name.as_ref());
    }

    /// The program with these arguments, not started yet; its stdin is empty.
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

    /// Runs it with a text on its stdin.
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

    /// Starts a command that the test has prepared.
    #[track_caller]
    pub fn start(&self, command: Command) -> Running {
        let issuer = Arc::clone(&self.issuer);
        let folder = self.folder().to_owned();
        Running::start(command, move || names(&issuer, &folder))
    }

    /// A shell with this script, in the same environment; programs of the system are found.
    #[cfg(unix)]
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.command_of(&["/bin/sh", "-c", script].map(OsString::from));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.bin()].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).expect("no PATH"));
        command
    }

    /// Whether there is a curl here; says so if not.
    #[cfg(unix)]
    pub fn has_curl(&self) -> bool {
        let found = self.start(self.shell("command -v curl")).finish().code == 0;
        if !found {
            skip("no curl here");
        }
        found
    }

    /// Puts this program into `PATH`, from a folder whose name needs quotes nearly everywhere, and gives its path there.
    /// `None`, and said so, where an emulator would have to start it.
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
        // Another process writes it: while one of ours held it open for writing, a child forked at that moment would
        // inherit that, and the script could not be started ("text file busy").
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

/// Library calls that rarely fail.
#[cfg(target_os = "linux")]
impl Sandbox {
    /// A library of this C source, whose functions take the place of those of the system (`LD_PRELOAD`). `None`, and
    /// said so, where there is no compiler or the program takes none.
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
            not_applicable("a static program takes no LD_PRELOAD");
            return None;
        }
        Some(shim)
    }
}

/// Logins in the store.
impl Sandbox {
    /// Stores a login that is new.
    pub fn plant(&self) -> Value {
        let mut life = 0;
        self.issuer.set(|its| life = its.access_life);
        self.plant_as("default", life.cast_signed(), life)
    }

    /// Stores a login whose access token has so many seconds left of such a life; negative: it has expired.
    pub fn plant_expiring_in(&self, left: i64, life: u64) -> Value {
        self.plant_as("default", left, life)
    }

    /// The same for any profile. Later tokens of the issuer have that life too.
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

    /// Makes the stored token, received a while ago, expire in so many seconds; negative: it has expired.
    pub fn age(&self, left: i64) {
        let mut stored = self.stored();
        stored["expires_at"] = json!(now().saturating_add_signed(left));
        stored["last_refresh"] = json!("2026-01-01T00:00:00Z");
        self.store("default", &stored.to_string());
    }

    /// Puts any text into the file of a profile.
    pub fn store(&self, profile: &str, text: &str) {
        put(&self.file(profile), text);
    }

    /// A login as Codex writes it, its token with so many seconds left of the usual life.
    pub fn codex_login(&self, left: u64) -> Value {
        json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": self.issuer.issue_tokens(LIFE - left),
            "last_refresh": "2025-01-01T00:00:00.123456789Z",
        })
    }

    /// Puts any text into Codex's own file.
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
        serde_json::from_slice(&text).expect("what is stored is no JSON")
    }

    /// Waits until the stored login is as wanted, such as refreshed in the background, and gives it.
    #[track_caller]
    pub fn await_stored(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until("a stored login as wanted", || {
            Some(self.stored()).filter(&wanted)
        })
    }

    /// The file that is locked by whoever replaces the credentials.
    pub fn lock_file(&self) -> PathBuf {
        self.home().join("default.lock")
    }

    /// Waits until no process has this home in its environment: a worker goes on after its caller has ended.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_end_of_workers(&self) {
        let home = self.home();
        let home = home.as_os_str().as_encoded_bytes();
        let names_it = |text: &[u8]| text.windows(home.len()).any(|part| part == home);
        until("the end of the workers", || {
            let mut processes = fs::read_dir("/proc").expect("no /proc").flatten();
            let is_any = processes.any(|process| {
                // It may end while we look, or be another user's.
                fs::read(process.path().join("environ")).is_ok_and(|text| names_it(&text))
            });
            (!is_any).then_some(())
        });
    }

    /// The worker that holds the lock, once one does.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_worker(&self) -> u32 {
        until("a worker with the lock", || {
            locks::users(&self.lock_file()).holding.first().copied()
        })
    }

    /// Waits until so many processes hold the lock or wait for it.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn await_lock_users(&self, count: usize) {
        until("so many users of the lock", || {
            let users = locks::users(&self.lock_file());
            (users.holding.len() + users.waiting.len() == count).then_some(())
        });
    }

    /// Whether the stored login can still be refreshed: it is not lost.
    #[track_caller]
    pub fn can_refresh(&self) -> bool {
        let stored = self.stored();
        let token = stored["tokens"]["refresh_token"].as_str();
        token.is_some_and(|token| self.issuer.would_refresh(token))
    }
}

/// A new folder. On Unix it is not where `TMPDIR` says if that is a long path, which no socket could have (unix(7)), or one
/// that has to be quoted: what the program prints would differ.
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

/// Copies a program. As in `script`, another process writes it.
#[cfg(unix)]
pub fn copy_program(from: &Path, to: &Path) {
    let mut copy = Command::new("/bin/cp");
    let copied = copy.arg(from).arg(to).status();
    assert!(copied.expect("no cp").success());
}

/// Whether a caller stays until the refresh that it started has ended, however long: in a PID namespace of its own, as in a
/// container. A test in which callers give up is skipped there.
pub fn callers_stay() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    let stay = cfg!(target_os = "linux")
        && namespace.map_or(true, |name| name.as_os_str() != "pid:[4026531836]");
    if stay {
        not_applicable("in a container callers stay until the refresh has ended");
    }
    stay
}

/// Says that a test lacks something here, and what. With `CODEX_AUTH_TEST_SKIP=fail`, as in `.ci/run`, that is a failure: a
/// check that is left out is seen.
#[track_caller]
pub fn skip(why: &str) {
    let fails = std::env::var_os("CODEX_AUTH_TEST_SKIP").is_some_and(|value| value == "fail");
    assert!(!fails, "this test would be skipped: {why}");
    not_applicable(why);
}

/// Says that there is nothing to test on this system or in this kind of run, and why. It is shown even where the output of
/// passing tests is not.
pub fn not_applicable(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {test}: {why}").ok();
}

/// Writes a file that is private, in a folder that is.
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

/// The command line that starts the program: `CODEX_AUTH_TEST_BIN`, else the one that Cargo built beside these tests, behind
/// `CODEX_AUTH_TEST_RUNNER` (an emulator, by its path or its name) if there is one.
pub fn program() -> Vec<OsString> {
    let program = std::env::var_os("CODEX_AUTH_TEST_BIN").unwrap_or_else(built);
    let runner = std::env::var_os("CODEX_AUTH_TEST_RUNNER")
        .map(|name| find_program(&name).map_or(name, PathBuf::into_os_string));
    runner.into_iter().chain([program]).collect()
}

/// The same as the words of a shell line.
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
    assert!(
        program.exists(),
        "CODEX_AUTH_TEST_BIN does not say where the program is"
    );
    program.into_os_string()
}

/// Where a program of this machine is: the sandbox's own `PATH` does not lead there.
pub fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(&name));
    places.find(|place| place.is_file())
}

/// The program, for tests in which something else starts it. `None`, and said so, where an emulator would have to.
pub fn native_program() -> Option<PathBuf> {
    let mut command_line = program();
    if command_line.len() > 1 {
        not_applicable("only this test's own process knows the emulator");
        return None;
    }
    command_line.pop().map(PathBuf::from)
}

/// What expectations call by a name instead of its value. Longer values come first: one may hold another.
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
