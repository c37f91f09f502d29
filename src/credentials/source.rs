//! Where the tokens of a profile come from, if not from the issuer (`login --from`).

use serde::{Deserialize, Serialize};

use crate::text::{printable, shell_word};

/// How the scheme of a socket is written on the command line, and shown.
const SOCKET: &str = "unix:";

/// A command that prints a token, or a Unix socket that sends one, as `token --format json` prints it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The words of its command line: no shell reads them.
    Command(Vec<String>),
    /// The absolute path of the socket.
    Socket(String),
}

impl Source {
    /// The socket that a text such as `unix:/run/codex-auth.sock` names.
    pub fn socket(text: &str) -> Option<Self> {
        let path = text.strip_prefix(SOCKET)?;
        path.starts_with('/').then(|| Self::Socket(path.to_owned()))
    }

    /// It as it was given, fit for one line of a terminal.
    pub fn describe(&self) -> String {
        match self {
            Self::Command(words) => {
                let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
                printable(&words.join(" "))
            }
            Self::Socket(path) => printable(&format!("{SOCKET}{path}")),
        }
    }
}
