//! The paths of requests and rules: what is normal, and which paths are the same.
//!
//! An upstream may decode percent-encoding, resolve dot segments, merge slashes, take `\` for `/`,
//! drop a segment's `;parameters` or a trailing slash. Whoever finds a spelling that the upstream
//! reads as one path and the rules as another pays the wrong price. So what an upstream could read
//! as more or fewer segments is refused, and everything else is compared after decoding.

use crate::limits::PATH_MAX_BYTES;

/// How paths are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Refused unless in normal form, and compared after decoding.
    Normal,
    /// Never refused, and compared byte for byte: the operator answers for what the upstream makes
    /// of other spellings.
    AsGiven,
}

/// Why a path is not in normal form; the text completes "the path …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// Longer than any decision is made for.
    #[error("is longer than {PATH_MAX_BYTES} bytes")]
    TooLong,
    /// Empty, `*`, or a whole URL.
    #[error("does not begin with a slash")]
    NotAbsolute,
    /// `//`.
    #[error("has an empty segment")]
    EmptySegment,
    /// `.` or `..`, also before a `;`.
    #[error("has a dot segment")]
    DotSegment,
    /// `\` or `#`, a space or a control byte, plain or encoded, or an encoded slash or dot.
    #[error("has a backslash, fragment, space, control byte, encoded slash or encoded dot")]
    Forbidden,
    /// A `%` without two hex digits.
    #[error("has an incomplete percent-encoding")]
    BadEncoding,
    /// One rule with the `;parameters` of its segments and another without.
    #[error("has segment parameters on which the rule depends")]
    Ambiguous,
}

/// A request's path without its query, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    bytes: &'a [u8],
    encoded: bool,
    pub(super) parameters: bool,
}

impl<'a> Path<'a> {
    /// Takes the path out of `path_and_query`, and refuses it when it is not as `paths` demands.
    pub(super) fn read(path_and_query: &'a [u8], paths: Paths) -> Result<Self, PathRefused> {
        if path_and_query.len() > PATH_MAX_BYTES {
            return Err(PathRefused::TooLong);
        }
        let (bytes, _) = split_query(path_and_query);
        match paths {
            Paths::Normal => Self::normal(bytes),
            Paths::AsGiven => Ok(Self {
                bytes,
                encoded: false,
                parameters: false,
            }),
        }
    }

    fn normal(bytes: &'a [u8]) -> Result<Self, PathRefused> {
        let mut path = Self {
            bytes,
            encoded: false,
            parameters: false,
        };
        let mut rest = bytes.strip_prefix(b"/").ok_or(PathRefused::NotAbsolute)?;
        while !rest.is_empty() {
            let end = path.scan_segment(rest)?;
            check_segment(&rest[..end])?;
            // A slash at the end opens no further segment.
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(path)
    }

    /// Where the segment that `rest` begins with ends.
    fn scan_segment(&mut self, rest: &[u8]) -> Result<usize, PathRefused> {
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                // Most bytes, before the few for which the processor must look up where to go on.
                byte if byte.is_ascii_alphanumeric() => {}
                b'/' => return Ok(at),
                b';' => self.parameters = true,
                b'%' => {
                    self.encoded = true;
                    let decoded = rest.get(at + 1..at + 3).and_then(decode);
                    match decoded.ok_or(PathRefused::BadEncoding)? {
                        b'/' | b'\\' | b'.' | 0..=0x1f | 0x7f => {
                            return Err(PathRefused::Forbidden);
                        }
                        _ => {}
                    }
                }
                b'\\' | b'#' | 0..=b' ' | 0x7f => return Err(PathRefused::Forbidden),
                _ => {}
            }
        }
        Ok(rest.len())
    }

    /// The bytes to compare: decoded when anything is encoded.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        Decoded {
            rest: self.bytes,
            encoded: self.encoded,
            without_parameters: false,
        }
    }

    /// The same without the `;parameters` of any segment, as servlet containers read it.
    pub(super) fn bytes_without_parameters(self) -> impl Iterator<Item = u8> {
        Decoded {
            rest: self.bytes,
            encoded: self.encoded,
            without_parameters: true,
        }
    }
}

fn check_segment(segment: &[u8]) -> Result<(), PathRefused> {
    let name = segment
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    match name {
        // Most segments.
        [first, ..] if *first != b'.' => Ok(()),
        b"" => Err(PathRefused::EmptySegment),
        b"." | b".." => Err(PathRefused::DotSegment),
        _ => Ok(()),
    }
}

/// Splits at the first `?`, which belongs to neither part.
pub(super) fn split_query(path_and_query: &[u8]) -> (&[u8], &[u8]) {
    match path_and_query.iter().position(|byte| *byte == b'?') {
        Some(at) => (&path_and_query[..at], &path_and_query[at + 1..]),
        None => (path_and_query, b""),
    }
}

struct Decoded<'a> {
    rest: &'a [u8],
    encoded: bool,
    without_parameters: bool,
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.without_parameters && self.rest.first() == Some(&b';') {
            let skipped = self.rest.iter().position(|byte| *byte == b'/')?;
            self.rest = &self.rest[skipped..];
        }
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if self.encoded
            && *first == b'%'
            && let Some((digits, rest)) = rest.split_at_checked(2)
            && let Some(byte) = decode(digits)
        {
            self.rest = rest;
            return Some(byte);
        }
        Some(*first)
    }
}

/// The byte that two hex digits stand for.
pub(super) fn decode(digits: &[u8]) -> Option<u8> {
    let &[high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(high)? << 4 | value(low)?).ok()
}

/// Which paths a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathMatch {
    /// Decoded, without a trailing slash; empty for the root.
    path: Box<[u8]>,
    extent: Extent,
}

/// How far below its path a rule reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The path itself, with or without a trailing slash.
    Path,
    /// The path and every segment below it.
    Prefix,
}

impl PathMatch {
    /// Compiles the path of a rule, which is held to what requests are held to.
    pub(super) fn compile(text: &str, extent: Extent, paths: Paths) -> Result<Self, PathRefused> {
        let path = Path::read(text.as_bytes(), paths)?;
        if path.bytes.first() != Some(&b'/') {
            return Err(PathRefused::NotAbsolute);
        }
        if path.parameters {
            return Err(PathRefused::Ambiguous);
        }
        let mut path: Vec<u8> = path.bytes().collect();
        path.pop_if(|last| *last == b'/');
        Ok(Self {
            path: path.into(),
            extent,
        })
    }

    /// Whether the rule is for this path.
    pub(super) fn matches(&self, mut bytes: impl Iterator<Item = u8>) -> bool {
        if self.is_everything() {
            return true;
        }
        if !self.path.iter().all(|byte| bytes.next() == Some(*byte)) {
            return false;
        }
        match (bytes.next(), self.extent) {
            (None, Extent::Path | Extent::Prefix) | (Some(b'/'), Extent::Prefix) => true,
            (Some(b'/'), Extent::Path) => bytes.next().is_none(),
            (Some(_), Extent::Path | Extent::Prefix) => false,
        }
    }

    /// Whether the rule is for every path; without normal form also for `*` and the like.
    pub(super) fn is_everything(&self) -> bool {
        self.path.is_empty() && self.extent == Extent::Prefix
    }

    /// Whether every path of `other` is one of this rule's too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self.extent, other.extent) {
            (Extent::Prefix, Extent::Path | Extent::Prefix) | (Extent::Path, Extent::Path) => {
                self.matches(other.path.iter().copied())
            }
            (Extent::Path, Extent::Prefix) => false,
        }
    }
}
