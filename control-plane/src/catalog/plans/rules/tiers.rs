//! The rules of tiers.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::Check;
use crate::catalog::plans::document::{PriceDocument, TierDocument, TierPriceDocument};
use crate::catalog::plans::price::{Rate, TierPrice, Tiers};
use crate::http::document::Place;

const TIERS_MAX: usize = 50;

impl Check<'_> {
    pub(super) fn tiered(&mut self, document: &PriceDocument, place: &Place) -> Option<Rate> {
        let rate = match document.mode.as_deref() {
            Some("graduated") => Some(Rate::Graduated as fn(Tiers) -> Rate),
            Some("volume") => Some(Rate::Volume as fn(Tiers) -> Rate),
            other => {
                let mode = other.unwrap_or_default();
                let detail = format!("{mode:?} is neither graduated nor volume");
                self.critical
                    .add(&place.field("mode"), "price_mode_unknown", detail);
                None
            }
        };
        let tiers = document.tiers.as_deref().unwrap_or_default();
        let tiers = self.tiers(tiers, &place.field("tiers"))?;
        Some(rate?(tiers))
    }

    fn tiers(&mut self, documents: &[TierDocument], place: &Place) -> Option<Tiers> {
        if !(1..=TIERS_MAX).contains(&documents.len()) {
            let detail = format!("a tiered price has 1 to {TIERS_MAX} tiers");
            self.critical.add(place, "price_tiers_invalid", detail);
            return None;
        }
        let mut tiers = Vec::with_capacity(documents.len());
        let mut end = Units::ZERO;
        for (index, document) in documents.iter().enumerate() {
            let place = place.index(index);
            let at = place.field("upToAmount");
            let up_to = self.units(document.up_to_amount.as_ref(), &at);
            if let Some(up_to) = up_to {
                let is_last = index + 1 == documents.len();
                let rises = up_to.is_none_or(|up_to| end < up_to);
                if is_last != up_to.is_none() || !rises {
                    let detail = "upToAmount rises from tier to tier, and only the last has none";
                    self.critical
                        .add(&at, "price_tier_up_to_amount_invalid", detail);
                }
                end = up_to.unwrap_or(end);
            }
            tiers.push(up_to.zip(self.tier(document, &place)));
        }
        let mut tiers = tiers.into_iter().collect::<Option<Vec<_>>>()?;
        let (None, open) = tiers.pop()? else {
            return None;
        };
        let closed = tiers
            .into_iter()
            .map(|(up_to, price)| Some((up_to?, price)));
        Tiers::new(closed.collect::<Option<_>>()?, open)
    }

    fn tier(&mut self, document: &TierDocument, place: &Place) -> Option<TierPrice> {
        if document.flat_price.is_none() && document.unit_price.is_none() {
            let detail = "a tier has a flat price, a unit price or both";
            self.critical.add(place, "price_tier_without_price", detail);
        }
        let flat = &document.flat_price;
        let flat = self.tier_price(flat.as_ref(), "flat", &place.field("flatPrice"));
        let unit = &document.unit_price;
        let unit = self.tier_price(unit.as_ref(), "unit", &place.field("unitPrice"));
        Some(TierPrice {
            flat: flat?,
            unit: unit?,
        })
    }

    fn tier_price(
        &mut self,
        document: Option<&TierPriceDocument>,
        kind: &str,
        place: &Place,
    ) -> Option<Option<Decimal>> {
        let Some(document) = document else {
            return Some(None);
        };
        if document
            .price_type
            .as_ref()
            .is_some_and(|text| text != kind)
        {
            let detail = format!("this price of a tier is of type {kind}");
            self.critical
                .add(&place.field("type"), "price_type_unknown", detail);
        }
        self.amount(Some(&document.amount), &place.field("amount"))
            .map(Some)
    }
}
