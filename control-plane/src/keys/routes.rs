//! API keys over HTTP.

use axum::Json;
use axum::extract::{Path, State};

use super::import::{self, ImportDocument, ImportedKeys};
use super::{ApiKey, ApiKeyDocument, IssuedApiKey, RollDocument, issue, store};
use crate::app::App;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::http::document::{Nothing, Query};
use crate::http::page::{Page, PageQuery};
use crate::idempotency::{Answer, Post};
use crate::ids::ApiKeyId;
use crate::publisher;
use crate::subscriptions::{self, chain};

/// Issues an API key for a subscription, whose secret is shown only in this answer.
///
/// The key outlives changes of the plan. It works until it is revoked or expires, while the
/// customer is subscribed.
#[utoipa::path(post, path = "/v1/subscriptions/{subscription}/keys", tag = "keys",
    params(("subscription" = String, Path, description = "Its id or key.")),
    request_body = ApiKeyDocument,
    responses((status = 201, description = "The key and its secret.", body = IssuedApiKey)))]
pub async fn create_key(
    State(app): State<App>,
    Path(subscription): Path<String>,
    Post(document, mut call): Post<ApiKeyDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let document = document.check(|document, mistakes| document.check(now, mistakes))?;
    let chain = subscriptions::required(&mut call.tx, &subscription)
        .await?
        .chain;
    if !chain::goes_on(&mut call.tx, chain, now).await? {
        let detail = "The subscription has ended.";
        return Err(Error::conflict("subscription_ended", detail));
    }
    let (issued, word) = issue(&app, &mut call.tx, chain, document).await?;
    let answer = call.created_with_secret(&issued).await?;
    publisher::written(&app, word).await;
    Ok(answer)
}

/// Imports API keys that requests carry already, by their SHA-256: all of them or none.
///
/// A key that its subscription has already stays as it is, so that an import that broke off can be
/// sent again. The gateways look such keys up with `auth.foreignKeys`.
#[utoipa::path(post, path = "/v1/keys/import", tag = "keys", request_body = ImportDocument,
    responses((status = 201, description = "The keys.", body = ImportedKeys)))]
pub async fn import_keys(
    State(app): State<App>,
    Post(document, mut call): Post<ImportDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let keys = document.check(|document, mistakes| document.check(now, mistakes))?;
    let (imported, word) = import::import(&app, &mut call.tx, keys).await?;
    let answer = call.created(&imported).await?;
    if let Some(word) = word {
        publisher::written(&app, word).await;
    }
    Ok(answer)
}

/// Lists the API keys of a subscription and those before and after it, the newest first, revoked ones included.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription}/keys", tag = "keys",
    params(("subscription" = String, Path, description = "Its id or key."), PageQuery),
    responses((status = 200, description = "A page of keys.", body = Page<ApiKey>)))]
pub async fn list_keys(
    State(app): State<App>,
    Path(subscription): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ApiKey>>> {
    let slice = query.slice::<ApiKeyId>()?;
    let mut reader = app.database.read().await?;
    let chain = subscriptions::required(&mut reader, &subscription)
        .await?
        .chain;
    let keys = store::list(&mut reader, &slice, chain, app.config.environment).await?;
    Ok(Json(slice.page(keys, |key| key.id)))
}

/// Shows an API key.
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = ApiKeyId, Path, description = "The key.")),
    responses((status = 200, description = "The key.", body = ApiKey)))]
pub async fn get_key(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ApiKey>> {
    let mut reader = app.database.read().await?;
    required(&app, &mut reader, &id).await.map(Json)
}

/// Revokes an API key at once; a key that is revoked already stays as it is.
#[utoipa::path(post, path = "/v1/keys/{id}/revoke", tag = "keys", request_body = Nothing,
    params(("id" = ApiKeyId, Path, description = "The key.")),
    responses((status = 200, description = "The key.", body = ApiKey)))]
pub async fn revoke_key(
    State(app): State<App>,
    Path(id): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let mut key = required(&app, &mut call.tx, &id).await?;
    if key.revoked_at.is_none() {
        key.revoked_at = Some(app.clock.business_now());
        store::update(&mut call.tx, &key).await?;
        publisher::key_changed(&app, &mut call.tx, &key).await?;
    }
    call.done(&key).await
}

/// Issues an API key in place of another, which ends after the overlap, or at once without one.
#[utoipa::path(post, path = "/v1/keys/{id}/roll", tag = "keys", request_body = RollDocument,
    params(("id" = ApiKeyId, Path, description = "The old key.")),
    responses((status = 201, description = "The new key and its secret.", body = IssuedApiKey)))]
pub async fn roll_key(
    State(app): State<App>,
    Path(id): Path<String>,
    Post(document, mut call): Post<RollDocument>,
) -> Result<Answer> {
    let now = app.clock.business_now();
    let end = document.check(|document, mistakes| document.check(now, mistakes))?;
    let mut old = required(&app, &mut call.tx, &id).await?;
    if !old.is_usable(now) {
        let detail = "The key is revoked or has expired.";
        return Err(Error::conflict("key_not_active", detail));
    }
    let document = ApiKeyDocument {
        name: old.name.clone(),
        subject: old.subject.clone(),
        expires_at: old.expires_at,
        bypass: old.bypass,
    };
    let (issued, _) = issue(&app, &mut call.tx, old.chain, document).await?;
    old.expires_at = Some(old.expires_at.map_or(end, |before| before.min(end)));
    store::update(&mut call.tx, &old).await?;
    // Written in order: when the old key's end is, so is the new key.
    let word = publisher::key_changed(&app, &mut call.tx, &old).await?;
    let answer = call.created_with_secret(&issued).await?;
    publisher::written(&app, word).await;
    Ok(answer)
}

async fn required(app: &App, connection: &mut Connection, id: &str) -> Result<ApiKey> {
    let not_found = || Error::not_found("key_not_found", "There is no such key.");
    let id: ApiKeyId = id.parse().map_err(|_| not_found())?;
    let found = store::find(connection, id, app.config.environment).await?;
    Ok(found.ok_or_else(not_found)?.key)
}
