//! Invites: who may subscribe to a private plan.

pub mod routes;
mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_key;
use super::plans::{Plan, PlanKey};
use crate::clock::{BusinessInstant, Clock};
use crate::customers::{Customer, is_email};
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::PlanInviteId;

/// The right of who has an e-mail address to subscribe to a private plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanInvite {
    /// Its id.
    pub id: PlanInviteId,
    /// The plan's key.
    #[schema(value_type = String)]
    pub plan: PlanKey,
    /// Whose it is, in lower case.
    pub email: String,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// Since when it no longer opens the plan; subscriptions go on.
    pub revoked_at: Option<BusinessInstant>,
}

/// What to send for a new invite.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanInviteDocument {
    /// The plan's key.
    #[serde(default)]
    plan: String,
    /// The e-mail address of the customer, whatever its case.
    #[serde(default)]
    email: String,
}

impl Document for PlanInviteDocument {}

impl PlanInviteDocument {
    fn check(self, clock: &Clock, mistakes: &mut Mistakes) -> Option<PlanInvite> {
        let root = Place::root();
        if !is_email(&self.email) {
            let detail = "email is not of the form name@host";
            mistakes.add(&root.field("email"), "invalid_email", detail);
        }
        Some(PlanInvite {
            id: PlanInviteId::generate(clock.machine_now()),
            plan: check_key(&self.plan, &root.field("plan"), mistakes)?,
            email: self.email.to_lowercase(),
            created_at: clock.business_now(),
            revoked_at: None,
        })
    }
}

/// Refuses a private plan to who was not invited.
///
/// # Errors
/// 409 `plan_invite_required` then, or when the database refuses.
pub async fn check_invited(
    connection: &mut Connection,
    plan: &Plan,
    customer: &Customer,
) -> Result<()> {
    if !plan.is_private() {
        return Ok(());
    }
    let email = customer.email.as_deref().map(str::to_lowercase);
    let invited = match email {
        Some(email) => store::is_invited(connection, &plan.key, &email).await?,
        None => false,
    };
    match invited {
        true => Ok(()),
        false => {
            let detail =
                "The plan is private: the customer's e-mail address needs an invite to it.";
            Err(Error::conflict("plan_invite_required", detail))
        }
    }
}
