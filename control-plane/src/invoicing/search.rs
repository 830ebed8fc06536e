//! A search for a sequence of changes, cancelations and anchors by which somebody gets more than was paid for.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;
use tollgate_engine::contract::WindowId;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::charges;
use super::credits::quotas;
use super::proration::{self, Consumption, Fee};
use crate::catalog::currency::Currency;
use crate::catalog::plans::{PaymentTerm, Plan, Proration};
use crate::clock::BusinessInstant;
use crate::money::{self, Minor};
use crate::subscriptions::testing::{chain, flat, instant, phase, plan};
use crate::subscriptions::{Anchor, Chain, Member};

const HOUR_MS: i64 = 3_600_000;

/// A plan with 100 units a usage period, its fee, and what a unit of it is worth.
struct Offer {
    plan: Arc<Plan>,
    unit: Decimal,
}

fn offer(usage_period: &str, fee: Option<(&str, &str)>, quotas: u32) -> Offer {
    let mut phase = phase(None, &[("api", usage_period)]);
    let amount = fee.map_or(Decimal::ZERO, |(_, amount)| amount.parse().unwrap());
    if let Some((cadence, amount)) = fee {
        let fee = flat("fee", Some(cadence), amount, PaymentTerm::InAdvance);
        phase.rate_cards.push(fee);
    }
    Offer {
        plan: plan(vec![phase]),
        unit: amount / Decimal::from(100 * quotas),
    }
}

/// Free, monthly, dearer, and yearly with quotas by the month.
fn offers() -> [Offer; 4] {
    [
        offer("P1M", None, 1),
        offer("P1M", Some(("P1M", "29")), 1),
        offer("P1M", Some(("P1M", "99")), 1),
        offer("P1M", Some(("P1Y", "290")), 12),
    ]
}

/// What a customer does after some hours of using a part, in percent, of what is left.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// Changes to a plan, keeping the boundaries or not.
    Change(usize, Boundaries),
    /// Cancels, and subscribes again some hours later.
    Leave(usize, i64),
}

#[derive(Clone, Copy, Debug)]
enum Boundaries {
    Anew,
    Kept,
}

/// A customer who was billed and used things.
struct Customer {
    chain: Chain,
    /// The plan of each subscription.
    plans: Vec<usize>,
    fees: Vec<(usize, Fee)>,
    /// The last boundary of the current subscription that was billed.
    billed: Option<BusinessInstant>,
    used: BTreeMap<WindowId, Units>,
    credit: Minor,
    cash: Minor,
    /// What the used units of plans with fees are worth.
    worth: Decimal,
    /// What rounding may come to.
    tolerance: Decimal,
}

impl Customer {
    fn current(&self) -> &Member {
        self.chain.members.last().unwrap()
    }

    /// Bills the current subscription until `until`.
    fn bill(&mut self, until: BusinessInstant) {
        let currency: Currency = "USD".parse().unwrap();
        let member = self.current().clone();
        while let Some(boundary) =
            charges::next_boundary(&member, self.billed).filter(|at| *at <= until)
        {
            self.billed = Some(boundary);
            for charge in charges::fees_from(&member, boundary) {
                let paid = money::round(charge.amount, currency).unwrap();
                let credit = paid.min(self.credit);
                self.credit -= credit;
                self.cash += paid - credit;
                self.tolerance += Decimal::new(2, 2);
                let fee = Fee {
                    paid,
                    currency,
                    period: charge.period,
                    credited: Minor::ZERO,
                };
                self.fees.push((self.plans.len() - 1, fee));
            }
        }
    }

    /// Uses so many percent of what is left of the current window.
    fn consume(&mut self, at: BusinessInstant, percent: u64, offers: &[Offer]) {
        let meter: Slug = "api".parse().unwrap();
        let term = self.current().term_at(at).unwrap();
        let window = term
            .windows(&meter, "P1M".parse().unwrap(), at)
            .next()
            .unwrap();
        let quota = window.share_of(Units::ONE.saturating_mul(100));
        let used = |id: &WindowId| self.used.get(id).copied().unwrap_or_default();
        let carried = window
            .carried
            .iter()
            .map(used)
            .fold(Units::ZERO, Units::saturating_add);
        let left = quota
            .saturating_sub(carried)
            .saturating_sub(used(&window.id));
        let units = Units::ONE.saturating_mul(left.milli() / 1_000 * percent / 100);
        let unit = offers[*self.plans.last().unwrap()].unit;
        self.worth += unit * super::pricing::quantity(units);
        // A quota's share is rounded up to whole units.
        self.tolerance += unit;
        let window = self.used.entry(window.id).or_default();
        *window = window.saturating_add(units);
    }

    /// Gives back what is left of the fees of the current subscription.
    fn give_back(&mut self, at: BusinessInstant) {
        let member = self.current().clone();
        let (epoch, index) = (member.subscription.epoch, self.plans.len() - 1);
        for (of, fee) in &mut self.fees {
            if *of != index || at < fee.period.start || fee.period.end <= at {
                continue;
            }
            let inside = |id: &WindowId| {
                id.epoch == epoch
                    && (fee.period.start.unix_ms()..at.unix_ms()).contains(&id.start_ms)
            };
            let used = self.used.iter().filter(|(id, _)| inside(id));
            let consumed = used
                .map(|(_, units)| *units)
                .fold(Units::ZERO, Units::saturating_add);
            let quotas = quotas(&member, fee.period).into_iter();
            let consumption: Vec<_> = quotas
                .map(|(_, quota)| Consumption { consumed, quota })
                .collect();
            let credit =
                proration::credit(fee, at, Proration::MaxConsumption, &consumption).unwrap();
            fee.credited += credit;
            self.credit += credit;
            assert!(fee.credited <= fee.paid);
        }
    }

    fn begin(&mut self, at: BusinessInstant, which: usize, anchor: Anchor, offers: &[Offer]) {
        let chain = self.chain.clone().then(at, &offers[which].plan);
        self.chain = chain.anchored(anchor);
        self.plans.push(which);
        self.billed = None;
        self.bill(at);
    }

    fn act(&mut self, at: BusinessInstant, action: Move, offers: &[Offer]) -> BusinessInstant {
        match action {
            Move::Change(which, boundaries) => {
                let before = BusinessInstant::from_unix_ms(at.unix_ms() - 1);
                let term = self.current().term_at(before).unwrap();
                let anchor = match boundaries {
                    Boundaries::Anew => Anchor::Start,
                    Boundaries::Kept => Anchor::Kept(term.anchor()),
                };
                self.give_back(at);
                self.begin(at, which, anchor, offers);
                at
            }
            Move::Leave(which, hours) => {
                self.chain = self.chain.clone().ending(at);
                let back = BusinessInstant::from_unix_ms(at.unix_ms() + hours * HOUR_MS);
                self.begin(back, which, Anchor::Start, offers);
                back
            }
        }
    }
}

fn moves() -> impl Strategy<Value = Vec<(i64, u64, Move)>> {
    let change = (
        0_usize..4,
        prop_oneof![Just(Boundaries::Anew), Just(Boundaries::Kept)],
    );
    let action = prop_oneof![
        4 => change.prop_map(|(which, boundaries)| Move::Change(which, boundaries)),
        1 => (0_usize..4, 0_i64..900).prop_map(|(which, hours)| Move::Leave(which, hours)),
    ];
    // Many at once, some around a boundary, some far apart.
    let hours = prop_oneof![1_i64..30, 700_i64..760, 1_i64..2_000];
    let percent = prop_oneof![Just(0_u64), Just(100), 0_u64..100];
    prop::collection::vec((hours, percent, action), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// B6: what was paid is at least what the used units are worth, and at least the greatest fee.
    #[test]
    fn nobody_gets_more_than_was_paid_for(moves in moves(), first in 0_usize..4) {
        let offers = offers();
        let mut at = instant("2026-01-31T10:00:00Z");
        let mut customer = Customer {
            chain: chain(),
            plans: Vec::new(),
            fees: Vec::new(),
            billed: None,
            used: BTreeMap::new(),
            credit: Minor::ZERO,
            cash: Minor::ZERO,
            worth: Decimal::ZERO,
            tolerance: Decimal::ZERO,
        };
        customer.begin(at, first, Anchor::Start, &offers);
        for (hours, percent, action) in moves {
            // Used at once, and just before the next thing.
            customer.consume(at, percent, &offers);
            at = BusinessInstant::from_unix_ms(at.unix_ms() + hours * HOUR_MS);
            let last = BusinessInstant::from_unix_ms(at.unix_ms() - 1);
            customer.bill(last);
            customer.consume(last, percent, &offers);
            at = customer.act(at, action, &offers);
        }
        let currency: Currency = "USD".parse().unwrap();
        let cash = customer.cash.of(currency).decimal();
        prop_assert!(customer.worth <= cash + customer.tolerance,
            "{} worth of units for {cash}", customer.worth);
        let greatest = customer.fees.iter().map(|(_, fee)| fee.paid).max().unwrap_or(Minor::ZERO);
        prop_assert!(greatest <= customer.cash, "{greatest:?} and more for {cash}");
        let credited: Minor = customer.fees.iter().map(|(_, fee)| fee.credited).sum();
        let paid: Minor = customer.fees.iter().map(|(_, fee)| fee.paid).sum();
        prop_assert_eq!(paid - customer.cash, credited - customer.credit);
    }
}
