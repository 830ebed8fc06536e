//! API keys: what a customer's requests carry. Only the SHA-256 of a key is kept.

mod import;
pub mod routes;
mod store;

use std::fmt;
use std::time::Duration;

use jiff::Span;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tollgate_engine::api_key::{self, KeyHash, SECRET_LENGTH, Tag};
use tollgate_engine::fields::is_field_value;
use utoipa::ToSchema;

pub use store::{find, following};

use crate::app::App;
use crate::clock::{BusinessInstant, Clock};
use crate::config::Environment;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{ApiKeyId, EventId, SubscriptionId};
use crate::publisher;
use crate::random_base62;
use crate::subscriptions::chain;

const NAME_MAX_CHARACTERS: usize = 100;
/// Most keys of one chain that are neither revoked nor expired.
const KEYS_PER_CHAIN_MAX: i64 = 1_000;
/// Longest time for which a rolled key goes on.
const OVERLAP_MAX: Duration = Duration::from_secs(366 * 86_400);
const LAST_CHARACTERS: usize = 4;

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The chain of subscriptions it belongs to: the id of the first. It outlives plan changes.
    pub chain: SubscriptionId,
    /// What the operator calls it.
    pub name: Option<String>,
    /// The operator's own name for whoever holds it; upstreams get it with each request.
    pub subject: Option<String>,
    /// Whether it is metered but never refused for quota or payment.
    pub bypass: bool,
    /// Whether it is not of our own making: an API had it before.
    pub imported: bool,
    /// What it begins with; not known of an imported one.
    pub prefix: Option<String>,
    /// What it ends with; not known of an imported one.
    pub last_characters: Option<String>,
    /// When it was made.
    pub created_at: BusinessInstant,
    /// From when it is refused as expired.
    pub expires_at: Option<BusinessInstant>,
    /// Since when it is refused as revoked.
    pub revoked_at: Option<BusinessInstant>,
}

impl ApiKey {
    fn is_usable(&self, now: BusinessInstant) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key with what its document in Redis needs besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// The tag of its chain.
    pub tag: Tag,
    /// What it is looked up by.
    pub hash: KeyHash,
    /// Of its document.
    pub version: u64,
}

/// A new API key, with the secret that is shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedApiKey {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKey,
    /// What requests carry; null when this answer is repeated.
    #[schema(value_type = Option<String>)]
    pub secret: Secret,
    /// Whether the secret was shown by an earlier answer to the same request.
    pub secret_already_shown: bool,
}

/// The whole text of a key.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A new key's text, from the system's random numbers.
    fn generate(environment: Environment, tag: Tag) -> Result<Self> {
        let random = random_base62(SECRET_LENGTH);
        api_key::compose(key_environment(environment), tag, &random)
            .map(Self)
            .map_err(Error::internal)
    }

    fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    fn last_characters(&self) -> String {
        self.0[self.0.len() - LAST_CHARACTERS..].to_owned()
    }

    /// The text itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tg_…")
    }
}

/// The keys of an environment: live ones in production only.
fn key_environment(environment: Environment) -> api_key::Environment {
    match environment {
        Environment::Production => api_key::Environment::Live,
        Environment::Test | Environment::Sandbox => api_key::Environment::Test,
    }
}

/// What every key of a tag begins with.
fn prefix(environment: Environment, tag: &str) -> String {
    format!("tg_{}_{tag}", key_environment(environment).as_str())
}

/// What to send for a new API key.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyDocument {
    /// What the operator calls it; up to 100 characters.
    name: Option<String>,
    /// The operator's own name for whoever holds it: 1 to 256 printable ASCII characters.
    subject: Option<String>,
    /// From when it is refused as expired.
    expires_at: Option<BusinessInstant>,
    /// Whether it is metered but never refused for quota or payment; false when left out.
    #[serde(default)]
    bypass: bool,
}

impl Document for ApiKeyDocument {}

impl ApiKeyDocument {
    fn check(self, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<Self> {
        self.check_at(&Place::root(), now, mistakes)
    }

    fn check_at(self, root: &Place, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<Self> {
        let long = |name: &String| name.chars().count() > NAME_MAX_CHARACTERS;
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.is_empty() || long(name))
        {
            let detail = format!("name has not 1 to {NAME_MAX_CHARACTERS} characters");
            mistakes.add(&root.field("name"), "invalid_name", detail);
        }
        if self
            .subject
            .as_deref()
            .is_some_and(|subject| !is_field_value(subject))
        {
            let detail =
                "subject has not 1 to 256 printable ASCII characters, or a space at an end";
            mistakes.add(&root.field("subject"), "invalid_subject", detail);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            let detail = "expiresAt is over";
            mistakes.add(&root.field("expiresAt"), "expiry_in_the_past", detail);
        }
        Some(self)
    }

    fn key(self, clock: &Clock, chain: SubscriptionId, prefix: String, secret: &Secret) -> ApiKey {
        ApiKey {
            id: ApiKeyId::generate(clock.machine_now()),
            chain,
            name: self.name,
            subject: self.subject,
            bypass: self.bypass,
            imported: false,
            prefix: Some(prefix),
            last_characters: Some(secret.last_characters()),
            created_at: clock.business_now(),
            expires_at: self.expires_at,
            revoked_at: None,
        }
    }
}

/// Issues a key of a chain of subscriptions; the word that it is to be written to Redis comes with it.
///
/// # Errors
/// When the chain has as many keys as it may have, or the database refuses.
pub async fn issue(
    app: &App,
    tx: &mut Write,
    chain: SubscriptionId,
    document: ApiKeyDocument,
) -> Result<(IssuedApiKey, EventId)> {
    let now = app.clock.business_now();
    if store::count_usable(tx, chain, now).await? >= KEYS_PER_CHAIN_MAX {
        let detail = format!("A subscription has at most {KEYS_PER_CHAIN_MAX} keys.");
        return Err(Error::conflict("too_many_keys", detail));
    }
    let tag = chain::tag_of(tx, chain).await?;
    let secret = Secret::generate(app.config.environment, tag)?;
    let prefix = prefix(app.config.environment, tag.as_str());
    let key = document.key(&app.clock, chain, prefix, &secret);
    store::insert(tx, &key, &secret.hash()).await?;
    let word = publisher::key_changed(app, tx, &key).await?;
    let issued = IssuedApiKey {
        key,
        secret,
        secret_already_shown: false,
    };
    Ok((issued, word))
}

/// What to send to roll an API key.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollDocument {
    /// How long the old key goes on, as an ISO 8601 duration of up to 366 days; it ends at once when left out.
    #[schema(examples("PT24H"))]
    overlap: Option<String>,
}

impl Document for RollDocument {}

impl RollDocument {
    /// When the old key ends.
    fn check(self, now: BusinessInstant, mistakes: &mut Mistakes) -> Option<BusinessInstant> {
        let Some(overlap) = self.overlap else {
            return Some(now);
        };
        let start = now.timestamp().to_zoned(TimeZone::UTC);
        let span = overlap
            .parse::<Span>()
            .ok()
            .filter(|_| overlap.starts_with('P'));
        let end = span.and_then(|span| start.checked_add(span).ok());
        let end = end.map(|end| BusinessInstant::from(end.timestamp()));
        let end = end.filter(|end| (now..=now.after(OVERLAP_MAX)).contains(end));
        if end.is_none() {
            let detail = "overlap is not an ISO 8601 duration of up to 366 days, such as PT24H";
            mistakes.add(&Place::root().field("overlap"), "invalid_overlap", detail);
        }
        end
    }
}
