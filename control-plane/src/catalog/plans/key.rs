//! Keys of plans.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

const KEY_MAX_BYTES: usize = 64;

/// What the versions of a plan have in common: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PlanKey(Box<str>);

/// A text that is no key of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not 1 to {KEY_MAX_BYTES} lower-case letters, digits, underscores and hyphens")]
pub struct NotPlanKey;

impl PlanKey {
    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanKey {
    type Err = NotPlanKey;

    fn from_str(text: &str) -> Result<Self, NotPlanKey> {
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let is_key = (1..=KEY_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        is_key.then(|| Self(text.into())).ok_or(NotPlanKey)
    }
}

impl fmt::Display for PlanKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PlanKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format!("{text} {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_have_hyphens() {
        for text in ["free", "paygo-graduated", "p_2", &"k".repeat(64)] {
            assert_eq!(text.parse::<PlanKey>().unwrap().as_str(), text);
        }
        for text in ["", "Pro", "a b", "plan/1", "é", &"k".repeat(65)] {
            assert_eq!(text.parse::<PlanKey>(), Err(NotPlanKey), "{text}");
        }
    }
}
