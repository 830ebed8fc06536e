//! What becomes of a request, and what Redis is asked: one [`Worker`] per VM, without I/O or a clock.
//!
//! The caller passes requests, responses, ticks and answers of Redis in, each with the time, and carries out what comes
//! back: verdicts for requests, bytes for Redis. A warm request is decided at once from leases the worker holds; any
//! other waits for the next call, which serves all that wait.

mod answers;
mod calls;
mod chains;
mod company;
mod decide;
mod ending;
mod exact;
mod grpc;
mod imported;
mod keys;
mod link;
mod lookups;
mod rates;
mod recent;
mod recognized;
mod shown;
mod spend;
mod standing;
mod status;
mod tally;
mod verdict;

use std::rc::Rc;

use crate::api_key::{KeyHash, Tag};
use crate::contract::Names;
use crate::contract::call::Writer;
use crate::lease::{Counted, LeaseRules, Need};
use crate::limits::{CACHED_KEYS_MAX, CHAIN_IDLE_MAX_MS, CHAIN_IDLE_MIN_MS};
use crate::policy::{Access, Demand, Policy, Rule};
use crate::problem::Code;

use calls::SettleBudget;
use chains::{ChainRef, Chains};
use company::Company;
use exact::{Claiming, Held};
use keys::Keys;
use link::Link;
use lookups::Lookups;
use rates::RateNeed;
use recent::Recents;
use recognized::Recognized;

pub use answers::CallResult;
pub use ending::{Ending, Rest, Settled};
pub use link::CallFailure;
pub use rates::RateRefusal;
pub use tally::{Decided, Stats, Tally};
pub use verdict::{QuotaRefusal, Refusal, Ticket, Verdict};

/// The time, twice: for durations and for instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The host's monotonic clock, ms.
    pub monotonic_ms: u64,
    /// The host's clock, unix ms.
    pub unix_ms: i64,
}

/// The caller's name for a request that may have to wait.
pub type RequestId = u32;

/// What a request is, as far as rules and keys are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h, N, V> {
    /// `:method`.
    pub method: &'h [u8],
    /// `:path` with its query.
    pub path: &'h [u8],
    /// All headers, names in lower case.
    pub headers: &'h [(N, V)],
}

/// What a request waits for.
#[derive(Debug)]
enum Lack {
    /// A look at the change log.
    Reading,
    /// The key.
    Key,
    /// The chain's document.
    Document(ChainRef),
    /// Units.
    Units(ChainRef, Vec<Need>),
    /// That its units are counted.
    Claim(Box<Claiming>),
    /// Units of rate limits.
    Rates(ChainRef, Vec<RateNeed>),
}

#[derive(Debug)]
struct Waiting {
    request: RequestId,
    hash: KeyHash,
    tag: Tag,
    rule: usize,
    arrived_ms: u64,
    lack: Lack,
}

/// A call under way: which reply is whose.
#[derive(Debug)]
struct Call {
    sent_ms: u64,
    parts: Vec<Part>,
}

/// One reply to come.
#[derive(Clone, Debug)]
enum Part {
    Authenticate,
    Load,
    Enter,
    Batch(ChainRef, u64),
    Key(KeyHash),
    Lookup(KeyHash),
    Rate(ChainRef, Rc<str>),
    FirstRate(KeyHash, Rc<str>),
}

/// One worker's part in admission.
#[derive(Debug)]
pub struct Worker {
    id: String,
    policy: Rc<Policy>,
    rules: LeaseRules,
    writer: Writer,
    password: Option<String>,
    recognized: Recognized,
    keys: Keys,
    recents: Recents,
    chains: Chains,
    waiting: Vec<Waiting>,
    lookups: Lookups,
    link: Link,
    call: Option<Call>,
    counted: Vec<(ChainRef, Counted)>,
    company: Company,
    held: Vec<Held>,
    settles: SettleBudget,
    load_scripts: bool,
    rate_number: u64,
    rates_ahead: Vec<(ChainRef, Rc<str>)>,
    store: Option<(String, String)>,
    store_number: u32,
    position: Option<u64>,
    is_behind: bool,
    skew_ms: i64,
    offset_ms: i64,
    failure: Option<(CallFailure, String)>,
    stats: Stats,
    tally: Tally,
}

impl Worker {
    /// A worker with an id no other ever had; `secret` is random too.
    #[must_use]
    pub fn new(policy: Rc<Policy>, id: String, secret: u128, password: Option<String>) -> Self {
        let metering = &policy.metering;
        let rules = LeaseRules {
            ttl_ms: metering.lease_ttl_ms,
            lost_leases: metering.lost_leases,
            flush_interval_ms: metering.flush_interval_ms,
            max_unsettled_ms: metering.max_unsettled_ms,
        };
        let names = Names::new(policy.redis.prefix.clone());
        Self {
            id,
            rules,
            writer: Writer::new(names, rules.lost_leases, rules.ttl_ms),
            password,
            recognized: Recognized::new(secret),
            keys: Keys::new((secret >> 64) as u64),
            recents: Recents::default(),
            chains: Chains::default(),
            waiting: Vec::new(),
            lookups: Lookups::default(),
            link: Link::new(policy.redis.max_calls_per_second),
            call: None,
            counted: Vec::new(),
            company: Company::default(),
            held: Vec::new(),
            settles: SettleBudget::default(),
            load_scripts: false,
            rate_number: 0,
            rates_ahead: Vec::new(),
            store: None,
            store_number: 0,
            position: None,
            is_behind: false,
            skew_ms: 0,
            offset_ms: 0,
            failure: None,
            stats: Stats::default(),
            tally: Tally::new(policy.rules().count()),
            policy,
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Decides a request, or has it wait; then a later call names it.
    pub fn admit<N, V>(&mut self, request: RequestId, head: &Head<'_, N, V>, now: Now) -> Verdict
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let policy = Rc::clone(&self.policy);
        let (rule, verdict) = match policy.match_rule(head.method, head.path) {
            Ok(rule) => (
                Some(rule.index()),
                self.admit_by(rule, &policy, request, head, now),
            ),
            Err(refused) => (None, Verdict::Refuse(Refusal::Path(refused))),
        };
        self.tally.note(rule, &verdict);
        verdict
    }

    fn admit_by<N, V>(
        &mut self,
        rule: &Rule,
        policy: &Policy,
        request: RequestId,
        head: &Head<'_, N, V>,
        now: Now,
    ) -> Verdict
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let Access::Keyed(demand) = rule.access() else {
            return Verdict::Pass;
        };
        if policy.passes_preflight(head.method, head.headers) {
            return Verdict::Pass;
        }
        let text = match policy.credential(head.headers, head.path) {
            Ok(text) => text,
            Err(code) => return Verdict::Refuse(Refusal::Code(code)),
        };
        let (mark, seen) = self.recognized.find(text);
        let (hash, tag) = match seen.map_or_else(|| policy.identify(text), Ok) {
            Ok(key) => key,
            Err(code) => return Verdict::Refuse(Refusal::Code(code)),
        };
        self.link.note_request(now.monotonic_ms);
        let mut waiting = Waiting {
            request,
            hash,
            tag,
            rule: rule.index(),
            arrived_ms: now.monotonic_ms,
            lack: Lack::Reading,
        };
        match self.decide(&waiting, demand, self.redis(), now) {
            Ok(verdict) => {
                if seen.is_none() && matches!(verdict, Verdict::Admit(_)) {
                    self.recognized.remember(mark, hash, tag);
                }
                verdict
            }
            Err(lack) => {
                waiting.lack = lack;
                self.wait(waiting, demand)
            }
        }
    }

    fn wait(&mut self, waiting: Waiting, demand: &Demand) -> Verdict {
        let mode = demand.mode.unwrap_or(self.policy.metering.mode);
        if matches!(waiting.lack, Lack::Key)
            && !(self.chains.has_room() && self.lookups.want(&waiting, demand, mode))
        {
            return Verdict::Refuse(Refusal::Code(Code::StoreUnavailable));
        }
        self.waiting.push(waiting);
        Verdict::Wait
    }

    /// Forgets a request that waits no longer.
    pub fn abandon(&mut self, request: RequestId) {
        let is_it = |waiting: &Waiting| waiting.request == request;
        if let Some(place) = self.waiting.iter().position(is_it) {
            let mut gone = self.waiting.remove(place);
            self.withdraw_promises(&mut gone.lack);
        }
    }

    /// Whether a request or a response waits for Redis.
    #[must_use]
    pub const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.held.is_empty()
    }

    /// Whether claims that wait, if any do, wait for more of them before the next call.
    #[must_use]
    pub const fn awaits_company(&self, now: Now) -> bool {
        self.company
            .is_awaited(self.waiting.len(), now.monotonic_ms)
    }

    /// Whether a request that came or went is a reason to look for a call to make: it is not while claims wait for more
    /// of them, but that has to begin.
    #[must_use]
    pub const fn wants_call(&self, now: Now) -> bool {
        self.waiting.len() == 1 || !self.waiting.is_empty() && !self.awaits_company(now)
    }

    /// Decides what can be decided of the requests that wait, without an answer of Redis: for those that waited too
    /// long, and for all while Redis is away.
    pub fn tick(&mut self, now: Now) -> Vec<(RequestId, Verdict)> {
        let idle_ms = if self.chains.len() + self.keys.len() < CACHED_KEYS_MAX {
            CHAIN_IDLE_MAX_MS
        } else {
            CHAIN_IDLE_MIN_MS
        };
        let business_ms = self.business_ms(now);
        self.chains.sweep(now.monotonic_ms, business_ms, idle_ms);
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.decide_waiting(now)
    }

    /// Packs what the worker knows of chains, as it does with those not used lately when there are many.
    pub fn pack(&mut self) {
        self.chains.pack_all();
    }

    fn demand(&self, rule: usize) -> Option<&Demand> {
        demand_of(&self.policy, rule)
    }

    /// Business time: the host's clock unless it is too far from Redis's, moved by the sandbox's offset.
    fn business_ms(&self, now: Now) -> i64 {
        let correction_ms = if self.skew_ms.abs() > CLOCK_SKEW_TOLERATED_MS {
            self.skew_ms
        } else {
            0
        };
        now.unix_ms + correction_ms + self.offset_ms
    }
}

/// Beyond this the host's clock is corrected by Redis's.
const CLOCK_SKEW_TOLERATED_MS: i64 = 2_000;

/// Whole seconds, rounded up; at least 0.
fn seconds(duration_ms: i64) -> u64 {
    u64::try_from(duration_ms.max(0))
        .unwrap_or(0)
        .div_ceil(1_000)
}

/// What a rule asks of a key; nothing if it is public.
fn demand_of(policy: &Policy, rule: usize) -> Option<&Demand> {
    match policy.rule(rule)?.access() {
        Access::Public => None,
        Access::Keyed(demand) => Some(demand),
    }
}

#[cfg(test)]
mod tests;
