//! Idempotency keys: a repeated POST has one effect and gets one answer.
//!
//! The answer is stored in the transaction of its effect, so neither exists without the other,
//! wherever the process dies. A handler cannot forget it: it takes [`Post`], and the [`Answer`] it
//! must return comes only from [`Call::finish`]. Refusals have no effect and are not stored.

mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use store::remove_expired;

use crate::admin::Caller;
use crate::app::App;
use crate::clock::MachineInstant;
use crate::database::Write;
use crate::error::{Error, Result, Success};
use crate::http::document::{self, Document, Unchecked};

/// Names a POST, so that its repeats are known.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
pub const KEY_MAX_BYTES: usize = 255;

/// A POST: its document, and the call that ends with its effect.
#[derive(Debug)]
pub struct Post<D>(pub Unchecked<D>, pub Call);

/// A POST under way, with the write transaction its effect belongs into.
#[derive(Debug)]
pub struct Call {
    /// The transaction; rolled back unless the call is finished.
    pub tx: Write,
    claim: Option<Claim>,
}

/// A POST between two transactions: its key is still in use.
#[derive(Debug)]
pub struct Paused {
    claim: Option<Claim>,
}

/// The answer of a finished call.
#[derive(Debug)]
pub struct Answer(Response);

/// The keys of calls under way in this process.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<HashSet<Scope>>>);

/// What a key is unique in: one caller's calls of one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    caller: String,
    route: String,
    key: String,
}

/// A key in use by this call.
#[derive(Debug)]
struct Claim {
    scope: Scope,
    /// SHA-256 over path, query and body.
    fingerprint: String,
    expires_at: MachineInstant,
    running: Running,
}

/// The answer to an earlier call with the same key.
struct Stored {
    fingerprint: String,
    status: StatusCode,
    body: String,
}

impl Call {
    /// Ends the transaction without effect, for what must not be waited for within one.
    #[must_use]
    pub fn pause(self) -> Paused {
        let Self { tx, claim } = self;
        drop(tx);
        Paused { claim }
    }

    /// Commits the effect and answers 201 with what was made.
    ///
    /// # Errors
    /// When the transaction does not commit.
    pub async fn created(self, made: &impl Serialize) -> Result<Answer> {
        self.finish(Success::Created, made).await
    }

    /// Commits the effect and answers 200 with the result.
    ///
    /// # Errors
    /// When the transaction does not commit.
    pub async fn done(self, result: &impl Serialize) -> Result<Answer> {
        self.finish(Success::Done, result).await
    }

    /// Commits the effect and answers 201 with what was made, whose field `secret` is shown this
    /// once: it is stored without, and its repeats have `secretAlreadyShown`.
    ///
    /// # Errors
    /// When the transaction does not commit.
    pub async fn created_with_secret(self, made: &impl Serialize) -> Result<Answer> {
        self.created_with_secret_in("secret", made).await
    }

    /// The same for a secret in another field.
    ///
    /// # Errors
    /// When the transaction does not commit.
    pub async fn created_with_secret_in(
        self,
        field: &str,
        made: &impl Serialize,
    ) -> Result<Answer> {
        let shown = serde_json::to_value(made).map_err(Error::internal)?;
        let mut stored = shown.clone();
        if let Value::Object(fields) = &mut stored {
            fields.insert(field.to_owned(), Value::Null);
            fields.insert("secretAlreadyShown".to_owned(), Value::Bool(true));
        }
        self.end(Success::Created, shown.to_string(), stored.to_string())
            .await
    }

    async fn finish(self, success: Success, body: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_string(body).map_err(Error::internal)?;
        self.end(success, body.clone(), body).await
    }

    async fn end(mut self, success: Success, shown: String, stored: String) -> Result<Answer> {
        let status = success.status();
        if let Some(claim) = &self.claim {
            store::insert_answer(&mut self.tx, claim, status, &stored).await?;
        }
        self.tx.commit().await?;
        Ok(Answer(json_response(status, shown)))
    }
}

impl Paused {
    /// Goes on with a new transaction.
    ///
    /// # Errors
    /// 409 when another replica has answered this key meanwhile, or when no transaction can be begun.
    pub async fn resume(self, app: &App) -> Result<Call> {
        let mut tx = app.database.begin_write().await?;
        let claim = self.claim;
        if let Some(claim) = &claim
            && store::find_answer(&mut tx, &claim.scope, app.clock.machine_now())
                .await?
                .is_some()
        {
            return Err(in_use());
        }
        Ok(Call { tx, claim })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<D: Document + Send> FromRequest<App> for Post<D> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let scope = scope_of(&request).map_err(Error::into_response)?;
        let path = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let body = document::body_of(request, app)
            .await
            .map_err(Error::into_response)?;
        let document = document::read(&body).map_err(Error::into_response)?;
        let call = begin(app, scope, &path, &body).await?;
        Ok(Self(document, call))
    }
}

/// Begins the call, or ends it with the answer of an earlier one.
async fn begin(
    app: &App,
    scope: Option<Scope>,
    path: &str,
    body: &Bytes,
) -> Result<Call, Response> {
    let now = app.clock.machine_now();
    let claim = match scope {
        None => None,
        Some(scope) => Some(Claim {
            scope: app.running.enter(scope).map_err(Error::into_response)?,
            fingerprint: fingerprint(path, body),
            expires_at: now.after(Duration::from_secs(
                u64::from(app.config.idempotency.keep_hours) * 3_600,
            )),
            running: app.running.clone(),
        }),
    };
    let begun = app.database.begin_write().await.map_err(Error::from);
    let mut tx = begun.map_err(Error::into_response)?;
    let Some(claim) = claim else {
        return Ok(Call { tx, claim: None });
    };
    // Only now: who waited for the writer sees what that writer stored.
    let stored = store::find_answer(&mut tx, &claim.scope, now).await;
    match stored.map_err(Error::into_response)? {
        None => Ok(Call {
            tx,
            claim: Some(claim),
        }),
        Some(stored) if stored.fingerprint == claim.fingerprint => Err(stored.into_response()),
        Some(_) => {
            let detail = "This Idempotency-Key came with another request before.";
            Err(Error::unprocessable("idempotency_key_reused", detail).into_response())
        }
    }
}

impl Stored {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.body);
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

impl Running {
    /// Whether no call with a key is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Notes a call as under way.
    fn enter(&self, scope: Scope) -> Result<Scope> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.insert(scope.clone()) {
            return Ok(scope);
        }
        Err(in_use())
    }
}

fn in_use() -> Error {
    let detail = "The first request with this Idempotency-Key is still running.";
    Error::conflict("idempotency_key_in_use", detail)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut running = self
            .running
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.scope);
    }
}

fn scope_of(request: &Request) -> Result<Option<Scope>> {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if !(1..=KEY_MAX_BYTES).contains(&key.len()) {
        let detail = format!("Idempotency-Key is not 1 to {KEY_MAX_BYTES} printable characters.");
        return Err(Error::invalid_request("invalid_idempotency_key", detail));
    }
    let caller = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.id.to_string());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|route| route.as_str().to_owned());
    Ok(Some(Scope {
        caller: caller.unwrap_or_default(),
        route: route.unwrap_or_default(),
        key: key.to_owned(),
    }))
}

fn fingerprint(path: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(body);
    crate::hex(&hash.finalize())
}

fn json_response(status: StatusCode, body: String) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], Body::from(body)).into_response()
}
