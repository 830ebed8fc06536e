//! Reads numbers out of a JSON document that streams by, by their pointers, and keeps nothing else of it.
//!
//! A document that is JSON gives what RFC 6901 says, the last of members with one name counting. One that is not, or
//! ends early, gives what was seen of it.

use std::rc::Rc;

use super::amount;
use super::pointer::Pointer;
use crate::limits::{SCAN_DEPTH_MAX, SCAN_NUMBER_MAX_BYTES, SCAN_TOKEN_MAX_BYTES};

/// A document as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct Json {
    state: State,
    /// Open objects and arrays, outermost first.
    open: Vec<Container>,
    /// The key or number under way, when a pointer may be about it.
    text: Vec<u8>,
    targets: Vec<Target>,
}

/// A number looked for.
#[derive(Clone, Debug)]
struct Target {
    pointer: Rc<Pointer>,
    /// How many of its tokens the open containers match, outermost first.
    matched: usize,
    found: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Container {
    Object,
    /// With the number of the element under way.
    Array(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// After `[`: a value or `]`.
    First,
    /// After `{`: a key or `}`.
    FirstKey,
    /// After a comma in an object.
    Key,
    /// After a key.
    Colon,
    /// After a value.
    After,
    /// Within a key or a text.
    Text(Kept, Escape),
    /// Within a number.
    Number(Kept),
    /// Within `true`, `false` or `null`.
    Word,
    /// After the document, or where it is none.
    End,
}

/// What becomes of a text or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// A key that a pointer may name.
    Key,
    /// A key that none names.
    OtherKey,
    /// A number that a pointer names.
    Number,
    /// A value that none names.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    /// After a backslash.
    Next,
}

impl Json {
    pub(super) fn new(pointers: &[Rc<Pointer>]) -> Self {
        let target = |pointer: &Rc<Pointer>| Target {
            pointer: Rc::clone(pointer),
            matched: 0,
            found: None,
        };
        Self {
            state: State::Value,
            open: Vec::new(),
            text: Vec::new(),
            targets: pointers.iter().map(target).collect(),
        }
    }

    /// Begins another document.
    pub(super) fn restart(&mut self) {
        self.state = State::Value;
        self.open.clear();
        self.text.clear();
        for target in &mut self.targets {
            target.matched = 0;
            target.found = None;
        }
    }

    /// What was found for the pointer at this place.
    pub(super) fn found(&self, place: usize) -> Option<u64> {
        self.targets.get(place)?.found
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::End => return,
                State::Text(kept, Escape::No) => self.read_text(kept, bytes),
                State::Text(kept, Escape::Next) => {
                    self.keep(kept, &[*first]);
                    self.state = State::Text(kept, Escape::No);
                    rest
                }
                State::Number(kept) => self.read_number(kept, bytes),
                State::Word if first.is_ascii_lowercase() => rest,
                State::Word => {
                    self.state = State::After;
                    bytes
                }
                _ if matches!(first, b' ' | b'\t' | b'\n' | b'\r') => rest,
                state => {
                    self.state = self.step(state, *first);
                    rest
                }
            };
        }
    }

    /// One byte that is part of no text, number or word.
    fn step(&mut self, state: State, byte: u8) -> State {
        match (state, byte) {
            (State::First, b']') | (State::FirstKey, b'}') => self.close(),
            (State::Value | State::First, _) => self.begin(byte),
            (State::FirstKey | State::Key, b'"') => {
                self.text.clear();
                let is_named = self.targets.iter().any(|target| {
                    target.matched + 1 >= self.open.len() && self.open.len() <= target.pointer.len()
                });
                let kept = if is_named { Kept::Key } else { Kept::OtherKey };
                State::Text(kept, Escape::No)
            }
            (State::Colon, b':') => State::Value,
            (State::After, b',') => match self.open.last_mut() {
                Some(Container::Object) => State::Key,
                Some(Container::Array(element)) => {
                    *element += 1;
                    self.enter_element();
                    State::Value
                }
                None => State::End,
            },
            (State::After, b']') if matches!(self.open.last(), Some(Container::Array(_))) => {
                self.close()
            }
            (State::After, b'}') if matches!(self.open.last(), Some(Container::Object)) => {
                self.close()
            }
            _ => State::End,
        }
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8) -> State {
        match byte {
            b'{' | b'[' if self.open.len() >= SCAN_DEPTH_MAX => State::End,
            b'{' => {
                self.open.push(Container::Object);
                State::FirstKey
            }
            b'[' => {
                self.open.push(Container::Array(0));
                self.enter_element();
                State::First
            }
            b'"' => State::Text(Kept::Nothing, Escape::No),
            b'-' | b'0'..=b'9' => {
                self.text.clear();
                let depth = self.open.len();
                let is_named = self.targets.iter().any(|target| target.is_at(depth));
                let kept = if is_named {
                    Kept::Number
                } else {
                    Kept::Nothing
                };
                self.keep(kept, &[byte]);
                State::Number(kept)
            }
            b't' | b'f' | b'n' => State::Word,
            _ => State::End,
        }
    }

    /// The end of an object or array.
    fn close(&mut self) -> State {
        self.open.pop();
        for target in &mut self.targets {
            target.matched = target.matched.min(self.open.len());
        }
        self.after_value()
    }

    fn after_value(&self) -> State {
        if self.open.is_empty() {
            State::End
        } else {
            State::After
        }
    }

    /// Reads a text up to its end or its next escape.
    fn read_text<'b>(&mut self, kept: Kept, bytes: &'b [u8]) -> &'b [u8] {
        let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let Some(end) = end else {
            self.keep(kept, bytes);
            return &[];
        };
        self.keep(kept, &bytes[..end]);
        self.state = match (bytes[end], kept) {
            (b'\\', _) => {
                self.keep(kept, b"\\");
                State::Text(kept, Escape::Next)
            }
            (_, Kept::Key | Kept::OtherKey) => {
                self.enter_member(kept);
                State::Colon
            }
            (_, Kept::Number | Kept::Nothing) => self.after_value(),
        };
        &bytes[end + 1..]
    }

    fn read_number<'b>(&mut self, kept: Kept, bytes: &'b [u8]) -> &'b [u8] {
        let is_part =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        let end = bytes.iter().position(|byte| !is_part(byte));
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.keep(kept, part);
        if end.is_some() {
            self.end_number(kept);
            self.state = self.after_value();
        }
        rest
    }

    fn end_number(&mut self, kept: Kept) {
        if kept != Kept::Number {
            return;
        }
        let number = Some(&self.text)
            .filter(|text| text.len() <= SCAN_NUMBER_MAX_BYTES)
            .and_then(|text| amount::parse(text));
        let depth = self.open.len();
        for target in self.targets.iter_mut().filter(|target| target.is_at(depth)) {
            target.found = number;
        }
    }

    /// Keeps a part of a key or number; one byte more than any may have says that it is none.
    fn keep(&mut self, kept: Kept, part: &[u8]) {
        let most = match kept {
            Kept::Key => KEY_MAX_BYTES,
            Kept::Number => SCAN_NUMBER_MAX_BYTES,
            Kept::OtherKey | Kept::Nothing => return,
        };
        let room = (most + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn enter_member(&mut self, kept: Kept) {
        let text = std::mem::take(&mut self.text);
        let is_key = kept == Kept::Key && text.len() <= KEY_MAX_BYTES;
        let key = is_key.then(|| unescape(&text)).flatten();
        self.enter(|pointer, depth| {
            key.as_deref()
                .is_some_and(|key| pointer.is_member(depth, key))
        });
        self.text = text;
    }

    fn enter_element(&mut self) {
        if let Some(Container::Array(element)) = self.open.last().copied() {
            self.enter(|pointer, depth| pointer.is_element(depth, element));
        }
    }

    /// What comes next stands in the innermost container under another name or number.
    fn enter(&mut self, is_named: impl Fn(&Pointer, usize) -> bool) {
        let depth = self.open.len().saturating_sub(1);
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.matched >= depth)
        {
            target.matched = depth;
            if is_named(&target.pointer, depth) {
                target.matched += 1;
                // Of members with one name the last counts.
                target.found = None;
            }
        }
    }
}

/// A key whose every byte is escaped.
const KEY_MAX_BYTES: usize = 6 * SCAN_TOKEN_MAX_BYTES;

impl Target {
    /// Whether the value that begins within so many containers is the one.
    fn is_at(&self, depth: usize) -> bool {
        self.matched == depth && self.pointer.len() == depth
    }
}

/// The key whose text between the quotes this is.
fn unescape(text: &[u8]) -> Option<String> {
    if !text.contains(&b'\\') {
        return String::from_utf8(text.to_vec()).ok();
    }
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}
