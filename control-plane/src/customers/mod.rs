//! Customers: who subscribes and pays.

pub mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use store::find;

use crate::calendar::{Zone, check_zone};
use crate::catalog::check_name;
use crate::clock::{BusinessInstant, Clock};
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{CustomerId, Id, KEY_MAX_CHARACTERS, is_key_beside};
use crate::metadata::Metadata;

const EMAIL_MAX_CHARACTERS: usize = 254;

/// The customer with an id or key.
///
/// # Errors
/// 404 when there is none.
pub async fn required(connection: &mut Connection, id_or_key: &str) -> Result<Customer> {
    let found = find(connection, id_or_key).await?;
    found.ok_or_else(|| Error::not_found("customer_not_found", "There is no such customer."))
}

/// What a list is filtered by for the customer with this id or key: nothing when none is asked for.
///
/// # Errors
/// When the database refuses.
pub async fn filter(connection: &mut Connection, id_or_key: Option<&str>) -> Result<String> {
    let Some(id_or_key) = id_or_key else {
        return Ok(String::new());
    };
    let found = find(connection, id_or_key).await?;
    // Nobody has an id that is only the prefix: the list is then empty.
    Ok(found.map_or_else(
        || CustomerId::PREFIX.to_owned(),
        |found| found.id.to_string(),
    ))
}

/// Who subscribes and pays.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// Its id.
    pub id: CustomerId,
    /// The operator's own name for it, unique; paths take it in place of the id.
    pub key: Option<String>,
    /// What people call it.
    pub name: String,
    /// Where it gets mail.
    pub email: Option<String>,
    /// The zone whose dates the boundaries of its subscriptions are; the billing profile's when there is none.
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Zone>,
    /// The operator's notes.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// When it was last edited.
    pub updated_at: BusinessInstant,
}

/// What to send for a customer, new or edited; what is left out is none.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerDocument {
    /// 1 to 256 visible ASCII characters other than `/`, and no id of a customer.
    key: Option<String>,
    #[serde(default)]
    name: String,
    email: Option<String>,
    /// A name of the IANA database: from then on, boundaries of new subscriptions are its dates.
    #[schema(examples("Europe/Berlin"))]
    time_zone: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl Document for CustomerDocument {
    // What this API adds when it shows one: a customer that was read can be sent back.
    const TOLERATED: &'static [&'static str] = &["id", "createdAt", "updatedAt"];
}

impl CustomerDocument {
    /// The customer the document makes, or makes of `before`.
    fn check(
        self,
        before: Option<&Customer>,
        clock: &Clock,
        mistakes: &mut Mistakes,
    ) -> Option<Customer> {
        let root = Place::root();
        check_name(&self.name, &root.field("name"), mistakes);
        self.metadata.check(&root.field("metadata"), mistakes);
        if self
            .key
            .as_deref()
            .is_some_and(|key| !is_key_beside::<CustomerId>(key))
        {
            let detail = format!(
                "key has not 1 to {KEY_MAX_CHARACTERS} visible ASCII characters without /, \
                 or begins with {}",
                CustomerId::PREFIX
            );
            mistakes.add(&root.field("key"), "invalid_key", detail);
        }
        if self.email.as_deref().is_some_and(|email| !is_email(email)) {
            let detail = "email is not of the form name@host";
            mistakes.add(&root.field("email"), "invalid_email", detail);
        }
        let place = root.field("timeZone");
        let time_zone = check_zone(self.time_zone.as_deref(), &place, mistakes);
        let now = clock.business_now();
        Some(Customer {
            id: match before {
                Some(before) => before.id,
                None => CustomerId::generate(clock.machine_now()),
            },
            key: self.key,
            name: self.name,
            email: self.email,
            time_zone,
            metadata: self.metadata,
            created_at: before.map_or(now, |before| before.created_at),
            updated_at: now,
        })
    }
}

/// Whether mail could be sent there; only the host can say whether it arrives.
pub(crate) fn is_email(email: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    email.chars().count() <= EMAIL_MAX_CHARACTERS
        && email
            .rsplit_once('@')
            .is_some_and(|(name, host)| plain(name) && plain(host) && !name.contains('@'))
}
