//! How what an event says changes the units of a window.

use tollgate_engine::units::Units;

use super::{Measure, store};
use crate::catalog::Aggregation;
use crate::database::Connection;
use crate::error::{Error, Result};

/// Counts what an event says, before it is noted.
pub(super) async fn count(connection: &mut Connection, measure: &Measure) -> Result<()> {
    match measure.aggregation {
        Aggregation::Sum | Aggregation::Count => add(connection, measure, measure.units).await,
        Aggregation::UniqueCount => match store::has_value(connection, measure).await? {
            true => add(connection, measure, Units::ZERO).await,
            false => add(connection, measure, Units::ONE).await,
        },
        Aggregation::Max => {
            let most = store::counted(connection, measure)
                .await?
                .max(measure.units);
            replace(connection, measure, most).await
        }
        Aggregation::Latest => match store::last_time(connection, measure).await? {
            Some(last) if measure.time < last => Ok(()),
            _ => replace(connection, measure, measure.units).await,
        },
    }
}

async fn add(connection: &mut Connection, measure: &Measure, units: Units) -> Result<()> {
    let before = store::window(connection, measure).await?;
    let total = before.units.checked_add(units).ok_or_else(full)?;
    store::add_to_counter(connection, measure, units).await?;
    store::set_window(connection, measure, total).await
}

/// Has the events of a window come to `units`. What was billed of a window never falls.
async fn replace(connection: &mut Connection, measure: &Measure, units: Units) -> Result<()> {
    let before = store::window(connection, measure).await?;
    let counted = store::counted(connection, measure).await?;
    let others = before.units.saturating_sub(counted);
    let billed = before.rated.unwrap_or_default().saturating_sub(others);
    let units = units.max(billed);
    let total = others.checked_add(units).ok_or_else(full)?;
    store::remove_counters(connection, measure).await?;
    store::add_to_counter(connection, measure, units).await?;
    store::set_window(connection, measure, total).await
}

fn full() -> Error {
    let detail = "A window cannot count so many units.";
    Error::conflict("too_many_units", detail)
}
