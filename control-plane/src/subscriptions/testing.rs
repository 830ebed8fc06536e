//! Plans and chains for the tests of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::schedule::{Resumed, resumed_at};
use super::{Anchor, Begin, Chain, Member, Start, Subscription};
use crate::calendar::Zone;
use crate::catalog::plans::{
    Entitlement, FlatPrice, Grant, Limit, PaymentTerm, Phase, Plan, Price, Proration, Rate,
    RateCard, RateCardKind, TierPrice, Tiers, UsagePrice,
};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::ids::{CustomerId, PlanId, SubscriptionId};
use crate::metadata::Metadata;
use crate::money::{Percentage, parse_amount};

fn then() -> MachineInstant {
    MachineInstant::from_unix_ms(0)
}

pub fn instant(text: &str) -> BusinessInstant {
    let text = if text.contains('T') {
        text.to_owned()
    } else {
        format!("{text}T00:00:00Z")
    };
    text.parse::<Timestamp>().unwrap().into()
}

/// A phase that gives 100 units of each meter in each of its periods.
pub fn phase(duration: Option<&str>, meters: &[(&str, &str)]) -> Phase {
    let cards = meters.iter().map(|(meter, period)| RateCard {
        key: meter.parse().unwrap(),
        name: (*meter).to_owned(),
        kind: RateCardKind::FlatFee,
        feature: Some(Grant {
            feature: meter.parse().unwrap(),
            entitlement: Some(Entitlement::Metered {
                issue_after_reset: Units::ONE.checked_mul(100),
                limit: Limit::Hard,
                usage_period: period.parse().unwrap(),
            }),
        }),
        billing_cadence: None,
        price: None,
    });
    Phase {
        key: "phase".parse().unwrap(),
        name: "phase".to_owned(),
        duration: duration.map(|text| text.parse().unwrap()),
        rate_cards: cards.collect(),
    }
}

/// A card with a flat price and nothing else.
pub fn flat(key: &str, cadence: Option<&str>, amount: &str, term: PaymentTerm) -> RateCard {
    RateCard {
        key: key.parse().unwrap(),
        name: key.to_owned(),
        kind: RateCardKind::FlatFee,
        feature: None,
        billing_cadence: cadence.map(|text| text.parse().unwrap()),
        price: Some(Price::Flat(FlatPrice {
            amount: parse_amount(amount).unwrap(),
            term,
            discount: Percentage::NONE,
        })),
    }
}

/// A price by usage with nothing but a rate.
pub fn usage(rate: Rate) -> UsagePrice {
    UsagePrice {
        free: Units::ZERO,
        rate,
        discount: Percentage::NONE,
        minimum: Decimal::ZERO,
        maximum: None,
    }
}

/// Tiers of (end, flat price, unit price), of which the last has no end; an empty text stands for none.
pub fn tiers(tiers: &[(&str, &str, &str)]) -> Tiers {
    let some = |text: &str| (!text.is_empty()).then(|| parse_amount(text).unwrap());
    let price = |(_, flat, unit): &(&str, &str, &str)| TierPrice {
        flat: some(flat),
        unit: some(unit),
    };
    let (open, closed) = tiers.split_last().unwrap();
    assert_eq!(open.0, "");
    let closed = closed
        .iter()
        .map(|tier| (tier.0.parse().unwrap(), price(tier)));
    Tiers::new(closed.collect(), price(open)).unwrap()
}

pub fn plan(phases: Vec<Phase>) -> Arc<Plan> {
    Arc::new(Plan {
        key: "plan".parse().unwrap(),
        name: "plan".to_owned(),
        currency: "USD".parse().unwrap(),
        billing_cadence: "P1M".parse().unwrap(),
        payment_method_required: None,
        proration: Proration::MaxConsumption,
        metadata: Metadata::default(),
        phases,
    })
}

/// A chain without subscriptions.
pub fn chain() -> Chain {
    Chain {
        id: SubscriptionId::generate(then()),
        customer: CustomerId::generate(then()),
        tag: "abcd".parse().unwrap(),
        version: 1,
        members: Vec::new(),
    }
}

impl Chain {
    /// Ends the last subscription at `start`, if it goes on, and begins one to `plan`.
    pub fn then(mut self, start: BusinessInstant, plan: &Arc<Plan>) -> Self {
        if let Some(last) = self.members.last_mut() {
            last.subscription.active_to.get_or_insert(start);
        }
        let resumed: BTreeMap<_, Resumed> = resumed_at(&self.members, start);
        let subscription = Subscription {
            id: SubscriptionId::generate(then()),
            key: None,
            chain: self.id,
            epoch: u32::try_from(self.members.len()).unwrap() + 1,
            customer: self.customer,
            plan: PlanId::generate(then()),
            plan_key: plan.key.clone(),
            plan_version: 1,
            starting_phase: 0,
            start: Start::Regular,
            begin: Begin::OnTime,
            resumed,
            anchor: Anchor::Start,
            zone: Zone::UTC,
            overage_limits: BTreeMap::new(),
            active_from: start,
            active_to: None,
            created_at: start,
        };
        self.members.push(Member {
            subscription,
            plan: Arc::clone(plan),
        });
        self
    }

    /// Has the boundaries of the last subscription count from elsewhere.
    pub fn anchored(mut self, anchor: Anchor) -> Self {
        self.members.last_mut().unwrap().subscription.anchor = anchor;
        self
    }

    /// Has the boundaries of the last subscription be dates of a zone.
    pub fn in_zone(mut self, zone: &str) -> Self {
        self.members.last_mut().unwrap().subscription.zone = zone.parse().unwrap();
        self
    }

    /// Ends the last subscription.
    pub fn ending(mut self, end: BusinessInstant) -> Self {
        self.members.last_mut().unwrap().subscription.active_to = Some(end);
        self
    }
}
