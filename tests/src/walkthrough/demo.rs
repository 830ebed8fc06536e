//! What the walk is through: Redis, the control plane, an upstream, and Envoy with the filter.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::control_plane::{ControlPlane, ControlPlaneOptions, FirstKey};
use crate::envoy::{Envoy, EnvoyOptions};
use crate::redis::{RedisOptions, RedisServer};
use crate::stripe::{StripeOptions, StripeSimulator};
use crate::upstream::Upstream;

/// A running gateway and everything around it; gone when dropped.
#[derive(Debug)]
pub struct Demo {
    envoy: Envoy,
    control_plane: ControlPlane,
    upstream: Upstream,
    stripe: StripeSimulator,
    redis: Redis,
    cookies: NamedTempFile,
}

/// The demo's Redis: its own, or the user's.
#[derive(Debug)]
enum Redis {
    Own(RedisServer),
    Given(SocketAddr),
}

impl Demo {
    /// Starts everything; `REDIS_URL` and `DATABASE_URL` name parts that run already.
    ///
    /// # Errors
    /// When `REDIS_URL` is not understood.
    pub async fn start() -> Result<Self> {
        let redis = match std::env::var("REDIS_URL") {
            Ok(url) => Redis::Given(address_of(&url)?),
            Err(_) => Redis::Own(RedisServer::start(RedisOptions::default())),
        };
        let upstream = Upstream::start();
        let stripe = StripeSimulator::start(StripeOptions::default());
        let mut environment = stripe.environment();
        environment.push(("TOLLGATE_ENV".to_owned(), "sandbox".to_owned()));
        let control_plane = ControlPlane::start(ControlPlaneOptions {
            first_key: FirstKey::Made,
            database_url: std::env::var("DATABASE_URL").ok(),
            environment,
            ..ControlPlaneOptions::new(redis.address())
        })
        .await;
        control_plane.wait_until_ready().await;
        stripe.send_webhooks_to(&format!("{}/webhooks/stripe", control_plane.url()));
        let mut options = EnvoyOptions::new(upstream.address(), redis.address());
        options.policy["sandbox"] = true.into();
        options.policy["rules"] = json!([
            {"match": {"path": "/healthz"}, "public": true},
            {"match": {"path": "/v1/bulk"}, "meters": {"api_requests": 1000}},
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}},
        ]);
        options.policy["responses"]["upgradeUrl"] = "https://example.com/plans".into();
        let envoy = Envoy::start(options).await;
        Ok(Self {
            envoy,
            control_plane,
            upstream,
            stripe,
            redis,
            cookies: NamedTempFile::new()?,
        })
    }

    /// What the commands use: addresses, the first admin key as a header, and what there is to kill.
    ///
    /// # Errors
    /// When the control plane made no admin key.
    pub fn variables(&self) -> Result<Vec<(String, String)>> {
        let key = self.control_plane.made_key().context(
            "the control plane made no admin key: DATABASE_URL must name an empty database",
        )?;
        let shown = [
            ("TOLLGATE", self.control_plane.url()),
            ("API", self.envoy.url()),
            ("ADMIN", format!("authorization: Bearer {key}")),
            ("STRIPE", self.stripe.url()),
            ("STRIPE_KEY", self.stripe.key().to_owned()),
            ("COOKIES", self.cookies.path().display().to_string()),
            ("CONTROL_PLANE_PID", self.control_plane.pid().to_string()),
            ("PATH", self.path()?),
        ];
        let mut variables: Vec<_> = shown
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .chain(self.control_plane.settings())
            .collect();
        if let Redis::Own(redis) = &self.redis {
            variables.push(("REDIS_PID".to_owned(), redis.pid().to_string()));
        }
        Ok(variables)
    }

    /// Where commands are looked for: `tollgate` first.
    fn path(&self) -> Result<String> {
        let program = self.control_plane.program();
        let folder = program.parent().context("a program without a folder")?;
        let known = std::env::var("PATH").unwrap_or_default();
        Ok(format!("{}:{known}", folder.display()))
    }

    /// Starts the control plane again, where it was.
    pub async fn restart_control_plane(&mut self) -> Pid {
        self.control_plane.restart().await;
        self.control_plane.pid()
    }

    /// Whether the demo may kill its Redis: the user's stays as it is.
    #[must_use]
    pub const fn owns_redis(&self) -> bool {
        matches!(self.redis, Redis::Own(_))
    }

    /// Starts Redis again, empty.
    pub fn restart_redis(&mut self) {
        match &mut self.redis {
            Redis::Own(redis) => redis.restart_empty(),
            Redis::Given(_) => {}
        }
    }

    /// Where everything listens, a line each.
    #[must_use]
    pub fn addresses(&self) -> String {
        format!(
            "API through Envoy   {}\ncontrol plane       {} (reference: {}/docs)\nEnvoy's admin port  {}\nRedis               {}\nupstream            http://{}\nStripe, simulated   {}",
            self.envoy.url(),
            self.control_plane.url(),
            self.control_plane.url(),
            self.envoy.admin_url(),
            self.redis.address(),
            self.upstream.address(),
            self.stripe.url(),
        )
    }

    /// The ends of all logs, for a walk that failed.
    #[must_use]
    pub fn logs(&self) -> String {
        format!(
            "--- control plane\n{}\n--- envoy\n{}",
            self.control_plane.log(),
            self.envoy.log()
        )
    }
}

impl Redis {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Own(redis) => redis.address(),
            Self::Given(address) => *address,
        }
    }
}

fn address_of(url: &str) -> Result<SocketAddr> {
    let place = url
        .strip_prefix("redis://")
        .map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
    place
        .filter(|place| !place.contains('@'))
        .and_then(|place| place.to_socket_addrs().ok()?.next())
        .ok_or_else(|| anyhow!("REDIS_URL must be redis://host:port without a password: {url}"))
}
