//! What can be planned to go wrong with a response.

use std::time::Duration;

use super::Gate;
use super::wire::{Answer, Request};

/// One planned fault. Unless the plan replaces the response, the request takes effect as soon as it arrives (a refresh
/// token is spent), however late or broken the response then is: the worst case.
#[derive(Clone)]
pub enum Trouble {
    /// Sends this response instead; the request has no effect.
    Answer(Answer),
    /// Sends these bytes, then closes the connection; the request has no effect.
    Bytes(Vec<u8>),
    /// Closes the connection; the request has no effect.
    DropBefore,
    /// The request takes effect, then the connection is closed without a response.
    DropAfter,
    /// The request takes effect, then the head and half of the body are sent, and the connection is closed.
    Truncate,
    /// The request takes effect and the whole body is sent, but something else is wrong with the response.
    Flaw(Flaw),
    /// The request takes effect; the response is sent after this delay.
    Delay(Duration),
    /// The request takes effect; the response is sent when the gate opens.
    Hold(Gate),
    /// The request takes effect; the response is sent byte by byte, at this interval.
    Drip(Duration),
    /// Whatever this function returns for the request, such as a response that repeats it.
    Of(fn(&Request) -> Trouble),
    /// Both at once, such as late and truncated.
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

    /// A 200 with the content type JSON and any body.
    pub fn body(text: &str) -> Self {
        Self::Answer(Answer::new(200, "application/json", text))
    }

    pub fn redirect(to: &str) -> Self {
        Self::Answer(Answer::redirect(to))
    }

    /// A 200 with `count` MiB of spaces.
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

/// What can be wrong with a response whose body is complete. The connection is closed after it.
#[derive(Clone, Copy, Debug)]
pub enum Flaw {
    /// `Content-Length` is too large.
    LongLength,
    /// The body is chunked, and the last chunk is missing.
    NoLastChunk,
    /// Another status.
    Status(u16),
    /// The body starts with a byte order mark.
    ByteOrderMark,
    /// The body ends with an extra word, which `Content-Length` includes.
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

    /// The bytes of a response with this flaw.
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

/// A fault, split into what happens at each step of a response.
#[derive(Default)]
pub(super) struct Course {
    pub instead: Option<Instead>,
    pub delay: Duration,
    pub gates: Vec<Gate>,
    pub delivery: Delivery,
}

/// What replaces normal service.
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
