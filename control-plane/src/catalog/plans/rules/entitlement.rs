//! The rules of entitlements.

use serde_json::Value;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::{Check, FeatureState, PeriodCodes};
use crate::calendar::Period;
use crate::catalog::plans::{Entitlement, EntitlementDocument, Limit};
use crate::http::document::{Place, Scalar};

const STATIC_CONFIG_MAX_BYTES: usize = 4_096;

impl Check<'_> {
    pub(super) fn entitlement(
        &mut self,
        document: &EntitlementDocument,
        feature: Option<&(Slug, FeatureState)>,
        default_period: Option<Period>,
        place: &Place,
    ) -> Option<Entitlement> {
        self.foreign_fields(document, place);
        match document.entitlement_type.as_str() {
            "metered" => {
                if feature.is_some_and(|(_, state)| *state == FeatureState::Static) {
                    let detail = "a metered entitlement needs a feature with a meter";
                    self.other
                        .add(place, "entitlement_template_feature_not_metered", detail);
                }
                self.metered(document, default_period, place)
            }
            "boolean" => match &document.config {
                None | Some(Value::Bool(true)) => Some(Entitlement::Boolean),
                Some(_) => {
                    let detail = "a boolean entitlement's config is true or left out";
                    let place = place.field("config");
                    self.critical
                        .add(&place, "entitlement_template_invalid_config", detail);
                    None
                }
            },
            "static" => self.static_config(document.config.as_ref(), &place.field("config")),
            "rate_limit" => self.rate_limit(document, place),
            other => {
                let detail =
                    format!("{other:?} is neither metered, boolean, static nor rate_limit");
                self.critical
                    .add(&place.field("type"), "entitlement_type_unknown", detail);
                None
            }
        }
    }

    /// Notes fields that belong to another type of entitlement.
    fn foreign_fields(&mut self, document: &EntitlementDocument, place: &Place) {
        let kind = document.entitlement_type.as_str();
        let metered = [
            ("issueAfterReset", document.issue_after_reset.is_some()),
            ("isSoftLimit", document.is_soft_limit.is_some()),
            ("overageLimit", document.overage_limit.is_some()),
            (
                "preserveOverageAtReset",
                document.preserve_overage_at_reset.is_some(),
            ),
            ("usagePeriod", document.usage_period.is_some()),
        ];
        let config = [("config", document.config.is_some())];
        let rate_limit = [
            ("units", document.units.is_some()),
            ("per", document.per.is_some()),
            ("burst", document.burst.is_some()),
        ];
        let foreign = match kind {
            "metered" => [&config[..], &rate_limit].concat(),
            "boolean" | "static" => [&metered[..], &rate_limit].concat(),
            "rate_limit" => [&metered[..], &config].concat(),
            _ => Vec::new(),
        };
        for (name, _) in foreign.into_iter().filter(|(_, given)| *given) {
            let detail = format!("a {kind} entitlement has no {name}");
            self.critical
                .add(&place.field(name), "unknown_field", detail);
        }
    }

    fn metered(
        &mut self,
        document: &EntitlementDocument,
        default_period: Option<Period>,
        place: &Place,
    ) -> Option<Entitlement> {
        let issue = self.units(
            document.issue_after_reset.as_ref(),
            &place.field("issueAfterReset"),
        );
        let overage = self.units(
            document.overage_limit.as_ref(),
            &place.field("overageLimit"),
        );
        if document.preserve_overage_at_reset == Some(true) {
            let detail = "overage kept at reset is not supported yet";
            let place = place.field("preserveOverageAtReset");
            self.critical
                .add(&place, "preserve_overage_not_supported", detail);
        }
        if document.issue_after_reset_priority.is_some() && document.issue_after_reset.is_none() {
            let detail = "invalid entitlement template as issue after reset is required if issue \
                after reset priority is set";
            let code = "entitlement_template_invalid_issue_after_reset_with_priority";
            self.other
                .add(&place.field("issueAfterReset"), code, detail);
        }
        let limit = match document.is_soft_limit {
            Some(true) => Limit::Soft {
                overage_limit: overage?,
            },
            None | Some(false) => {
                if document.issue_after_reset.is_none() {
                    let detail = "issueAfterReset is required for metered entitlement templates";
                    let code = "entitlement_template_issue_after_reset_required";
                    self.other.add(place, code, detail);
                }
                if document.overage_limit.is_some() {
                    let detail = "only a soft limit has an overage limit";
                    let place = place.field("overageLimit");
                    self.other
                        .add(&place, "overage_limit_with_hard_limit", detail);
                }
                Limit::Hard
            }
        };
        let codes = PeriodCodes {
            negative: "entitlement_template_negative_usage_period",
            too_short: "entitlement_template_usage_period_less_then_an_hour",
            subject: "usage period",
        };
        let usage_period = match &document.usage_period {
            None => default_period,
            Some(text) => self.period(text, &codes, &place.field("usagePeriod")),
        };
        let (issue_after_reset, usage_period) = (issue?, usage_period?);
        Some(Entitlement::Metered {
            issue_after_reset,
            limit,
            usage_period,
        })
    }

    fn static_config(&mut self, config: Option<&Value>, place: &Place) -> Option<Entitlement> {
        let parsed = match config {
            // As OpenMeter has it: JSON as text.
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            other => other.cloned(),
        };
        match parsed {
            Some(config) if config.to_string().len() <= STATIC_CONFIG_MAX_BYTES => {
                Some(Entitlement::Static { config })
            }
            Some(_) => {
                let detail = format!("config is longer than {STATIC_CONFIG_MAX_BYTES} bytes");
                self.critical
                    .add(place, "entitlement_template_config_too_long", detail);
                None
            }
            None => {
                let detail = "invalid JSON in static entitlement config";
                self.critical
                    .add(place, "entitlement_template_invalid_json_config", detail);
                None
            }
        }
    }

    pub(super) fn units(&mut self, text: Option<&Scalar>, place: &Place) -> Option<Option<Units>> {
        let Some(Scalar(text)) = text else {
            return Some(None);
        };
        match text.parse() {
            Ok(units) => Some(Some(units)),
            Err(error) => {
                self.critical
                    .add(place, "invalid_units", format!("{text} {error}"));
                None
            }
        }
    }
}
