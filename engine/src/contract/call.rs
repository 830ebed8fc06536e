//! A worker's calls: the commands it sends to Redis, without any state.

use std::rc::Rc;

use crate::api_key::{KeyHash, Tag};
use crate::limits::{CHANGES_PER_CALL_MAX, RATE_LEASE_MS};
use crate::resp::Command;

use super::{Names, Script};

/// What becomes of a lease that its worker does not settle in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostLeases {
    /// It stays counted until its worker settles late or the window ends: the limit is never exceeded.
    Hold,
    /// It is granted again after the lease time: every unit is used.
    Return,
}

/// Appends `SCRIPT LOAD` for a script.
pub fn load(out: &mut Vec<u8>, script: Script) {
    Command::append(out, "SCRIPT", |command| {
        command.word("LOAD").word(script.text());
    });
}

/// Appends `AUTH`, with the user's name where there is one.
pub fn authenticate(out: &mut Vec<u8>, username: Option<&str>, password: &str) {
    Command::append(out, "AUTH", |command| {
        if let Some(username) = username {
            command.word(username);
        }
        command.word(password);
    });
}

/// Writes calls for one prefix, with names and script digests made once.
#[derive(Clone, Debug)]
pub struct Writer {
    names: Names,
    store: String,
    changes: String,
    guard: String,
    pending: String,
    enter: String,
    settle: String,
    rate: String,
    key: String,
    lost_leases: &'static str,
    lease_ttl_ms: u64,
}

impl Writer {
    /// A writer for these names and this lease policy.
    #[must_use]
    pub fn new(names: Names, lost_leases: LostLeases, lease_ttl_ms: u64) -> Self {
        Self {
            store: names.store(),
            changes: names.changes(),
            guard: names.guard(),
            pending: names.pending(),
            enter: Script::Enter.sha1(),
            settle: Script::Settle.sha1(),
            rate: Script::Rate.sha1(),
            key: Script::Key.sha1(),
            lost_leases: match lost_leases {
                LostLeases::Hold => "hold",
                LostLeases::Return => "return",
            },
            lease_ttl_ms,
            names,
        }
    }

    /// Appends the command that opens a call; `position` is the last change read, if any was.
    pub fn enter(&self, out: &mut Vec<u8>, position: Option<u64>) {
        Command::append(out, "EVALSHA", |command| {
            command.word(&self.enter).number(1).word(&self.guard);
            command.word(&self.store).word(&self.changes);
            match position {
                Some(position) => command.number(position),
                None => command.word(""),
            };
            command
                .number(CHANGES_PER_CALL_MAX as u64)
                .number(self.lease_ttl_ms);
        });
    }

    /// Appends one batch.
    pub fn settle<'a>(
        &self,
        out: &mut Vec<u8>,
        subject: &Subject<'_>,
        header: &BatchHeader<'_>,
        entries: impl IntoIterator<Item = Entry<'a>>,
    ) {
        Command::append(out, "EVALSHA", |command| {
            command.word(&self.settle);
            command.number(2).word(&self.guard).word(&self.pending);
            self.subject(command, subject);
            command
                .word(header.worker)
                .number(header.sequence)
                .number(header.version)
                .word(match header.order {
                    Order::Next => "next",
                    Order::Restart => "restart",
                })
                .word(self.lost_leases)
                .number(self.lease_ttl_ms);
            for entry in entries {
                entry.append(command);
            }
        });
    }

    /// Appends a request for units of a rate limit; `number` is greater than in every earlier one of the worker.
    pub fn rate(
        &self,
        out: &mut Vec<u8>,
        subject: &Subject<'_>,
        (worker, number): (&str, u64),
        feature: &str,
        ask: RateAsk,
    ) {
        Command::append(out, "EVALSHA", |command| {
            command.word(&self.rate).number(1).word(&self.guard);
            self.subject(command, subject);
            command
                .word(worker)
                .number(number)
                .word(feature)
                .number(ask.held)
                .number(ask.least)
                .number(ask.need)
                .number(ask.want)
                .number(RATE_LEASE_MS)
                .number(self.lease_ttl_ms);
        });
    }

    /// Appends the command that reads a key's document alone.
    pub fn key(&self, out: &mut Vec<u8>, tag: Tag, hash: &KeyHash) {
        Command::append(out, "EVALSHA", |command| {
            command.word(&self.key).number(1).word(&self.guard);
            command.word(&self.store).word(self.names.key(tag, hash));
        });
    }

    fn subject(&self, command: &mut Command<'_>, subject: &Subject<'_>) {
        let (tag, chain, key) = match *subject {
            Subject::Chain { tag, chain } => (tag, chain, String::new()),
            Subject::Key { tag, hash } => (tag, "", self.names.key(tag, hash)),
        };
        command.word(&self.store).word(key);
        command.word(self.names.tagged(tag)).word(chain);
    }
}

/// Whose batch or rate limit it is.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A chain the worker knows.
    Chain {
        /// Where it stands.
        tag: Tag,
        /// Its id.
        chain: &'a str,
    },
    /// The chain that a key's record names, which the worker does not know yet.
    Key {
        /// The key's own tag.
        tag: Tag,
        /// The key's hash.
        hash: &'a KeyHash,
    },
}

/// What identifies a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchHeader<'a> {
    /// The worker's id, unique for the life of its VM.
    pub worker: &'a str,
    /// Its number for this chain, from 1; 0 only looks.
    pub sequence: u64,
    /// Version of the access document the worker has, 0 for none.
    pub version: u64,
    /// Whether earlier numbers may be missing.
    pub order: Order,
}

/// What a worker asks for of a rate limit; units are integers of 1/1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateAsk {
    /// What it holds.
    pub held: u64,
    /// The least that is of use to a request that waits.
    pub least: u64,
    /// What those need in all, beyond what it holds.
    pub need: u64,
    /// What it would like beyond.
    pub want: u64,
}

/// Which numbers Redis accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one after the last.
    Next,
    /// Any later one: what lies between is lost for good.
    Restart,
}

/// Where consumed units came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// A lease of the worker, which is smaller by them from then on.
    Leased,
    /// No lease: a window without a limit, a key that is never refused, or a time without Redis.
    Unleased,
}

/// Whether a claim heeds limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// It is counted as far as every limit leaves units.
    Within,
    /// It is counted whatever they leave: its key is never refused, or it was counted before and lost.
    Beyond,
}

/// What each request of a claim takes from one window; units are integers of 1/1000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCost {
    /// The window.
    pub window: Rc<str>,
    /// How many.
    pub milli: u64,
    /// How many must be left.
    pub least: u64,
}

/// What becomes of units that were claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimChange {
    /// The response is metered.
    Finished,
    /// It is not.
    GivenBack,
    /// Nothing yet: what the worker still has after this batch, for a Redis that may have forgotten.
    Kept,
}

/// One line of a batch; units are integers of 1/1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Consumed units of an hour (hours since the unix epoch) by one API key.
    Consumed {
        /// The window they were admitted in.
        window: &'a str,
        /// When.
        hour: i64,
        /// `key_…`.
        key: &'a str,
        /// How many.
        milli: u64,
        /// Where they came from.
        funding: Funding,
    },
    /// Leased units that were not spent.
    Returned {
        /// The window they were leased from.
        window: &'a str,
        /// How many.
        milli: u64,
    },
    /// What the worker holds after this batch, for a Redis that may have forgotten.
    Declared {
        /// The window.
        window: &'a str,
        /// How many.
        milli: u64,
    },
    /// Units that were claimed.
    Claimed {
        /// What becomes of them.
        change: ClaimChange,
        /// The window they were counted in.
        window: &'a str,
        /// The hour they were claimed in.
        hour: i64,
        /// `key_…`.
        key: &'a str,
        /// How many.
        milli: u64,
    },
    /// Requests that wait until their units are counted: all of each or nothing.
    Claim {
        /// Their hour.
        hour: i64,
        /// `key_…`.
        key: &'a str,
        /// How many requests.
        count: u64,
        /// Whether limits are heeded.
        bounds: Bounds,
        /// What each takes.
        costs: &'a [ClaimCost],
    },
    /// A lease asked for.
    Wanted {
        /// The meter's slug.
        meter: &'a str,
        /// The window, or the current one by Redis's clock when empty.
        window: &'a str,
        /// The least that is of use to any request that waits.
        least: u64,
        /// What requests that wait need.
        need: u64,
        /// What the worker would like in all.
        want: u64,
    },
}

impl Entry<'_> {
    fn append(self, command: &mut Command<'_>) {
        match self {
            Self::Consumed {
                window,
                hour,
                key,
                milli,
                funding,
            } => command
                .word(match funding {
                    Funding::Leased => "c",
                    Funding::Unleased => "u",
                })
                .word(window)
                .word(hour.to_string())
                .word(key)
                .number(milli),
            Self::Returned { window, milli } => command.word("r").word(window).number(milli),
            Self::Declared { window, milli } => command.word("d").word(window).number(milli),
            Self::Claimed {
                change,
                window,
                hour,
                key,
                milli,
            } => command
                .word(match change {
                    ClaimChange::Finished => "f",
                    ClaimChange::GivenBack => "g",
                    ClaimChange::Kept => "k",
                })
                .word(window)
                .word(hour.to_string())
                .word(key)
                .number(milli),
            Self::Claim {
                hour,
                key,
                count,
                bounds,
                costs,
            } => {
                command.word("x").word(hour.to_string()).word(key);
                command.number(count).word(match bounds {
                    Bounds::Within => "within",
                    Bounds::Beyond => "beyond",
                });
                command.number(costs.len() as u64);
                costs.iter().fold(command, |command, cost| {
                    let command = command.word(&*cost.window).number(cost.milli);
                    command.number(cost.least)
                })
            }
            Self::Wanted {
                meter,
                window,
                least,
                need,
                want,
            } => command
                .word("w")
                .word(meter)
                .word(window)
                .number(least)
                .number(need)
                .number(want),
        };
    }
}
