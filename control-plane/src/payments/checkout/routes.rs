//! Checkouts over HTTP.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Path, State};

use super::document::Wanted;
use super::{
    Attempt, Checkout, CheckoutDocument, CheckoutView, ClaimToken, Holder, NewCheckout, OPEN_FOR,
    Progress, required, store,
};
use crate::app::App;
use crate::catalog::invites;
use crate::catalog::plans::{self, Plan, PlanVersion};
use crate::customers::{self, Customer};
use crate::database::Write;
use crate::error::{Error, Result, Violation};
use crate::idempotency::{Answer, Post};
use crate::ids::{CheckoutAttemptId, CheckoutId};
use crate::subscriptions::{self, Order};

/// Makes a link on which a customer gives a payment method and is then subscribed to a plan.
///
/// A plan that needs no payment method is subscribed to at once. A customer with a free
/// subscription changes from it. The link can be opened for a day, by whoever has it.
#[utoipa::path(post, path = "/v1/checkout-sessions", tag = "checkout-sessions",
    request_body = CheckoutDocument,
    responses((status = 201, description = "The Checkout and its token.", body = NewCheckout)))]
pub async fn create_checkout_session(
    State(app): State<App>,
    Post(document, mut call): Post<CheckoutDocument>,
) -> Result<Answer> {
    let wanted = document.check(CheckoutDocument::check)?;
    let (customer, version, plan) = offered(&mut call.tx, &wanted).await?;
    let now = app.clock.machine_now();
    let progress = begin(&app, &mut call.tx, &customer, &version, &plan, &wanted).await?;
    let checkout = Checkout {
        id: CheckoutId::generate(now),
        customer: customer.id,
        plan: wanted.plan,
        plan_version: version.version,
        starting_phase: wanted.starting_phase,
        currency: plan.currency,
        success_url: wanted.success_url,
        cancel_url: wanted.cancel_url,
        progress,
        wrong_claims: 0,
        key: None,
        created_at: now,
        expires_at: now.after(OPEN_FOR),
    };
    store::insert(&mut call.tx, &checkout).await?;
    let claim_token = ClaimToken::generate();
    let attempt = Attempt {
        id: CheckoutAttemptId::generate(now),
        checkout: checkout.id,
        holder: Holder::Operator,
        stripe_id: None,
        completed: false,
    };
    store::insert_attempt(&mut call.tx, &attempt, &claim_token, now).await?;
    let made = NewCheckout {
        checkout: CheckoutView::new(&app, &checkout),
        claim_token,
        secret_already_shown: false,
    };
    call.created_with_secret_in("claimToken", &made).await
}

/// Shows a Checkout.
#[utoipa::path(get, path = "/v1/checkout-sessions/{id}", tag = "checkout-sessions",
    params(("id" = CheckoutId, Path, description = "The Checkout.")),
    responses((status = 200, description = "The Checkout.", body = CheckoutView)))]
pub async fn get_checkout_session(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<CheckoutView>> {
    let checkout = required(&mut *app.database.read().await?, &id).await?;
    Ok(Json(CheckoutView::new(&app, &checkout)))
}

/// Who is to get what.
async fn offered(tx: &mut Write, wanted: &Wanted) -> Result<(Customer, PlanVersion, Plan)> {
    let customer = customers::find(tx, &wanted.customer).await?;
    let customer = customer.ok_or_else(|| {
        let detail = "there is no such customer".to_owned();
        refused("customer", "customer_not_found", detail)
    })?;
    let version = plans::find_active(tx, &wanted.plan).await?;
    let version = version.ok_or_else(|| {
        let detail = format!("no plan {} is sold", wanted.plan);
        refused("plan", "plan_not_found", detail)
    })?;
    let plan = version.plan()?;
    invites::check_invited(tx, &plan, &customer).await?;
    if let Some(key) = &wanted.starting_phase
        && !plan.phases.iter().any(|phase| phase.key.as_str() == key)
    {
        let detail = format!("the plan has no phase {key}");
        return Err(refused("startingPhase", "phase_not_found", detail));
    }
    Ok((customer, version, plan))
}

/// Subscribes at once who needs no payment method; the others must have room for a subscription.
async fn begin(
    app: &App,
    tx: &mut Write,
    customer: &Customer,
    version: &PlanVersion,
    plan: &Plan,
    wanted: &Wanted,
) -> Result<Progress> {
    if plan.needs_payment_method() {
        app.stripe()?;
        subscriptions::check_room(app, tx, customer).await?;
        return Ok(Progress::Open);
    }
    let order = Order {
        plan: plan.key.clone(),
        version: version.version,
        starting_phase: wanted.starting_phase.clone(),
    };
    let made = subscriptions::begin(app, tx, customer, &order).await?;
    Ok(Progress::Completed(made.id))
}

fn refused(field: &str, code: &'static str, detail: String) -> Error {
    Error::invalid(vec![Violation {
        code: Cow::Borrowed(code),
        path: format!("$.{field}"),
        detail,
    }])
}
