//! The client's half of RESP2, pure: commands are appended to a buffer, replies borrowed from one.
//!
//! Replies come from another machine, so nothing here believes a length before the bytes are there:
//! no input panics, nests deeper or allocates more than `limits` allow for the bytes received.

use std::io::Write;

use crate::limits::{
    REPLY_BULK_MAX_BYTES, REPLY_DEPTH_MAX, REPLY_LINE_MAX_BYTES, REPLY_VALUES_MAX,
};

/// The words of one command while it is being appended to a buffer.
#[derive(Debug)]
pub struct Command<'a> {
    out: &'a mut Vec<u8>,
    words: usize,
}

impl Command<'_> {
    /// Appends one whole command to `out`: its name, and the words that `arguments` adds.
    pub fn append(out: &mut Vec<u8>, name: &str, arguments: impl FnOnce(&mut Command<'_>)) {
        let start = out.len();
        let mut command = Command { out, words: 0 };
        command.word(name);
        arguments(&mut command);
        let words = command.words;
        // The count precedes what is counted; moving one command's bytes is cheaper than counting ahead.
        let mut header = [0; 24];
        let header_length = write_length(&mut header, b'*', words as u64);
        out.splice(start..start, header[..header_length].iter().copied());
    }

    /// Adds a word; any bytes are allowed.
    pub fn word(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let mut header = [0; 24];
        let header_length = write_length(&mut header, b'$', bytes.len() as u64);
        self.out.extend_from_slice(&header[..header_length]);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        self.words += 1;
        self
    }

    /// Adds a number in decimal, without allocating.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; 24];
        let mut rest = &mut digits[..];
        // 24 bytes hold every u64, so this write cannot fall short.
        let _ = write!(rest, "{number}");
        let length = 24 - rest.len();
        self.word(&digits[..length])
    }
}

/// Writes `<kind><length>\r\n` and says how long that is, at most 23 bytes.
fn write_length(header: &mut [u8; 24], kind: u8, length: u64) -> usize {
    let mut rest = &mut header[..];
    let _ = write!(rest, "{}{length}\r\n", char::from(kind));
    24 - rest.len()
}

/// One reply of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A status such as `OK`.
    Simple(&'a [u8]),
    /// An error; its first word is the kind.
    Error(&'a [u8]),
    /// A signed integer.
    Integer(i64),
    /// A string of any bytes.
    Bulk(&'a [u8]),
    /// The null string or the null array.
    Nil,
    /// Several replies in one.
    Array(Vec<Reply<'a>>),
}

impl<'a> Reply<'a> {
    /// The first word of an error (`NOSCRIPT`, `LOADING`, …), or `None` for any other reply.
    #[must_use]
    pub fn error_kind(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Error(message) => message.split(|byte| *byte == b' ').next(),
            Self::Simple(_) | Self::Integer(_) | Self::Bulk(_) | Self::Nil | Self::Array(_) => None,
        }
    }

    /// The bytes of a bulk string, or `None` for any other reply.
    #[must_use]
    pub const fn as_bulk(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Bulk(bytes) => Some(bytes),
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Nil | Self::Array(_) => {
                None
            }
        }
    }

    /// The members of an array, or `None` for any other reply.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(replies) => Some(replies),
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Bulk(_) | Self::Nil => None,
        }
    }
}

/// Why no further reply can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The bytes end within a reply: what the command did is unknown.
    #[error("the answer ends within a reply")]
    Incomplete,
    /// No RESP2, or beyond a limit; what follows cannot be read either.
    #[error("the answer is not RESP2 within the limits")]
    Malformed,
}

/// The replies in an answer, one by one; ends after the last whole one or after the first error.
#[derive(Clone, Debug)]
pub struct Replies<'a> {
    rest: &'a [u8],
}

impl<'a> Replies<'a> {
    /// Reads the replies in `answer`.
    #[must_use]
    pub const fn new(answer: &'a [u8]) -> Self {
        Self { rest: answer }
    }
}

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, ReplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut parser = Parser {
            rest: self.rest,
            values_left: REPLY_VALUES_MAX,
        };
        let reply = parser.reply(REPLY_DEPTH_MAX);
        self.rest = if reply.is_ok() { parser.rest } else { &[] };
        Some(reply)
    }
}

impl std::iter::FusedIterator for Replies<'_> {}

struct Parser<'a> {
    rest: &'a [u8],
    values_left: usize,
}

impl<'a> Parser<'a> {
    fn reply(&mut self, depth_left: usize) -> Result<Reply<'a>, ReplyError> {
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(ReplyError::Malformed)?;
        let (&kind, rest) = self.rest.split_first().ok_or(ReplyError::Incomplete)?;
        self.rest = rest;
        match kind {
            b'+' => self.line().map(Reply::Simple),
            b'-' => self.line().map(Reply::Error),
            b':' => self.integer().map(Reply::Integer),
            b'$' => self.bulk(),
            b'*' => self.array(depth_left),
            _ => Err(ReplyError::Malformed),
        }
    }

    /// The bytes up to the next CR LF, which is consumed too.
    fn line(&mut self) -> Result<&'a [u8], ReplyError> {
        let searched = &self.rest[..self.rest.len().min(REPLY_LINE_MAX_BYTES)];
        let Some(end) = searched
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
        else {
            return Err(if searched.len() == REPLY_LINE_MAX_BYTES {
                ReplyError::Malformed
            } else {
                ReplyError::Incomplete
            });
        };
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.line_end()?;
        Ok(line)
    }

    fn line_end(&mut self) -> Result<(), ReplyError> {
        match self.rest {
            [b'\r', b'\n', rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            [] | [b'\r'] => Err(ReplyError::Incomplete),
            _ => Err(ReplyError::Malformed),
        }
    }

    fn integer(&mut self) -> Result<i64, ReplyError> {
        let line = self.line()?;
        let digits = line.strip_prefix(b"-").unwrap_or(line);
        // Rust would take a plus sign, Redis never sends one.
        if !digits.first().is_some_and(u8::is_ascii_digit) {
            return Err(ReplyError::Malformed);
        }
        str::from_utf8(line)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(ReplyError::Malformed)
    }

    /// A length up to `max`, or `None` for the null value's -1.
    fn length(&mut self, max: usize) -> Result<Option<usize>, ReplyError> {
        match self.integer()? {
            -1 => Ok(None),
            announced => usize::try_from(announced)
                .ok()
                .filter(|length| *length <= max)
                .map(Some)
                .ok_or(ReplyError::Malformed),
        }
    }

    fn bulk(&mut self) -> Result<Reply<'a>, ReplyError> {
        let Some(length) = self.length(REPLY_BULK_MAX_BYTES)? else {
            return Ok(Reply::Nil);
        };
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ReplyError::Incomplete)?;
        self.rest = rest;
        self.line_end()?;
        Ok(Reply::Bulk(bytes))
    }

    fn array(&mut self, depth_left: usize) -> Result<Reply<'a>, ReplyError> {
        let depth_left = depth_left.checked_sub(1).ok_or(ReplyError::Malformed)?;
        let Some(length) = self.length(self.values_left)? else {
            return Ok(Reply::Nil);
        };
        // Grows as members arrive: an announced length reserves nothing.
        let mut replies = Vec::new();
        for _ in 0..length {
            replies.push(self.reply(depth_left)?);
        }
        Ok(Reply::Array(replies))
    }
}

#[cfg(test)]
mod tests;
