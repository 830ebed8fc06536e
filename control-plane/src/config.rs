//! The configuration: the embedded defaults, then a file, then the environment.

mod sections;
mod stripe;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use sections::{
    AdminConfig, DatabaseConfig, IdempotencyConfig, InvoicingConfig, JobsConfig, LogFormat,
    OutboxConfig, RedisConfig, SandboxConfig, ServerConfig, TelemetryConfig, UsageConfig,
};
pub use stripe::StripeConfig;

use crate::database::Backend;

/// The manual: every setting with its default and its meaning.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// Environment variables with a name of their own, and the setting they stand for.
const NAMED_VARIABLES: [(&str, &str); 7] = [
    ("TOLLGATE_ENV", "environment"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("STRIPE_API_KEY", "stripe.api_key"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secrets"),
    ("STRIPE_API_BASE", "stripe.api_base"),
    ("TOLLGATE_LOG", "telemetry.log"),
];

/// Everything that can be set; `config.default.toml` says what each setting means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct Config {
    pub environment: Environment,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub admin: AdminConfig,
    pub idempotency: IdempotencyConfig,
    pub jobs: JobsConfig,
    pub outbox: OutboxConfig,
    pub usage: UsageConfig,
    pub invoicing: InvoicingConfig,
    pub sandbox: SandboxConfig,
    pub stripe: StripeConfig,
    pub telemetry: TelemetryConfig,
}

/// What kind of money and keys this installation deals in.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real customers: live keys only.
    Production,
    /// Test keys only.
    Test,
    /// As test, with time that can be moved.
    Sandbox,
}

/// A setting that may hold a password: it is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The setting itself, for whoever connects with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// What is wrong with the configuration, and where it stands.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source}: {problem}", source = .place)]
pub struct ConfigError {
    place: String,
    problem: String,
}

impl ConfigError {
    fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            place: place.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl Config {
    /// Reads the defaults, then `file`, then `variables` of the environment.
    ///
    /// # Errors
    /// Names the first setting that is unknown or does not fit, and the file or variable it is in.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut settings: Table = parse(DEFAULTS, "config.default.toml")?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::new(path.display(), error))?;
            let place = path.display().to_string();
            let changes = parse(&text, &place)?;
            overlay(&mut settings, changes, "", &place)?;
            check(&settings, &place)?;
        }
        for (name, text) in variables {
            if let Some(setting) = setting_of_variable(&settings, &name) {
                set_text(&mut settings, &setting, &text);
                check(&settings, &format!("environment variable {name}"))?;
            }
        }
        let config = check(&settings, "config.default.toml")?;
        // Only now: what has to fit together may come in any order.
        match config.stripe.mistake_in(config.environment) {
            Some(mistake) => Err(ConfigError::new("the settings together", mistake)),
            None => Ok(config),
        }
    }
}

fn parse(text: &str, place: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError::new(place, error))
}

/// Puts `changes` over `settings`; both have the same keys or the change is refused.
fn overlay(
    settings: &mut Table,
    changes: Table,
    path: &str,
    place: &str,
) -> Result<(), ConfigError> {
    for (key, change) in changes {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (settings.get_mut(&key), change) {
            (None, _) => return Err(ConfigError::new(place, format!("unknown setting {path}"))),
            (Some(Value::Table(section)), Value::Table(changes)) => {
                overlay(section, changes, &path, place)?;
            }
            (Some(Value::Table(_)), _) => {
                return Err(ConfigError::new(
                    place,
                    format!("{path} is a section, not a setting"),
                ));
            }
            (Some(setting), change) => *setting = change,
        }
    }
    Ok(())
}

/// The dotted setting an environment variable stands for.
fn setting_of_variable(settings: &Table, variable: &str) -> Option<String> {
    if let Some((_, setting)) = NAMED_VARIABLES.iter().find(|(name, _)| *name == variable) {
        return Some((*setting).to_owned());
    }
    settings.iter().find_map(|(section, value)| {
        let keys = value.as_table()?.keys();
        keys.map(|key| format!("{section}.{key}")).find(|setting| {
            let name = format!("TOLLGATE_{}", setting.replace('.', "_").to_uppercase());
            name == variable
        })
    })
}

/// Sets a setting from text, read as the kind of value it has by default.
fn set_text(settings: &mut Table, setting: &str, text: &str) {
    let (section, key) = setting.split_once('.').unwrap_or(("", setting));
    let table = match settings.get_mut(section) {
        Some(Value::Table(section)) => section,
        _ => settings,
    };
    let value = match table.get(key) {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).ok(),
        Some(Value::Array(_)) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let items = items.map(|item| Value::String(item.to_owned()));
            Some(Value::Array(items.collect()))
        }
        _ => None,
    };
    // A text that is not of that kind stays text, and `check` says what was expected.
    table.insert(
        key.to_owned(),
        value.unwrap_or_else(|| Value::String(text.to_owned())),
    );
}

fn check(settings: &Table, place: &str) -> Result<Config, ConfigError> {
    let mut config: Config =
        serde_path_to_error::deserialize(settings.clone()).map_err(|error| {
            let reason = error.inner().message().to_owned();
            ConfigError::new(place, format!("{}: {reason}", error.path()))
        })?;
    if config.redis.prefix.is_empty() {
        config.redis.prefix = match config.environment {
            Environment::Production => "tg:live:".to_owned(),
            Environment::Test | Environment::Sandbox => "tg:test:".to_owned(),
        };
    }
    let refuse = |problem: &str| Err(ConfigError::new(place, problem));
    if Backend::of_url(config.database.url.expose()).is_none() {
        return refuse("database.url: neither a sqlite nor a postgres URL");
    }
    if !config.server.is_public_url_usable() {
        return refuse("server.public_url: not of the form https://host");
    }
    if let Some(mistake) = config.stripe.mistake() {
        return refuse(mistake);
    }
    let positive = [
        (
            "server.request_timeout_seconds",
            config.server.request_timeout_seconds,
        ),
        (
            "server.requests_per_second",
            config.server.requests_per_second,
        ),
        ("server.requests_burst", config.server.requests_burst),
        ("database.readers", config.database.readers),
        ("database.busy_timeout_ms", config.database.busy_timeout_ms),
        ("redis.timeout_ms", config.redis.timeout_ms),
        ("jobs.lease_seconds", config.jobs.lease_seconds),
        ("outbox.poll_ms", config.outbox.poll_ms),
        ("outbox.retry_first_ms", config.outbox.retry_first_ms),
        ("usage.drain_interval_ms", config.usage.drain_interval_ms),
        (
            "sandbox.step_timeout_seconds",
            config.sandbox.step_timeout_seconds,
        ),
        ("stripe.reconcile_seconds", config.stripe.reconcile_seconds),
    ];
    match positive.iter().find(|(_, value)| *value == 0) {
        Some((setting, _)) => refuse(&format!("{setting}: must be greater than 0")),
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests;
