//! From a rate and a quantity to parts, exact: nothing here is rounded.

use rust_decimal::Decimal;
use smallvec::SmallVec;
use tollgate_engine::units::Units;

use super::{LineId, quantity};
use crate::catalog::plans::{Rate, Tiers, UsagePrice};

/// What one part of a price comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: LineId,
    /// How many times the unit amount.
    pub(super) quantity: Decimal,
    /// The price of one; none where the quantity has no one price.
    pub(super) unit_amount: Option<Decimal>,
    pub(super) amount: Decimal,
}

/// The parts of one quantity; those of a few tiers take no allocation.
pub(super) type Parts = SmallVec<[Part; 6]>;

impl Part {
    fn new(id: LineId, quantity: Decimal, unit_amount: Decimal) -> Self {
        Self {
            id,
            quantity,
            unit_amount: Some(unit_amount),
            // Exact: 12 digits of a price times 16 of a quantity.
            amount: quantity * unit_amount,
        }
    }
}

/// What `units` of one cycle cost, without the free ones.
pub(super) fn parts(price: &UsagePrice, units: Units) -> Parts {
    let units = units.saturating_sub(price.free);
    let single = |id, quantity: Decimal, unit| -> Parts {
        let part = (!quantity.is_zero()).then(|| Part::new(id, quantity, unit));
        part.into_iter().collect()
    };
    match &price.rate {
        Rate::Unit { amount } => single(LineId::Unit, quantity(units), *amount),
        Rate::Graduated(tiers) => graduated(tiers, units),
        Rate::Volume(tiers) => volume(tiers, units),
        Rate::Package { amount, size } => {
            single(LineId::Usage, size.packages(units).into(), *amount)
        }
        Rate::Dynamic { multiplier } => single(LineId::Usage, quantity(units), *multiplier),
    }
}

/// Each unit costs what its own tier says; a tier's flat price is due when the tier is entered, the
/// first tier's always.
fn graduated(tiers: &Tiers, units: Units) -> Parts {
    let mut parts = Parts::new();
    let mut start = Units::ZERO;
    for (number, (up_to, tier)) in (1..).zip(tiers.iter()) {
        let is_entered = number == 1 || start < units;
        if !is_entered {
            break;
        }
        let end = up_to.map_or(units, |up_to| up_to.min(units));
        let in_tier = end.saturating_sub(start);
        if let Some(unit) = tier.unit.filter(|_| !in_tier.is_zero()) {
            let id = LineId::TierUsage(number);
            parts.push(Part::new(id, quantity(in_tier), unit));
        }
        if let Some(flat) = tier.flat.filter(|flat| !flat.is_zero()) {
            let id = LineId::TierFlat(number);
            parts.push(Part::new(id, Decimal::ONE, flat));
        }
        start = end;
    }
    parts
}

/// Every unit costs what the tier of the last one says, and that tier's flat price is due once; of
/// nothing, the first tier's.
fn volume(tiers: &Tiers, units: Units) -> Parts {
    let mut parts = Parts::new();
    let is_in = |up_to: Option<Units>| up_to.is_none_or(|up_to| units <= up_to);
    let Some((_, tier)) = tiers.iter().find(|(up_to, _)| is_in(*up_to)) else {
        return parts;
    };
    if let Some(unit) = tier.unit.filter(|_| !units.is_zero()) {
        parts.push(Part::new(LineId::VolumeUsage, quantity(units), unit));
    }
    if let Some(flat) = tier.flat.filter(|flat| !flat.is_zero()) {
        parts.push(Part::new(LineId::VolumeFlat, Decimal::ONE, flat));
    }
    parts
}

/// What units after the ones that `before` is of cost: the difference, part by part.
///
/// Where a part would be negative, since later units made earlier ones cheaper, everything comes to
/// one part without a price of its own, of at least nothing.
pub(super) fn after(before: &Parts, mut both: Parts) -> Parts {
    for part in before {
        match both.iter_mut().find(|it| it.id == part.id) {
            Some(it) => {
                if it.unit_amount != part.unit_amount {
                    it.unit_amount = None;
                }
                it.quantity -= part.quantity;
                it.amount -= part.amount;
            }
            None => both.push(Part {
                quantity: -part.quantity,
                amount: -part.amount,
                ..*part
            }),
        }
    }
    both.retain(|part| !part.quantity.is_zero() || !part.amount.is_zero());
    let is_sound = |part: &Part| !part.amount.is_sign_negative() && part.quantity > Decimal::ZERO;
    if both.iter().all(is_sound) {
        return both;
    }
    let amount: Decimal = both.iter().map(|part| part.amount).sum();
    let of_usage = |part: &&Part| !matches!(part.id, LineId::VolumeFlat);
    let quantity: Decimal = both.iter().filter(of_usage).map(|part| part.quantity).sum();
    let part = Part {
        id: LineId::VolumeUsage,
        quantity: quantity.max(Decimal::ZERO),
        unit_amount: None,
        amount,
    };
    std::iter::once(part)
        .filter(|part| part.amount > Decimal::ZERO)
        .collect()
}
