//! The rules of rate cards.

use tollgate_engine::slug::Slug;

use super::{Check, FeatureState};
use crate::calendar::{NotPeriod, Period};
use crate::catalog::plans::document::{PriceDocument, TaxDocument};
use crate::catalog::plans::{
    Entitlement, Grant, Limit, Price, RateCard, RateCardDocument, RateCardKind,
};
use crate::catalog::{check_name, check_slug};
use crate::http::document::Place;

impl Check<'_> {
    pub(super) fn rate_card(
        &mut self,
        document: &RateCardDocument,
        plan_cadence: Option<Period>,
        place: &Place,
    ) -> Option<RateCard> {
        let kind = self.kind(&document.card_type, &place.field("type"));
        let key = document
            .key
            .as_deref()
            .or(document.feature_key.as_deref())
            .unwrap_or_default();
        let key = check_slug(key, &place.field("key"), &mut self.critical);
        if let Some(name) = &document.name {
            check_name(name, &place.field("name"), &mut self.critical);
        }
        document
            .metadata
            .check(&place.field("metadata"), &mut self.critical);
        self.tax(document.tax_config.as_ref(), &place.field("taxConfig"));
        let price = self.card_price(document, kind, place);
        let billing_cadence = self.card_cadence(document, kind, plan_cadence, place);
        let feature = self.feature(document, kind, place);
        let entitlement = document.entitlement_template.as_ref().map(|template| {
            let place = place.field("entitlementTemplate");
            if document.feature_key.is_none() {
                let detail = "entitlement template requires feature to be associated with";
                self.other
                    .add(&place, "entitlement_template_with_no_feature", detail);
            }
            let period = billing_cadence.flatten().or(plan_cadence);
            self.entitlement(template, feature.as_ref(), period, &place)
        });
        let entitlement = match entitlement {
            None => Some(None),
            Some(entitlement) => entitlement.map(Some),
        };
        let cadence = billing_cadence.flatten();
        let entitlement = match &price {
            Some(Some(Price::Usage(_))) => self.rated(entitlement, cadence, place),
            Some(Some(Price::Flat(_)) | None) | None => entitlement,
        };
        let key = key?;
        Some(RateCard {
            name: document.name.clone().unwrap_or_else(|| key.to_string()),
            key,
            kind: kind?,
            feature: match (feature, entitlement?) {
                (Some((feature, _)), entitlement) => Some(Grant {
                    feature,
                    entitlement,
                }),
                (None, None) => None,
                (None, Some(_)) => return None,
            },
            billing_cadence: billing_cadence?,
            price: price?,
        })
    }

    fn card_price(
        &mut self,
        document: &RateCardDocument,
        kind: Option<RateCardKind>,
        place: &Place,
    ) -> Option<Option<Price>> {
        let at = place.field("discounts");
        let discounts = self.discounts(document.discounts.as_ref(), &at);
        let is_flat = |price: &&PriceDocument| price.price_type == "flat";
        if document.price.as_ref().filter(is_flat).is_some()
            && document
                .discounts
                .as_ref()
                .is_some_and(|it| it.usage.is_some())
        {
            let detail = "usage discount is not supported for flat price";
            let at = at.field("usage");
            self.other
                .add(&at, "usage_discount_with_flat_price", detail);
        }
        match &document.price {
            None => Some(None),
            Some(price) => {
                let place = place.field("price");
                self.price(price, kind, discounts, &place).map(Some)
            }
        }
    }

    fn tax(&mut self, document: Option<&TaxDocument>, place: &Place) {
        match document.and_then(|it| it.behavior.as_deref()) {
            None | Some("inclusive" | "exclusive") => {}
            Some(other) => {
                let detail = format!("{other:?} is neither inclusive nor exclusive");
                let place = place.field("behavior");
                self.critical.add(&place, "tax_behavior_unknown", detail);
            }
        }
    }

    /// What a card with a price by usage entitles to: units are rated by the windows in which they
    /// are counted, so that these are as long as the card's cycles, and where nothing is said all
    /// units are taken.
    fn rated(
        &mut self,
        entitlement: Option<Option<Entitlement>>,
        cadence: Option<Period>,
        place: &Place,
    ) -> Option<Option<Entitlement>> {
        let place = place.field("entitlementTemplate");
        match entitlement? {
            None => Some(Some(Entitlement::Metered {
                issue_after_reset: None,
                limit: Limit::Soft {
                    overage_limit: None,
                },
                usage_period: cadence?,
            })),
            Some(
                Entitlement::Boolean | Entitlement::RateLimit { .. } | Entitlement::Static { .. },
            ) => {
                let detail = "a price by usage needs a metered entitlement template, or none";
                let code = "usage_based_price_with_no_metered_entitlement";
                self.other.add(&place.field("type"), code, detail);
                None
            }
            Some(entitlement @ Entitlement::Metered { usage_period, .. }) => {
                if cadence.is_some_and(|cadence| cadence != usage_period) {
                    let detail = "usage period for metered entitlement template must match";
                    let code = "rate_card_metered_entitlement_template_usage_period_mismatch";
                    self.other.add(&place.field("usagePeriod"), code, detail);
                }
                Some(Some(entitlement))
            }
        }
    }

    fn kind(&mut self, text: &str, place: &Place) -> Option<RateCardKind> {
        match text {
            "flat_fee" => Some(RateCardKind::FlatFee),
            "usage_based" => Some(RateCardKind::UsageBased),
            other => {
                let detail = format!("{other:?} is neither flat_fee nor usage_based");
                self.critical.add(place, "rate_card_type_unknown", detail);
                None
            }
        }
    }

    fn card_cadence(
        &mut self,
        document: &RateCardDocument,
        kind: Option<RateCardKind>,
        plan_cadence: Option<Period>,
        place: &Place,
    ) -> Option<Option<Period>> {
        let place = place.field("billingCadence");
        let parsed = match (&document.billing_cadence, kind) {
            (None, Some(RateCardKind::UsageBased)) => Err(NotPeriod::NotIso),
            (None, _) => return Some(None),
            (Some(text), _) => text.parse().and_then(Period::at_least_an_hour),
        };
        let cadence = parsed
            .ok()
            .filter(|cadence: &Period| cadence.is_card_cadence());
        let Some(cadence) = cadence else {
            let detail = match parsed {
                Err(NotPeriod::NotPositive | NotPeriod::TooShort) => {
                    "billing cadence must be positive and 1 hour long duration at least"
                }
                Ok(_) | Err(NotPeriod::NotIso) => {
                    "billing cadence must be one of the following: \
                     PT1H, P1D, P1W, P2W, P4W, P1M, P3M, P6M, P12M, P1Y"
                }
            };
            self.other
                .add(&place, "billing_cadence_invalid_value", detail);
            return None;
        };
        if plan_cadence.is_some_and(|plan| !cadence.is_aligned_with(plan)) {
            let detail = "plan billing cadence is not compatible with rate card billing cadence";
            self.other
                .add(&place, "plan_billing_cadence_not_compatible", detail);
        }
        Some(Some(cadence))
    }

    fn feature(
        &mut self,
        document: &RateCardDocument,
        kind: Option<RateCardKind>,
        place: &Place,
    ) -> Option<(Slug, FeatureState)> {
        let at = place.field("featureKey");
        let Some(text) = &document.feature_key else {
            if kind == Some(RateCardKind::UsageBased) {
                let detail = "usage-based price requires feature to be associated with";
                self.other
                    .add(&at, "usage_based_price_with_no_feature", detail);
            }
            return None;
        };
        let feature = check_slug(text, &at, &mut self.critical)?;
        if document.key.as_ref().is_some_and(|key| key != text) {
            let detail = "rate card key must match feature key";
            let at = place.field("key");
            self.critical
                .add(&at, "rate_card_key_feature_key_mismatch", detail);
        }
        let Some(features) = self.features else {
            // Published: a metered entitlement shows that the feature was metered.
            return Some((feature, FeatureState::Metered));
        };
        let state = match features.0.get(&feature).copied() {
            None => {
                self.critical
                    .add(&at, "rate_card_feature_not_found", "feature not found");
                return None;
            }
            Some(FeatureState::Archived) => {
                self.critical
                    .add(&at, "rate_card_feature_archived", "feature archived");
                return None;
            }
            Some(state) => state,
        };
        if kind == Some(RateCardKind::UsageBased) && state != FeatureState::Metered {
            let detail = "usage-based price requires feature with meter to be associated with";
            self.other
                .add(&at, "usage_based_price_with_feature_and_no_meter", detail);
        }
        Some((feature, state))
    }
}
