//! Where a profile's tokens come from: the issuer, or another machine that holds the login (`login --from`).

use std::mem;

use serde::{Deserialize, Serialize};

use crate::text::{redact, shell_word};

/// A value may be a secret, however short, if its name contains one of these.
const SECRET_NAMES: [&str; 7] = ["token", "secret", "pass", "key", "auth", "cred", "cookie"];

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The issuer, in exchange for a refresh token.
    #[serde(skip)]
    Issuer,
    /// An admin console: the access token is never refreshed.
    #[serde(skip)]
    AccessToken,
    /// A command that prints a token like `token --format json`: the words of its command line, run without a shell.
    Command(Vec<String>),
    /// A Unix socket that sends such a token, as an absolute path.
    Socket(String),
    /// The issuer, in exchange for the identity token that a workload's platform writes to a file (an absolute path).
    #[serde(rename = "workload_identity")]
    Workload { rule: String, file: String },
}

impl Source {
    /// Whether it is stored with the credentials. The others follow from other members.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::Issuer | Self::AccessToken)
    }

    /// Whether another machine holds the login and refreshes the tokens, so that a token may be old when received.
    pub fn is_external(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Socket(_))
    }

    /// As given, fit for one line of a terminal, without anything that may be secret.
    pub fn describe(&self) -> String {
        redact(&match self {
            Self::Issuer => "the issuer".to_owned(),
            Self::AccessToken => "an access token".to_owned(),
            Self::Command(words) => command_line(words),
            Self::Socket(path) => format!("unix:{path}"),
            Self::Workload { rule, file } => {
                format!("workload identity (rule {rule}, identity token {file})")
            }
        })
    }
}

/// A command as a shell line. A word that may contain a secret is cut before it.
fn command_line(words: &[String]) -> String {
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
    shown.collect::<Vec<_>>().join(" ")
}

/// Where a possible secret starts in a word: after a name such as `password` and `=` or `:`, after an option with such a
/// name, or at the user of a URL.
fn secret_in(word: &str) -> Option<usize> {
    let lower = word.to_ascii_lowercase() + " ";
    let names = SECRET_NAMES.into_iter();
    let names = names.flat_map(|name| lower.match_indices(name));
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
    }
}
