//! A separate session bus with a real keyring, GNOME Keyring, as on a desktop.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process::until;
use crate::sandbox::{LIFE, Sandbox, find_program, skip};
use rustix::process::{Pid, Signal, kill_process};

/// The configuration of the bus: it starts no programs itself.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:dir=FOLDER</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#;

/// A bus with a keyring, and a sandbox that uses it. Stops both when dropped.
pub struct Desktop {
    pub sandbox: Sandbox,
    /// The address of the bus.
    pub address: String,
    bus: Child,
    keyring: Option<Child>,
}

impl Desktop {
    /// Starts one with an unlocked keyring. Returns `None`, and says why, if the programs are not installed.
    pub fn start() -> Option<Self> {
        let mut desktop = Self::without_keyring()?;
        desktop.start_keyring();
        Some(desktop)
    }

    pub fn without_keyring() -> Option<Self> {
        for program in [
            "dbus-daemon",
            "dbus-send",
            "gnome-keyring-daemon",
            "secret-tool",
        ] {
            if find_program(program).is_none() {
                skip(&format!("no {program} here"));
                return None;
            }
        }
        let mut sandbox = Sandbox::new();
        let folder = sandbox.folder().to_owned();
        let configuration = folder.join("bus.conf");
        let text = BUS.replace("FOLDER", folder.to_str().unwrap());
        fs::write(&configuration, text).unwrap();
        let mut bus = system_command(&sandbox, "dbus-daemon");
        bus.arg(format!("--config-file={}", configuration.display()));
        bus.args(["--nofork", "--print-address"]);
        let mut bus = bus
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut lines = BufReader::new(bus.stdout.take().unwrap());
        lines.read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", &address);
        sandbox.set("XDG_RUNTIME_DIR", &folder);
        Some(Self {
            sandbox,
            address,
            bus,
            keyring: None,
        })
    }

    pub fn start_keyring(&mut self) {
        let mut keyring = system_command(&self.sandbox, "gnome-keyring-daemon");
        keyring.args(["--foreground", "--unlock", "--components=secrets"]);
        keyring
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut keyring = keyring.spawn().unwrap();
        keyring
            .stdin
            .take()
            .unwrap()
            .write_all(b"password")
            .unwrap();
        self.keyring = Some(keyring);
        until("an unlocked keyring", || {
            let asked = self.ask(
                "org.freedesktop.Secret.Service.ReadAlias",
                &["string:default"],
            );
            asked.contains("/collection/login").then_some(())
        });
    }

    /// Stops the bus, and with it the keyring.
    pub fn end_bus(&mut self) {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
    }

    /// Stores another program's secret in the keyring.
    pub fn keep(&self, service: &str, account: &str, secret: &str) {
        let mut store = system_command(&self.sandbox, "secret-tool");
        store.args([
            "store",
            "--label=test",
            "service",
            service,
            "username",
            account,
        ]);
        let mut child = store.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(secret.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Starts recording the messages on the bus.
    pub fn listen(&self) -> Listener {
        let path = self.sandbox.folder().join("heard");
        let mut monitor = system_command(&self.sandbox, "dbus-monitor");
        monitor
            .arg("--session")
            .stdout(fs::File::create(&path).unwrap());
        let listener = Listener {
            monitor: monitor.spawn().unwrap(),
            path,
        };
        self.await_heard(&listener, "BeginHere");
        listener
    }

    /// Sends messages on the bus until the monitor sees one: by then it has seen all earlier ones, too.
    fn await_heard(&self, listener: &Listener, word: &str) -> String {
        until("the messages on the bus", || {
            self.ask(&format!("org.example.{word}"), &[]);
            Some(fs::read_to_string(&listener.path).unwrap()).filter(|heard| heard.contains(word))
        })
    }

    /// Asserts that nobody asked the locked keyring to unlock anything or to prompt the user, or searched it, which makes
    /// `KeePassXC` prompt.
    #[track_caller]
    pub fn assert_no_prompt(&self, listener: Listener) {
        let heard = self.await_heard(&listener, "EndHere");
        assert!(heard.contains("member=ReadAlias"), "{heard}");
        for member in ["member=SearchItems", "member=Unlock", "member=Prompt"] {
            assert!(!heard.contains(member), "{heard}");
        }
        end(listener.monitor);
    }

    /// Calls a method of the keyring.
    fn ask(&self, method: &str, arguments: &[&str]) -> String {
        let mut command = system_command(&self.sandbox, "dbus-send");
        command.args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
        ]);
        command
            .args(["/org/freedesktop/secrets", method])
            .args(arguments);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn lock(&self) {
        let collection = "array:objpath:/org/freedesktop/secrets/collection/login";
        let locked = self.ask("org.freedesktop.Secret.Service.Lock", &[collection]);
        assert!(locked.contains("/collection/login"), "{locked}");
    }

    /// Stops the keyring, as logging out does.
    pub fn end_keyring(&mut self) {
        end(self.keyring.take().unwrap());
    }

    pub fn signal_keyring(&self, signal: Signal) {
        kill_process(Pid::from_child(self.keyring.as_ref().unwrap()), signal).unwrap();
    }

    /// How many of our keys the keyring holds.
    pub fn keys(&self) -> usize {
        let mut search = system_command(&self.sandbox, "secret-tool");
        search.args(["search", "--all", "service", "codex-auth"]);
        let found = search.output().unwrap();
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        found.matches("label = codex-auth (profile ").count()
    }

    pub fn forget_keys(&self) {
        let mut clear = system_command(&self.sandbox, "secret-tool");
        // It fails if there are none.
        clear
            .args(["clear", "service", "codex-auth"])
            .status()
            .unwrap();
        assert_eq!(self.keys(), 0);
    }

    /// Seals the planted login.
    #[track_caller]
    pub fn seal(&self) {
        self.sandbox.run(&["seal"]).assert(0, "", SEALED);
        self.assert_sealed();
    }

    /// Stores a sealed login whose token expires in `left` seconds.
    #[track_caller]
    pub fn plant_sealed(&self, left: i64) {
        self.sandbox.plant_expiring_in(left, LIFE);
        self.seal();
    }

    #[track_caller]
    pub fn assert_sealed(&self) {
        assert_sealed(&self.sandbox);
    }
}

/// A monitor of the bus.
pub struct Listener {
    monitor: Child,
    path: PathBuf,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        if let Some(keyring) = self.keyring.take() {
            end(keyring);
        }
        self.bus.kill().ok();
        self.bus.wait().ok();
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A program installed on this machine, run in the environment of the sandbox.
pub fn system_command(sandbox: &Sandbox, name: &str) -> Command {
    let program = find_program(name).unwrap();
    let mut command = sandbox.command_of(&[program.into_os_string()]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Asserts that no file in the store contains a secret of the issuer.
#[track_caller]
pub fn assert_sealed(sandbox: &Sandbox) {
    assert_eq!(leaks(sandbox), Vec::<PathBuf>::new());
    assert!(sandbox.stored()["sealed"].is_object());
}

const SEALED: &str = "Sealed the login with a key in the keyring (profile default)\n\
    Older copies on disk and in backups can still be read. To make them worthless, run codex-auth token --force-refresh\n";

/// The files in the store that contain a secret of the issuer.
pub fn leaks(sandbox: &Sandbox) -> Vec<PathBuf> {
    let secrets = sandbox.issuer.secrets();
    let has_secret = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        secrets
            .iter()
            .any(|(secret, _)| text.contains(secret.as_str()))
    };
    files(&sandbox.home())
        .into_iter()
        .filter(has_secret)
        .collect()
}

/// Everything the issuer handed out, and what it knows about the user.
pub fn secrets(sandbox: &Sandbox) -> Vec<String> {
    let given = sandbox.issuer.secrets().into_iter();
    let mut secrets: Vec<String> = given.map(|(secret, _)| secret).collect();
    secrets.extend(["someone@mail.example", "account-1"].map(str::to_owned));
    secrets
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
