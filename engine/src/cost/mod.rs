//! Costs that only the response tells: from its headers, its trailers, its body as it streams by, or its length.
//!
//! Nothing of a body is held: what is kept of it is bounded by [`crate::limits`], however long it is.

mod amount;
mod events;
mod json;
mod pointer;
mod upstream;

use std::rc::Rc;

use crate::limits::{MILLI_PER_UNIT, REQUEST_MAX_MILLI};
use crate::slug::Slug;
use crate::units::Units;

use events::Events;
use json::Json;
use upstream::Word;

pub use pointer::Pointer;
pub use upstream::METERS;

/// What of a rule's costs the response tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The meters, in the order of the rule's.
    pub meters: Box<[ToldMeter]>,
    /// Pointers into the body.
    pub pointers: Box<[Rc<Pointer>]>,
}

/// A meter whose cost the response tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldMeter {
    /// The meter.
    pub meter: Slug,
    /// Its place among the rule's meters.
    pub place: usize,
    /// What it costs when the response tells nothing.
    pub units: Units,
    /// What is added up to its cost; empty when only the upstream's header may tell it.
    pub terms: Box<[Term]>,
    /// Whether the upstream's header may set or add to it.
    pub heeds_upstream: bool,
}

/// One term of a cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Where its amount stands.
    pub source: Source,
    /// What that is multiplied with.
    pub times: Units,
}

/// Where an amount stands in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header, its name in lower case.
    Header(Box<str>),
    /// A trailer, its name in lower case.
    Trailer(Box<str>),
    /// A number in a JSON body, or in the last server-sent event that has it: a place in [`Told::pointers`].
    Pointer(usize),
    /// Bytes of the body.
    Bytes,
}

/// What must be seen of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyUse {
    /// Nothing.
    None,
    /// Its length.
    Length,
    /// All of it.
    Content,
}

impl Told {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let terms = self.meters.iter().flat_map(|meter| &meter.terms);
        terms.map(|term| &term.source)
    }

    /// What must be seen of the body.
    #[must_use]
    pub fn body_use(&self) -> BodyUse {
        if !self.pointers.is_empty() {
            BodyUse::Content
        } else if self.sources().any(|source| *source == Source::Bytes) {
            BodyUse::Length
        } else {
            BodyUse::None
        }
    }

    /// Whether the headers never tell everything.
    pub(crate) fn outlasts_headers(&self) -> bool {
        self.body_use() != BodyUse::None || self.reads_trailers()
    }

    /// Whether trailers may tell something.
    #[must_use]
    pub fn reads_trailers(&self) -> bool {
        self.sources()
            .any(|source| matches!(source, Source::Trailer(_)))
    }

    fn heeds_upstream(&self) -> bool {
        self.meters.iter().any(|meter| meter.heeds_upstream)
    }
}

/// What one response has told so far.
#[derive(Clone, Debug)]
pub struct Reading {
    told: Rc<Told>,
    /// By term, over all meters, what headers and trailers tell.
    fields: Box<[Option<u64>]>,
    /// By meter.
    words: Box<[Word]>,
    body: Body,
    bytes: u64,
    /// Whether the upstream gave its word.
    is_heard: bool,
    is_readable: bool,
}

#[derive(Clone, Debug)]
enum Body {
    Unread,
    Json(Json),
    Events(Events),
}

/// What a meter costs by a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The meter's place among the rule's.
    pub place: usize,
    /// Thousandths of units.
    pub milli: u64,
}

impl Reading {
    /// What a response's headers tell, names in lower case.
    pub fn begin<'h>(told: &Rc<Told>, headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Self {
        let mut reading = Self {
            told: Rc::clone(told),
            fields: vec![None; told.sources().count()].into(),
            words: vec![Word::default(); told.meters.len()].into(),
            body: Body::Unread,
            bytes: 0,
            is_heard: false,
            is_readable: true,
        };
        let mut body = BodyKind::Json;
        for (name, value) in headers {
            match name {
                b"content-type" if is_event_stream(value) => body = body.and_events(),
                b"content-encoding" if !is_identity(value) => body = BodyKind::Encoded,
                _ if name == METERS.as_bytes() => reading.hear(value),
                _ => reading.note(
                    |source| matches!(source, Source::Header(header) if header.as_bytes() == name),
                    value,
                ),
            }
        }
        reading.body = match (told.body_use(), body) {
            (BodyUse::Content, BodyKind::Json) => Body::Json(Json::new(&told.pointers)),
            (BodyUse::Content, BodyKind::Events) => Body::Events(Events::new(&told.pointers)),
            (BodyUse::Content, BodyKind::Encoded) | (BodyUse::Length | BodyUse::None, _) => {
                Body::Unread
            }
        };
        reading
    }

    /// What must be seen of the body.
    #[must_use]
    pub fn body_use(&self) -> BodyUse {
        match &self.body {
            Body::Json(_) | Body::Events(_) => BodyUse::Content,
            Body::Unread if self.told.body_use() == BodyUse::None => BodyUse::None,
            Body::Unread => BodyUse::Length,
        }
    }

    /// Whether what follows the headers may tell more: of the upstream's word, its trailers, unless its headers have one.
    #[must_use]
    pub fn outlasts_headers(&self) -> bool {
        self.told.outlasts_headers() || (self.told.heeds_upstream() && !self.is_heard)
    }

    /// Notes that so many more bytes of the body have passed.
    pub const fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Reads the next bytes of the body, which [`Reading::count`] counts.
    pub fn read(&mut self, bytes: &[u8]) {
        match &mut self.body {
            Body::Unread => {}
            Body::Json(json) => json.read(bytes),
            Body::Events(events) => events.read(bytes),
        }
    }

    /// What the trailers tell, names in lower case.
    pub fn read_trailers<'h>(&mut self, trailers: impl Iterator<Item = (&'h [u8], &'h [u8])>) {
        for (name, value) in trailers {
            if name == METERS.as_bytes() {
                self.hear(value);
            }
            self.note_trailer(name, value);
        }
    }

    /// What the headers tell of a response that has nothing else, and so has its trailers among them.
    pub fn read_trailers_among<'h>(&mut self, headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) {
        for (name, value) in headers {
            self.note_trailer(name, value);
        }
    }

    fn note_trailer(&mut self, name: &[u8], value: &[u8]) {
        self.note(
            |source| matches!(source, Source::Trailer(trailer) if trailer.as_bytes() == name),
            value,
        );
    }

    /// What each meter costs by what was seen of the response.
    pub fn costs(&self) -> impl Iterator<Item = Cost> {
        let mut amounts = self.amounts();
        let meters = self.told.meters.iter().zip(&self.words);
        meters.map(move |(meter, word)| {
            let terms = meter.terms.iter().zip(amounts.by_ref());
            Cost {
                place: meter.place,
                milli: meter.cost(terms, *word),
            }
        })
    }

    /// Whether everything that should tell a cost did so, and in a form that can be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_readable && self.amounts().all(|amount| amount.is_some())
    }

    /// By term, over all meters, what was seen of it.
    fn amounts(&self) -> impl Iterator<Item = Option<u64>> {
        let sources = self.told.sources().zip(&self.fields);
        sources.map(|(source, field)| match (source, &self.body) {
            (Source::Header(_) | Source::Trailer(_), _) => *field,
            (Source::Bytes, _) => Some(self.bytes.saturating_mul(MILLI_PER_UNIT)),
            (Source::Pointer(place), Body::Json(json)) => json.found(*place),
            (Source::Pointer(place), Body::Events(events)) => events.found(*place),
            (Source::Pointer(_), Body::Unread) => None,
        })
    }

    fn hear(&mut self, line: &[u8]) {
        self.is_heard = true;
        for member in upstream::members(line) {
            let Some(member) = member else {
                self.is_readable = false;
                continue;
            };
            let meters = self.told.meters.iter().zip(&mut self.words);
            for (meter, word) in meters {
                if meter.heeds_upstream && meter.meter.as_str().as_bytes() == member.meter {
                    word.hear(&member);
                }
            }
        }
    }

    /// Notes a field's amount, unless an earlier line of it told one.
    fn note(&mut self, is_source: impl Fn(&Source) -> bool, value: &[u8]) {
        let terms = self.told.sources().zip(&mut self.fields);
        for (_, amount) in terms.filter(|(source, _)| is_source(source)) {
            *amount = amount.or_else(|| amount::parse(value.trim_ascii()));
        }
    }
}

impl ToldMeter {
    /// Thousandths of units: what was found of the terms, else what the rule says, and the upstream's word on it.
    fn cost<'t>(&self, terms: impl Iterator<Item = (&'t Term, Option<u64>)>, word: Word) -> u64 {
        let found = terms
            .filter_map(|(term, amount)| Some(term.weigh(amount?)))
            .reduce(u64::saturating_add);
        let milli = found.unwrap_or_else(|| self.units.milli());
        word.apply(milli).min(REQUEST_MAX_MILLI)
    }
}

impl Term {
    /// The amount multiplied, what is finer than a thousandth cut off; at most what a request may cost.
    fn weigh(&self, milli: u64) -> u64 {
        let product = u128::from(milli) * u128::from(self.times.milli());
        let milli = product / u128::from(MILLI_PER_UNIT);
        u64::try_from(milli).map_or(REQUEST_MAX_MILLI, |milli| milli.min(REQUEST_MAX_MILLI))
    }
}

/// What a body is, by its headers.
#[derive(Clone, Copy)]
enum BodyKind {
    Json,
    Events,
    /// Compressed, and so not read.
    Encoded,
}

impl BodyKind {
    const fn and_events(self) -> Self {
        match self {
            Self::Json | Self::Events => Self::Events,
            Self::Encoded => Self::Encoded,
        }
    }
}

fn is_event_stream(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next();
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"text/event-stream")
    })
}

fn is_identity(encoding: &[u8]) -> bool {
    encoding.trim_ascii().eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
mod tests;
