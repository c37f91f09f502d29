//! What can be planned to go wrong with one answer.

use std::time::Duration;

use super::Gate;
use super::wire::{Answer, Request};

/// One planned departure from normal service. What is not replaced by an answer of the plan's own has been done at
/// once when the request came (a refresh token is spent), however late or broken its answer then is: the worst case.
#[derive(Clone)]
pub enum Trouble {
    /// This answer; nothing is done.
    Answer(Answer),
    /// These bytes, then the end of the connection; nothing is done.
    Bytes(Vec<u8>),
    /// The connection ends; nothing is done.
    DropBefore,
    /// Done, then the connection ends without an answer.
    DropAfter,
    /// Done, then the head and half of the body, then the connection ends.
    Truncate,
    /// Done, and all of the body is sent, but something else is wrong with the answer.
    Flaw(Flaw),
    /// Done, answered after this time.
    Delay(Duration),
    /// Done, answered when the gate opens.
    Hold(Gate),
    /// Done, answered byte by byte, at this interval.
    Drip(Duration),
    /// What this makes of the request, such as an answer that repeats it.
    Of(fn(&Request) -> Trouble),
    /// Both at once, such as late and cut off.
    Both(Box<Trouble>, Box<Trouble>),
}

impl Trouble {
    /// A status with an empty page, such as a gateway's 502.
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer::html(status, ""))
    }

    /// A status with a `Retry-After`.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::Answer(Answer::html(status, "").with("Retry-After", value))
    }

    /// An error with this code, in the issuer's usual form.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Answer(super::endpoints::error(status, code, "planned by the test"))
    }

    /// A 200 that says it is JSON, with any body.
    pub fn body(text: &str) -> Self {
        Self::Answer(Answer::new(200, "application/json", text))
    }

    pub fn redirect(to: &str) -> Self {
        Self::Answer(Answer::redirect(to))
    }

    /// A 200 with so many MiB of blanks.
    pub fn megabytes(count: usize) -> Self {
        Self::Answer(Answer::new(
            200,
            "application/json",
            vec![b' '; count * 1024 * 1024],
        ))
    }

    pub fn and(self, other: Trouble) -> Self {
        Self::Both(Box::new(self), Box::new(other))
    }
}

/// What can be wrong with an answer that has all of its body. The connection ends after it.
#[derive(Clone, Copy, Debug)]
pub enum Flaw {
    /// Its length is said to be greater.
    LongLength,
    /// It comes in chunks, and the last one is missing.
    NoLastChunk,
    /// Another status.
    Status(u16),
    /// A byte order mark stands before the body.
    ByteOrderMark,
    /// A word follows the body, and counts to its length.
    Garbage,
}

impl Flaw {
    pub const EACH: [Self; 5] = [
        Self::LongLength,
        Self::NoLastChunk,
        Self::Status(201),
        Self::ByteOrderMark,
        Self::Garbage,
    ];

    /// The bytes of an answer with this flaw.
    pub(super) fn spoil(self, mut answer: Answer) -> Vec<u8> {
        let body = |answer: &Answer| [answer.head().as_bytes(), &answer.body].concat();
        let length = answer.body.len();
        match self {
            Self::LongLength => {
                let head = answer.head().replace(
                    &format!("Content-Length: {length}"),
                    &format!("Content-Length: {}", length + 1000),
                );
                return [head.as_bytes(), &answer.body].concat();
            }
            Self::NoLastChunk => {
                let head = answer.head().replace(
                    &format!("Content-Length: {length}\r\n"),
                    &format!("Transfer-Encoding: chunked\r\n\r\n{length:x}"),
                );
                return [head.trim_end().as_bytes(), b"\r\n", &answer.body, b"\r\n"].concat();
            }
            Self::Status(status) => answer.status = status,
            Self::ByteOrderMark => answer.body.splice(..0, *b"\xef\xbb\xbf").for_each(drop),
            Self::Garbage => answer.body.extend(b"\n<!-- cached -->"),
        }
        body(&answer)
    }
}

/// A planned answer taken apart into the moments at which it matters.
#[derive(Default)]
pub(super) struct Course {
    pub instead: Option<Instead>,
    pub delay: Duration,
    pub gates: Vec<Gate>,
    pub delivery: Delivery,
}

/// What takes the place of normal service.
pub(super) enum Instead {
    Answer(Answer),
    Bytes(Vec<u8>),
}

#[derive(Default)]
pub(super) enum Delivery {
    #[default]
    Whole,
    Half,
    Nothing,
    Flawed(Flaw),
    Drip(Duration),
}

impl Course {
    pub fn take(&mut self, trouble: Trouble, request: &Request) {
        match trouble {
            Trouble::Answer(answer) => self.instead = Some(Instead::Answer(answer)),
            Trouble::Bytes(bytes) => self.instead = Some(Instead::Bytes(bytes)),
            Trouble::DropBefore => self.instead = Some(Instead::Bytes(Vec::new())),
            Trouble::DropAfter => self.delivery = Delivery::Nothing,
            Trouble::Truncate => self.delivery = Delivery::Half,
            Trouble::Flaw(flaw) => self.delivery = Delivery::Flawed(flaw),
            Trouble::Delay(time) => self.delay += time,
            Trouble::Hold(gate) => self.gates.push(gate),
            Trouble::Drip(interval) => self.delivery = Delivery::Drip(interval),
            Trouble::Of(make) => self.take(make(request), request),
            Trouble::Both(one, other) => {
                self.take(*one, request);
                self.take(*other, request);
            }
        }
    }
}
