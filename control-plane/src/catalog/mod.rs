//! The catalogue: what is counted, what is sold, and under which conditions.

pub mod configuration;
pub mod currency;
pub mod period;
pub mod plans;
pub mod routes;
mod store;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use utoipa::ToSchema;

pub use store::{find_feature, find_meter};

use crate::clock::{BusinessInstant, Clock};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{FeatureId, MeterId};
use crate::metadata::Metadata;

const NAME_MAX_CHARACTERS: usize = 256;
const TEXT_MAX_CHARACTERS: usize = 256;

/// What is counted; its slug is also the key of the feature and of the filter's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Its id.
    pub id: MeterId,
    /// What everything else calls it: 1 to 64 of `a-z`, `0-9` and `_`.
    #[schema(value_type = String)]
    pub slug: Slug,
    /// What people call it.
    pub name: String,
    /// The type of the events it counts.
    pub event_type: String,
    /// How it counts.
    pub aggregation: Aggregation,
    /// Where in an event its units are, as a JSONPath.
    pub value_property: Option<String>,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// Since when no new feature may use it.
    pub archived_at: Option<BusinessInstant>,
}

/// How a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Aggregation {
    /// The units of all events together.
    Sum,
}

impl Aggregation {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "SUM",
        }
    }
}

impl FromStr for Aggregation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "SUM" => Ok(Self::Sum),
            _ => Err(()),
        }
    }
}

/// A capability that plans give; metered or static.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Its id.
    pub id: FeatureId,
    /// What plans call it: 1 to 64 of `a-z`, `0-9` and `_`.
    #[schema(value_type = String)]
    pub key: Slug,
    /// What people call it.
    pub name: String,
    /// The meter of a metered feature, which has the same name.
    #[schema(value_type = Option<String>)]
    pub meter_slug: Option<Slug>,
    /// The operator's notes.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// Since when no new plan may use it.
    pub archived_at: Option<BusinessInstant>,
}

/// What to send for a new meter.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterDocument {
    #[serde(default)]
    slug: String,
    #[serde(default)]
    name: String,
    /// The slug when left out.
    event_type: Option<String>,
    /// `SUM` when left out.
    #[schema(value_type = Option<Aggregation>)]
    aggregation: Option<String>,
    value_property: Option<String>,
}

impl Document for MeterDocument {
    const TOLERATED: &'static [&'static str] = &[
        "id",
        "description",
        "groupBy",
        "windowSize",
        "createdAt",
        "updatedAt",
        "archivedAt",
    ];
}

impl MeterDocument {
    fn check(self, clock: &Clock, mistakes: &mut Mistakes) -> Option<Meter> {
        let root = Place::root();
        let slug = check_slug(&self.slug, &root.field("slug"), mistakes);
        check_name(&self.name, &root.field("name"), mistakes);
        for (field, text) in [
            ("eventType", &self.event_type),
            ("valueProperty", &self.value_property),
        ] {
            if let Some(text) = text {
                check_length(text, TEXT_MAX_CHARACTERS, &root.field(field), mistakes);
            }
        }
        let aggregation = self.aggregation.as_deref().unwrap_or("SUM").parse();
        if aggregation.is_err() {
            let detail = "only SUM is supported";
            mistakes.add(
                &root.field("aggregation"),
                "aggregation_not_supported",
                detail,
            );
        }
        let (slug, aggregation) = (slug?, aggregation.ok()?);
        Some(Meter {
            id: MeterId::generate(clock.machine_now()),
            name: self.name,
            event_type: self.event_type.unwrap_or_else(|| slug.to_string()),
            slug,
            aggregation,
            value_property: self.value_property,
            created_at: clock.business_now(),
            archived_at: None,
        })
    }
}

/// What to send for a new feature.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureDocument {
    #[serde(default)]
    key: String,
    #[serde(default)]
    name: String,
    /// Makes it a metered feature; the same as the key.
    meter_slug: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl Document for FeatureDocument {
    const TOLERATED: &'static [&'static str] = &[
        "id",
        "createdAt",
        "updatedAt",
        "archivedAt",
        "meterGroupByFilters",
    ];
}

impl FeatureDocument {
    /// The feature, if `meter`, the one its slug names, lets it be.
    fn check(self, clock: &Clock, meters: &[Meter], mistakes: &mut Mistakes) -> Option<Feature> {
        let root = Place::root();
        let key = check_slug(&self.key, &root.field("key"), mistakes);
        check_name(&self.name, &root.field("name"), mistakes);
        self.metadata.check(&root.field("metadata"), mistakes);
        let meter_slug = match self.meter_slug {
            None => None,
            Some(slug) => {
                let place = root.field("meterSlug");
                if slug != self.key {
                    let detail = "a metered feature's key is its meter's slug";
                    mistakes.add(&place, "feature_key_meter_slug_mismatch", detail);
                }
                match meters.iter().find(|meter| meter.slug.as_str() == slug) {
                    None => mistakes.add(&place, "meter_not_found", "there is no such meter"),
                    Some(meter) if meter.archived_at.is_some() => {
                        mistakes.add(&place, "meter_archived", "the meter is archived");
                    }
                    Some(_) => {}
                }
                slug.parse().ok()
            }
        };
        Some(Feature {
            id: FeatureId::generate(clock.machine_now()),
            key: key?,
            name: self.name,
            meter_slug,
            metadata: self.metadata,
            created_at: clock.business_now(),
            archived_at: None,
        })
    }
}

/// Reads a slug or key, or notes why it is none.
pub(crate) fn check_slug(text: &str, place: &Place, mistakes: &mut Mistakes) -> Option<Slug> {
    if text.is_empty() {
        mistakes.add(place, "resource_key_empty", "key must not be empty");
        return None;
    }
    match text.parse() {
        Ok(slug) => Some(slug),
        Err(error) => {
            mistakes.add(place, "invalid_key", format!("{text} {error}"));
            None
        }
    }
}

/// Notes a name that is empty or too long.
pub(crate) fn check_name(name: &str, place: &Place, mistakes: &mut Mistakes) {
    if name.trim().is_empty() {
        mistakes.add(place, "resource_name_empty", "name must not be empty");
    }
    check_length(name, NAME_MAX_CHARACTERS, place, mistakes);
}

fn check_length(text: &str, max_characters: usize, place: &Place, mistakes: &mut Mistakes) {
    if text.chars().count() > max_characters {
        mistakes.add(
            place,
            "too_long",
            format!("is longer than {max_characters} characters"),
        );
    }
}
