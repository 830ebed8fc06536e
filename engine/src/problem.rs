//! Refusals: RFC 9457 problem documents with a stable code.

use std::borrow::Cow;

use serde::Serialize;

use crate::fields::{self, MeterState, RateLimit};
use crate::limits::{ID_MAX_BYTES, INSTANCE_MAX_BYTES};
use crate::policy::PathRefused;
use crate::slug::Slug;
use crate::units::Units;

/// What a problem's `type` begins with; its code follows.
pub const TYPE_PREFIX: &str = "urn:tollgate:problem:";
/// The media type of every refusal.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Declares the codes once: variant, name, default status, title and detail.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:literal, $title:literal, $detail:literal;)+) => {
        /// Why a request is refused; the names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: [Self; [$($status),+].len()] = [$(Self::$variant),+];

            /// The name in documents and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status unless `responses.statuses` says otherwise.
            #[must_use]
            pub const fn default_status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// A short summary, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail,)+ }
            }
        }
    };
}

codes! {
    /// No source of the configuration has a key.
    KeyMissing = "key_missing", 401, "API key missing", "The request carries no API key.";
    /// Not of the form of a key of this environment.
    KeyMalformed = "key_malformed", 401, "API key malformed",
        "What the request carries is not an API key of this environment.";
    /// Well formed, and nobody's.
    KeyUnknown = "key_unknown", 401, "API key unknown", "The API key is not known here.";
    /// Past its expiry.
    KeyExpired = "key_expired", 401, "API key expired", "The API key has expired.";
    /// Revoked.
    KeyRevoked = "key_revoked", 401, "API key revoked", "The API key has been revoked.";
    /// Before `activeFrom`.
    SubscriptionNotStarted = "subscription_not_started", 403, "Subscription not started",
        "The subscription of this API key has not started yet.";
    /// From `activeTo` on.
    SubscriptionEnded = "subscription_ended", 403, "Subscription ended",
        "The subscription of this API key has ended.";
    /// The first payment was not made.
    PaymentRequired = "payment_required", 403, "Payment required",
        "The first payment of the subscription has not been made.";
    /// Grace is over.
    PaymentOverdue = "payment_overdue", 403, "Payment overdue",
        "A payment is overdue. Please update the payment method.";
    /// An invoice was given up.
    PaymentUncollectible = "payment_uncollectible", 403, "Payment uncollectible",
        "An invoice could not be collected. Please settle it to go on.";
    /// The plan has no entitlement for a meter of the rule.
    MeterNotInPlan = "meter_not_in_plan", 403, "Meter not in plan",
        "The plan does not include a meter that this request needs.";
    /// The plan has no entitlement for a feature the rule requires.
    FeatureNotInPlan = "feature_not_in_plan", 403, "Feature not in plan",
        "The plan does not include a feature that this request needs.";
    /// A hard limit, or the overage limit of a soft one.
    QuotaExceeded = "quota_exceeded", 403, "Quota exceeded",
        "The quota of this period is used up.";
    /// The path has other spellings.
    PathNotNormal = "path_not_normal", 400, "Path not in normal form",
        "The path is not in normal form.";
    /// The decision needs Redis and Redis does not answer.
    StoreUnavailable = "store_unavailable", 503, "Temporarily unavailable",
        "The request cannot be decided right now. Please try again.";
}

/// How answers are formed, compiled from the configuration's `responses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    statuses: [u16; Code::ALL.len()],
    challenge: String,
    /// Whether answers tell what is left of each limit.
    pub rate_limit_headers: bool,
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
        if let Some(seconds) = problem.retry_after_seconds {
            headers.push(("retry-after", seconds.to_string()));
        }
        let quota = problem.quota.as_ref();
        let told = quota.filter(|_| self.rate_limit_headers);
        if let Some(RateLimit { policy, state }) = fields::rate_limit(told.map(|quota| quota.state))
        {
            headers.push((fields::RATE_LIMIT_POLICY, policy));
            headers.push((fields::RATE_LIMIT, state));
        }
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
            upgrade_url: quota.and(self.upgrade_url.as_deref()),
        };
        Answer {
            status,
            headers,
            // Strings and a number always serialise.
            body: serde_json::to_vec(&body).unwrap_or_default(),
        }
    }
}

/// What goes back to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// A JSON document.
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
            retry_after_seconds: matches!(code, Code::QuotaExceeded | Code::StoreUnavailable)
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

/// First and last instant that RFC 3339 can write, in unix milliseconds.
const RFC3339_MS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

/// An instant of unix milliseconds as RFC 3339 in UTC, clamped to the years 0000 to 9999.
fn rfc3339(unix_ms: i64) -> String {
    let unix_ms = unix_ms.clamp(RFC3339_MS.0, RFC3339_MS.1);
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = civil_from_days(days);
    let seconds = ms / 1_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match ms % 1_000 {
        0 => String::new(),
        fraction => format!(".{fraction:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are taken from March, so that the leap day comes last and months have lengths of
/// 31, 30, 31, 30, 31 in a cycle of 153 days (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests;
