//! The rules of prices.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::Check;
use crate::catalog::plans::RateCardKind;
use crate::catalog::plans::document::{DiscountsDocument, PriceDocument, ProRatingDocument};
use crate::catalog::plans::price::{
    FlatPrice, PackageSize, PaymentTerm, Price, Proration, Rate, UsagePrice,
};
use crate::http::document::{Place, Scalar};
use crate::money::{Percentage, parse_amount};

/// What a rate card takes off its price.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discounts {
    percentage: Percentage,
    free: Units,
}

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

    pub(super) fn discounts(
        &mut self,
        document: Option<&DiscountsDocument>,
        place: &Place,
    ) -> Option<Discounts> {
        let percentage = document.and_then(|it| it.percentage.as_ref());
        let percentage = percentage.map_or(Some(Percentage::NONE), |it| {
            let place = place.field("percentage").field("percentage");
            let parsed = parse_amount(&it.percentage.0).ok();
            let percentage = parsed.and_then(Percentage::new);
            if percentage.is_none() {
                let code = "percentage_discount_invalid_value";
                let detail = "percentage must be between 0 and 100";
                self.critical.add(&place, code, detail);
            }
            percentage
        });
        let free = document.and_then(|it| it.usage.as_ref());
        let free = free.map_or(Some(Units::ZERO), |it| {
            let place = place.field("usage").field("quantity");
            let free = it.quantity.0.parse().ok();
            if it.quantity.0.starts_with('-') || free == Some(Units::ZERO) {
                let code = "usage_discount_negative_quantity";
                self.other.add(&place, code, "usage must be greater than 0");
                return None;
            }
            self.units(Some(&it.quantity), &place).flatten()
        });
        Some(Discounts {
            percentage: percentage?,
            free: free?,
        })
    }

    pub(super) fn price(
        &mut self,
        document: &PriceDocument,
        kind: Option<RateCardKind>,
        discounts: Option<Discounts>,
        place: &Place,
    ) -> Option<Price> {
        if document.price_type != "flat" && kind == Some(RateCardKind::FlatFee) {
            let place = place.field("type");
            let code = "rate_card_only_flat_price_allowed";
            self.critical
                .add(&place, code, "only flat price is allowed");
        }
        match document.price_type.as_str() {
            "flat" => {
                let price = self.flat(document, discounts, place);
                price.map(Price::Flat)
            }
            _ => {
                let price = self.usage(document, discounts, place);
                price.map(Price::Usage)
            }
        }
    }

    fn flat(
        &mut self,
        document: &PriceDocument,
        discounts: Option<Discounts>,
        place: &Place,
    ) -> Option<FlatPrice> {
        self.foreign_to_price(document, "flat", &["amount", "paymentTerm"], place);
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
        Some(FlatPrice {
            amount: amount?,
            term: term?,
            discount: discounts?.percentage,
        })
    }

    fn usage(
        &mut self,
        document: &PriceDocument,
        discounts: Option<Discounts>,
        place: &Place,
    ) -> Option<UsagePrice> {
        let rate = self.rate(document, place);
        if document
            .payment_term
            .as_ref()
            .is_some_and(|term| term != "in_arrears")
        {
            let place = place.field("paymentTerm");
            let detail = "a price by usage is in arrears";
            self.critical.add(&place, "payment_term_unknown", detail);
        }
        let minimum = self.limit(document.minimum_amount.as_ref(), "minimumAmount", place);
        let maximum = self.limit(document.maximum_amount.as_ref(), "maximumAmount", place);
        if let (Some(Some(minimum)), Some(Some(maximum))) = (minimum, maximum)
            && maximum < minimum
        {
            let detail = "minimum amount must be less than or equal to maximum amount";
            let place = place.field("minimumAmount");
            self.critical
                .add(&place, "price_minimum_above_maximum", detail);
        }
        let discounts = discounts?;
        Some(UsagePrice {
            free: discounts.free,
            rate: rate?,
            discount: discounts.percentage,
            minimum: minimum?.unwrap_or_default(),
            maximum: maximum?,
        })
    }

    fn rate(&mut self, document: &PriceDocument, place: &Place) -> Option<Rate> {
        let kind = document.price_type.as_str();
        let own: &[&str] = match kind {
            "unit" => &["amount"],
            "tiered" => &["mode", "tiers"],
            "package" => &["amount", "quantityPerPackage"],
            "dynamic" => &["multiplier"],
            other => {
                let detail =
                    format!("{other:?} is neither flat, unit, tiered, package nor dynamic");
                self.critical
                    .add(&place.field("type"), "price_type_unknown", detail);
                return None;
            }
        };
        let limits = ["paymentTerm", "minimumAmount", "maximumAmount"];
        self.foreign_to_price(document, kind, &[own, &limits].concat(), place);
        let amount = document.amount.as_ref();
        match kind {
            "unit" => {
                let amount = self.amount(amount, &place.field("amount"));
                amount.map(|amount| Rate::Unit { amount })
            }
            "package" => {
                let amount = self.amount(amount, &place.field("amount"));
                let size = self.package_size(document, &place.field("quantityPerPackage"));
                amount
                    .zip(size)
                    .map(|(amount, size)| Rate::Package { amount, size })
            }
            "dynamic" => {
                let multiplier = match &document.multiplier {
                    None => Some(Decimal::ONE),
                    given => self.amount(given.as_ref(), &place.field("multiplier")),
                };
                multiplier.map(|multiplier| Rate::Dynamic { multiplier })
            }
            _ => self.tiered(document, place),
        }
    }

    fn package_size(&mut self, document: &PriceDocument, place: &Place) -> Option<PackageSize> {
        let units = self.units(document.quantity_per_package.as_ref(), place)?;
        let size = units.and_then(PackageSize::new);
        if size.is_none() {
            let detail = "quantity per package must be greater than 0";
            self.critical
                .add(place, "price_quantity_per_package_invalid", detail);
        }
        size
    }

    fn limit(
        &mut self,
        amount: Option<&Scalar>,
        field: &str,
        place: &Place,
    ) -> Option<Option<Decimal>> {
        match amount {
            None => Some(None),
            given => self.amount(given, &place.field(field)).map(Some),
        }
    }

    pub(super) fn amount(&mut self, text: Option<&Scalar>, place: &Place) -> Option<Decimal> {
        let text = text.map_or("", |text| text.0.as_str());
        parse_amount(text)
            .map_err(|error| {
                let detail = format!("{text:?} {error}");
                self.critical.add(place, "price_amount_invalid", detail);
            })
            .ok()
    }

    fn foreign_to_price(
        &mut self,
        document: &PriceDocument,
        kind: &str,
        own: &[&str],
        place: &Place,
    ) {
        let given = [
            ("amount", document.amount.is_some()),
            ("paymentTerm", document.payment_term.is_some()),
            ("mode", document.mode.is_some()),
            ("tiers", document.tiers.is_some()),
            (
                "quantityPerPackage",
                document.quantity_per_package.is_some(),
            ),
            ("multiplier", document.multiplier.is_some()),
            ("minimumAmount", document.minimum_amount.is_some()),
            ("maximumAmount", document.maximum_amount.is_some()),
        ];
        for (name, _) in given
            .iter()
            .filter(|(name, given)| *given && !own.contains(name))
        {
            let detail = format!("a {kind} price has no {name}");
            self.critical
                .add(&place.field(name), "unknown_field", detail);
        }
    }
}
