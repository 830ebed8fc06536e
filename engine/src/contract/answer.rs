//! The answers to a worker's calls.

use crate::limits::DOUBLE_EXACT;
use crate::resp::Reply;

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

impl AnswerError {
    /// What is wrong with a reply that is an error.
    #[must_use]
    pub fn of(reply: &Reply<'_>) -> Option<Self> {
        let Reply::Error(message) = reply else {
            return None;
        };
        if reply.error_kind() == Some(b"NOSCRIPT") {
            return Some(Self::NoScript);
        }
        let text = String::from_utf8_lossy(&message[..message.len().min(200)]);
        Some(Self::Refused(text.into_owned()))
    }
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
    /// How many requests of each claim were counted; none when Redis knows that the batch was, but not how.
    pub claims: Vec<u64>,
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
    /// Units leased to other workers, or claimed by requests that are under way.
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
        let (node, time_ms) = (fields.text()?, instant(fields.text()?)?);
        if !ready {
            return Ok(Self::Unready);
        }
        let generation = fields.text()?;
        let offset_ms = match fields.text()? {
            "" => None,
            offset => Some(instant(offset)?),
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
            claims: fields.numbers()?,
            windows: Vec::new(),
        };
        while fields.more() {
            receipt.windows.push(fields.window()?);
        }
        Ok(Self::Known(receipt))
    }
}

/// The answer to a request for units of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateAnswer {
    /// No such key, or no such limit in its plan.
    None,
    /// There is one.
    Known(RateGrant),
}

/// What Redis gave of a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateGrant {
    /// Units, integers of 1/1000.
    pub milli: u64,
    /// When there is the least again that was asked for, ms; 0 when there still is.
    pub wait_ms: u64,
}

impl RateAnswer {
    /// Reads the answer; nothing from a store that is not, or not yet again, filled.
    ///
    /// # Errors
    /// When Redis refused it or the answer has another form.
    pub fn read(reply: &Reply<'_>) -> Result<Option<Self>, AnswerError> {
        let mut fields = Fields::of(reply)?;
        match fields.text()? {
            "unready" => Ok(None),
            "unknown" | "none" => Ok(Some(Self::None)),
            "ok" => Ok(Some(Self::Known(RateGrant {
                milli: fields.number()?,
                wait_ms: fields.number()?,
            }))),
            _ => Err(AnswerError::Unexpected),
        }
    }
}

/// The answer to who asks for a key's document alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAnswer<'a> {
    /// No such key.
    Unknown,
    /// Its document.
    Known(&'a [u8]),
}

impl<'a> KeyAnswer<'a> {
    /// Reads the answer; nothing from a store that is not, or not yet again, filled.
    ///
    /// # Errors
    /// When Redis refused it or the answer has another form.
    pub fn read(reply: &'a Reply<'a>) -> Result<Option<Self>, AnswerError> {
        let mut fields = Fields::of(reply)?;
        match fields.text()? {
            "unready" => Ok(None),
            "unknown" => Ok(Some(Self::Unknown)),
            "ok" => Ok(Some(Self::Known(fields.bytes()?))),
            _ => Err(AnswerError::Unexpected),
        }
    }
}

/// The members of a flat answer, read in order.
struct Fields<'a> {
    rest: &'a [Reply<'a>],
}

impl<'a> Fields<'a> {
    fn of(reply: &'a Reply<'a>) -> Result<Self, AnswerError> {
        if let Some(error) = AnswerError::of(reply) {
            return Err(error);
        }
        let rest = reply.as_array().ok_or(AnswerError::Unexpected)?;
        Ok(Self { rest })
    }

    const fn more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn next(&mut self) -> Result<&'a Reply<'a>, AnswerError> {
        let (first, rest) = self.rest.split_first().ok_or(AnswerError::Unexpected)?;
        self.rest = rest;
        Ok(first)
    }

    fn bytes(&mut self) -> Result<&'a [u8], AnswerError> {
        self.next()?.as_bulk().ok_or(AnswerError::Unexpected)
    }

    fn text(&mut self) -> Result<&'a str, AnswerError> {
        str::from_utf8(self.bytes()?).map_err(|_| AnswerError::Unexpected)
    }

    fn number(&mut self) -> Result<u64, AnswerError> {
        self.limit()?.ok_or(AnswerError::Unexpected)
    }

    /// A number, or nothing where there is none.
    fn limit(&mut self) -> Result<Option<u64>, AnswerError> {
        match self.next()? {
            Reply::Integer(number) => exact(u64::try_from(*number).ok()).map(Some),
            Reply::Bulk(b"") => Ok(None),
            Reply::Bulk(digits) => {
                let text = str::from_utf8(digits).map_err(|_| AnswerError::Unexpected)?;
                number(text).map(Some)
            }
            Reply::Simple(_) | Reply::Error(_) | Reply::Nil | Reply::Array(_) => {
                Err(AnswerError::Unexpected)
            }
        }
    }

    /// One member with numbers between spaces.
    fn numbers(&mut self) -> Result<Vec<u64>, AnswerError> {
        self.text()?.split_ascii_whitespace().map(number).collect()
    }

    fn window(&mut self) -> Result<WindowState<'a>, AnswerError> {
        Ok(WindowState {
            window: self.text()?,
            granted: self.number()?,
            remaining: self.limit()?,
            leased_to_others: self.number()?,
            used: self.number()?,
            others_wait: self.text()? == "1",
        })
    }
}

/// A number as scripts write them. They count in doubles, and what is greater than those tell apart is none of theirs.
fn number(text: &str) -> Result<u64, AnswerError> {
    exact(text.parse().ok())
}

fn exact(number: Option<u64>) -> Result<u64, AnswerError> {
    let number = number.filter(|number| *number <= DOUBLE_EXACT);
    number.ok_or(AnswerError::Unexpected)
}

/// The same for what may be below zero.
fn instant(text: &str) -> Result<i64, AnswerError> {
    let instant: Option<i64> = text.parse().ok();
    let instant = instant.filter(|instant| instant.unsigned_abs() <= DOUBLE_EXACT);
    instant.ok_or(AnswerError::Unexpected)
}
