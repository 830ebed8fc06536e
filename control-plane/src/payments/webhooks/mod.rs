//! What Stripe tells us: proven, stored once by event, and only then handled.
//!
//! An event says no more than that something happened to an object: the object is read again from
//! Stripe, and our state moves only forward, so that order and repeats do not matter.

mod handler;
mod inbox;
pub mod routes;
mod signature;
mod store;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use handler::{EventHandler, handled};
pub use inbox::receive;
pub use store::{dead, pending, remove_handled};

use crate::clock::MachineInstant;
use crate::ids::StripeEventId;

/// An event of Stripe's, as it is stored.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: StripeEventId,
    stripe_id: String,
    kind: String,
    object: String,
    payload: String,
    status: EventStatus,
    attempts: u32,
    next_attempt: MachineInstant,
    failure: Option<String>,
    happened_at: MachineInstant,
    received_at: MachineInstant,
    handled_at: Option<MachineInstant>,
}

/// How far the handling of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// It is to be handled, for the first time or again.
    Pending,
    /// It is handled.
    Handled,
    /// Nothing here depends on it.
    Ignored,
    /// It failed so often that a person has to look.
    Dead,
}

impl EventStatus {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Pending, "pending"),
        (Self::Handled, "handled"),
        (Self::Ignored, "ignored"),
        (Self::Dead, "dead"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Handled => "handled",
            Self::Ignored => "ignored",
            Self::Dead => "dead",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(status, known)| (known == name).then_some(status))
    }
}

/// The part of an event that all have.
#[derive(Clone, Debug, Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    /// Of a connected account, which is not ours.
    account: Option<String>,
    /// Unix seconds.
    created: i64,
    data: Data,
}

#[derive(Clone, Debug, Deserialize)]
struct Data {
    object: Value,
    #[serde(default)]
    previous_attributes: Value,
}

impl Envelope {
    /// The id of what it is about; some objects have none.
    fn object(&self) -> &str {
        self.data.object["id"].as_str().unwrap_or_default()
    }

    /// The customer that the object belongs to, or belonged to.
    fn customer(&self) -> Option<&str> {
        let direct = self.data.object["customer"].as_str();
        direct.or_else(|| self.data.previous_attributes["customer"].as_str())
    }
}
