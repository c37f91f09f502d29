//! The pages for the browser. Each is self-contained: no scripts, images or other resources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::text::capitalized;

const STYLE: &str = include_str!("page.css");

/// The login succeeded and is stored. `whom` names the account, if known (" as …").
pub fn signed_in(whom: &str) -> String {
    let next = "You can close this tab and go back to the terminal.";
    fill("good", "You are signed in", whom.trim_start(), next)
}

pub fn failed(reason: &str) -> String {
    let next = "If you were signed in before, you still are. Go back to the terminal to try again.";
    fill("bad", "Sign-in failed", &sentence(reason), next)
}

/// The request was ignored, for this reason ("it …"), and the login in progress continues.
pub fn not_accepted(reason: &str) -> String {
    let next = "Your own sign-in is not affected.";
    let reason = reason.replacen("it ", "this link ", 1);
    fill("calm", "Wrong link", &sentence(&reason), next)
}

pub fn not_found() -> String {
    let next = "codex-auth is waiting for your sign-in, but not at this URL.";
    fill("calm", "Page not found", "", next)
}

/// Turns a reason into a sentence, with a capital and a full stop.
fn sentence(reason: &str) -> String {
    capitalized(reason.trim_end_matches('.')) + "."
}

/// The `Content-Security-Policy` of these pages, which only allows their own style.
pub fn security_policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Fills in the page. An empty paragraph is not shown.
fn fill(mark: &str, heading: &str, said: &str, next: &str) -> String {
    format!(
        include_str!("page.html"),
        style = STYLE,
        mark = mark,
        heading = heading,
        said = escape(said),
        next = next
    )
}

/// Escapes text for HTML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' | '<' | '>' | '"' | '\'' => format!("&#{};", u32::from(c)),
        _ => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</p><script>alert('\"&')</script>{style}";

    #[test]
    fn foreign_text_is_escaped() {
        let pages = [signed_in(HOSTILE), failed(HOSTILE), not_accepted(HOSTILE)];
        for page in pages {
            assert!(!page.contains("<script"), "{page}");
            assert!(
                page.contains("&#60;/p&#62;&#60;script&#62;alert(&#39;&#34;&#38;&#39;)&#60;/script&#62;{style}"),
                "{page}"
            );
        }
    }

    #[test]
    fn the_page_names_the_account_as_far_as_it_is_known() {
        let page = signed_in(" as a@b.example (Plus)");
        let said = "<p class=\"said\">as a@b.example (Plus)</p>";
        assert!(page.contains(said), "{page}");
        assert!(signed_in("").contains("<p class=\"said\"></p>"));
    }

    #[test]
    fn pages_speak_in_sentences() {
        assert!(failed("access denied").contains(">Access denied.</p>"));
        assert!(failed("Ask your admin.").contains(">Ask your admin.</p>"));
        let page = not_accepted("it is from another sign-in");
        assert!(
            page.contains(
                ">This link is from another sign-in.</p>\n<p>Your own sign-in is not affected.</p>"
            ),
            "{page}"
        );
    }

    #[test]
    fn no_page_runs_or_fetches_anything() {
        let pages = [
            signed_in(" as a@b.example"),
            failed("x"),
            not_accepted("x"),
            not_found(),
        ];
        for page in pages {
            for word in [
                "<script", "src=", "href=", "url(", "@import", "http:", "https:", " style=",
            ] {
                assert!(!page.contains(word), "{word} in {page}");
            }
        }
    }
}
