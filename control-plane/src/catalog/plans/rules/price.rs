//! The rules of prices.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::Check;
use crate::catalog::period::Period;
use crate::catalog::plans::document::{
    PriceDocument, ProRatingDocument, TierDocument, TierPriceDocument,
};
use crate::catalog::plans::price::{PaymentTerm, Price, Proration, Tier};
use crate::catalog::plans::{Entitlement, RateCardKind};
use crate::http::document::{Place, Scalar};
use crate::money::parse_amount;

const TIERS_MAX: usize = 50;

impl Check<'_> {
    pub(super) fn proration(
        &mut self,
        document: Option<&ProRatingDocument>,
        place: &Place,
    ) -> Option<Proration> {
        let Some(document) = document else {
            return Some(Proration::MaxConsumption);
        };
        let proration = match document.mode.as_deref() {
            None | Some("max_consumption_based") => Proration::MaxConsumption,
            Some("prorate_prices") => Proration::Time,
            Some("none") => Proration::None,
            Some(other) => {
                let detail =
                    format!("{other:?} is neither max_consumption_based, prorate_prices nor none");
                self.critical
                    .add(&place.field("mode"), "pro_rating_mode_unknown", detail);
                return None;
            }
        };
        Some(match document.enabled {
            None | Some(true) => proration,
            Some(false) => Proration::None,
        })
    }

    pub(super) fn price(
        &mut self,
        document: &PriceDocument,
        kind: Option<RateCardKind>,
        place: &Place,
    ) -> Option<Price> {
        match document.price_type.as_str() {
            "flat" => self.flat(document, place),
            "tiered" => {
                if kind == Some(RateCardKind::FlatFee) {
                    let place = place.field("type");
                    let code = "rate_card_only_flat_price_allowed";
                    self.critical
                        .add(&place, code, "only flat price is allowed");
                }
                self.tiered(document, place)
            }
            kind @ ("unit" | "package" | "dynamic") => {
                let detail = format!("{kind} prices are not supported yet");
                self.critical
                    .add(&place.field("type"), "price_not_supported", detail);
                None
            }
            other => {
                let detail = format!("{other:?} is neither flat nor tiered");
                self.critical
                    .add(&place.field("type"), "price_type_unknown", detail);
                None
            }
        }
    }

    fn flat(&mut self, document: &PriceDocument, place: &Place) -> Option<Price> {
        let tiered = [
            ("mode", document.mode.is_some()),
            ("tiers", document.tiers.is_some()),
        ];
        self.foreign_to_price(&tiered, "flat", place);
        let amount = self.amount(document.amount.as_ref(), &place.field("amount"));
        let term = match document.payment_term.as_deref() {
            None | Some("in_advance") => Some(PaymentTerm::InAdvance),
            Some("in_arrears") => Some(PaymentTerm::InArrears),
            Some(other) => {
                let detail = format!("{other:?} is neither in_advance nor in_arrears");
                let place = place.field("paymentTerm");
                self.critical.add(&place, "payment_term_unknown", detail);
                None
            }
        };
        Some(Price::Flat {
            amount: amount?,
            term: term?,
        })
    }

    fn tiered(&mut self, document: &PriceDocument, place: &Place) -> Option<Price> {
        self.foreign_to_price(&[("amount", document.amount.is_some())], "tiered", place);
        if document
            .payment_term
            .as_ref()
            .is_some_and(|term| term != "in_arrears")
        {
            let place = place.field("paymentTerm");
            let detail = "a price by usage is in arrears";
            self.critical.add(&place, "payment_term_unknown", detail);
        }
        let mode = place.field("mode");
        match document.mode.as_deref() {
            Some("graduated") => {}
            Some("volume") => {
                let detail = "volume prices are not supported yet";
                self.critical.add(&mode, "price_not_supported", detail);
                return None;
            }
            other => {
                let detail = format!("{:?} is no mode of tiers", other.unwrap_or_default());
                self.critical.add(&mode, "price_mode_unknown", detail);
                return None;
            }
        }
        let tiers = document.tiers.as_deref().unwrap_or_default();
        self.tiers(tiers, &place.field("tiers"))
            .map(|tiers| Price::Graduated { tiers })
    }

    fn tiers(&mut self, documents: &[TierDocument], place: &Place) -> Option<Vec<Tier>> {
        if !(1..=TIERS_MAX).contains(&documents.len()) {
            let detail = format!("a tiered price has 1 to {TIERS_MAX} tiers");
            self.critical.add(place, "price_tiers_invalid", detail);
            return None;
        }
        let mut tiers = Vec::with_capacity(documents.len());
        let mut end = Some(Units::ZERO);
        for (index, document) in documents.iter().enumerate() {
            let place = place.index(index);
            let at = place.field("upToAmount");
            let up_to = self.units(document.up_to_amount.as_ref(), &at);
            if let Some(up_to) = up_to {
                let is_last = index + 1 == documents.len();
                let rises = up_to.is_none_or(|up_to| Some(up_to) > end);
                if is_last != up_to.is_none() || !rises {
                    let detail = "upToAmount rises from tier to tier, and only the last has none";
                    self.critical
                        .add(&at, "price_tier_up_to_amount_invalid", detail);
                }
                end = up_to;
            }
            tiers.push(self.tier(document, up_to, &place));
        }
        tiers.into_iter().collect()
    }

    fn tier(
        &mut self,
        document: &TierDocument,
        up_to: Option<Option<Units>>,
        place: &Place,
    ) -> Option<Tier> {
        if document.flat_price.is_none() && document.unit_price.is_none() {
            let detail = "a tier has a flat price, a unit price or both";
            self.critical.add(place, "price_tier_without_price", detail);
        }
        let flat = &document.flat_price;
        let flat = self.tier_price(flat.as_ref(), "flat", &place.field("flatPrice"));
        let unit = &document.unit_price;
        let unit = self.tier_price(unit.as_ref(), "unit", &place.field("unitPrice"));
        Some(Tier {
            up_to: up_to?,
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

    fn amount(&mut self, text: Option<&Scalar>, place: &Place) -> Option<Decimal> {
        let text = text.map_or("", |text| text.0.as_str());
        parse_amount(text)
            .map_err(|error| {
                let detail = format!("{text:?} {error}");
                self.critical.add(place, "price_amount_invalid", detail);
            })
            .ok()
    }

    fn foreign_to_price(&mut self, foreign: &[(&str, bool)], kind: &str, place: &Place) {
        for (name, _) in foreign.iter().filter(|(_, given)| *given) {
            let detail = format!("a {kind} price has no {name}");
            self.critical
                .add(&place.field(name), "unknown_field", detail);
        }
    }

    /// Units of a window are rated together, so that windows are as long as the card's cycles.
    pub(super) fn rated_windows(
        &mut self,
        price: Option<&Price>,
        entitlement: Option<&Entitlement>,
        cadence: Option<Period>,
        place: &Place,
    ) {
        let by_usage = matches!(price, Some(Price::Graduated { .. }));
        if let Some(Entitlement::Metered { usage_period, .. }) = entitlement
            && by_usage
            && cadence.is_some_and(|cadence| cadence != *usage_period)
        {
            let detail = "the usage period of a priced card must match its billing cadence";
            let place = place.field("entitlementTemplate").field("usagePeriod");
            let code = "rate_card_metered_entitlement_template_usage_period_mismatch";
            self.other.add(&place, code, detail);
        }
    }
}
