//! What key, subscription, payment and entitlement say of a request, and for how long they will say the same.

use smallvec::SmallVec;

use super::Refusal;
use super::keys::KnownKey;
use crate::contract::{AccessDocument, BlockCode, Entitlement, KeyDocument, Term};
use crate::lease::Chain;
use crate::policy::Demand;
use crate::problem::Code;
use crate::slug::Slug;

/// What holds for one key and one rule, by one version of the access document, in a stretch of time: found once, and
/// good for every request in it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    rule: usize,
    version: u64,
    from_ms: i64,
    until_ms: i64,
    /// Which term holds.
    pub(super) term: usize,
    /// By meter of the rule, the number of its open window.
    pub(super) windows: SmallVec<[u32; 2]>,
}

impl KnownKey {
    /// What holds at `now_ms`, if it lets a request pass; the caller puts it back for the next one.
    pub(super) fn standing_at(
        &mut self,
        access: &AccessDocument,
        chain: &mut Chain,
        rule: (usize, &Demand),
        now_ms: i64,
    ) -> Result<Standing, Refusal> {
        let held = self.standing.take();
        match held.filter(|held| held.holds(rule.0, access.version, now_ms)) {
            Some(held) if held.is_known_to(chain) => Ok(held),
            _ => Standing::find(&self.document, access, chain, rule, now_ms),
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
    const fn holds(&self, rule: usize, version: u64, now_ms: i64) -> bool {
        self.rule == rule
            && self.version == version
            && self.from_ms <= now_ms
            && now_ms < self.until_ms
    }

    /// Whether the chain still has its windows: it forgets those that are over, and clocks may be set back.
    fn is_known_to(&self, chain: &Chain) -> bool {
        let mut windows = self.windows.iter();
        windows.all(|number| chain.window(*number).is_some())
    }

    /// What holds at `now_ms`: the order of the checks is that of the codes that clients are told.
    fn find(
        key: &KeyDocument,
        access: &AccessDocument,
        chain: &mut Chain,
        (rule, demand): (usize, &Demand),
        now_ms: i64,
    ) -> Result<Self, Refusal> {
        let mut stretch = Stretch {
            from_ms: i64::MIN,
            until_ms: i64::MAX,
        };
        let number = term_at(key, access, now_ms, &mut stretch).map_err(Refusal::Code)?;
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
            rule,
            version: access.version,
            from_ms: stretch.from_ms,
            until_ms: stretch.until_ms,
            term: number,
            windows,
        })
    }
}

/// The term that holds at `now_ms`, if key, subscription and payment let a request pass then.
fn term_at(
    key: &KeyDocument,
    access: &AccessDocument,
    now_ms: i64,
    stretch: &mut Stretch,
) -> Result<usize, Code> {
    if key.revoked_at_ms.is_some() {
        return Err(Code::KeyRevoked);
    }
    let expires_ms = key.expires_at_ms.unwrap_or(i64::MAX);
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
    let Some(block) = access.block.as_ref().filter(|_| !key.bypass) else {
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
