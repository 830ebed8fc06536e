//! Events: usage that does not pass the gateway, sent as CloudEvents.
//!
//! An event counts once, by its source and id, in the window that it happened in. In one transaction it is
//! noted, its units enter the ledger as counters of generation 0, which no life of the store has, and
//! word goes to Redis of what now counts against the window's limit. An event that comes after its
//! window was billed is late usage, like any other.

mod attribution;
mod counting;
mod document;
pub mod routes;
mod store;

use std::collections::BTreeSet;

use tollgate_engine::contract::WindowId;
use tollgate_engine::units::Units;

pub(crate) use store::held_beside;

use crate::app::App;
use crate::catalog::{self, Aggregation};
use crate::clock::BusinessInstant;
use crate::database::Write;
use crate::error::Result;
use crate::http::document::Mistakes;
use crate::ids::SubscriptionId;
use crate::publisher;
use attribution::Attribution;
use document::Event;

/// The generation of counters that come from events.
const GENERATION: i64 = 0;

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    accepted: u64,
    duplicates: u64,
}

/// What an event says to one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measure {
    chain: SubscriptionId,
    window: WindowId,
    window_end: BusinessInstant,
    aggregation: Aggregation,
    time: BusinessInstant,
    /// `key_…`, or nothing.
    api_key: String,
    units: Units,
    /// What a meter of distinct values counts.
    value: String,
}

/// Counts events: all of them or, with every mistake told, none. One that was counted before is passed over.
async fn take_in(app: &App, tx: &mut Write, events: &[Event]) -> Result<Taken> {
    let meters = catalog::meters_in_use(tx).await?;
    let mut attribution = Attribution::new(app, &meters);
    let mut mistakes = Mistakes::default();
    let mut taken = Taken::default();
    let mut touched = BTreeSet::new();
    for event in events {
        if !store::insert_event(tx, event, app.clock.business_now()).await? {
            taken.duplicates += 1;
            continue;
        }
        for measure in attribution.measures(tx, event, &mut mistakes).await? {
            counting::count(tx, &measure).await?;
            store::insert_reading(tx, event, &measure).await?;
            touched.insert((measure.chain, measure.window.to_string()));
        }
        taken.accepted += 1;
    }
    mistakes.finish()?;
    for (chain, window) in touched {
        publisher::window_changed(app, tx, chain, window).await?;
    }
    Ok(taken)
}
