//! `x-tollgate-meters`: the upstream's word on what a request costs.

use super::amount;
use crate::limits::REQUEST_MAX_MILLI;

/// Name of the header; it is for us, not for the client.
pub const METERS: &str = "x-tollgate-meters";

/// What the upstream says of one meter: it may set its cost, and add to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    set: Option<u64>,
    add: u64,
}

impl Word {
    /// The cost, given what it would be without it.
    pub(super) fn apply(self, milli: u64) -> u64 {
        self.set.unwrap_or(milli).saturating_add(self.add)
    }

    /// Takes in one more.
    pub(super) fn hear(&mut self, member: &Member<'_>) {
        match member.change {
            Change::Set => {
                *self = Self {
                    set: Some(member.milli),
                    add: 0,
                }
            }
            Change::Add => self.add = (self.add + member.milli).min(REQUEST_MAX_MILLI),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Set,
    Add,
}

/// `tokens=150` or `tokens+=150`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// The meter.
    pub(super) meter: &'a [u8],
    change: Change,
    milli: u64,
}

/// What one line of the header says; `None` for what cannot be read.
pub(super) fn members(line: &[u8]) -> impl Iterator<Item = Option<Member<'_>>> {
    let texts = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    // An empty member is none.
    texts.filter(|text| !text.is_empty()).map(read)
}

fn read(text: &[u8]) -> Option<Member<'_>> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    let (meter, change) = match name.strip_suffix(b"+") {
        Some(meter) => (meter, Change::Add),
        None => (name, Change::Set),
    };
    Some(Member {
        meter: meter.trim_ascii(),
        change,
        milli: amount::parse(value.trim_ascii())?,
    })
}
