//! What a worker answers for a request.

use std::rc::Rc;

use smallvec::SmallVec;

use super::chains::ChainRef;
use super::company::Round;
use super::rates::RateRefusal;
use super::standing::Caller;
use crate::api_key::KeyHash;
use crate::cost::{BodyUse, Reading, Told};
use crate::fields::MeterState;
use crate::lease::Reservation;
use crate::policy::{Demand, PathRefused};
use crate::problem::{Code, Problem, Quota};
use crate::slug::Slug;
use crate::units::Units;

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on without a key: a public rule or a preflight.
    Pass,
    /// It goes on although its key cannot be looked up now; nothing is metered.
    PassUnknown,
    /// It goes on; the ticket is handed back with the outcome.
    Admit(Ticket),
    /// It is refused.
    Refuse(Refusal),
    /// It waits for an answer of Redis.
    Wait,
}

/// Why a request is refused, with what the answer says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its path is not in normal form.
    Path(PathRefused),
    /// For a reason its code says all about.
    Code(Code),
    /// The plan lacks a meter.
    Meter(Slug),
    /// The plan lacks a feature.
    Feature(Slug),
    /// A limit does not leave enough units.
    Quota(QuotaRefusal),
    /// A rate limit leaves nothing for now.
    Rate(RateRefusal),
}

/// A limit that does not leave enough units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// The meter.
    pub meter: Rc<str>,
    /// The limit.
    pub limit: Units,
    /// What is left of it, as this worker knows it.
    pub remaining: Units,
    /// The window's length.
    pub window_seconds: u64,
    /// Time to its end.
    pub resets_in_seconds: u64,
    /// The window's end, unix ms.
    pub resets_at_ms: i64,
    /// When to try again.
    pub retry_after_seconds: u64,
}

impl Refusal {
    /// The refusal's stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Path(_) => Code::PathNotNormal,
            Self::Code(code) => *code,
            Self::Meter(_) => Code::MeterNotInPlan,
            Self::Feature(_) => Code::FeatureNotInPlan,
            Self::Quota(_) => Code::QuotaExceeded,
            Self::Rate(_) => Code::RateLimited,
        }
    }

    /// The problem to answer with.
    #[must_use]
    pub fn problem(&self) -> Problem<'_> {
        match self {
            Self::Path(refused) => Problem::path_not_normal(*refused),
            Self::Code(code) => Problem::new(*code),
            Self::Meter(meter) => Problem::meter_not_in_plan(meter),
            Self::Feature(feature) => Problem::feature_not_in_plan(feature),
            Self::Quota(quota) => Problem::quota_exceeded(Quota {
                state: MeterState {
                    meter: &quota.meter,
                    limit: quota.limit,
                    remaining: quota.remaining,
                    window_seconds: quota.window_seconds,
                    resets_in_seconds: quota.resets_in_seconds,
                },
                resets_at_ms: quota.resets_at_ms,
            })
            .retry_after(quota.retry_after_seconds),
            Self::Rate(rate) => Problem::rate_limited(rate.state()),
        }
    }
}

/// By window number, what one request holds of it; few rules have more than two meters.
pub(super) type Spent = SmallVec<[(u32, Reservation); 2]>;

/// What an admitted request holds until its response. It must be handed back by [`Worker::finish`].
#[derive(Debug)]
pub struct Ticket {
    pub(super) rule: usize,
    pub(super) chain: ChainRef,
    pub(super) key: Rc<str>,
    pub(super) hour: i64,
    pub(super) spent: Spent,
    pub(super) caller: Rc<Caller>,
    /// Which answer said that Redis has counted it.
    pub(super) claimed: Option<Round>,
    /// Only where the response tells what it costs.
    pub(super) open: Option<Box<Open>>,
}

/// What is still open of a request whose response tells what it costs.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) hash: KeyHash,
    pub(super) told: Rc<Told>,
    /// From the status of a metered response on.
    pub(super) reading: Option<Reading>,
}

impl Open {
    pub(super) fn begin(demand: &Demand, hash: KeyHash) -> Option<Box<Self>> {
        let told = demand.told.as_ref()?;
        Some(Box::new(Self {
            hash,
            told: Rc::clone(told),
            reading: None,
        }))
    }
}

impl Ticket {
    /// The rule the request matched, counted from 0.
    #[must_use]
    pub const fn rule(&self) -> usize {
        self.rule
    }

    /// Whether the response's body will be read, and so must come as it is.
    #[must_use]
    pub fn reads_content(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.told.body_use() == BodyUse::Content)
    }

    /// Whether the response's trailers are asked for its cost.
    #[must_use]
    pub fn reads_trailers(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.told.reads_trailers())
    }

    /// What the response tells of its cost, while it does.
    pub fn reading(&mut self) -> Option<&mut Reading> {
        self.open.as_mut()?.reading.as_mut()
    }

    /// Whether Redis counted its units before it went on.
    #[must_use]
    pub const fn is_claimed(&self) -> bool {
        self.claimed.is_some()
    }

    /// Headers that tell the upstream who calls, and what the plan says to it.
    #[must_use]
    pub fn identity(&self) -> &[(&'static str, String)] {
        &self.caller.headers
    }

    /// `sub_…`.
    #[must_use]
    pub fn subscription_id(&self) -> &str {
        &self.caller.subscription
    }

    /// Thousandths of units reserved over all meters.
    #[must_use]
    pub fn milli(&self) -> u64 {
        self.spent
            .iter()
            .map(|(_, reservation)| reservation.milli)
            .sum()
    }
}
