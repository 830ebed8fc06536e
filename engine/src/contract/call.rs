//! A worker's calls: the commands it sends to Redis and the answers it reads, without any state.

use crate::api_key::{KeyHash, Tag};
use crate::limits::CHANGES_PER_CALL_MAX;
use crate::resp::{Command, Reply};

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
            command.word(&self.enter).number(3);
            command
                .word(&self.store)
                .word(&self.changes)
                .word(&self.guard);
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
            let (tag, chain, key) = match *subject {
                Subject::Chain { tag, chain } => (tag, chain, None),
                Subject::Key { tag, hash } => (tag, "", Some(self.names.key(tag, hash))),
            };
            command.number(if key.is_some() { 4 } else { 3 });
            command
                .word(&self.store)
                .word(&self.guard)
                .word(&self.pending);
            if let Some(key) = key {
                command.word(key);
            }
            command.word(self.names.tagged(tag)).word(chain);
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
}

/// Whose batch it is.
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
    /// A lease asked for.
    Wanted {
        /// The meter's slug.
        meter: &'a str,
        /// The window, or the current one by Redis's clock when empty.
        window: &'a str,
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
            Self::Wanted {
                meter,
                window,
                need,
                want,
            } => command
                .word("w")
                .word(meter)
                .word(window)
                .number(need)
                .number(want),
        };
    }
}

/// An answer of Redis that is not what the script answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The script is not loaded.
    #[error("the script is not loaded")]
    NoScript,
    /// Redis refused the command; the first words of its error.
    #[error("Redis answered: {0}")]
    Refused(String),
    /// Not of the expected form.
    #[error("the answer is not of the script's form")]
    Unexpected,
}

/// The answer that opens a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered<'a> {
    /// The store is not, or not yet again, filled.
    Unready,
    /// The store can be used.
    Ready(Store<'a>),
}

/// What a ready store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store<'a> {
    /// The process's replication id.
    pub node: &'a str,
    /// The store's generation: another one after it was lost and rebuilt.
    pub generation: &'a str,
    /// The node's clock, unix ms.
    pub time_ms: i64,
    /// Business time minus machine time, in a sandbox.
    pub offset_ms: Option<i64>,
    /// The last number of the change log.
    pub last_change: u64,
    /// The changes after the asked position, in order, as many as one call brings.
    pub changes: Vec<Change<'a>>,
}

/// One entry of the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its number.
    pub number: u64,
    /// What changed.
    pub subject: ChangedDocument<'a>,
    /// The document's new version.
    pub version: u64,
}

/// A document that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedDocument<'a> {
    /// The access document of a chain.
    Chain(&'a str),
    /// A key's document, by the key's hash in hex.
    Key(&'a str),
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<'a> {
    /// The store is not, or not yet again, filled; nothing was counted.
    Unready,
    /// No such key.
    Unknown,
    /// Everything else.
    Known(Receipt<'a>),
}

/// What Redis did with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// What became of it.
    pub outcome: Outcome,
    /// The last number Redis has counted.
    pub last: u64,
    /// Version of the access document.
    pub version: u64,
    /// The access document, when the worker has another version.
    pub document: Option<&'a [u8]>,
    /// The key's document, when it was looked up by key.
    pub key_document: Option<&'a [u8]>,
    /// How long Redis grants nothing on hard limits.
    pub paused_ms: u64,
    /// The state of every window asked about.
    pub windows: Vec<WindowState<'a>>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counted now, or nothing was to be counted.
    Applied,
    /// Counted before: the first answer again.
    Repeated,
    /// Not counted: an earlier number is missing.
    Gap,
    /// Not counted: a later number was counted before.
    Stale,
}

/// A window as Redis has it after a batch; units are integers of 1/1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowState<'a> {
    /// The window's id.
    pub window: &'a str,
    /// Units leased by this batch.
    pub granted: u64,
    /// Units nobody has yet; `None` without a limit.
    pub remaining: Option<u64>,
    /// Units leased to other workers.
    pub leased_to_others: u64,
    /// Consumed units that count against the window.
    pub used: u64,
    /// Whether a worker had to wait for units lately.
    pub others_wait: bool,
}

impl<'a> Entered<'a> {
    /// Reads the answer of the script that opens a call.
    ///
    /// # Errors
    /// When Redis refused it or the answer has another form.
    pub fn read(reply: &'a Reply<'a>) -> Result<Self, AnswerError> {
        let mut fields = Fields::of(reply)?;
        let ready = match fields.text()? {
            "ready" => true,
            "unready" => false,
            _ => return Err(AnswerError::Unexpected),
        };
        let (node, time_ms) = (fields.text()?, fields.number()?);
        if !ready {
            return Ok(Self::Unready);
        }
        let generation = fields.text()?;
        let offset_ms = match fields.text()? {
            "" => None,
            offset => Some(parse(offset)?),
        };
        let last_change = fields.number()?;
        let mut changes = Vec::new();
        while fields.more() {
            let number = fields.number()?;
            let subject = match fields.text()? {
                "s" => ChangedDocument::Chain(fields.text()?),
                "k" => ChangedDocument::Key(fields.text()?),
                _ => return Err(AnswerError::Unexpected),
            };
            let version = fields.number()?;
            changes.push(Change {
                number,
                subject,
                version,
            });
        }
        Ok(Self::Ready(Store {
            node,
            generation,
            time_ms,
            offset_ms,
            last_change,
            changes,
        }))
    }
}

impl<'a> Settled<'a> {
    /// Reads the answer to a batch.
    ///
    /// # Errors
    /// When Redis refused it or the answer has another form.
    pub fn read(reply: &'a Reply<'a>) -> Result<Self, AnswerError> {
        let mut fields = Fields::of(reply)?;
        let outcome = match fields.text()? {
            "unready" => return Ok(Self::Unready),
            "unknown" => return Ok(Self::Unknown),
            "ok" => Outcome::Applied,
            "again" => Outcome::Repeated,
            "gap" => Outcome::Gap,
            "stale" => Outcome::Stale,
            _ => return Err(AnswerError::Unexpected),
        };
        let mut receipt = Receipt {
            outcome,
            last: fields.number()?,
            version: fields.number()?,
            document: Some(fields.bytes()?).filter(|document| !document.is_empty()),
            key_document: Some(fields.bytes()?).filter(|document| !document.is_empty()),
            paused_ms: fields.number()?,
            windows: Vec::new(),
        };
        while fields.more() {
            receipt.windows.push(fields.window()?);
        }
        Ok(Self::Known(receipt))
    }
}

/// The members of a flat answer, read in order.
struct Fields<'a> {
    rest: &'a [Reply<'a>],
}

impl<'a> Fields<'a> {
    fn of(reply: &'a Reply<'a>) -> Result<Self, AnswerError> {
        if reply.error_kind() == Some(b"NOSCRIPT") {
            return Err(AnswerError::NoScript);
        }
        if let Reply::Error(message) = reply {
            let text = String::from_utf8_lossy(&message[..message.len().min(200)]);
            return Err(AnswerError::Refused(text.into_owned()));
        }
        let rest = reply.as_array().ok_or(AnswerError::Unexpected)?;
        Ok(Self { rest })
    }

    const fn more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn bytes(&mut self) -> Result<&'a [u8], AnswerError> {
        let (first, rest) = self.rest.split_first().ok_or(AnswerError::Unexpected)?;
        self.rest = rest;
        first.as_bulk().ok_or(AnswerError::Unexpected)
    }

    fn text(&mut self) -> Result<&'a str, AnswerError> {
        str::from_utf8(self.bytes()?).map_err(|_| AnswerError::Unexpected)
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, AnswerError> {
        parse(self.text()?)
    }

    fn window(&mut self) -> Result<WindowState<'a>, AnswerError> {
        Ok(WindowState {
            window: self.text()?,
            granted: self.number()?,
            remaining: match self.text()? {
                "" => None,
                remaining => Some(parse(remaining)?),
            },
            leased_to_others: self.number()?,
            used: self.number()?,
            others_wait: self.text()? == "1",
        })
    }
}

fn parse<N: std::str::FromStr>(text: &str) -> Result<N, AnswerError> {
    text.parse().map_err(|_| AnswerError::Unexpected)
}
