//! The rules of rate limits.

use jiff::SignedDuration;
use tollgate_engine::limits::{
    RATE_BURST_MAX_MILLI, RATE_BURST_MIN_MS, RATE_PER_MAX_MS, RATE_PER_MIN_MS,
};
use tollgate_engine::units::Units;

use super::Check;
use crate::catalog::plans::{Entitlement, EntitlementDocument};
use crate::http::document::{Place, Scalar};

impl Check<'_> {
    pub(super) fn rate_limit(
        &mut self,
        document: &EntitlementDocument,
        place: &Place,
    ) -> Option<Entitlement> {
        if document.units.is_none() {
            let detail = "units is required for rate limits";
            let code = "entitlement_template_rate_limit_units_required";
            self.critical.add(place, code, detail);
        }
        let units = self.rate_units(document.units.as_ref(), &place.field("units"));
        let per_ms = self.per(document.per.as_deref(), &place.field("per"));
        let burst = self.rate_units(document.burst.as_ref(), &place.field("burst"));
        let (units, per_ms) = (units??, per_ms?);
        let burst = burst?.unwrap_or(units);
        // What comes between two calls of a gateway must fit into it.
        let least = u128::from(units.milli()) * u128::from(RATE_BURST_MIN_MS);
        if u128::from(burst.milli()) * u128::from(per_ms) < least {
            let detail = format!("burst is less than the units of {RATE_BURST_MIN_MS} ms");
            let code = "entitlement_template_rate_limit_burst_too_small";
            self.critical.add(&place.field("burst"), code, detail);
            return None;
        }
        Some(Entitlement::RateLimit {
            units,
            per_ms,
            burst,
        })
    }

    fn rate_units(&mut self, text: Option<&Scalar>, place: &Place) -> Option<Option<Units>> {
        let units = self.units(text, place)?;
        let is_possible = |units: &Units| (1..=RATE_BURST_MAX_MILLI).contains(&units.milli());
        if units.as_ref().is_some_and(|units| !is_possible(units)) {
            let most = Units::from_milli(RATE_BURST_MAX_MILLI).unwrap_or(Units::MAX);
            let detail = format!("a rate limit has more than 0 and at most {most} units");
            let code = "entitlement_template_rate_limit_invalid_units";
            self.critical.add(place, code, detail);
            return None;
        }
        Some(units)
    }

    /// Milliseconds of a duration that is the same on every day.
    fn per(&mut self, text: Option<&str>, place: &Place) -> Option<u64> {
        let duration = text
            .filter(|text| text.starts_with('P'))
            .and_then(|text| text.parse::<SignedDuration>().ok());
        let per_ms = duration
            .filter(|duration| duration.subsec_nanos() % 1_000_000 == 0)
            .and_then(|duration| u64::try_from(duration.as_millis()).ok())
            .filter(|per_ms| (RATE_PER_MIN_MS..=RATE_PER_MAX_MS).contains(per_ms));
        if per_ms.is_none() {
            let detail = "per is not an ISO 8601 duration from PT1S to PT24H";
            let code = "entitlement_template_rate_limit_invalid_per";
            self.critical.add(place, code, detail);
        }
        per_ms
    }
}
