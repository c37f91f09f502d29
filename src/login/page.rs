//! The pages that the browser is shown. Each is complete in itself: no script, no image, nothing from elsewhere.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::login::redirect::OTHER_SIGN_IN;
use crate::text::capitalized;

/// The one style of all pages. The mark above the heading is drawn with borders, because not every font has one.
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f6f6f4;--card:#fff;--line:#e3e3de;--text:#1d1d1b;--soft:#62625c;--good:#12805c;--bad:#b3372c;--calm:#6b6b65}
@media(prefers-color-scheme:dark){:root{--back:#151517;--card:#1e1e21;--line:#313136;--text:#ededeb;--soft:#a3a39d;--good:#3ecf9b;--bad:#ff8a7d;--calm:#93938d}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--back);color:var(--text);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif}
main{width:100%;max-width:28rem;padding:40px 36px 28px;background:var(--card);border:1px solid var(--line);border-radius:16px;text-align:center}
.mark{display:grid;place-items:center;width:56px;height:56px;margin:0 auto 20px;border:2px solid;border-radius:50%}
.mark::before,.mark::after{grid-area:1/1;width:3px;height:24px;background:currentColor}
.good{color:var(--good)}
.good::before{content:'';width:12px;height:22px;margin-top:-5px;background:none;border:solid;border-width:0 3px 3px 0;transform:rotate(45deg)}
.bad{color:var(--bad)}
.bad::before{content:'';transform:rotate(45deg)}
.bad::after{content:'';transform:rotate(-45deg)}
.calm{color:var(--calm)}
.calm::before{content:'';transform:rotate(90deg)}
h1{margin:0 0 12px;font-size:1.5rem;font-weight:600;line-height:1.25;text-wrap:balance}
p{margin:0 0 12px;color:var(--soft);overflow-wrap:anywhere;text-wrap:balance}
p:empty{display:none}
.said{color:var(--text)}
strong{display:block;color:var(--text);font-weight:600}
footer{margin-top:28px;padding-top:16px;border-top:1px solid var(--line);color:var(--soft);font-size:.8125rem}
";

/// The login succeeded, and is stored. E-mail and plan are named as far as they are known.
pub fn signed_in(email: Option<&str>, plan: Option<&str>) -> String {
    let email = email.map(|email| format!("<strong>{}</strong>\n", escape(email)));
    let plan = plan.map(|plan| format!("ChatGPT plan: {}", escape(plan)));
    let account: String = email.into_iter().chain(plan).collect();
    document(
        "good",
        "You are signed in",
        &format!("<p>{account}</p>\n<p>You can close this tab and go back to the terminal.</p>"),
    )
}

/// The login failed, for this reason.
pub fn failed(reason: &str) -> String {
    document(
        "bad",
        "Sign-in failed",
        &format!(
            "<p class=\"said\">{}</p>\n<p>If you were signed in before, you still are. Go back to the terminal to try again.</p>",
            escape(&sentence(reason))
        ),
    )
}

/// The request does not count, for this reason ("it …"); the login that is under way goes on.
pub fn not_accepted(reason: &str) -> String {
    let comfort = match reason {
        OTHER_SIGN_IN => "Yours is still waiting.",
        _ => "Your own sign-in is not affected.",
    };
    let reason = reason
        .strip_prefix("it ")
        .map_or_else(|| reason.to_owned(), |rest| format!("This link {rest}"));
    document(
        "calm",
        "Wrong link",
        &format!(
            "<p class=\"said\">{}</p>\n<p>{comfort}</p>",
            escape(&sentence(&reason))
        ),
    )
}

pub fn not_found() -> String {
    document(
        "calm",
        "Page not found",
        "<p>codex-auth waits here for your sign-in, at another address.</p>",
    )
}

/// A reason as a sentence, which has a capital in front and a full stop behind it.
fn sentence(reason: &str) -> String {
    let stop = if reason.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    capitalized(reason) + stop
}

/// The value of `Content-Security-Policy` for these pages: nothing but their own style.
pub fn security_policy() -> String {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// `body` is HTML, `mark` a class of the style; the heading is ours.
fn document(mark: &str, heading: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{heading} · codex-auth</title>\n\
         <style>{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <main>\n\
         <div class=\"mark {mark}\"></div>\n\
         <h1>{heading}</h1>\n\
         {body}\n\
         <footer>codex-auth</footer>\n\
         </main>\n\
         </body>\n\
         </html>\n"
    )
}

/// Text that stands for itself in HTML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</p><script>alert('\"&')</script>";

    #[test]
    fn foreign_text_is_escaped() {
        let pages = [
            signed_in(Some(HOSTILE), Some(HOSTILE)),
            signed_in(None, Some(HOSTILE)),
            failed(HOSTILE),
            not_accepted(HOSTILE),
        ];
        for page in pages {
            assert!(!page.contains("<script"), "{page}");
            assert!(
                page.contains("&lt;/p&gt;&lt;script&gt;alert(&#39;&quot;&amp;&#39;)"),
                "{page}"
            );
        }
    }

    #[test]
    fn the_page_names_the_account_as_far_as_it_is_known() {
        let page = signed_in(Some("a@b.example"), Some("plus"));
        assert!(
            page.contains("<strong>a@b.example</strong>\nChatGPT plan: plus"),
            "{page}"
        );
        assert!(
            signed_in(Some("a@b.example"), None).contains("<p><strong>a@b.example</strong>\n</p>")
        );
        assert!(signed_in(None, Some("team")).contains("<p>ChatGPT plan: team</p>"));
        assert!(!signed_in(None, None).contains("plan"));
    }

    #[test]
    fn pages_speak_in_sentences() {
        assert!(failed("access denied").contains(">Access denied.</p>"));
        assert!(failed("Ask your admin.").contains(">Ask your admin.</p>"));
        let page = not_accepted("it is from another sign-in");
        assert!(
            page.contains(
                ">This link is from another sign-in.</p>\n<p>Yours is still waiting.</p>"
            ),
            "{page}"
        );
    }

    #[test]
    fn no_page_runs_or_fetches_anything() {
        let pages = [
            signed_in(Some("a@b.example"), Some("plus")),
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
