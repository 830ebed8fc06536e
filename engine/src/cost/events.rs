//! Server-sent events (WHATWG HTML, "Parsing an event stream"): the data of each is read as one JSON document.

use std::rc::Rc;

use super::json::Json;
use super::pointer::Pointer;

/// A stream of events as far as it was read.
#[derive(Clone, Debug)]
pub(super) struct Events {
    line: Line,
    /// Whether the last byte was a carriage return, whose line feed ends the same line.
    after_return: bool,
    json: Json,
    /// By pointer, what the last event that has it says.
    last: Vec<Option<u64>>,
}

/// How far a line was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data` and nothing else.
    Name(usize),
    /// After `data:`, where one space is left out.
    Space,
    /// Within data.
    Data,
    /// Within anything else.
    Other,
}

const DATA: &[u8] = b"data";

impl Events {
    pub(super) fn new(pointers: &[Rc<Pointer>]) -> Self {
        Self {
            line: Line::Name(0),
            after_return: false,
            json: Json::new(pointers),
            last: vec![None; pointers.len()],
        }
    }

    /// What was found for the pointer at this place, in the event under way or the last one that has it.
    pub(super) fn found(&self, place: usize) -> Option<u64> {
        let last = self.last.get(place).copied().flatten();
        self.json.found(place).or(last)
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            let after_return = std::mem::replace(&mut self.after_return, false);
            bytes = match (self.line, first) {
                (Line::Name(0), b'\n') if after_return => rest,
                (_, b'\n' | b'\r') => {
                    self.after_return = *first == b'\r';
                    self.end_line();
                    rest
                }
                (Line::Name(read), byte) => {
                    self.line = match DATA.get(read) {
                        Some(expected) if expected == byte => Line::Name(read + 1),
                        None if *byte == b':' => Line::Space,
                        Some(_) | None => Line::Other,
                    };
                    rest
                }
                (Line::Space, b' ') => {
                    self.line = Line::Data;
                    rest
                }
                (Line::Space | Line::Data, _) => {
                    self.line = Line::Data;
                    let (data, rest) = split_line(bytes);
                    self.json.read(data);
                    rest
                }
                (Line::Other, _) => split_line(bytes).1,
            };
        }
    }

    fn end_event(&mut self) {
        for (place, last) in self.last.iter_mut().enumerate() {
            *last = self.json.found(place).or(*last);
        }
        self.json.restart();
    }

    fn end_line(&mut self) {
        match std::mem::replace(&mut self.line, Line::Name(0)) {
            Line::Name(0) => self.end_event(),
            // Lines of data are joined.
            Line::Space | Line::Data => self.json.read(b"\n"),
            Line::Name(_) | Line::Other => {}
        }
    }
}

/// The rest of a line, and what follows it with its end.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    bytes.split_at(end.unwrap_or(bytes.len()))
}
