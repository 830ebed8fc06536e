//! What payment allows a chain: how it stands, with the grace of its customer and its plan.

use super::schedule::Term;
use super::{Begin, Chain, PaymentStatus};
use crate::catalog::configuration;
use crate::clock::BusinessInstant;
use crate::customers;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::invoicing;
use crate::metadata::Metadata;
use crate::payments;
use crate::payments::grace::{
    self, BeforeFirstPayment, Block, Charge, PaymentMethod, Stretch, Terms,
};

/// From when payment closes access to a chain, if it does from `now` on.
///
/// # Errors
/// When the database refuses.
pub async fn block(
    connection: &mut Connection,
    chain: &Chain,
    now: BusinessInstant,
) -> Result<Option<Block>> {
    // Free plans are never blocked: nothing need be asked.
    if !chain.members.iter().any(|member| member.plan.is_billed()) {
        return Ok(None);
    }
    // While a change waits for its invoice, what was before goes on as if nobody had wished for it.
    let mut members = chain.members.iter().map(|member| &member.subscription);
    let waiting = members.find(|subscription| subscription.begin == Begin::WhenPaid);
    let waiting = waiting.map(|subscription| subscription.id);
    let standing = invoicing::standing_but(connection, chain.id, waiting).await?;
    let terms = terms(connection, chain, now).await?;
    let stretches: Vec<_> = chain.terms().map(stretch).collect();
    Ok(grace::block(&standing, &terms, &stretches, now))
}

async fn terms(connection: &mut Connection, chain: &Chain, now: BusinessInstant) -> Result<Terms> {
    let customer = customers::find(connection, &chain.customer.to_string()).await?;
    let customer = customer.ok_or_else(|| Error::internal(anyhow::anyhow!("no such customer")))?;
    let configuration = configuration::load(connection).await?;
    let none = Metadata::default();
    let current = chain
        .members
        .iter()
        .rfind(|member| member.subscription.active_from <= now);
    let plan = current.or(chain.members.first());
    let plan = plan.map_or(&none, |member| &member.plan.metadata);
    let days = configuration.max_payment_overdue_days;
    Ok(Terms {
        grace: grace::grace(&customer.metadata, plan, days),
        before_first_payment: match configuration.grace_on_first_payment {
            true => BeforeFirstPayment::Grace,
            false => BeforeFirstPayment::Closed,
        },
        payment_method: match payments::has_payment_method(connection, chain.customer).await? {
            true => PaymentMethod::OnFile,
            false => PaymentMethod::Missing,
        },
    })
}

fn stretch(term: Term<'_>) -> Stretch {
    let charge = match (term.phase.charges_in_advance(), term.phase.is_billed()) {
        (true, _) if term.is_first() => Charge::Fee,
        (true, _) => Charge::FeeAfterTrial,
        (false, true) => Charge::Usage,
        (false, false) => Charge::Nothing,
    };
    Stretch {
        start: term.start,
        end: term.end,
        charge,
    }
}

/// Refuses a customer of whom an invoice could not be collected.
///
/// # Errors
/// 409 `payment_overdue` then, or when the database refuses.
pub(super) async fn check_paid(connection: &mut Connection, customer: CustomerId) -> Result<()> {
    for chain in super::chain::store::of_customer(connection, customer).await? {
        match invoicing::standing(connection, chain).await?.status {
            PaymentStatus::NotRequired | PaymentStatus::Paid | PaymentStatus::Pending => {}
            PaymentStatus::Failed | PaymentStatus::Uncollectible => {
                let detail =
                    "An invoice of the customer could not be collected: it is to be paid first.";
                return Err(Error::conflict("payment_overdue", detail));
            }
        }
    }
    Ok(())
}
