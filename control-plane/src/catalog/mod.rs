//! The catalogue: what is counted, what is sold, and under which conditions.

pub mod configuration;
pub mod currency;
pub mod invites;
pub mod plans;
pub mod property;
pub mod routes;
mod store;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tollgate_engine::slug::Slug;
use utoipa::ToSchema;

pub(crate) use store::meters_in_use;
pub use store::{find_feature, find_meter};

use property::Property;

use crate::clock::{BusinessInstant, Clock};
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{FeatureId, MeterId};
use crate::metadata::Metadata;

const NAME_MAX_CHARACTERS: usize = 256;
const TEXT_MAX_CHARACTERS: usize = 256;

/// The meter with an id or slug, archived or not.
///
/// # Errors
/// 404 when there is none.
pub(crate) async fn required_meter(connection: &mut Connection, id_or_slug: &str) -> Result<Meter> {
    let found = find_meter(connection, id_or_slug).await?;
    found.ok_or_else(|| Error::not_found("meter_not_found", "There is no such meter."))
}

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
    /// Where in an event's data its units or values are, as a JSONPath.
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
    /// The units of all events together. What passes the gateway is counted so.
    Sum,
    /// How many events there were.
    Count,
    /// The greatest units of an event.
    Max,
    /// The units of the last event.
    Latest,
    /// How many distinct values there were.
    UniqueCount,
}

impl Aggregation {
    const ALL: [Self; 5] = [
        Self::Sum,
        Self::Count,
        Self::Max,
        Self::Latest,
        Self::UniqueCount,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sum => "SUM",
            Self::Count => "COUNT",
            Self::Max => "MAX",
            Self::Latest => "LATEST",
            Self::UniqueCount => "UNIQUE_COUNT",
        }
    }
}

impl FromStr for Aggregation {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.name() == text).ok_or(())
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
    /// `$.tokens`: where in an event's data its units or values are. With `SUM`, each event is one unit when it is left
    /// out; with `COUNT` it always is.
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
            let detail = "is none of SUM, COUNT, MAX, LATEST and UNIQUE_COUNT";
            mistakes.add(&root.field("aggregation"), "aggregation_unknown", detail);
        }
        let property = self.value_property.as_deref();
        check_property(property, aggregation.ok(), mistakes);
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

/// Notes a value property that is no path, or that the aggregation lacks or has no use for.
fn check_property(text: Option<&str>, aggregation: Option<Aggregation>, mistakes: &mut Mistakes) {
    let place = Place::root().field("valueProperty");
    match (aggregation, text) {
        (Some(Aggregation::Max | Aggregation::Latest | Aggregation::UniqueCount), None) => {
            let detail = "this aggregation needs a valueProperty";
            mistakes.add(&place, "value_property_missing", detail);
        }
        (Some(Aggregation::Count), Some(_)) => {
            let detail = "COUNT looks at no value";
            mistakes.add(&place, "value_property_not_used", detail);
        }
        (_, Some(text)) if text.parse::<Property>().is_err() => {
            let detail = format!("{text} is no JSONPath of one place, like $.usage.tokens");
            mistakes.add(&place, "invalid_value_property", detail);
        }
        _ => {}
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

/// Reads a slug, or the key of a feature, a phase or a rate card, or notes why it is none.
pub(crate) fn check_slug(text: &str, place: &Place, mistakes: &mut Mistakes) -> Option<Slug> {
    check_key(text, place, mistakes)
}

/// Reads a key of any sort, or notes why it is none.
pub(crate) fn check_key<K: FromStr<Err: fmt::Display>>(
    text: &str,
    place: &Place,
    mistakes: &mut Mistakes,
) -> Option<K> {
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
