//! Where a profile's tokens come from: the issuer, or another machine that holds the login (`login --from`).

use std::mem;

use serde::{Deserialize, Serialize};

use crate::text::{redact, shell_word};

/// The characters of a command that are shown in a message at most, its last word aside.
const BRIEF: usize = 60;
/// What is behind such a name may be a secret, however short.
const SECRET_NAMES: [&str; 8] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "key",
    "auth",
    "credential",
    "cookie",
];

/// Where tokens come from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The issuer, for the refresh token.
    #[serde(skip)]
    Issuer,
    /// An admin console made the access token, and nobody refreshes it.
    #[serde(skip)]
    AccessToken,
    /// A command that prints a token as `token --format json` does: the words of its command line, which no shell reads.
    Command(Vec<String>),
    /// A Unix socket that sends such a token, by its absolute path.
    Socket(String),
    /// The issuer, for the identity tokens that the platform of a workload writes to a file (an absolute path).
    #[serde(rename = "workload_identity")]
    Workload { rule: String, file: String },
}

impl Source {
    /// Whether it is stored with the credentials. The others are told by what else is stored.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::Issuer | Self::AccessToken)
    }

    /// Whether another machine holds the login and refreshes the tokens, so that a token may be old when received.
    pub fn is_external(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Socket(_))
    }

    /// As it was given, fit for one line of a terminal; what may be a secret is left out.
    pub fn describe(&self) -> String {
        redact(&match self {
            Self::Issuer => "the issuer".to_owned(),
            Self::AccessToken => "an access token".to_owned(),
            Self::Command(words) => shown_words(words).join(" "),
            Self::Socket(path) => format!("unix:{path}"),
            Self::Workload { rule, file } => {
                format!("workload identity (rule {rule}, identity token {file})")
            }
        })
    }

    /// The same for a message: of a long command the beginning and the last word, which for ssh is the host.
    pub fn in_brief(&self) -> String {
        let full = self.describe();
        let (Self::Command(words), Some((end, _))) = (self, full.char_indices().nth(BRIEF)) else {
            return full;
        };
        let beginning = full[..end].rsplit_once(' ').unwrap_or_default().0;
        let last = shown_words(words).pop().unwrap_or_default();
        redact(&format!("{beginning} … {last}"))
    }
}

/// The words of a command as a shell would take them. Of each one only what is before a secret is shown.
fn shown_words(words: &[String]) -> Vec<String> {
    let mut hides_next = false;
    let shown = words.iter().map(|word| {
        if mem::take(&mut hides_next) {
            return "…".to_owned();
        }
        let secret = secret_in(word);
        hides_next = secret == Some(word.len());
        match secret {
            Some(at) if !hides_next => shell_word(&word[..at]) + "…",
            _ => shell_word(word),
        }
    });
    shown.collect()
}

/// Where what may be a secret begins: behind a name such as `password` and `=` or `:`, behind an option of such a name, or
/// where a URL has a user.
fn secret_in(word: &str) -> Option<usize> {
    let lower = word.to_ascii_lowercase() + " ";
    let names = SECRET_NAMES
        .iter()
        .flat_map(|name| lower.match_indices(name));
    let ends = names.filter_map(|(at, _)| {
        let before = lower[..at].rsplit([' ', '"', '\'']).next();
        let is_option = before.is_some_and(|before| before.starts_with('-'));
        let is_end = |c: char| matches!(c, '=' | ':') || is_option && c == ' ';
        Some((at + lower[at..].find(is_end)? + 1).min(word.len()))
    });
    let user = word.find("://").filter(|_| word.contains('@'));
    ends.chain(user.map(|at| at + 3)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Source {
        Source::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn of_a_long_command_a_message_has_the_beginning_and_the_last_word() {
        let command = |line: &str| command(&line.split(' ').collect::<Vec<_>>());
        let long = "ssh -T -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -i key tokens@host";
        let brief = "ssh -T -o BatchMode=yes -o ConnectTimeout=5 -o … tokens@host";
        assert_eq!(command(long).in_brief(), brief);
        assert_eq!(command(long).describe(), long);
        let short = "ssh -T tokens@host codex-auth token --format json";
        assert_eq!(command(short).in_brief(), short);
        let words = ["x".repeat(100), "two words".to_owned()];
        assert_eq!(Source::Command(words.into()).in_brief(), "… 'two words'");
    }

    #[test]
    fn secrets_are_left_out_however_short_they_are() {
        for (words, shown) in [
            (
                &["curl", "-H", "X-Vault-Token: s.abc", "host"][..],
                "curl -H X-Vault-Token:… host",
            ),
            (
                &["curl", "-H", "Authorization: Bearer abc", "host"],
                "curl -H Authorization:… host",
            ),
            (&["get", "password=hunter2"], "get password=…"),
            (&["get", "--api-key", "k", "-v"], "get --api-key … -v"),
            (&["get", "--api-key=k"], "get --api-key=…"),
            (&["curl", "https://me:pw@host/x"], "curl https://…"),
            (
                &["curl", "https://host/x?client_secret=a&b=c"],
                "curl 'https://host/x?client_secret='…",
            ),
            (
                &["sh", "-c", "PASSWORD=x get \"token: y\""],
                "sh -c PASSWORD=…",
            ),
            (
                &["sh", "-c", "get --api-key k \"--token\" t"],
                "sh -c 'get --api-key '…",
            ),
            (
                &["ssh", "host", "codex-auth token --format json"],
                "ssh host 'codex-auth token --format json'",
            ),
            (
                &["codex-auth", "token", "--format", "json"],
                "codex-auth token --format json",
            ),
        ] {
            assert_eq!(command(words).describe(), shown);
        }
        let long = [&["x"; 40][..], &["--password", "hunter2"]].concat();
        assert!(command(&long).in_brief().ends_with("… …"));
    }
}
