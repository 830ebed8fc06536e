//! A short notation for batches and their answers.
//!
//! A batch is `<worker> <sequence>` and entries, in units: `c3` consumed from a lease, `u3` without one, `r3` returned,
//! `d3` declared, `x2*3` two requests of 3 each claimed (`y2*3` beyond limits), `f3` finished, `g3` given back, `k3` kept, `w1/10` wanted (need 1, want 10), `w2-6/10` the same if at least 2 can be had. `!` after the sequence
//! accepts any later number. An entry is about
//! the window `now` unless it names another: `c3@old`; `@current` leaves the choice to Redis. `v2` says which version of
//! the document the worker has (else the last published); `key` and `stranger` look up by a known and an unknown key.

use std::fmt::Write;

use tollgate_engine::api_key::KeyHash;
use tollgate_engine::contract::answer::{Outcome, Receipt};
use tollgate_engine::contract::call::{
    BatchHeader, Bounds, ClaimChange, ClaimCost, Entry, Funding, Order, Subject,
};
use tollgate_engine::resp::{Replies, Reply};
use tollgate_engine::units::Units;

use crate::world::{METER, World};

/// Hours since the unix epoch in which everything is consumed.
pub const HOUR: i64 = 497_222;

impl World {
    /// The bytes of one batch.
    pub fn batch(&self, text: &str) -> Vec<u8> {
        let words: Vec<_> = text.split(' ').collect();
        let (sequence, order) = match words[1].strip_suffix('!') {
            Some(sequence) => (sequence, Order::Restart),
            None => (words[1], Order::Next),
        };
        let mut header = BatchHeader {
            worker: words[0],
            sequence: sequence.parse().unwrap(),
            version: self.version,
            order,
        };
        let (known, stranger) = (KeyHash::of("known"), KeyHash::of("stranger"));
        let mut subject = Subject::Chain {
            tag: self.tag,
            chain: &self.chain,
        };
        let costs: Vec<_> = words.iter().map(|word| self.cost(word)).collect();
        let mut entries = Vec::new();
        for (word, cost) in words.iter().zip(&costs).skip(2) {
            let hash = match *word {
                "key" => &known,
                "stranger" => &stranger,
                _ if word.starts_with('v') => {
                    header.version = word[1..].parse().unwrap();
                    continue;
                }
                _ => {
                    entries.push(self.entry(word, cost));
                    continue;
                }
            };
            let tag = self.tag;
            subject = Subject::Key { tag, hash };
        }
        let mut out = Vec::new();
        self.writer.settle(&mut out, &subject, &header, entries);
        out
    }

    /// What each request of a claim takes; nothing for another entry.
    fn cost(&self, word: &str) -> Vec<ClaimCost> {
        let Some((_, cost)) = word.split_once('*') else {
            return Vec::new();
        };
        let (units, window) = cost.split_once('@').unwrap_or((cost, "now"));
        let milli = units.parse::<Units>().unwrap().milli();
        vec![ClaimCost {
            window: self.window(window).into(),
            milli,
            least: milli.max(1),
        }]
    }

    fn entry<'a>(&'a self, word: &'a str, costs: &'a [ClaimCost]) -> Entry<'a> {
        let (amount, window) = word[1..].split_once('@').unwrap_or((&word[1..], "now"));
        let window = self.windows.get(window).map_or(window, String::as_str);
        let milli = |text: &str| text.parse::<Units>().unwrap().milli();
        match &word[..1] {
            "c" | "u" => Entry::Consumed {
                window,
                hour: HOUR,
                key: &self.key_id,
                milli: milli(amount),
                funding: if word.starts_with('c') {
                    Funding::Leased
                } else {
                    Funding::Unleased
                },
            },
            "f" | "g" | "k" => Entry::Claimed {
                change: match &word[..1] {
                    "f" => ClaimChange::Finished,
                    "g" => ClaimChange::GivenBack,
                    _ => ClaimChange::Kept,
                },
                window,
                hour: HOUR,
                key: &self.key_id,
                milli: milli(amount),
            },
            "x" | "y" => Entry::Claim {
                hour: HOUR,
                key: &self.key_id,
                count: amount.split_once('*').unwrap().0.parse().unwrap(),
                bounds: if word.starts_with('x') {
                    Bounds::Within
                } else {
                    Bounds::Beyond
                },
                costs,
            },
            "r" => Entry::Returned {
                window,
                milli: milli(amount),
            },
            "d" => Entry::Declared {
                window,
                milli: milli(amount),
            },
            "w" => {
                let (need, want) = amount.split_once('/').unwrap();
                let (least, need) = need.split_once('-').unwrap_or(("0", need));
                Entry::Wanted {
                    meter: METER,
                    window,
                    least: milli(least),
                    need: milli(need),
                    want: milli(want),
                }
            }
            _ => panic!("{word} is no entry"),
        }
    }

    /// An answer in one line.
    pub fn receipt(&self, receipt: &Receipt<'_>) -> String {
        let outcome = match receipt.outcome {
            Outcome::Applied => "ok",
            Outcome::Repeated => "again",
            Outcome::Gap => "gap",
            Outcome::Stale => "stale",
        };
        let mut text = format!("{outcome} {}", receipt.last);
        if receipt.paused_ms > 0 {
            text.push_str(" paused");
        }
        if receipt.document.is_some() {
            let _ = write!(text, " doc {}", receipt.version);
        }
        if receipt.key_document.is_some() {
            text.push_str(" keydoc");
        }
        if !receipt.claims.is_empty() {
            let _ = write!(text, " counted {:?}", receipt.claims);
        }
        for state in &receipt.windows {
            let name = self.windows.iter().find(|(_, id)| *id == state.window);
            let units = |milli| Units::from_milli(milli).unwrap();
            let _ = write!(
                text,
                ", {} +{} left {} others {} used {}{}",
                name.map_or(state.window, |(name, _)| name),
                units(state.granted),
                state
                    .remaining
                    .map_or("all".to_owned(), |left| units(left).to_string()),
                units(state.leased_to_others),
                units(state.used),
                if state.others_wait { " waiting" } else { "" },
            );
        }
        text
    }
}

/// The only reply in an answer.
pub fn single(answer: &[u8]) -> Reply<'_> {
    let mut replies = Replies::new(answer);
    let reply = replies.next().expect("an answer").expect("a whole reply");
    assert!(replies.next().is_none(), "more than one reply");
    reply
}

/// A reply in one line: `:1`, `+OK`, `-ERR …`, text, `nil`, `[a b]`.
pub fn shown(reply: &Reply<'_>) -> String {
    match reply {
        Reply::Simple(text) => format!("+{}", String::from_utf8_lossy(text)),
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Reply::Integer(number) => format!(":{number}"),
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Nil => "nil".to_owned(),
        Reply::Array(members) => {
            format!(
                "[{}]",
                members.iter().map(shown).collect::<Vec<_>>().join(" ")
            )
        }
    }
}
