//! Time zones by their IANA names.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::http::document::{Mistakes, Place};

/// A time zone, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The text names no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time zone such as Europe/Berlin")]
pub struct NotZone;

impl Zone {
    /// Universal time, which has no summer.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone for calendar arithmetic.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        self.0.clone()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = NotZone;

    fn from_str(text: &str) -> Result<Self, NotZone> {
        let zone = TimeZone::get(text).map_err(|_| NotZone)?;
        zone.iana_name()
            .is_some()
            .then_some(Self(zone))
            .ok_or(NotZone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// Reads a zone, or notes why it is none.
pub(crate) fn check_zone(
    text: Option<&str>,
    place: &Place,
    mistakes: &mut Mistakes,
) -> Option<Zone> {
    let text = text?;
    text.parse()
        .map_err(|error| mistakes.add(place, "invalid_time_zone", format!("{text} {error}")))
        .ok()
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
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
    fn a_zone_is_a_name_that_is_in_use() {
        for (text, name) in [
            ("UTC", "UTC"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("america/new_york", "America/New_York"),
        ] {
            let zone: Zone = text.parse().unwrap();
            assert_eq!(zone.to_string(), name);
            assert_eq!(zone.to_string().parse(), Ok(zone));
        }
        for text in [
            "",
            "Berlin",
            "+02:00",
            "CET-1CEST",
            "Mars/Olympus",
            "../UTC",
        ] {
            assert_eq!(text.parse::<Zone>(), Err(NotZone), "{text}");
        }
        assert_eq!("UTC".parse(), Ok(Zone::default()));
    }
}
