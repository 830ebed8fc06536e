//! What key, subscription, payment and entitlement say of a request, and for how long they will say the same.

use std::rc::Rc;

use smallvec::SmallVec;

use super::Refusal;
use super::keys::KnownKey;
use super::rates::Given;
use crate::contract::{AccessDocument, BlockCode, Entitlement, Term};
use crate::fields;
use crate::lease::Chain;
use crate::policy::Demand;
use crate::problem::{Code, IdentityHeaders};
use crate::slug::Slug;

/// What holds for one key and one rule, by one version of the access document, in a stretch of time: found once, and
/// good for every request in it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    rule: u32,
    version: u64,
    from_ms: i64,
    until_ms: i64,
    /// Which term holds.
    term: usize,
    /// By meter of the rule, the number of its open window.
    pub(super) windows: SmallVec<[u32; 2]>,
    /// By rate of the rule, what the plan gives of it.
    pub(super) rates: Box<[Option<Given>]>,
    /// Who calls.
    pub(super) caller: Rc<Caller>,
}

/// Who calls, by one version of the access document and one term of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The document's.
    pub(super) version: u64,
    /// `sub_…`.
    pub(super) subscription: String,
    /// Headers for the upstream.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub(super) fn new(
        known: &KnownKey,
        access: &AccessDocument,
        term: usize,
        form: IdentityHeaders,
    ) -> Self {
        let term = &access.terms[term];
        let mut headers = fields::Identity {
            customer: &access.customer,
            subscription: &term.subscription,
            plan: &term.plan,
            key: &known.id,
            subject: known.subject(),
        }
        .headers(form);
        headers.extend(fields::entitlements(&term.entitlements));
        headers.shrink_to_fit();
        Self {
            version: access.version,
            subscription: term.subscription.clone(),
            headers,
        }
    }
}

/// A stretch of time `[from, until)`, in unix ms.
struct Stretch {
    from_ms: i64,
    until_ms: i64,
}

impl Stretch {
    fn cut(&mut self, from_ms: i64, until_ms: i64) {
        self.from_ms = self.from_ms.max(from_ms);
        self.until_ms = self.until_ms.min(until_ms);
    }
}

impl Standing {
    /// Whether this is what holds for a rule and a version of the document at `now_ms`.
    pub(super) const fn holds(&self, rule: usize, version: u64, now_ms: i64) -> bool {
        self.rule as usize == rule
            && self.version == version
            && self.from_ms <= now_ms
            && now_ms < self.until_ms
    }

    /// Whether the chain still has its windows: it forgets those that are over, and clocks may be set back.
    pub(super) fn is_known_to(&self, chain: &Chain) -> bool {
        let mut windows = self.windows.iter();
        windows.all(|number| chain.window(*number).is_some())
    }

    /// Whether it is by that version of the document, in that term.
    pub(super) const fn is_of(&self, version: u64, term: usize) -> bool {
        self.version == version && self.term == term
    }

    /// Whether it holds beside another of the same key: by the same document, and for another rule.
    pub(super) const fn is_beside(&self, other: &Self) -> bool {
        self.version == other.version && self.rule != other.rule
    }

    /// What its headers take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.caller.headers.iter();
        headers.map(|(_, value)| value.len()).sum()
    }

    /// What holds at `now_ms`: the order of the checks is that of the codes that clients are told.
    pub(super) fn find(
        known: &KnownKey,
        chain: &mut Chain,
        (rule, demand): (usize, &Demand),
        now_ms: i64,
        caller: impl FnOnce(&AccessDocument, usize) -> Rc<Caller>,
    ) -> Result<Self, Refusal> {
        let Some(access) = chain.last_document() else {
            return Err(Refusal::Code(Code::StoreUnavailable));
        };
        let mut stretch = Stretch {
            from_ms: i64::MIN,
            until_ms: i64::MAX,
        };
        let number = term_at(known, &access, now_ms, &mut stretch).map_err(Refusal::Code)?;
        let term = &access.terms[number];
        if let Some(missing) = lacking(demand, term) {
            return Err(Refusal::Feature(missing.clone()));
        }
        let mut windows = SmallVec::new();
        for cost in &demand.meters {
            let meter = cost.meter.as_str();
            let Some(Entitlement::Metered { windows: described }) = term.entitlements.get(meter)
            else {
                return Err(Refusal::Meter(cost.meter.clone()));
            };
            let is_open = |window: &&crate::contract::Window| {
                window.start_ms <= now_ms && now_ms < window.end_ms
            };
            let Some(open) = described.iter().find(is_open) else {
                return Err(Refusal::Code(Code::StoreUnavailable));
            };
            stretch.cut(open.start_ms, open.end_ms);
            windows.push(chain.window_for(term.epoch, meter, open).number);
        }
        Ok(Self {
            rule: u32::try_from(rule).unwrap_or(u32::MAX),
            version: access.version,
            from_ms: stretch.from_ms,
            until_ms: stretch.until_ms,
            term: number,
            windows,
            rates: demand
                .rates
                .iter()
                .map(|cost| Given::by(term, cost))
                .collect(),
            caller: caller(&access, number),
        })
    }
}

/// The term that holds at `now_ms`, if key, subscription and payment let a request pass then.
fn term_at(
    known: &KnownKey,
    access: &AccessDocument,
    now_ms: i64,
    stretch: &mut Stretch,
) -> Result<usize, Code> {
    if known.is_revoked() {
        return Err(Code::KeyRevoked);
    }
    let expires_ms = known.expires_at_ms().unwrap_or(i64::MAX);
    if expires_ms <= now_ms {
        return Err(Code::KeyExpired);
    }
    stretch.cut(i64::MIN, expires_ms);
    let Some(number) = access.terms.iter().position(|term| term.contains(now_ms)) else {
        let starts_later = access.terms.iter().any(|term| now_ms < term.from_ms);
        return Err(if starts_later {
            Code::SubscriptionNotStarted
        } else {
            Code::SubscriptionEnded
        });
    };
    let term = &access.terms[number];
    stretch.cut(term.from_ms, term.to_ms.unwrap_or(i64::MAX));
    let Some(block) = access.block.as_ref().filter(|_| !known.bypasses()) else {
        return Ok(number);
    };
    if now_ms < block.from_ms {
        stretch.cut(i64::MIN, block.from_ms);
        return Ok(number);
    }
    Err(match block.code {
        BlockCode::PaymentRequired => Code::PaymentRequired,
        BlockCode::PaymentOverdue => Code::PaymentOverdue,
        BlockCode::PaymentUncollectible => Code::PaymentUncollectible,
    })
}

/// A feature that the rule requires and the term does not give.
fn lacking<'d>(demand: &'d Demand, term: &Term) -> Option<&'d Slug> {
    let is_missing = |feature: &&Slug| {
        !matches!(
            term.entitlements.get(feature.as_str()),
            Some(Entitlement::Boolean)
        )
    };
    demand.requires.iter().find(is_missing)
}
