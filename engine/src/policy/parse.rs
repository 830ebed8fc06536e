//! From the document to a [`Policy`]: fields, defaults and how values relate.

use super::read::{Mistakes as Found, Node, Object};
use super::rules::Rules;
use super::{
    Auth, Fallback, LostLeases, Metering, MeteringMode, Mistakes, OnUnavailable, Paths, Policy,
    Redis,
};
use crate::api_key::Environment;
use crate::limits::{
    CALLS_PER_SECOND_MAX, CONFIGURATION_MAX_BYTES, FLUSH_INTERVAL_MIN_MS, LEASE_TTL_MAX_MS,
    NAME_MAX_BYTES, REDIS_PREFIX_MAX_BYTES, REDIS_TIMEOUT_MAX_MS, REDIS_TIMEOUT_MIN_MS,
    STALE_FOR_MAX_SECONDS, UNSETTLED_MAX_MS, URL_MAX_BYTES, WAIT_FOR_UNITS_MAX_MS,
};
use crate::problem::{Code, IdentityHeaders, Responses};
use crate::units::Units;

impl Policy {
    /// Compiles a document.
    ///
    /// # Errors
    /// With every mistake in it, up to [`crate::limits::MISTAKES_MAX`].
    pub fn parse(document: &str) -> Result<Self, Mistakes> {
        let found = Found::default();
        let policy = if document.len() > CONFIGURATION_MAX_BYTES {
            found.add(
                "$",
                format!("is longer than {CONFIGURATION_MAX_BYTES} bytes"),
            );
            None
        } else {
            Node::document(document, &found).and_then(|node| read(&node))
        };
        let mistakes = found.into_vec();
        policy
            .filter(|_| mistakes.is_empty())
            .ok_or(Mistakes(mistakes))
    }
}

fn read(node: &Node<'_>) -> Option<Policy> {
    let mut root = node.object()?;
    let environment = root.required("environment", |node| {
        node.choice(&[("live", Environment::Live), ("test", Environment::Test)])
    });
    let sandbox = read_sandbox(&mut root, environment);
    let paths = root.or("paths", Paths::Normal, |node| {
        node.choice(&[("normal", Paths::Normal), ("asGiven", Paths::AsGiven)])
    });
    let redis = root.required("redis", Redis::read);
    let auth = section(&mut root, "auth", Auth::read);
    let rules = root.required("rules", |node| {
        Rules::read(node, paths.unwrap_or(Paths::Normal))
    });
    let metering = section(&mut root, "metering", |object| {
        Metering::read(object, redis.as_ref())
    });
    let on_unavailable = section(&mut root, "onUnavailable", OnUnavailable::read);
    let responses = section(&mut root, "responses", read_responses);
    root.finish();
    let auth = auth?;
    Some(Policy {
        environment: environment?,
        sandbox: sandbox?,
        paths: paths?,
        redis: redis?,
        metering: metering?,
        on_unavailable: on_unavailable?,
        responses: responses?.challenging(auth.challenge()),
        auth,
        rules: rules?,
    })
}

/// Reads a section whose fields all have defaults, so that it may be left out.
fn section<'a, T>(
    root: &mut Object<'a>,
    name: &str,
    read: impl FnOnce(&mut Object<'a>) -> Option<T>,
) -> Option<T> {
    let mut object = match root.take(name) {
        Some(node) => node.object()?,
        None => root.absent(name),
    };
    let read = read(&mut object);
    object.finish();
    read
}

fn read_sandbox(root: &mut Object<'_>, environment: Option<Environment>) -> Option<bool> {
    root.or("sandbox", false, |node| {
        let sandbox = node.boolean()?;
        if sandbox && environment == Some(Environment::Live) {
            node.mistake("needs environment \"test\": time never moves for live keys");
            return None;
        }
        Some(sandbox)
    })
}

impl Redis {
    fn read(node: &Node<'_>) -> Option<Self> {
        let mut object = node.object()?;
        let mode = object.or("mode", (), |node| node.choice(&[("single", ())]));
        let cluster = object.required("cluster", |node| {
            node.text_of(
                NAME_MAX_BYTES,
                |byte| byte.is_ascii_graphic(),
                "printable ASCII",
            )
        });
        let prefix = object.required("prefix", |node| {
            // Braces would move names to another slot than their tag's.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
            node.text_of(
                REDIS_PREFIX_MAX_BYTES,
                plain,
                "A-Z, a-z, 0-9, :, ., _ and -",
            )
        });
        let username = object.nullable("username", None, |node| {
            node.text_of(
                NAME_MAX_BYTES,
                |byte| byte.is_ascii_graphic(),
                "printable ASCII",
            )
        });
        let password_env = object.nullable(
            "passwordEnv",
            Some("TOLLGATE_REDIS_PASSWORD".to_owned()),
            read_variable,
        );
        if let (Some(Some(_)), Some(None)) = (&username, &password_env) {
            object.mistake("username", "needs passwordEnv");
        }
        let timeout_ms = object.or("timeoutMs", 250, |node| {
            node.integer(REDIS_TIMEOUT_MIN_MS..=REDIS_TIMEOUT_MAX_MS)
        });
        let max_calls_per_second = object.or("maxCallsPerSecond", 25, |node| {
            node.integer(0..=CALLS_PER_SECOND_MAX)
        });
        object.finish();
        mode?;
        Some(Self {
            cluster: cluster?,
            prefix: prefix?,
            username: username?,
            password_env: password_env?,
            timeout_ms: timeout_ms?,
            max_calls_per_second: max_calls_per_second?,
        })
    }
}

fn read_variable(node: &Node<'_>) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    node.text_of(NAME_MAX_BYTES, plain, "A-Z, a-z, 0-9 and _")
}

impl Auth {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let sources = object.or("sources", Self::default_sources(), Self::read_sources);
        let hide_credentials = object.or("hideCredentials", true, Node::boolean);
        let foreign_keys = object.or("foreignKeys", false, Node::boolean);
        let allow_preflight = object.or("allowPreflight", false, Node::boolean);
        Some(Self {
            sources: sources?,
            hide_credentials: hide_credentials?,
            foreign_keys: foreign_keys?,
            allow_preflight: allow_preflight?,
        })
    }
}

impl MeteringMode {
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        node.choice(&[("leased", Self::Leased), ("exact", Self::Exact)])
    }
}

impl Metering {
    fn read(object: &mut Object<'_>, redis: Option<&Redis>) -> Option<Self> {
        let mode = object.or("mode", MeteringMode::Leased, MeteringMode::read);
        let flush_interval_ms = object.or("flushIntervalMs", 250, |node| {
            node.integer(FLUSH_INTERVAL_MIN_MS..=UNSETTLED_MAX_MS)
        });
        let max_unsettled_ms = object.or("maxUnsettledMs", 2_000, |node| {
            node.integer(FLUSH_INTERVAL_MIN_MS..=UNSETTLED_MAX_MS)
        });
        let lease_ttl_ms = object.or("leaseTtlMs", 5_000, |node| {
            node.integer(FLUSH_INTERVAL_MIN_MS..=LEASE_TTL_MAX_MS)
        });
        let lost_leases = object.or("lostLeases", LostLeases::Hold, |node| {
            node.choice(&[("hold", LostLeases::Hold), ("return", LostLeases::Return)])
        });
        let wait_for_units_ms = object.or("waitForUnitsMs", 0, |node| {
            node.integer(0..=WAIT_FOR_UNITS_MAX_MS)
        });
        let metering = Self {
            mode: mode?,
            flush_interval_ms: flush_interval_ms?,
            max_unsettled_ms: max_unsettled_ms?,
            lease_ttl_ms: lease_ttl_ms?,
            lost_leases: lost_leases?,
            wait_for_units_ms: wait_for_units_ms?,
        };
        metering.refuse_disorder(object, redis);
        Some(metering)
    }

    /// Each wait must fit into the one that bounds it.
    fn refuse_disorder(&self, object: &Object<'_>, redis: Option<&Redis>) {
        if self.flush_interval_ms > self.max_unsettled_ms {
            object.mistake("flushIntervalMs", "is greater than maxUnsettledMs");
        }
        if self.max_unsettled_ms > self.lease_ttl_ms {
            object.mistake("maxUnsettledMs", "is greater than leaseTtlMs");
        }
        let Some(redis) = redis else { return };
        if redis.timeout_ms > self.lease_ttl_ms {
            object.mistake("leaseTtlMs", "is less than redis.timeoutMs");
        }
        if self.wait_for_units_ms > 2 * redis.timeout_ms {
            object.mistake(
                "waitForUnitsMs",
                "is greater than 2 × redis.timeoutMs, after which no request waits",
            );
        }
    }
}

impl OnUnavailable {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let verdict =
            |node: &Node<'_>| node.choice(&[("deny", Fallback::Deny), ("allow", Fallback::Allow)]);
        let unknown_key = object.or("unknownKey", Fallback::Deny, verdict);
        let known_key = object.or("knownKey", Fallback::Allow, verdict);
        let units = |node: &Node<'_>| node.units(Units::MAX);
        let offline_units = object.or("offlineUnits", Units::ONE.saturating_mul(100), units);
        let offline_hard_units = object.or("offlineHardUnits", Units::ZERO, units);
        let stale_for_seconds = object.or("staleForSeconds", 900, |node| {
            node.integer(0..=STALE_FOR_MAX_SECONDS)
        });
        Some(Self {
            unknown_key: unknown_key?,
            known_key: known_key?,
            offline_units: offline_units?,
            offline_hard_units: offline_hard_units?,
            stale_for_seconds: stale_for_seconds?,
        })
    }
}

fn read_responses(object: &mut Object<'_>) -> Option<Responses> {
    let mut responses = Responses::default();
    let statuses = object.or("statuses", Vec::new(), read_statuses);
    let rate_limit_headers = object.or("rateLimitHeaders", true, Node::boolean);
    let access_log = object.or("accessLog", false, Node::boolean);
    let identity = object.or("identity", IdentityHeaders::One, |node| {
        node.choice(&[
            ("one", IdentityHeaders::One),
            ("separate", IdentityHeaders::Separate),
            ("none", IdentityHeaders::None),
        ])
    });
    let upgrade_url = object.nullable("upgradeUrl", None, read_url);
    for (code, status) in statuses? {
        responses.set_status(code, status);
    }
    responses.rate_limit_headers = rate_limit_headers?;
    responses.access_log = access_log?;
    responses.identity = identity?;
    responses.upgrade_url = upgrade_url?;
    Some(responses)
}

fn read_statuses(node: &Node<'_>) -> Option<Vec<(Code, u16)>> {
    let read = |(name, node): (String, Node<'_>)| {
        let code = Code::ALL.into_iter().find(|code| code.as_str() == name);
        if code.is_none() {
            let known = Code::ALL.map(Code::as_str).join(", ");
            node.mistake(format!("is not a code; the codes are {known}"));
        }
        let status = u16::try_from(node.integer(400..=599)?).ok()?;
        Some((code?, status))
    };
    let statuses: Vec<_> = node.object()?.into_fields().into_iter().map(read).collect();
    statuses.into_iter().collect()
}

fn read_url(node: &Node<'_>) -> Option<String> {
    let url = node.text_of(
        URL_MAX_BYTES,
        |byte| byte.is_ascii_graphic(),
        "printable ASCII",
    )?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        node.mistake("must be an http or https URL");
        return None;
    }
    Some(url)
}
