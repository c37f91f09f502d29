//! A Unix socket as systemd opens one for a service: it gives the token of a sandbox to every client.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::{Running, until};
use crate::sandbox::{Sandbox, find_program, program, skip};

/// Accepts connections until dropped.
pub struct Socket {
    _server: Running,
    path: PathBuf,
}

impl Socket {
    /// Returns `None`, and says why, if systemd is not installed.
    pub fn start(authority: &Sandbox) -> Option<Self> {
        let Some(activate) = find_program("systemd-socket-activate") else {
            skip("no systemd-socket-activate here");
            return None;
        };
        let path = authority.folder().join("socket");
        let mut command_line: Vec<OsString> = vec![activate.into()];
        command_line.extend(["--inetd", "-a", "-l"].map(OsString::from));
        command_line.push(path.clone().into());
        command_line.push(format!("-ECODEX_AUTH_HOME={}", authority.home().display()).into());
        command_line.extend(program());
        command_line.extend(["token", "--format", "json"].map(OsString::from));
        let server = authority.start(authority.command_of(&command_line));
        until("a socket", || path.exists().then_some(()));
        Some(Self {
            _server: server,
            path,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
