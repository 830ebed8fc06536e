//! How Stripe is reached, and which of its keys fit the environment.

use serde::Deserialize;

use super::{Environment, Secret};

/// The setting `[stripe]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct StripeConfig {
    pub api_key: Secret,
    pub webhook_secrets: Vec<Secret>,
    pub api_base: String,
    pub reconcile_seconds: u32,
}

impl StripeConfig {
    /// Whether there is a key.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        !self.api_key.expose().is_empty()
    }

    /// What is wrong by itself, if anything.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        let is_web = |prefix| self.api_base.starts_with(prefix);
        if !(is_web("https://") || is_web("http://")) || self.api_base.ends_with('/') {
            return Some("stripe.api_base: not of the form https://host");
        }
        if self
            .webhook_secrets
            .iter()
            .any(|secret| secret.expose().is_empty())
        {
            return Some("stripe.webhook_secrets: an empty secret would let anyone in");
        }
        None
    }

    /// What does not fit the environment, if anything: live keys belong to production, test keys to the rest.
    pub(super) fn mistake_in(&self, environment: Environment) -> Option<&'static str> {
        if !self.is_set_up() {
            return None;
        }
        let key = self.api_key.expose();
        let of = |mode: &str| {
            let kinds = ["sk", "rk"].into_iter();
            let mut rests = kinds.filter_map(|kind| key.strip_prefix(kind)?.strip_prefix(mode));
            rests.any(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
        };
        match environment {
            Environment::Production if of("_live_") && self.api_base.starts_with("https://") => {
                None
            }
            Environment::Production if of("_live_") => {
                Some("stripe.api_base: a live key is sent over https only")
            }
            Environment::Production => {
                Some("stripe.api_key: production takes a live key only (sk_live_… or rk_live_…)")
            }
            Environment::Test | Environment::Sandbox if of("_test_") => None,
            Environment::Test | Environment::Sandbox => Some(
                "stripe.api_key: only production takes a live key; this takes sk_test_… or rk_test_…",
            ),
        }
    }
}
