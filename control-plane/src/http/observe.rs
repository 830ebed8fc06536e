//! Around every request: its id, its log line, its metrics, and its error as a problem document.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracing::Instrument;

use crate::app::App;
use crate::clock::Stopwatch;
use crate::error::Error;
use crate::{ids, sandbox};

/// Carries the request id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The content type of pages.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const REQUEST_ID_MAX_BYTES: usize = 128;

/// The id of the request at hand, as answers and logs name it.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Names the request, measures it and writes its error, if it has one, as a problem document.
pub async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::start();
    let request_id = request_id_of(&app, request.headers());
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let method = request.method().to_string();
    // A route's pattern, never the path itself: paths are unbounded as a metric's label.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let admin_key = tracing::field::Empty;
    let span = tracing::info_span!("request", request_id, method, route, admin_key);

    let response = async {
        let headers_max_bytes = app.config.server.headers_max_bytes;
        let response = if headers_bytes(request.headers()) > headers_max_bytes {
            Error::headers_too_large(headers_max_bytes).into_response()
        } else {
            within(patience(&app, &route), next.run(request)).await
        };
        let mut response = with_problem(response, &request_id);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, elapsed) = (response.status().as_u16(), stopwatch.elapsed());
        tracing::info!(
            status,
            elapsed_ms = elapsed.as_secs_f64() * 1_000.0,
            "answered"
        );
        let labels = [
            ("method", method),
            ("route", route),
            ("status", status.to_string()),
        ];
        metrics::histogram!("tollgate_http_request_seconds", &labels).record(elapsed);
        response
    };
    response.instrument(span).await
}

/// The error for a handler that panicked.
#[must_use]
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::internal(anyhow::anyhow!("panicked: {message}")).into_response()
}

/// How long a request may take; moves of a sandbox's clock end by themselves.
fn patience(app: &App, route: &str) -> Duration {
    match route {
        sandbox::CLOCK_PATH => Duration::MAX,
        _ => app.config.server.request_timeout(),
    }
}

async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match timeout(limit, answer).await {
        Ok(response) => response,
        Err(_) => Error::timeout().into_response(),
    }
}

fn request_id_of(app: &App, headers: &HeaderMap) -> String {
    let sent = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    match sent {
        Some(id) if (1..=REQUEST_ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(plain) => {
            id.to_owned()
        }
        _ => ids::RequestId::generate(app.clock.machine_now()).to_string(),
    }
}

fn headers_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

fn with_problem(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let error = match response.extensions_mut().remove::<Error>() {
        Some(error) => error,
        None if status.is_client_error() || status.is_server_error() => {
            // A page tells people what a document tells programs.
            let told = [PROBLEM_JSON, HTML];
            let content_type = response.headers().get(header::CONTENT_TYPE);
            if content_type.is_some_and(|told_as| told.contains(told_as)) {
                return response;
            }
            Error::of_status(status)
        }
        None => return response,
    };
    log(&error);
    let mut answer = (error.status(), Json(error.problem(request_id.to_owned()))).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if error.is_unauthenticated() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        headers.insert(header::ALLOW, allow);
    }
    answer
}

pub(crate) fn log(error: &Error) {
    match error.cause() {
        Some(cause) => tracing::error!(code = error.code(), cause = format!("{cause:#}"), "failed"),
        None => tracing::debug!(code = error.code(), "refused"),
    }
}
