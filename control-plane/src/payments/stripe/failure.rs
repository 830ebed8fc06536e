//! What Stripe, or the way to it, says when something was not done.

use serde::Deserialize;

use crate::error::Error;

/// Why a call of Stripe has no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// Stripe refused.
    #[error("Stripe refused {endpoint}: {refusal}")]
    Api {
        /// The call.
        endpoint: &'static str,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// Nothing came back in time: it may have been done.
    #[error("no answer from Stripe to {endpoint}")]
    Transport {
        /// The call.
        endpoint: &'static str,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// An answer came that this program does not understand: it was done.
    #[error("Stripe's answer to {endpoint} (request {request_id}) cannot be read at {place}")]
    Decode {
        /// The call.
        endpoint: &'static str,
        /// Stripe's name for the request.
        request_id: String,
        /// Where in the answer.
        place: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// What was to be sent could not be written down, so that nothing was sent.
    #[error("cannot keep what is sent to Stripe")]
    Storage(#[source] Error),
}

/// Stripe's own words for why it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Such as `card_error` or `invalid_request_error`.
    pub kind: String,
    /// Such as `card_declined` or `resource_missing`.
    pub code: Option<String>,
    /// The bank's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// For people.
    pub message: String,
    /// Stripe's name for the request.
    pub request_id: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.as_deref().unwrap_or("no code");
        let (status, kind, message) = (self.status, &self.kind, &self.message);
        write!(formatter, "{status} {kind} ({code}): {message}")?;
        if let Some(param) = &self.param {
            write!(formatter, " [{param}]")?;
        }
        write!(formatter, " (request {})", self.request_id)
    }
}

impl StripeError {
    /// What Stripe said, if it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Api { refusal, .. } => Some(refusal),
            Self::Transport { .. } | Self::Decode { .. } | Self::Storage(_) => None,
        }
    }

    /// Whether asking again with the same key may help: it may even have been done.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Api { refusal, .. } => {
                matches!(refusal.status, 409 | 429) || refusal.status >= 500
            }
            Self::Transport { .. } | Self::Storage(_) => true,
            Self::Decode { .. } => false,
        }
    }

    /// Whether the customer's bank said no, or wants the customer to confirm.
    #[must_use]
    pub fn is_declined(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 402)
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.refusal().is_some_and(|refusal| {
            refusal.status == 404 || refusal.code.as_deref() == Some("resource_missing")
        })
    }

    /// Whether Stripe does not know the key.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 401)
    }

    /// Whether the key may not do this.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 403)
    }
}

/// Callers learn that it did not work; the log learns why.
impl From<StripeError> for Error {
    fn from(error: StripeError) -> Self {
        match error {
            StripeError::Storage(error) => error,
            error @ StripeError::Decode { .. } => Self::internal(error),
            error @ (StripeError::Api { .. } | StripeError::Transport { .. }) => {
                Self::unavailable(error)
            }
        }
    }
}

#[derive(Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    error: Words,
}

#[derive(Default, Deserialize)]
struct Words {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

impl Refusal {
    /// Reads a refusal; one that is not Stripe's keeps its status.
    pub(super) fn read(status: u16, request_id: String, body: &[u8]) -> Self {
        let Envelope { error } = serde_json::from_slice(body).unwrap_or_default();
        Self {
            status,
            kind: error.kind.unwrap_or_default(),
            code: error.code,
            decline_code: error.decline_code,
            param: error.param,
            message: error.message.unwrap_or_default(),
            request_id,
        }
    }
}
