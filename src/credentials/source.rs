//! Where the tokens of a profile come from, if not from the issuer (`login --from`).

use serde::{Deserialize, Serialize};

use crate::text::{redact, shell_word};

/// How a socket is shown: as a URL of this scheme.
const SOCKET: &str = "unix:";
/// The characters of a command that are shown in a message at most, its last word aside.
const BRIEF: usize = 60;

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
    /// As it was given, fit for one line of a terminal; a word that may be a secret is left out.
    pub fn describe(&self) -> String {
        match self {
            Self::Command(words) => {
                let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
                redact(&words.join(" "))
            }
            Self::Socket(path) => redact(&format!("{SOCKET}{path}")),
        }
    }

    /// The same for a message: of a long command the beginning and the last word, which for ssh is the host.
    pub fn in_brief(&self) -> String {
        let Self::Command(words) = self else {
            return self.describe();
        };
        let whole = self.describe();
        let (Some(last), Some((end, _))) = (words.last(), whole.char_indices().nth(BRIEF)) else {
            return whole;
        };
        let beginning = whole[..end]
            .rsplit_once(' ')
            .map_or("", |(beginning, _)| beginning);
        redact(&format!("{beginning} … {}", shell_word(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_command_a_message_has_the_beginning_and_the_last_word() {
        let command = |line: &str| Source::Command(line.split(' ').map(str::to_owned).collect());
        let long = "ssh -T -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -i key tokens@host";
        let brief = "ssh -T -o BatchMode=yes -o ConnectTimeout=5 -o … tokens@host";
        assert_eq!(command(long).in_brief(), brief);
        assert_eq!(command(long).describe(), long);
        let short = "ssh -T tokens@host codex-auth token --format json";
        assert_eq!(command(short).in_brief(), short);
        let words = ["x".repeat(100), "two words".to_owned()];
        assert_eq!(Source::Command(words.into()).in_brief(), "… 'two words'");
    }
}
