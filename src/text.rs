//! Text from elsewhere, made safe to show: on one line, without control characters, and without anything that may be
//! secret.

use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::Value;

/// The minimum length of a word that can be a secret, in bytes: known tokens, codes and states have at least 43, and
/// request IDs, which are useful, at most 36.
const SHORTEST_SECRET: usize = 40;

/// Foreign text, made fit for one line of a terminal: control characters become spaces, and it is cut after 300
/// characters.
pub fn printable(text: &str) -> String {
    shortened(&on_one_line(text))
}

/// The same for a server's message. It may repeat what was sent, so a word that may be a secret becomes `…`.
pub fn redact(text: &str) -> String {
    shortened(&without_secrets(&on_one_line(text)))
}

/// Replaces control characters with spaces, and removes those at both ends, whatever the length.
pub fn on_one_line(text: &str) -> String {
    blanked(text).trim().to_owned()
}

/// Replaces control characters with spaces.
fn blanked(text: &str) -> String {
    let shown = |c| if is_unprintable(c) { ' ' } else { c };
    text.chars().map(shown).collect()
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Replaces each word that may be a secret with `…`.
pub fn without_secrets(line: &str) -> String {
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || "-._~+%".contains(c));
    let covered = |piece: &str| {
        let word = piece.trim_end_matches(is_between);
        if is_secret(word) {
            piece.replace(word, "…")
        } else {
            piece.to_owned()
        }
    };
    line.split_inclusive(is_between).map(covered).collect()
}

/// Whether a word looks like a token, a code or a state. Ordinary words and error names only have lowercase letters.
fn is_secret(word: &str) -> bool {
    let is_rare = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let is_token = ["at-", "rt_", "eyJ"].iter().any(|it| word.starts_with(it));
    (is_token || word.len() >= SHORTEST_SECRET) && word.bytes().any(is_rare)
}

/// Control characters, and those that change the direction of text or have no width.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether a text is a word without a special meaning anywhere, like an ID.
pub fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

/// Quotes a text as one word for a POSIX shell, or leaves it bare if that is safe. On Windows it also works for paths in
/// `cmd`.
pub fn shell_word(text: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_safe) {
        return text.to_owned();
    }
    if cfg!(windows) && !text.contains(['"', '$', '`', '%']) {
        return format!("\"{text}\"");
    }
    shell_quoted(text)
}

/// In single quotes, a POSIX shell takes everything literally, except for the quote itself.
pub fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path as a word of a shell line that is shown to the user. Control characters in it are shown as spaces, so
/// such a path cannot be pasted.
pub fn shell_path(path: &Path) -> String {
    shell_word(&blanked(&path.to_string_lossy()))
}

/// Capitalizes the first letter.
pub fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).collect()
}

/// Whether these bytes are a complete JSON object, so that nothing more is expected. No known response is larger than 64
/// KiB.
pub fn is_whole_object(bytes: &[u8]) -> bool {
    bytes.len() <= 64 * 1024
        && bytes.trim_ascii_end().ends_with(b"}")
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// The entries of a table in `help/`, separated by empty lines: the subject of each, and its text on one line.
pub fn entries(table: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    table.split("\n\n").filter_map(|entry| {
        let (subject, text) = entry.split_once('\n')?;
        let words: Vec<&str> = text.split_whitespace().collect();
        Some((subject, words.join(" ")))
    })
}

/// The text of a JSON string, if not empty.
pub fn text_of(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_removed_and_long_texts_cut() {
        assert_eq!(printable("\x1b[31mred\r\nnext\u{202e}"), "[31mred  next");
        assert_eq!(printable(&"x".repeat(301)).chars().count(), 301);
        assert!(printable(&"x".repeat(301)).ends_with('…'));
        assert_eq!(printable(&"x".repeat(300)), "x".repeat(300));
    }

    #[test]
    fn only_the_first_letter_becomes_a_capital() {
        assert_eq!(capitalized("plus"), "Plus");
        assert_eq!(capitalized("é b"), "É b");
        assert_eq!(capitalized("5 hours"), "5 hours");
        assert_eq!(capitalized(""), "");
    }

    #[test]
    fn shell_words_are_quoted_if_necessary() {
        assert_eq!(shell_word("/usr/bin/codex-auth"), "/usr/bin/codex-auth");
        assert_eq!(shell_quoted("a'b $c"), r"'a'\''b $c'");
        if cfg!(unix) {
            assert_eq!(shell_path(Path::new("/a b/\x1b[31m")), "'/a b/ [31m'");
        }
    }

    #[test]
    fn text_that_no_server_sent_is_shown_completely() {
        for shown in [
            "https://login-of-department-7.some-company-with-a-name.example",
            "/srv/Logins_of_all_people_who_use_this_machine",
            "someone.with.a.very.long.name.and.a.year.1975@mail.example",
        ] {
            assert_eq!(printable(shown), shown);
        }
    }

    #[test]
    fn possible_secrets_are_left_out_of_a_reply() {
        let secret = format!("rt_{}", "aB3-_.~%2F".repeat(5));
        for (text, wanted) in [
            (
                format!("unknown token {secret}"),
                "unknown token …".to_owned(),
            ),
            (
                format!("body: a=b&refresh_token={secret}&x=\"{secret}\"\n"),
                "body: a=b&refresh_token=…&x=\"…\"".to_owned(),
            ),
            // The cut must not leave half of it.
            (
                format!("{} {secret}", "x".repeat(280)),
                format!("{} …", "x".repeat(280)),
            ),
        ] {
            assert_eq!(redact(&text), wanted);
        }
        assert_eq!(redact("at-1 rt_A.b eyJ0"), "… … …");
        for kept in [
            "at-home",
            "req_0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcdef",
            "the_refresh_token_was_invalidated_by_a_password_change",
            "https://help.example/en/articles/0123456789-why-is-my-account-closed",
        ] {
            assert_eq!(redact(kept), kept);
        }
    }
}
