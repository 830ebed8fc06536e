//! The rules of rate cards.

use tollgate_engine::slug::Slug;

use super::{Check, FeatureState};
use crate::catalog::period::Period;
use crate::catalog::plans::{Grant, RateCard, RateCardDocument, RateCardKind};
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
        let price = document.price.as_ref();
        let price = price.map(|price| self.price(price, kind, &place.field("price")));
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
        self.rated_windows(
            price.as_ref().and_then(Option::as_ref),
            entitlement.as_ref().and_then(Option::as_ref),
            billing_cadence.flatten(),
            place,
        );
        let grant = feature.map(|(feature, _)| Grant {
            feature,
            entitlement: None,
        });
        let key = key?;
        Some(RateCard {
            name: document.name.clone().unwrap_or_else(|| key.to_string()),
            key,
            kind: kind?,
            feature: match (grant, entitlement) {
                (Some(grant), Some(entitlement)) => Some(Grant {
                    entitlement: Some(entitlement?),
                    ..grant
                }),
                (grant, None) => grant,
                (None, Some(_)) => return None,
            },
            billing_cadence: billing_cadence?,
            price: match price {
                None => None,
                Some(price) => Some(price?),
            },
        })
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
        let cadence = match (&document.billing_cadence, kind) {
            (None, Some(RateCardKind::UsageBased)) => None,
            (None, _) => return Some(None),
            (Some(text), _) => text
                .parse()
                .ok()
                .filter(|cadence: &Period| cadence.is_card_cadence()),
        };
        let Some(cadence) = cadence else {
            let detail = "billing cadence must be one of the following: \
                PT1H, P1D, P1W, P2W, P4W, P1M, P3M, P6M, P12M, P1Y";
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
                let detail = "usage-based rate card requires feature to be associated with";
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
            let detail = "usage-based rate card requires feature with meter to be associated with";
            self.other
                .add(&at, "usage_based_price_with_feature_and_no_meter", detail);
        }
        Some((feature, state))
    }
}
