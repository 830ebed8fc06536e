//! Admin keys: who may call the API, and for what.

pub mod bootstrap;
pub mod routes;
pub(crate) mod store;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::clock::MachineInstant;
use crate::error::{Error, Result};
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::AdminKeyId;

/// What every admin key starts with.
pub const SECRET_PREFIX: &str = "tga_";
const SECRET_RANDOM_CHARACTERS: usize = 40;
const SECRET_MIN_BYTES: usize = 36;
const SECRET_MAX_BYTES: usize = 200;
const NAME_MAX_CHARACTERS: usize = 100;

/// A part of the API that a key opens.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reading everything but secrets.
    Read,
    /// Writing meters, features, plans and the configuration.
    Catalog,
    /// Writing customers, their subscriptions and keys.
    Customers,
    /// Writing invoices and everything else about money.
    Billing,
    /// Writing admin keys and connections to other services.
    Setup,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Catalog,
        Self::Customers,
        Self::Billing,
        Self::Setup,
    ];

    /// The scope's name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Catalog => "catalog",
            Self::Customers => "customers",
            Self::Billing => "billing",
            Self::Setup => "setup",
        }
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or(())
    }
}

/// Who sent the request at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The admin key it came with.
    pub id: AdminKeyId,
    /// What the key opens.
    pub scopes: Vec<Scope>,
}

/// An admin key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminKey {
    /// Its id.
    pub id: AdminKeyId,
    /// What the operator calls it.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: MachineInstant,
    /// When it ends by itself.
    pub expires_at: Option<MachineInstant>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<MachineInstant>,
    /// When it was revoked.
    pub revoked_at: Option<MachineInstant>,
}

/// A new admin key, with the secret that is shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedAdminKey {
    /// The key.
    #[serde(flatten)]
    pub key: AdminKey,
    /// What to send as bearer token; null when this answer is repeated.
    #[schema(value_type = Option<String>)]
    pub secret: AdminSecret,
    /// Whether the secret was shown by an earlier answer to the same request.
    pub secret_already_shown: bool,
}

/// Where a key came from, which decides what a restart does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Made through the API.
    Api,
    /// `TOLLGATE_ADMIN_KEY`.
    Environment,
    /// Made at the first start.
    FirstStart,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Environment => "environment",
            Self::FirstStart => "first_start",
        }
    }
}

/// The secret half of an admin key: `tga_` and 40 random base62 characters.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AdminSecret(String);

impl AdminSecret {
    /// A new secret, from the system's random numbers.
    #[must_use]
    pub fn generate() -> Self {
        let random = crate::random_base62(SECRET_RANDOM_CHARACTERS);
        Self(format!("{SECRET_PREFIX}{random}"))
    }

    /// A secret that an operator chose, or `None` when it is none or easy to guess.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&text.len());
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (fits && plain && text.starts_with(SECRET_PREFIX)).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for whoever it is shown to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored: SHA-256 suffices for a secret nobody can guess.
    pub(crate) fn hash(&self) -> String {
        crate::hex(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for AdminSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tga_…")
    }
}

/// What to send for a new admin key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminKeyDocument {
    #[serde(default)]
    name: String,
    #[serde(default)]
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    expires_at: Option<MachineInstant>,
}

impl Document for AdminKeyDocument {}

impl AdminKeyDocument {
    fn check(self, now: MachineInstant, mistakes: &mut Mistakes) -> Option<AdminKey> {
        let root = Place::root();
        if self.name.is_empty() || self.name.chars().count() > NAME_MAX_CHARACTERS {
            let detail = format!("name has not 1 to {NAME_MAX_CHARACTERS} characters");
            mistakes.add(&root.field("name"), "invalid_name", detail);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            mistakes.add(
                &root.field("expiresAt"),
                "expiry_in_the_past",
                "expiresAt is over",
            );
        }
        if self.scopes.is_empty() {
            mistakes.add(
                &root.field("scopes"),
                "scopes_empty",
                "a key needs at least one scope",
            );
        }
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for (index, name) in self.scopes.iter().enumerate() {
            match name.parse() {
                Ok(scope) => scopes.push(scope),
                Err(()) => {
                    let place = root.field("scopes").index(index);
                    mistakes.add(&place, "unknown_scope", format!("{name} is no scope"));
                }
            }
        }
        scopes.sort_unstable();
        scopes.dedup();
        mistakes.is_empty().then(|| AdminKey {
            id: AdminKeyId::generate(now),
            name: self.name,
            scopes,
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
            revoked_at: None,
        })
    }
}

/// A caller gives away only what it has.
fn may_grant(caller: &Caller, scopes: &[Scope]) -> Result<()> {
    match scopes.iter().find(|scope| !caller.scopes.contains(scope)) {
        None => Ok(()),
        Some(scope) => {
            let detail = format!("Your key has not the scope {} itself.", scope.name());
            Err(Error::forbidden("scope_not_held", detail))
        }
    }
}
