//! Changes that wait for their payment.
//!
//! Where nothing was ever paid, a change that charges a fee takes effect when its invoice is paid: the
//! subscription before goes on until then, and for ever if it never is.

use super::lifecycle::{append, drop_scheduled, load_chain};
use super::schedule::resumed_at;
use super::{Begin, Chain, Loader, Member, Status, Subscription, required, store};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::invoicing::{self, InvoiceStatus};
use crate::publisher;

/// Has a subscription begin when its first invoice is paid.
pub(super) async fn wait_for_payment(
    app: &App,
    tx: &mut Write,
    chain: &Chain,
    new: Member,
) -> Result<Subscription> {
    let mut waiting = new.clone();
    waiting.subscription.begin = Begin::WhenPaid;
    let waiting = append(tx, chain, waiting).await?;
    let begun = Member {
        subscription: Subscription {
            begin: Begin::OnTime,
            ..waiting.subscription.clone()
        },
        plan: new.plan,
    };
    invoicing::subscription_began(app, tx, &begun).await?;
    // Nothing else is billed of what may never begin.
    invoicing::subscription_ended(app, tx, &waiting).await?;
    publisher::chain_changed(app, tx, chain.id).await?;
    Ok(waiting.subscription)
}

/// Begins a subscription that waited for this, now that its first invoice is paid, or drops it with
/// an invoice that can no longer be.
///
/// # Errors
/// When the database refuses.
pub async fn invoice_settled(
    app: &App,
    tx: &mut Write,
    id: SubscriptionId,
    status: InvoiceStatus,
) -> Result<()> {
    let now = app.clock.business_now();
    let waiting = required(tx, &id.to_string()).await?;
    if waiting.begin != Begin::WhenPaid || waiting.status(now) != Status::Scheduled {
        return Ok(());
    }
    match status {
        InvoiceStatus::Paid => take_effect(app, tx, waiting, now).await,
        InvoiceStatus::Void => {
            store::set_end(tx, id, Some(waiting.active_from)).await?;
            publisher::chain_changed(app, tx, waiting.chain).await
        }
        // Also one that was given up can still be paid.
        InvoiceStatus::Draft
        | InvoiceStatus::Pushing
        | InvoiceStatus::Open
        | InvoiceStatus::Failed
        | InvoiceStatus::Uncollectible => Ok(()),
    }
}

/// Ends what went on until now, and begins what waited.
async fn take_effect(
    app: &App,
    tx: &mut Write,
    waiting: Subscription,
    now: BusinessInstant,
) -> Result<()> {
    let chain = load_chain(tx, waiting.chain).await?;
    drop_scheduled(app, tx, &chain, now).await?;
    for mut member in chain.members {
        match member.subscription.status(now) {
            Status::Active | Status::Canceled => {
                member.subscription.active_to = Some(now);
                store::set_end(tx, member.subscription.id, Some(now)).await?;
                invoicing::subscription_ended(app, tx, &member).await?;
            }
            Status::Scheduled | Status::Inactive => {}
        }
    }
    let members = load_chain(tx, waiting.chain).await?.members;
    let begun = Subscription {
        begin: Begin::OnTime,
        resumed: resumed_at(&members, now),
        active_from: now,
        ..waiting
    };
    store::set_begun(tx, &begun).await?;
    let begun = Loader::default().member(tx, begun).await?;
    invoicing::subscription_took_effect(app, tx, &begun).await?;
    publisher::chain_changed(app, tx, begun.subscription.chain).await
}

/// Refuses to change a chain of which a change waits for its payment.
pub(super) fn check_settled(chain: &Chain, now: BusinessInstant) -> Result<()> {
    let mut others = chain.members.iter().map(|member| &member.subscription);
    match others
        .any(|other| other.begin == Begin::WhenPaid && other.status(now) == Status::Scheduled)
    {
        true => Err(waits()),
        false => Ok(()),
    }
}

pub(super) fn waits() -> Error {
    let detail = "A change waits for its invoice: it is to be paid, or voided, first.";
    Error::conflict("payment_awaited", detail)
}
