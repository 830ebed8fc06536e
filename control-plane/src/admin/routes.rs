//! Admin keys over HTTP.

use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::{AdminKey, AdminKeyDocument, AdminSecret, Caller, IssuedAdminKey, Origin};
use super::{may_grant, store};
use crate::app::App;
use crate::error::{Error, Result};
use crate::http::document::{Nothing, Query};
use crate::http::page::{Page, PageQuery};
use crate::idempotency::{Answer, Post};
use crate::ids::AdminKeyId;

/// Makes an admin key, whose secret is shown only in this answer.
///
/// A key makes keys only with scopes it has.
#[utoipa::path(post, path = "/v1/admin-keys", tag = "admin keys", request_body = AdminKeyDocument,
    responses((status = 201, description = "The key and its secret.", body = IssuedAdminKey)))]
pub async fn create_admin_key(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Post(document, mut call): Post<AdminKeyDocument>,
) -> Result<Answer> {
    let now = app.clock.machine_now();
    let key = document.check(|document, mistakes| document.check(now, mistakes))?;
    may_grant(&caller, &key.scopes)?;
    let secret = AdminSecret::generate();
    store::insert(&mut call.tx, &key, &secret.hash(), Origin::Api).await?;
    call.created_with_secret(&IssuedAdminKey {
        key,
        secret,
        secret_already_shown: false,
    })
    .await
}

/// Lists admin keys, the newest first, revoked ones included.
#[utoipa::path(get, path = "/v1/admin-keys", tag = "admin keys", params(PageQuery),
    responses((status = 200, description = "A page of keys.", body = Page<AdminKey>)))]
pub async fn list_admin_keys(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AdminKey>>> {
    let slice = query.slice::<AdminKeyId>()?;
    let keys = store::list(&mut *app.database.read().await?, &slice).await?;
    Ok(Json(slice.page(keys, |key| key.id)))
}

/// Revokes an admin key at once; a key that is revoked already stays as it is.
#[utoipa::path(post, path = "/v1/admin-keys/{id}/revoke", tag = "admin keys",
    params(("id" = AdminKeyId, Path, description = "The key.")), request_body = Nothing,
    responses((status = 200, description = "The key.", body = AdminKey)))]
pub async fn revoke_admin_key(
    State(app): State<App>,
    Path(id): Path<String>,
    Post(document, mut call): Post<Nothing>,
) -> Result<Answer> {
    document.check(|nothing, _| Some(nothing))?;
    let not_found = || Error::not_found("admin_key_not_found", "There is no such admin key.");
    let id: AdminKeyId = id.parse().map_err(|_| not_found())?;
    store::revoke(&mut call.tx, id, app.clock.machine_now()).await?;
    let key = store::find(&mut call.tx, id).await?.ok_or_else(not_found)?;
    call.done(&key).await
}
