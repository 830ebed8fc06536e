//! The operator's own notes on an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::document::{Mistakes, Place};

const ENTRIES_MAX: usize = 50;
const NAME_MAX_CHARACTERS: usize = 64;
const VALUE_MAX_CHARACTERS: usize = 500;

/// Names with texts, numbers or flags; at most 50.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Notes what is too long or not plain.
    pub fn check(&self, place: &Place, mistakes: &mut Mistakes) {
        if self.0.len() > ENTRIES_MAX {
            let detail = format!("more than {ENTRIES_MAX} entries");
            mistakes.add(place, "invalid_metadata", detail);
        }
        for (name, value) in &self.0 {
            let plain = match value {
                Value::String(text) => text.chars().count() <= VALUE_MAX_CHARACTERS,
                Value::Number(_) | Value::Bool(_) => true,
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            };
            if !plain || !(1..=NAME_MAX_CHARACTERS).contains(&name.chars().count()) {
                let detail = format!(
                    "a name has 1 to {NAME_MAX_CHARACTERS} characters, a value is a number, true, \
                     false or a text of up to {VALUE_MAX_CHARACTERS} characters"
                );
                mistakes.add(&place.field(name), "invalid_metadata", detail);
            }
        }
    }
}
