//! The billing profile: what holds for all invoices.

pub mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::calendar::{Zone, check_zone};
use crate::customers::Customer;
use crate::database::Connection;
use crate::error::Result;
use crate::http::document::{Document, Mistakes, Place};

/// What holds for all invoices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingProfile {
    /// The zone whose dates the boundaries of new subscriptions are, unless the customer has another.
    #[schema(value_type = String, examples("Europe/Berlin"))]
    pub time_zone: Zone,
}

/// What to send to replace the billing profile; what is left out gets its default.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingProfileDocument {
    /// A name of the IANA database; UTC when left out. What has begun keeps its zone.
    #[schema(examples("Europe/Berlin"))]
    time_zone: Option<String>,
}

impl Document for BillingProfileDocument {}

impl BillingProfileDocument {
    fn check(self, mistakes: &mut Mistakes) -> Option<BillingProfile> {
        let place = Place::root().field("timeZone");
        let time_zone = check_zone(self.time_zone.as_deref(), &place, mistakes);
        Some(BillingProfile {
            time_zone: time_zone.unwrap_or_default(),
        })
    }
}

/// What holds for all invoices.
///
/// # Errors
/// When the database refuses.
pub async fn find(connection: &mut Connection) -> Result<BillingProfile> {
    store::load(connection).await
}

/// The zone whose dates the boundaries of a customer's next subscription are.
///
/// # Errors
/// When the database refuses.
pub async fn zone(connection: &mut Connection, customer: &Customer) -> Result<Zone> {
    match &customer.time_zone {
        Some(zone) => Ok(zone.clone()),
        None => Ok(store::load(connection).await?.time_zone),
    }
}
