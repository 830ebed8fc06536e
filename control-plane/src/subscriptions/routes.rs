//! Subscriptions over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::{
    CancelDocument, ChangeDocument, OverageLimitDocument, SubscriptionDocument, SubscriptionView,
};
use super::{Access, Loader, PaymentStatus, Status, Subscription};
use super::{block, lifecycle, overage, required, store};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::customers;
use crate::database::Connection;
use crate::error::Result;
use crate::http::document::{Nothing, Query, Unchecked};
use crate::http::page::{Page, PageQuery, Slice};
use crate::idempotency::{Answer, Call, Post};
use crate::ids::SubscriptionId;
use crate::invoicing::{self, ChangeEstimate};

/// The query of the list of subscriptions.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscriptionsQuery {
    /// Items on the page, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only subscriptions of the customer with this id or key.
    customer: Option<String>,
    /// Only subscriptions to the plan with this key.
    plan: Option<String>,
}

/// Whether requests pass, and why not.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessView {
    /// The subscription.
    subscription: SubscriptionId,
    /// Whether requests pass, apart from quotas.
    access: Access,
    /// Where the subscription is in its life.
    status: Status,
    /// Whether everything that was due is paid.
    payment_status: PaymentStatus,
    /// Since when a payment is due that was not made.
    due_since: Option<BusinessInstant>,
    /// From when payment closes access, if it does.
    closed_from: Option<BusinessInstant>,
    /// When this holds.
    as_of: BusinessInstant,
}

/// Subscribes a customer to a plan.
///
/// A customer has one subscription at a time, unless several are enabled. Who had one before goes
/// on with it: keys that were not revoked work again, and a usage period that is not over is not
/// given anew. A paid plan needs a payment method on file, to which a Checkout leads; access begins
/// when the first invoice is paid.
#[utoipa::path(post, path = "/v1/subscriptions", tag = "subscriptions",
    request_body = SubscriptionDocument,
    responses((status = 201, description = "The subscription.", body = SubscriptionView)))]
pub async fn create_subscription(
    State(app): State<App>,
    Post(document, mut call): Post<SubscriptionDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let (customer, wish, timing) =
        document.check(|document, mistakes| document.check(now, mistakes))?;
    let made = lifecycle::subscribe(&app, &mut call.tx, &customer, &wish, timing).await?;
    let view = view(&app, &mut call.tx, made).await?;
    call.created(&view).await
}

/// Lists subscriptions, the newest first.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "subscriptions", params(SubscriptionsQuery),
    responses((status = 200, description = "A page of subscriptions.",
        body = Page<SubscriptionView>)))]
pub async fn list_subscriptions(
    State(app): State<App>,
    Query(query): Query<SubscriptionsQuery>,
) -> Result<Json<Page<SubscriptionView>>> {
    let slice = Slice::new::<SubscriptionId>(query.limit, query.cursor.as_deref())?;
    let mut reader = app.database.read().await?;
    let customer = customers::filter(&mut reader, query.customer.as_deref()).await?;
    let plan = query.plan.unwrap_or_default();
    page(&app, &mut reader, &slice, &customer, &plan).await
}

/// Lists a customer's subscriptions, the newest first.
#[utoipa::path(get, path = "/v1/customers/{customer}/subscriptions", tag = "subscriptions",
    params(("customer" = String, Path, description = "Its id or key."), PageQuery),
    responses((status = 200, description = "A page of subscriptions.",
        body = Page<SubscriptionView>)))]
pub async fn list_customer_subscriptions(
    State(app): State<App>,
    Path(customer): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<SubscriptionView>>> {
    let slice = query.slice::<SubscriptionId>()?;
    let mut reader = app.database.read().await?;
    let customer = customers::required(&mut reader, &customer).await?;
    page(&app, &mut reader, &slice, &customer.id.to_string(), "").await
}

/// Shows a subscription.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription}", tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    responses((status = 200, description = "The subscription.", body = SubscriptionView)))]
pub async fn get_subscription(
    State(app): State<App>,
    Path(subscription): Path<String>,
) -> Result<Json<SubscriptionView>> {
    let mut reader = app.database.read().await?;
    let found = required(&mut reader, &subscription).await?;
    view(&app, &mut reader, found).await.map(Json)
}

/// Changes the plan of a subscription, and answers with the one that follows it.
///
/// An upgrade is immediate, a downgrade comes with the next cycle; `timing` says otherwise. Keys go
/// on. Units that were used in a period that is not over count against the new plan's limit, unless a
/// fee is newly charged. A change that was scheduled before is dropped. Who never paid anything changes
/// to a plan with a fee when its first invoice is paid, and goes on as before until then.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription}/change", tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    request_body = ChangeDocument,
    responses((status = 200, description = "The new subscription.", body = SubscriptionView)))]
pub async fn change_subscription(
    State(app): State<App>,
    Path(subscription): Path<String>,
    Post(document, mut call): Post<ChangeDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let (wish, timing) = document.check(|document, mistakes| document.check(now, mistakes))?;
    let found = required(&mut call.tx, &subscription).await?;
    let new = lifecycle::change(&app, &mut call.tx, found, &wish, timing).await?;
    done(&app, call, new).await
}

/// Says what a change would give back and cost, without making it.
///
/// The figures are those of the change at this instant, by the usage that is known.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription}/change/estimate-credit",
    tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    request_body = ChangeDocument,
    responses((status = 200, description = "What it would cost.", body = ChangeEstimate)))]
pub async fn estimate_change(
    State(app): State<App>,
    Path(subscription): Path<String>,
    document: Unchecked<ChangeDocument>,
) -> Result<Json<ChangeEstimate>> {
    let now = app.clock.business_now();
    let (wish, timing) = document.check(|document, mistakes| document.check(now, mistakes))?;
    // Never committed.
    let mut tx = app.database.begin_write().await?;
    let found = required(&mut tx, &subscription).await?;
    let new = lifecycle::change(&app, &mut tx, found, &wish, timing).await?;
    invoicing::estimate(&app, &mut tx, &new).await.map(Json)
}

/// Cancels a subscription, at once unless `timing` says otherwise.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription}/cancel", tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    request_body = CancelDocument,
    responses((status = 200, description = "The subscription.", body = SubscriptionView)))]
pub async fn cancel_subscription(
    State(app): State<App>,
    Path(subscription): Path<String>,
    Post(document, mut call): Post<CancelDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let timing = document.check(|document, mistakes| document.check(now, mistakes))?;
    let found = required(&mut call.tx, &subscription).await?;
    let canceled = lifecycle::cancel(&app, &mut call.tx, found, timing).await?;
    done(&app, call, canceled).await
}

/// Takes a cancelation, or a change that is to come, back before it has.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription}/unschedule-cancelation",
    tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    request_body = Nothing,
    responses((status = 200, description = "The subscription.", body = SubscriptionView)))]
pub async fn unschedule_cancelation(
    State(app): State<App>,
    Path(subscription): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let found = required(&mut call.tx, &subscription).await?;
    let restored = lifecycle::unschedule_cancelation(&app, &mut call.tx, found).await?;
    done(&app, call, restored).await
}

/// Sets how many units of a meter beyond the quota of a soft limit pass: what the customer is ready to spend.
///
/// It holds in place of the plan's `overageLimit`, also after a change of the plan.
#[utoipa::path(put, path = "/v1/subscriptions/{subscription}/overage-limits/{meter}",
    tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key."),
        ("meter" = String, Path, description = "The meter's slug.")),
    request_body = OverageLimitDocument,
    responses((status = 200, description = "The subscription.", body = SubscriptionView)))]
pub async fn update_overage_limit(
    State(app): State<App>,
    Path((subscription, meter)): Path<(String, String)>,
    document: Unchecked<OverageLimitDocument>,
) -> Result<Json<SubscriptionView>> {
    let limit = document.check(OverageLimitDocument::check)?;
    let mut tx = app.database.begin_write().await?;
    let found = required(&mut tx, &subscription).await?;
    let limited = overage::set(&app, &mut tx, found, &meter, limit).await?;
    let view = view(&app, &mut tx, limited).await?;
    tx.commit().await?;
    Ok(Json(view))
}

/// Shows whether requests of a subscription pass, apart from quotas.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription}/access", tag = "subscriptions",
    params(("subscription" = String, Path, description = "Its id or key.")),
    responses((status = 200, description = "Whether they pass.", body = AccessView)))]
pub async fn get_subscription_access(
    State(app): State<App>,
    Path(subscription): Path<String>,
) -> Result<Json<AccessView>> {
    let mut reader = app.database.read().await?;
    let found = required(&mut reader, &subscription).await?;
    let as_of = app.clock.business_now();
    let status = found.status(as_of);
    let standing = invoicing::standing(&mut reader, found.chain).await?;
    let chain = Loader::default()
        .chain(&mut reader, found.chain, as_of)
        .await?;
    let block = match &chain {
        Some(chain) => block(&mut reader, chain, as_of).await?,
        None => None,
    };
    Ok(Json(AccessView {
        subscription: found.id,
        access: Access::of(status, block.as_ref(), as_of),
        status,
        payment_status: standing.status,
        due_since: standing.due_since,
        closed_from: block.map(|block| block.from),
        as_of,
    }))
}

/// Ends a call with the subscription that it led to.
async fn done(app: &App, mut call: Call, subscription: Subscription) -> Result<Answer> {
    let view = view(app, &mut call.tx, subscription).await?;
    call.done(&view).await
}

async fn page(
    app: &App,
    connection: &mut Connection,
    slice: &Slice,
    customer: &str,
    plan: &str,
) -> Result<Json<Page<SubscriptionView>>> {
    let found = store::list(connection, slice, customer, plan).await?;
    let now = app.clock.business_now();
    let mut loader = Loader::default();
    let mut views = Vec::with_capacity(found.len());
    for subscription in found {
        views.push(view_with(&mut loader, connection, subscription, now).await?);
    }
    Ok(Json(slice.page(views, |view| view.id)))
}

async fn view(
    app: &App,
    connection: &mut Connection,
    subscription: Subscription,
) -> Result<SubscriptionView> {
    let now = app.clock.business_now();
    view_with(&mut Loader::default(), connection, subscription, now).await
}

async fn view_with(
    loader: &mut Loader,
    connection: &mut Connection,
    subscription: Subscription,
    now: BusinessInstant,
) -> Result<SubscriptionView> {
    let member = loader.member(connection, subscription).await?;
    let phase = member.term_at(now).map(|term| term.phase.key.clone());
    let payment = invoicing::standing(connection, member.subscription.chain)
        .await?
        .status;
    Ok(SubscriptionView::new(
        member.subscription,
        phase,
        payment,
        now,
    ))
}
