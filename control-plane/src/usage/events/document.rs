//! CloudEvents, as they are sent: one, or an array of them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::BusinessInstant;
use crate::http::document::{Document, Mistakes, Place};

/// Most events sent at a time.
const EVENTS_MAX: usize = 1_000;
const TEXT_MAX_CHARACTERS: usize = 256;
/// How far an event may be in the future, for clocks that differ.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// An event, as CloudEvents 1.0 has it; attributes beside these mean nothing here.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`.
    specversion: Option<String>,
    /// Unique among the events of its source.
    #[schema(required)]
    id: Option<String>,
    /// Who tells it.
    #[schema(required)]
    source: Option<String>,
    /// The `eventType` of meters.
    #[serde(rename = "type")]
    #[schema(required)]
    event_type: Option<String>,
    /// Whose usage it is: id or key of a subscription or customer, or id of an API key.
    #[schema(required)]
    subject: Option<String>,
    /// When it happened; now when left out.
    #[schema(value_type = Option<BusinessInstant>)]
    time: Option<String>,
    /// JSON, when it is said.
    datacontenttype: Option<String>,
    /// In which meters find their values.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// One event, or an array of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct EventsDocument(Value);

impl Document for EventsDocument {}

/// An event whose attributes are as they must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Where it stands in the document.
    pub(super) place: Place,
    pub(super) source: String,
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) subject: String,
    pub(super) time: BusinessInstant,
    pub(super) data: Value,
}

impl EventsDocument {
    /// The events, in order.
    pub(super) fn check(self, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<Vec<Event>> {
        let root = Place::root();
        let Value::Array(events) = self.0 else {
            return Some(vec![read(self.0, root, now, mistakes)?]);
        };
        if events.len() > EVENTS_MAX {
            let detail = format!("has more than {EVENTS_MAX} events");
            mistakes.add(&root, "too_many_events", detail);
            return None;
        }
        let read = |(index, event)| read(event, root.index(index), now, mistakes);
        let events: Vec<_> = events.into_iter().enumerate().map(read).collect();
        events.into_iter().collect()
    }
}

fn read(
    value: Value,
    place: Place,
    now: BusinessInstant,
    mistakes: &mut Mistakes,
) -> Option<Event> {
    let event: CloudEvent = match serde_json::from_value(value) {
        Ok(event) => event,
        Err(error) => {
            mistakes.add(&place, "invalid_type", error.to_string());
            return None;
        }
    };
    if event.specversion.is_some_and(|version| version != "1.0") {
        let detail = "only version 1.0 of CloudEvents is known";
        mistakes.add(
            &place.field("specversion"),
            "specversion_not_supported",
            detail,
        );
    }
    if event
        .datacontenttype
        .is_some_and(|content| !is_json(&content))
    {
        let detail = "data is not JSON";
        mistakes.add(&place.field("datacontenttype"), "data_not_json", detail);
    }
    let mut text = |value: Option<String>, name: &str, missing: &'static str| {
        let place = place.field(name);
        let value = value.filter(|value| !value.is_empty());
        if value.is_none() {
            mistakes.add(&place, missing, format!("{name} is missing"));
        }
        if value
            .as_deref()
            .is_some_and(|value| value.chars().count() > TEXT_MAX_CHARACTERS)
        {
            let detail = format!("is longer than {TEXT_MAX_CHARACTERS} characters");
            mistakes.add(&place, "too_long", detail);
        }
        value
    };
    let id = text(event.id, "id", "id_missing");
    let source = text(event.source, "source", "source_missing");
    let event_type = text(event.event_type, "type", "type_missing");
    let subject = text(event.subject, "subject", "subject_missing");
    let time = check_time(event.time.as_deref(), now, &place.field("time"), mistakes);
    Some(Event {
        id: id?,
        source: source?,
        event_type: event_type?,
        subject: subject?,
        time: time?,
        data: event.data.unwrap_or(Value::Null),
        place,
    })
}

fn check_time(
    text: Option<&str>,
    now: BusinessInstant,
    place: &Place,
    mistakes: &mut Mistakes,
) -> Option<BusinessInstant> {
    let Some(text) = text else {
        return Some(now);
    };
    let Ok(time) = text.parse::<jiff::Timestamp>().map(BusinessInstant::from) else {
        mistakes.add(place, "invalid_time", "time is no RFC 3339 instant");
        return None;
    };
    if now.after(AHEAD_MAX) < time {
        let detail = "what is to come has not been used";
        mistakes.add(place, "time_in_future", detail);
        return None;
    }
    Some(time.min(now))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}
