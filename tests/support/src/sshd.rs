//! A real sshd on loopback, with its own keys. The only key that it accepts can do nothing but print the token of a
//! sandbox.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::until;
use crate::sandbox::{Sandbox, find_program, program_line, skip, temporary_folder};

/// The variable with which a client may pass on its request.
const HANDED_ON: &str = "CODEX_AUTH_REQUEST";

/// Accepts connections until dropped.
pub struct Sshd {
    child: Child,
    port: u16,
    folder: TempDir,
    ssh: PathBuf,
}

impl Sshd {
    /// Returns `None`, and says why, if sshd is not installed.
    pub fn start(authority: &Sandbox) -> Option<Self> {
        let programs = ["sshd", "ssh", "ssh-keygen"].map(|name| {
            let elsewhere = Path::new("/usr/sbin").join(name);
            find_program(name).or_else(|| elsewhere.exists().then_some(elsewhere))
        });
        let [Some(sshd), Some(ssh), Some(keygen)] = programs else {
            skip("no sshd here");
            return None;
        };
        // The privilege separation folder, which sshd needs if it runs as root.
        fs::create_dir_all("/run/sshd").ok();
        let folder = temporary_folder();
        for name in ["host", "key"] {
            make_key(&keygen, &folder.path().join(name));
        }
        let port = free_port();
        write_files(authority, folder.path(), port);
        let log = fs::File::create(folder.path().join("log")).expect("no log");
        let mut command = Command::new(sshd);
        command
            .args(["-D", "-e", "-f"])
            .arg(folder.path().join("config"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("could not start sshd");
        until("an sshd that listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(Self {
            child,
            port,
            folder,
            ssh,
        })
    }

    /// The command with which a client gets its tokens. It waits up to `patience` seconds for a connection.
    pub fn command(&self, patience: u32) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let options = [
            "BatchMode=yes".to_owned(),
            format!("ConnectTimeout={patience}"),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", path("known_hosts")),
            format!("SendEnv={HANDED_ON}"),
        ];
        let mut words = vec![self.ssh.display().to_string()];
        words.extend(["-T", "-F", "none", "-p"].map(str::to_owned));
        words.extend([self.port.to_string(), "-i".to_owned(), path("key")]);
        words.extend(
            options
                .into_iter()
                .flat_map(|option| ["-o".to_owned(), option]),
        );
        words.push("127.0.0.1".to_owned());
        words
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn make_key(keygen: &Path, path: &Path) {
    let mut command = Command::new(keygen);
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path);
    assert!(command.status().expect("no ssh-keygen").success());
}

/// A port that nothing listens on at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no port");
    listener.local_addr().expect("no address").port()
}

/// Writes the configuration, what the key may do, and the clients' known hosts.
fn write_files(authority: &Sandbox, folder: &Path, port: u16) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("no key");
    let command = format!(
        "CODEX_AUTH_HOME='{}' exec {} token --format json",
        authority.home().display(),
        program_line()
    );
    let may = format!("restrict,command=\"{command}\" {}", read("key.pub"));
    let known = format!("[127.0.0.1]:{port} {}", read("host.pub"));
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin forced-commands-only\nPasswordAuthentication no\nAcceptEnv {HANDED_ON}\nMaxStartups 1000\nUseDNS no\n",
        path("host"),
        path("authorized_keys"),
    );
    for (name, text) in [
        ("config", config),
        ("authorized_keys", may),
        ("known_hosts", known),
    ] {
        let mut file = fs::File::create(folder.join(name)).expect("no file");
        file.write_all(text.as_bytes()).expect("could not write");
    }
}
