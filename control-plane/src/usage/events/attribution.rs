//! Whose usage an event is, of which meters, and how much.

use std::collections::HashMap;

use serde_json::Value;
use tollgate_engine::slug::Slug;
use tollgate_engine::units::Units;

use super::Measure;
use super::document::Event;
use crate::app::App;
use crate::catalog::plans::Entitlement;
use crate::catalog::property::Property;
use crate::catalog::{Aggregation, Meter};
use crate::clock::BusinessInstant;
use crate::customers;
use crate::database::Write;
use crate::error::Result;
use crate::http::document::Mistakes;
use crate::ids::{ApiKeyId, SubscriptionId};
use crate::keys;
use crate::subscriptions::schedule::UsageWindow;
use crate::subscriptions::{self, Chain, Loader, chain};

/// Longest of the values that a meter counts the distinct ones of.
const VALUE_MAX_CHARACTERS: usize = 256;

/// Finds whose usage events are; who has several is looked up once.
pub(super) struct Attribution<'a> {
    app: &'a App,
    meters: &'a [Meter],
    loader: Loader,
    subjects: HashMap<String, Option<Subject>>,
    chains: HashMap<SubscriptionId, Chain>,
}

/// Who used something.
#[derive(Clone, Debug)]
struct Subject {
    chains: Vec<SubscriptionId>,
    /// `key_…`, or nothing.
    api_key: String,
}

impl<'a> Attribution<'a> {
    pub(super) fn new(app: &'a App, meters: &'a [Meter]) -> Self {
        Self {
            app,
            meters,
            loader: Loader::default(),
            subjects: HashMap::new(),
            chains: HashMap::new(),
        }
    }

    /// What an event says to each meter of its type that the customer's plan has; nothing would be lost in silence.
    pub(super) async fn measures(
        &mut self,
        tx: &mut Write,
        event: &Event,
        mistakes: &mut Mistakes,
    ) -> Result<Vec<Measure>> {
        let mut meters = self.meters.iter();
        if !meters.any(|meter| meter.event_type == event.event_type) {
            let detail = format!("no meter counts events of the type {}", event.event_type);
            mistakes.add(&event.place.field("type"), "event_type_unknown", detail);
            return Ok(Vec::new());
        }
        let place = event.place.field("subject");
        let Some(subject) = self.subject(tx, &event.subject).await? else {
            let detail = "there is no such subscription, customer or API key";
            mistakes.add(&place, "subject_not_found", detail);
            return Ok(Vec::new());
        };
        let mut measures = Vec::new();
        let mut is_ambiguous = false;
        for meter in self
            .meters
            .iter()
            .filter(|meter| meter.event_type == event.event_type)
        {
            let windows = self.windows(&subject, &meter.slug, event.time);
            is_ambiguous |= windows.len() > 1;
            if let Some((chain, window)) = windows.into_iter().next()
                && let Some((units, value)) = read_value(meter, event, mistakes)
            {
                measures.push(Measure {
                    chain,
                    window: window.id,
                    window_end: window.end,
                    aggregation: meter.aggregation,
                    time: event.time,
                    api_key: subject.api_key.clone(),
                    units,
                    value,
                });
            }
        }
        if is_ambiguous {
            let detail = "several subscriptions of the customer have the meter: name one of them";
            mistakes.add(&place, "subject_ambiguous", detail);
        } else if measures.is_empty() && mistakes.is_empty() {
            let detail = "no subscription had a meter of this type then";
            mistakes.add(&place, "meter_not_in_plan", detail);
        }
        Ok(measures)
    }

    /// Who is meant, with the chains of subscriptions it may be, which are then loaded.
    async fn subject(&mut self, tx: &mut Write, name: &str) -> Result<Option<Subject>> {
        if let Some(known) = self.subjects.get(name) {
            return Ok(known.clone());
        }
        let found = find_subject(self.app, tx, name).await?;
        for id in found.iter().flat_map(|subject| &subject.chains) {
            let ever = BusinessInstant::from_unix_ms(i64::MIN);
            if let Some(chain) = self.loader.chain(tx, *id, ever).await? {
                self.chains.insert(*id, chain);
            }
        }
        self.subjects.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// The windows of a meter that `at` is in.
    fn windows(
        &self,
        subject: &Subject,
        meter: &Slug,
        at: BusinessInstant,
    ) -> Vec<(SubscriptionId, UsageWindow)> {
        let chains = subject.chains.iter().filter_map(|id| self.chains.get(id));
        let windows = chains.filter_map(|chain| {
            let term = chain.terms().find(|term| term.contains(at))?;
            let mut entitlements = term.entitlements();
            let (_, entitlement) = entitlements.find(|(feature, _)| *feature == meter)?;
            let Entitlement::Metered { usage_period, .. } = entitlement else {
                return None;
            };
            Some((chain.id, term.windows(meter, *usage_period, at).next()?))
        });
        windows.collect()
    }
}

async fn find_subject(app: &App, tx: &mut Write, name: &str) -> Result<Option<Subject>> {
    let of = |chains| {
        Some(Subject {
            chains,
            api_key: String::new(),
        })
    };
    if let Ok(id) = name.parse::<ApiKeyId>() {
        let key = keys::find(tx, id, app.config.environment).await?;
        return Ok(key.map(|found| Subject {
            chains: vec![found.key.chain],
            api_key: name.to_owned(),
        }));
    }
    if let Some(subscription) = subscriptions::find(tx, name).await? {
        return Ok(of(vec![subscription.chain]));
    }
    match customers::find(tx, name).await? {
        Some(customer) => Ok(of(chain::of_customer(tx, customer.id).await?)),
        None => Ok(None),
    }
}

/// The units that an event brings to a meter, and the value that is counted if it is among others.
fn read_value(meter: &Meter, event: &Event, mistakes: &mut Mistakes) -> Option<(Units, String)> {
    let path = match (meter.aggregation, &meter.value_property) {
        (Aggregation::Count, _) | (Aggregation::Sum, None) => {
            return Some((Units::ONE, String::new()));
        }
        (_, path) => path.as_deref().unwrap_or_default(),
    };
    let place = event.place.field("data");
    let property = path.parse::<Property>().ok();
    let found = property.and_then(|property| property.find(&event.data).cloned());
    let Some(found) = found.filter(|value| !value.is_null()) else {
        let detail = format!("the meter {} finds nothing at {path}", meter.slug);
        mistakes.add(&place, "value_missing", detail);
        return None;
    };
    let read = match meter.aggregation {
        Aggregation::UniqueCount => distinct(&found).map(|value| (Units::ZERO, value)),
        Aggregation::Sum | Aggregation::Count | Aggregation::Max | Aggregation::Latest => {
            units(&found).map(|units| (units, String::new()))
        }
    };
    if read.is_none() {
        let detail = format!("the meter {} cannot count {found} at {path}", meter.slug);
        mistakes.add(&place, "invalid_value", detail);
    }
    read
}

fn distinct(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (1..=VALUE_MAX_CHARACTERS)
        .contains(&text.chars().count())
        .then_some(text)
}

fn units(value: &Value) -> Option<Units> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => whole.to_string().parse().ok(),
            None => Units::try_from(number.as_f64()?).ok(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
