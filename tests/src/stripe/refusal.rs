//! What the simulator refuses, in the words and numbers of Stripe's documentation.

use serde_json::{Map, Value, json};

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of HTTP.
    pub status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    decline_code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Refusal {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            decline_code: None,
            param: None,
            message: message.into(),
        }
    }

    /// A request that can never succeed as it is (400).
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The same because of one parameter.
    #[must_use]
    pub fn parameter(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self::invalid(message).coded(code).about(param)
    }

    /// A parameter that must be there and is not.
    #[must_use]
    pub fn missing(param: &str) -> Self {
        let message = format!("Missing required param: {param}.");
        Self::parameter("parameter_missing", param, message)
    }

    /// An object that a path names and that does not exist (404).
    #[must_use]
    pub fn not_found(noun: &str, id: &str) -> Self {
        Self {
            status: 404,
            ..Self::no_such(noun, id, "id")
        }
    }

    /// A call that does not exist here (404).
    #[must_use]
    pub fn unrecognized(method: &str, path: &str) -> Self {
        let message = format!(
            "Unrecognized request URL ({method}: {path}): this simulator does not have it."
        );
        Self::new(404, "invalid_request_error", message)
    }

    /// An object that a parameter names and that does not exist (400).
    #[must_use]
    pub fn no_such(noun: &str, id: &str, param: &str) -> Self {
        Self::parameter("resource_missing", param, format!("No such {noun}: '{id}'"))
    }

    /// A key that is none of ours (401).
    #[must_use]
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", message)
    }

    /// A key without the permission for this call (403).
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "invalid_request_error", message)
    }

    /// A charge that the card's bank declined (402).
    #[must_use]
    pub fn declined(code: &'static str, decline_code: &'static str, message: &str) -> Self {
        Self {
            decline_code: Some(decline_code),
            ..Self::new(402, "card_error", message).coded(code)
        }
    }

    /// A charge that waits for the customer (402).
    #[must_use]
    pub fn action_required() -> Self {
        Self::new(402, "invalid_request_error", "Payment for this invoice requires additional user action before it can be completed successfully.")
            .coded("invoice_payment_intent_requires_action")
    }

    /// An idempotency key used for another request (400) or by a request that still runs (409).
    #[must_use]
    pub fn idempotency(
        status: u16,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            ..Self::new(status, "idempotency_error", message)
        }
    }

    /// Too many requests (429).
    #[must_use]
    pub fn rate_limited() -> Self {
        Self::new(
            429,
            "invalid_request_error",
            "Request rate limit exceeded. Learn more about rate limits at https://docs.stripe.com/rate-limits.",
        )
        .coded("rate_limit")
    }

    /// Another request that holds the object (409).
    #[must_use]
    pub fn locked() -> Self {
        Self::new(409, "invalid_request_error", "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.")
            .coded("lock_timeout")
    }

    /// A failure of Stripe itself (500 or 503).
    #[must_use]
    pub fn failure(status: u16) -> Self {
        Self::new(status, "api_error", "An unknown error occurred.")
    }

    /// The same with a code for programs.
    #[must_use]
    pub fn coded(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// The same with the parameter it is about.
    #[must_use]
    pub fn about(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    /// What a person reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut error = Map::new();
        error.insert("type".to_owned(), json!(self.kind));
        error.insert("message".to_owned(), json!(self.message));
        let texts = [
            ("code", self.code),
            ("decline_code", self.decline_code),
            ("param", self.param.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                error.insert(name.to_owned(), json!(text));
            }
        }
        json!({ "error": error })
    }
}
