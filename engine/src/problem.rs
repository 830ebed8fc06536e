//! Refusals: RFC 9457 problem documents with a stable code.

mod code;
mod instant;

use std::borrow::Cow;

use serde::Serialize;

use crate::fields::{self, MeterState, RateLimit};
use crate::grpc::GrpcStatus;
use crate::limits::{ID_MAX_BYTES, INSTANCE_MAX_BYTES};
use crate::policy::PathRefused;
use crate::slug::Slug;
use crate::units::Units;

pub use code::Code;
use instant::rfc3339;

/// What a problem's `type` begins with; its code follows.
pub const TYPE_PREFIX: &str = "urn:tollgate:problem:";
/// The media type of every refusal.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// How answers are formed, compiled from the configuration's `responses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    statuses: [u16; Code::ALL.len()],
    challenge: String,
    /// Whether answers tell what is left of each limit.
    pub rate_limit_headers: bool,
    /// Whether the access log can tell what was decided and metered.
    pub access_log: bool,
    /// How the upstream is told who is calling.
    pub identity: IdentityHeaders,
    /// Where a client can buy more, if anywhere.
    pub upgrade_url: Option<String>,
}

/// How the upstream is told who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityHeaders {
    /// One header with all of it.
    One,
    /// A header each.
    Separate,
    /// Nothing: the upstream need not know.
    None,
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            statuses: Code::ALL.map(Code::default_status),
            challenge: "Bearer realm=\"tollgate\"".to_owned(),
            rate_limit_headers: true,
            access_log: false,
            identity: IdentityHeaders::One,
            upgrade_url: None,
        }
    }
}

impl Responses {
    /// The HTTP status for a code.
    #[must_use]
    pub const fn status(&self, code: Code) -> u16 {
        self.statuses[code as usize]
    }

    pub(crate) const fn set_status(&mut self, code: Code, status: u16) {
        self.statuses[code as usize] = status;
    }

    /// The same with another `WWW-Authenticate`.
    pub(crate) fn challenging(self, challenge: String) -> Self {
        Self { challenge, ..self }
    }

    /// The whole answer to a refused request.
    #[must_use]
    pub fn answer(&self, problem: &Problem<'_>) -> Answer {
        let status = self.status(problem.code);
        let mut headers = vec![
            ("content-type", CONTENT_TYPE.to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        if status == 401 {
            headers.push(("www-authenticate", self.challenge.clone()));
        }
        self.push_limits(&mut headers, problem);
        let quota = problem.quota.as_ref();
        let body = Body {
            problem_type: format!("{TYPE_PREFIX}{}", problem.code.as_str()),
            title: problem.code.title(),
            status,
            detail: &problem.detail,
            instance: problem.instance.as_deref(),
            code: problem.code.as_str(),
            request_id: problem.request_id,
            meter: quota.map(|quota| quota.state.meter),
            limit: quota.map(|quota| quota.state.limit.to_string()),
            used: quota.map(|quota| quota.used().to_string()),
            resets_at: quota.map(|quota| rfc3339(quota.resets_at_ms)),
            upgrade_url: problem.limit().and(self.upgrade_url.as_deref()),
        };
        Answer {
            status,
            grpc_status: problem.code.grpc_status(),
            headers,
            // Strings and a number always serialise.
            body: serde_json::to_vec(&body).unwrap_or_default(),
        }
    }

    /// The same for a gRPC request: a response of trailers alone, whose message takes the place of the body.
    #[must_use]
    pub fn grpc_answer(&self, problem: &Problem<'_>) -> Answer {
        let mut headers = Vec::new();
        self.push_limits(&mut headers, problem);
        let message = format!("{}: {}", problem.code.as_str(), problem.detail);
        Answer {
            status: 200,
            grpc_status: problem.code.grpc_status(),
            headers,
            body: message.into_bytes(),
        }
    }

    /// When to try again, and the limit that refused.
    fn push_limits(&self, headers: &mut Vec<(&'static str, String)>, problem: &Problem<'_>) {
        if let Some(seconds) = problem.retry_after_seconds {
            headers.push(("retry-after", seconds.to_string()));
        }
        let told = problem.limit().filter(|_| self.rate_limit_headers);
        if let Some(RateLimit { policy, state }) = fields::rate_limit(told) {
            headers.push((fields::RATE_LIMIT_POLICY, policy));
            headers.push((fields::RATE_LIMIT, state));
        }
    }
}

/// What goes back to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The status for a client that speaks gRPC.
    pub grpc_status: GrpcStatus,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// A JSON document, or for gRPC a message.
    pub body: Vec<u8>,
}

/// One refusal. It never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    code: Code,
    detail: Cow<'static, str>,
    instance: Option<Cow<'a, str>>,
    request_id: Option<&'a str>,
    quota: Option<Quota<'a>>,
    rate: Option<MeterState<'a>>,
    retry_after_seconds: Option<u64>,
}

/// The quota that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota<'a> {
    /// The meter as this worker knows it.
    pub state: MeterState<'a>,
    /// When the window ends, in unix milliseconds.
    pub resets_at_ms: i64,
}

impl Quota<'_> {
    /// Units consumed or reserved.
    fn used(&self) -> Units {
        let used =
            self.state.limit.milli() - self.state.remaining.milli().min(self.state.limit.milli());
        Units::from_milli(used).unwrap_or(Units::MAX)
    }
}

impl<'a> Problem<'a> {
    /// A refusal with the code's own detail.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.detail()),
            instance: None,
            request_id: None,
            quota: None,
            rate: None,
            retry_after_seconds: matches!(
                code,
                Code::QuotaExceeded | Code::RateLimited | Code::StoreUnavailable
            )
            .then_some(1),
        }
    }

    /// A path that is refused, and why.
    #[must_use]
    pub fn path_not_normal(refused: PathRefused) -> Self {
        Self {
            detail: Cow::Owned(format!("The path {refused}.")),
            ..Self::new(Code::PathNotNormal)
        }
    }

    /// A meter that the plan does not have.
    #[must_use]
    pub fn meter_not_in_plan(meter: &Slug) -> Self {
        Self {
            detail: Cow::Owned(format!("The plan does not include the meter \"{meter}\".")),
            ..Self::new(Code::MeterNotInPlan)
        }
    }

    /// A feature that the plan does not have.
    #[must_use]
    pub fn feature_not_in_plan(feature: &Slug) -> Self {
        Self {
            detail: Cow::Owned(format!(
                "The plan does not include the feature \"{feature}\"."
            )),
            ..Self::new(Code::FeatureNotInPlan)
        }
    }

    /// A limit that is reached.
    #[must_use]
    pub fn quota_exceeded(quota: Quota<'a>) -> Self {
        let MeterState { meter, limit, .. } = quota.state;
        Self {
            detail: Cow::Owned(format!(
                "The request does not fit into what is left of {limit} \"{meter}\" for this period."
            )),
            quota: Some(quota),
            ..Self::new(Code::QuotaExceeded)
        }
    }

    /// A rate limit that leaves nothing for now: what it gives in which time, and when there is more.
    #[must_use]
    pub fn rate_limited(rate: MeterState<'a>) -> Self {
        let MeterState {
            meter,
            limit,
            window_seconds,
            ..
        } = rate;
        Self {
            detail: Cow::Owned(format!(
                "The plan gives {limit} \"{meter}\" in {window_seconds} s, and they are used up for now."
            )),
            rate: Some(rate),
            ..Self::new(Code::RateLimited)
        }
        .retry_after(rate.resets_in_seconds)
    }

    /// With the request's path, without its query, as the instance; anything else (`*`, a whole URL)
    /// is left out, since it may hold credentials.
    #[must_use]
    pub fn at(self, path_and_query: &'a [u8]) -> Self {
        let ends = |byte: &u8| matches!(byte, b'?' | b'#');
        let path = path_and_query.split(ends).next().unwrap_or_default();
        let shown = &path[..path.len().min(INSTANCE_MAX_BYTES)];
        Self {
            instance: shown
                .starts_with(b"/")
                .then(|| String::from_utf8_lossy(shown)),
            ..self
        }
    }

    /// With the request's id, unless it is too long to be one.
    #[must_use]
    pub fn of_request(self, id: &'a str) -> Self {
        Self {
            request_id: Some(id).filter(|id| id.len() <= ID_MAX_BYTES),
            ..self
        }
    }

    /// With the seconds after which to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after_seconds: Some(seconds),
            ..self
        }
    }

    /// The limit that refused the request, if one did.
    fn limit(&self) -> Option<MeterState<'a>> {
        self.quota.map(|quota| quota.state).or(self.rate)
    }

    /// Why the request is refused.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(rename = "type")]
    problem_type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
}

#[cfg(test)]
mod tests;
