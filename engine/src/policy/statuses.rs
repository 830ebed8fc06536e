//! `meterOnStatusCodes`: which answers of the upstream count.

use std::ops::RangeInclusive;

use super::read::Node;
use crate::limits::STATUS_RANGES_MAX;

const FIRST: u16 = 100;
const LAST: u16 = 599;
const WORDS: usize = (LAST - FIRST) as usize / 64 + 1;

/// A set of HTTP statuses from 100 to 599.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses([u64; WORDS]);

impl Default for Statuses {
    /// 200 to 299.
    fn default() -> Self {
        let mut statuses = Self([0; WORDS]);
        statuses.insert(200..=299);
        statuses
    }
}

impl Statuses {
    /// Whether the set has this status.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        (FIRST..=LAST).contains(&status) && {
            let at = usize::from(status - FIRST);
            self.0[at / 64] & 1 << (at % 64) != 0
        }
    }

    fn insert(&mut self, range: RangeInclusive<u16>) {
        for status in range {
            let at = usize::from(status - FIRST);
            self.0[at / 64] |= 1 << (at % 64);
        }
    }

    /// Reads `"200-299, 304"`, or a list of numbers.
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        let mut statuses = Self([0; WORDS]);
        if node.is_text() {
            let text = node.text()?;
            let ranges = parse_ranges(&text)
                .map_err(|detail| node.mistake(detail))
                .ok()?;
            ranges.into_iter().for_each(|range| statuses.insert(range));
            return Some(statuses);
        }
        let members = node.list(1..=STATUS_RANGES_MAX)?;
        let read = members.iter().map(|member| {
            let status = member.integer(u64::from(FIRST)..=u64::from(LAST))?;
            u16::try_from(status).ok()
        });
        // Collected first, so that every member's mistake is named.
        let read: Vec<Option<u16>> = read.collect();
        for status in read {
            let status = status?;
            statuses.insert(status..=status);
        }
        Some(statuses)
    }
}

fn parse_ranges(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    if text.trim() == "*" {
        return Err(
            "\"*\" would also count failures: name the statuses, such as \"200-299\"".to_owned(),
        );
    }
    let ranges: Result<Vec<_>, String> = text
        .split(',')
        .map(|part| parse_range(part.trim()))
        .collect();
    let ranges = ranges?;
    if ranges.len() > STATUS_RANGES_MAX {
        return Err(format!("has more than {STATUS_RANGES_MAX} ranges"));
    }
    Ok(ranges)
}

fn parse_range(part: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (
        parse_status(first.trim_end()),
        parse_status(last.trim_start()),
    ) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(format!("\"{part}\" ends before it begins")),
        (None, _) | (_, None) => Err(format!(
            "\"{part}\" is neither a status from {FIRST} to {LAST} nor a range such as \"200-299\""
        )),
    }
}

fn parse_status(text: &str) -> Option<u16> {
    let status = text.parse().ok()?;
    (text.len() == 3 && (FIRST..=LAST).contains(&status)).then_some(status)
}
