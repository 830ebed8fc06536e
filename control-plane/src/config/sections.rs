//! The sections of the configuration, one struct each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Secret;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub public_url: String,
    pub request_timeout_seconds: u32,
    pub shutdown_timeout_seconds: u32,
    pub body_max_bytes: usize,
    pub headers_max_bytes: usize,
    pub requests_per_second: u32,
    pub requests_burst: u32,
    pub failed_authentications_per_minute: u32,
    pub cors_origins: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct DatabaseConfig {
    pub url: Secret,
    pub readers: u32,
    pub busy_timeout_ms: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct RedisConfig {
    pub url: Secret,
    pub prefix: String,
    pub timeout_ms: u32,
    pub lease_ttl_ms: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct AdminConfig {
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct IdempotencyConfig {
    pub keep_hours: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct JobsConfig {
    pub lease_seconds: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct OutboxConfig {
    pub poll_ms: u32,
    pub retry_first_ms: u32,
    pub retry_longest_ms: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct UsageConfig {
    pub drain_interval_ms: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct SandboxConfig {
    pub step_timeout_seconds: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct InvoicingConfig {
    pub collection_delay_seconds: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml is the manual")]
pub struct TelemetryConfig {
    pub log: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl ServerConfig {
    /// Whether links can be made of it: empty, or scheme and host, since our pages name each other from there.
    pub(super) fn is_public_url_usable(&self) -> bool {
        let url = &self.public_url;
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
        url.is_empty() || host.is_some_and(is_host)
    }

    /// How long a request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds.into())
    }

    /// How long the end of the process may take.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_seconds.into())
    }
}

impl DatabaseConfig {
    /// How long to wait for another writer.
    #[must_use]
    pub fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms.into())
    }
}

impl UsageConfig {
    /// How often what was consumed is read from Redis.
    #[must_use]
    pub fn drain_interval(&self) -> Duration {
        Duration::from_millis(self.drain_interval_ms.into())
    }
}

impl InvoicingConfig {
    /// How long after its end a period is billed.
    #[must_use]
    pub fn collection_delay(&self) -> Duration {
        Duration::from_secs(self.collection_delay_seconds.into())
    }
}

impl SandboxConfig {
    /// How long what is due at one instant may take when time is moved.
    #[must_use]
    pub fn step_timeout(&self) -> Duration {
        Duration::from_secs(self.step_timeout_seconds.into())
    }
}
