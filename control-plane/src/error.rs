//! Errors with two readers: the caller gets a code and a message, the operator the cause.
//!
//! The only file that picks status codes. Rules and stores say what kind of thing went wrong;
//! [`crate::http::problem`] writes the answer as an RFC 9457 document and logs the cause once.

use std::borrow::Cow;
use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::database;

/// The result of everything a handler calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for the caller and for the operator.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    kind: Kind,
    code: &'static str,
    detail: Cow<'static, str>,
    violations: Vec<Violation>,
    retry_after_seconds: Option<u32>,
    cause: Option<std::sync::Arc<anyhow::Error>>,
}

/// The kinds of errors; each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    BodyTooLarge,
    NotJson,
    Unprocessable,
    TooManyRequests,
    HeadersTooLarge,
    Internal,
    Unavailable,
    Timeout,
}

/// The ways a call succeeds; each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// Something was made.
    Created,
    /// Something was done.
    Done,
}

impl Success {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Created => StatusCode::CREATED,
            Self::Done => StatusCode::OK,
        }
    }
}

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Violation {
    /// A stable code.
    pub code: Cow<'static, str>,
    /// Where it is, as a JSONPath such as `$.phases[0].key`.
    pub path: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// The body of every answer that is an error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable URI for this kind of problem; its last part is `code`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The status in words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// A stable code to decide by.
    pub code: String,
    /// What went wrong, for people.
    pub detail: String,
    /// The request, as `x-request-id` and the log name it.
    pub request_id: String,
    /// Every mistake of the document that was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl Error {
    fn new(kind: Kind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind,
            code,
            detail: detail.into(),
            violations: Vec::new(),
            retry_after_seconds: None,
            cause: None,
        }))
    }

    /// A document breaks rules; all of them are told.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [only] => format!("{}: {}", only.path, only.detail),
            several => format!("The document has {} mistakes.", several.len()),
        };
        let mut error = Self::new(Kind::Invalid, "invalid_document", detail);
        error.0.violations = violations;
        error
    }

    /// A part of the request other than its document is wrong.
    #[must_use]
    pub fn invalid_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, code, detail)
    }

    /// The caller did not prove who it is.
    #[must_use]
    pub fn unauthenticated(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unauthenticated, code, detail)
    }

    /// The caller may not do this.
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Forbidden, code, detail)
    }

    /// There is no such thing; the code is `{resource}_not_found`.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, code, detail)
    }

    /// The state of things does not allow it.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// The request is understood and contradicts an earlier one.
    #[must_use]
    pub fn unprocessable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unprocessable, code, detail)
    }

    /// The body is longer than allowed.
    #[must_use]
    pub fn body_too_large(max_bytes: usize) -> Self {
        let detail = format!("The body is longer than {max_bytes} bytes.");
        Self::new(Kind::BodyTooLarge, "body_too_large", detail)
    }

    /// The headers are longer than allowed.
    #[must_use]
    pub fn headers_too_large(max_bytes: usize) -> Self {
        let detail = format!("The headers are longer than {max_bytes} bytes together.");
        Self::new(Kind::HeadersTooLarge, "headers_too_large", detail)
    }

    /// The body is not JSON.
    #[must_use]
    pub fn not_json() -> Self {
        let detail = "Send the document as application/json.";
        Self::new(Kind::NotJson, "unsupported_media_type", detail)
    }

    /// Too many requests came in too short a time.
    #[must_use]
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        let mut error = Self::new(Kind::TooManyRequests, "too_many_requests", "Slow down.");
        error.0.retry_after_seconds = Some(retry_after_seconds);
        error
    }

    /// The request took too long and was given up.
    #[must_use]
    pub fn timeout() -> Self {
        let detail =
            "The request took too long. Repeated with its Idempotency-Key it tells its outcome.";
        Self::new(Kind::Timeout, "timeout", detail)
    }

    /// What was asked for could not be finished in time.
    #[must_use]
    pub fn late(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Timeout, code, detail)
    }

    /// Something this program did not foresee; the caller learns nothing but that.
    #[must_use]
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let detail = "An internal error occurred. The request id finds it in the log.";
        let mut error = Self::new(Kind::Internal, "internal", detail);
        error.0.cause = Some(std::sync::Arc::new(cause.into()));
        error
    }

    /// Something this program needs does not answer; asking again later may help.
    #[must_use]
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        let detail = "The service is temporarily unavailable.";
        let mut error = Self::new(Kind::Unavailable, "unavailable", detail);
        error.0.retry_after_seconds = Some(1);
        error.0.cause = Some(std::sync::Arc::new(cause.into()));
        error
    }

    /// Something this program needs is not ready; each is named.
    #[must_use]
    pub fn not_ready(missing: Vec<Violation>) -> Self {
        let names: Vec<_> = missing.iter().map(|check| check.path.as_str()).collect();
        let detail = format!("Not ready: {}.", names.join(", "));
        let mut error = Self::new(Kind::Unavailable, "not_ready", detail);
        error.0.violations = missing;
        error
    }

    /// No route leads there.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(Kind::NotFound, "not_found", "No such path.")
    }

    /// The error for an answer that the framework made without one.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::no_such_path(),
            StatusCode::METHOD_NOT_ALLOWED => {
                let detail = "This path does not know that method.";
                Self::new(Kind::MethodNotAllowed, "method_not_allowed", detail)
            }
            other if other.is_client_error() => {
                Self::new(Kind::Invalid, "bad_request", "The request is malformed.")
            }
            other => Self::internal(anyhow::anyhow!("answered {other} without an error")),
        }
    }

    /// What went wrong, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Whether the caller did not prove who it is.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        self.0.kind == Kind::Unauthenticated
    }

    /// Whether it was refused for good, by a rule: asking again is answered alike.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let status = self.status();
        status.is_client_error() && self.0.kind != Kind::TooManyRequests
    }

    /// Every mistake of the document.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// What the log should know and the caller must not.
    #[must_use]
    pub fn cause(&self) -> Option<&anyhow::Error> {
        self.0.cause.as_deref()
    }

    /// Seconds after which to ask again, if that may help.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.0.retry_after_seconds
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// The document of the answer.
    #[must_use]
    pub fn problem(&self, request_id: String) -> Problem {
        let status = self.status();
        Problem {
            problem_type: format!("urn:tollgate:problem:{}", self.0.code),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: self.0.code.to_owned(),
            detail: self.0.detail.to_string(),
            request_id,
            errors: self.0.violations.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.code, self.0.detail)?;
        match &self.0.cause {
            Some(cause) => write!(formatter, " ({cause:#})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)?;
        formatter.debug_list().entries(&self.0.violations).finish()
    }
}

impl std::error::Error for Error {}

impl From<database::Failure> for Error {
    fn from(failure: database::Failure) -> Self {
        if database::is_temporary(&failure) {
            Self::unavailable(failure)
        } else {
            Self::internal(failure)
        }
    }
}

/// Only marks the answer: the outermost layer knows the request and writes the document.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
