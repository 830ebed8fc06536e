//! What Redis answers, and how that reads on the wire.

use std::io::Write;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status such as `OK`.
    Status(String),
    /// An error; its first word is the kind.
    Error(String),
    /// A signed integer.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Vec<u8>),
    /// The null string.
    Nil,
    /// Several replies in one.
    Array(Vec<Answer>),
}

impl Answer {
    /// `OK`.
    pub(super) fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// How many there are of something.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// An array of strings.
    pub(super) fn strings<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::Array(
            strings
                .into_iter()
                .map(|bytes| Self::Bulk(bytes.to_vec()))
                .collect(),
        )
    }

    /// A string, or nothing.
    pub(super) fn optional(bytes: Option<&Vec<u8>>) -> Self {
        bytes.map_or(Self::Nil, |bytes| Self::Bulk(bytes.clone()))
    }

    /// Appends the reply in RESP2.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match self {
            Self::Status(text) => write!(out, "+{text}\r\n"),
            Self::Error(text) => write!(out, "-{}\r\n", text.replace(['\r', '\n'], " ")),
            Self::Integer(number) => write!(out, ":{number}\r\n"),
            Self::Nil => write!(out, "$-1\r\n"),
            Self::Bulk(bytes) => {
                let _ = write!(out, "${}\r\n", bytes.len());
                out.extend_from_slice(bytes);
                write!(out, "\r\n")
            }
            Self::Array(members) => {
                let written = write!(out, "*{}\r\n", members.len());
                for member in members {
                    member.write(out);
                }
                written
            }
        };
    }
}
