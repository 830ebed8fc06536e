//! Claiming the key of a Checkout: once, with the token of the opening that completed it.

use super::{Checkout, ClaimToken, Holder, Progress, WRONG_CLAIMS_MAX, look, required, store};
use crate::app::App;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::SubscriptionId;
use crate::keys::{self, ApiKeyDocument, IssuedApiKey};
use crate::publisher;
use crate::subscriptions::{self, chain};

/// A key that was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The key, with its secret.
    pub issued: IssuedApiKey,
    /// The Checkout it came from.
    pub checkout: Checkout,
}

/// Makes the key of a completed Checkout for whoever holds the right one of `tokens`.
///
/// # Errors
/// When none of them is right, five were wrong before, the key was claimed, or it is too early.
pub async fn claim(app: &App, id: &str, tokens: &[ClaimToken]) -> Result<Claimed> {
    // Who comes before the webhook must not be sent away.
    let checkout = look(app, id).await?;
    let mut tx = app.database.begin_write().await?;
    let checkout = required(&mut tx, &checkout.id.to_string()).await?;
    let subscription = match check(&mut tx, &checkout, tokens).await? {
        Verdict::Right(subscription) => subscription,
        Verdict::Wrong => {
            store::count_wrong_claim(&mut tx, checkout.id).await?;
            tx.commit().await?;
            let detail = "This is not the token of the Checkout that was completed.";
            return Err(Error::forbidden("claim_token_wrong", detail));
        }
    };
    let subscription = subscriptions::required(&mut tx, &subscription.to_string()).await?;
    if !chain::goes_on(&mut tx, subscription.chain, app.clock.business_now()).await? {
        let detail = "The subscription has ended.";
        return Err(Error::conflict("subscription_ended", detail));
    }
    let document = ApiKeyDocument::default();
    let (issued, word) = keys::issue(app, &mut tx, subscription.chain, document).await?;
    store::set_key(&mut tx, checkout.id, issued.key.id).await?;
    tx.commit().await?;
    publisher::written(app, word).await;
    Ok(Claimed { issued, checkout })
}

enum Verdict {
    Right(SubscriptionId),
    Wrong,
}

async fn check(tx: &mut Write, checkout: &Checkout, tokens: &[ClaimToken]) -> Result<Verdict> {
    if checkout.wrong_claims >= WRONG_CLAIMS_MAX {
        let detail = "Too many wrong claims: ask the operator for a key.";
        return Err(Error::forbidden("claims_closed", detail));
    }
    if tokens.is_empty() {
        let detail = "Claim the key with the browser that the Checkout was completed in.";
        return Err(Error::forbidden("claim_token_missing", detail));
    }
    let mut known = Vec::new();
    for token in tokens {
        known.extend(store::attempt_of_token(tx, checkout.id, token).await?);
    }
    if known.is_empty() {
        return Ok(Verdict::Wrong);
    }
    let subscription = match &checkout.progress {
        Progress::Completed(subscription) => *subscription,
        Progress::Open | Progress::Failed(_) => {
            let detail = "The Checkout is not completed.";
            return Err(Error::conflict("checkout_session_not_completed", detail));
        }
    };
    let right = known
        .iter()
        .any(|attempt| attempt.completed || attempt.holder == Holder::Operator);
    if !right {
        return Ok(Verdict::Wrong);
    }
    if checkout.key.is_some() {
        let detail = "The key was shown before, and is shown only once.";
        return Err(Error::conflict("key_already_claimed", detail));
    }
    Ok(Verdict::Right(subscription))
}
