//! The application: its parts put together, started and ended.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::admin::bootstrap;
use crate::clock::Clock;
use crate::config::{Config, Environment, RedisConfig};
use crate::database::{Backend, Database};
use crate::error::{Error, Result};
use crate::health::{Checks, NotReady};
use crate::http::limits::RateLimiter;
use crate::idempotency::Running;
use crate::ids::{AdminKeyId, CheckoutId, WorkerId};
use crate::invoicing::billing::Billing;
use crate::invoicing::pusher::Pusher;
use crate::jobs::Job;
use crate::jobs::housekeeping::Housekeeping;
use crate::outbox::Dispatcher;
use crate::payments::Stripe;
use crate::payments::reconcile::Reconciliation;
use crate::payments::webhooks::EventHandler;
use crate::publisher::Publisher;
use crate::publisher::edge::Edge;
use crate::publisher::lifecycle::Keeper;
use crate::publisher::readiness;
use crate::publisher::renewal::Renewal;
use crate::sandbox::Mover;
use crate::telemetry::{Metrics, UPKEEP_INTERVAL};
use crate::{jobs, router, sandbox};

/// Look-ups of one Checkout in Stripe: as often as its page reloads itself.
const LOOK_UPS_PER_SECOND: f64 = 0.5;
const LOOK_UPS_BURST: f64 = 20.0;

/// Everything a handler or a job may use; clones share it.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// The parts of the application.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The record of everything.
    pub database: Database,
    /// Where the filter reads and counts; connects when first used and again when cut off.
    pub redis: Redis,
    /// Where money is, if it is set up; [`App::stripe`] for who needs it.
    pub stripe: Option<Stripe>,
    /// Where this process listens, once it does.
    pub address: OnceLock<SocketAddr>,
    /// This process among the replicas.
    pub worker: WorkerId,
    /// What `/readyz` asks.
    pub checks: Checks,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Notified by who needs the ledger up to date: the next drain is then at once.
    pub drain_wanted: Notify,
    /// The idempotency keys in use.
    pub running: Running,
    /// Requests per admin key.
    pub requests: RateLimiter<AdminKeyId>,
    /// Wakes whoever handles what Stripe tells us.
    pub events: Notify,
    /// Look-ups of a Checkout in Stripe, which anyone with its link can cause.
    pub look_ups: RateLimiter<CheckoutId>,
    /// Failed authentications per address.
    pub failed_authentications: RateLimiter<std::net::IpAddr>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Connects to the database, brings its schema up to date and puts the parts together.
    ///
    /// # Errors
    /// When the database cannot be reached or migrated, or the Redis URL is none.
    pub async fn build(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let database = Database::connect(&config.database)
            .await
            .context("cannot connect to the database")?;
        database
            .migrate()
            .await
            .context("cannot migrate the database")?;
        let server = &config.server;
        let failures_per_minute = f64::from(server.failed_authentications_per_minute);
        let parts = Parts {
            redis: Redis::new(&config.redis).context("redis.url")?,
            stripe: Stripe::new(
                &config.stripe,
                config.environment,
                database.clone(),
                clock.clone(),
            )
            .context("no secure connections can be made")?,
            address: OnceLock::new(),
            worker: WorkerId::generate(clock.machine_now()),
            checks: Checks::default(),
            metrics: Metrics::install()?,
            drain_wanted: Notify::new(),
            running: Running::default(),
            requests: RateLimiter::new(
                server.requests_per_second.into(),
                server.requests_burst.into(),
            ),
            events: Notify::new(),
            look_ups: RateLimiter::new(LOOK_UPS_PER_SECOND, LOOK_UPS_BURST),
            failed_authentications: RateLimiter::new(
                failures_per_minute / 60.0,
                failures_per_minute,
            ),
            database,
            clock,
            config,
        };
        let app = Self(Arc::new(parts));
        sandbox::begin(&app).await?;
        app.add_checks();
        Ok(app)
    }

    /// Where money is.
    ///
    /// # Errors
    /// 409 when no key of Stripe is configured, with what to set up.
    pub fn stripe(&self) -> Result<&Stripe> {
        self.stripe.as_ref().ok_or_else(|| {
            let detail = "Paid plans need Stripe: set STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET.";
            Error::conflict("stripe_not_set_up", detail)
        })
    }

    /// What links to this server begin with, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        let server = &self.config.server;
        if !server.public_url.is_empty() {
            return server.public_url.clone();
        }
        format!("http://{}", self.address.get().unwrap_or(&server.listen))
    }

    /// How long a job is held without being renewed.
    #[must_use]
    pub fn job_lease(&self) -> Duration {
        Duration::from_secs(self.config.jobs.lease_seconds.into())
    }

    fn add_checks(&self) {
        let database = self.database.clone();
        self.checks.add("database", move || {
            let database = database.clone();
            async move { database.ping().await.map_err(NotReady::unreachable) }
        });
        let redis = self.redis.clone();
        self.checks.add("redis", move || {
            let redis = redis.clone();
            async move { redis.ping().await.map_err(NotReady::unreachable) }
        });
        let (edge, database) = (Edge::new(self), self.database.clone());
        self.checks.add("store", move || {
            let (edge, database) = (edge.clone(), database.clone());
            async move { readiness::check_store(&edge, &database).await }
        });
        let (database, clock) = (self.database.clone(), self.clock.clone());
        self.checks.add("publisher", move || {
            let (database, now) = (database.clone(), clock.machine_now());
            async move { readiness::check_publisher(&database, now).await }
        });
    }

    /// Starts every job of the control plane; each ends with `shutdown`.
    fn start_jobs(&self, shutdown: &Shutdown) -> JoinSet<()> {
        let publishing = Dispatcher::new(self.clone(), Publisher::new(self.clone()));
        let mut running = JoinSet::new();
        self.start_job(&mut running, shutdown, publishing);
        self.start_job(&mut running, shutdown, Keeper::new(self.clone()));
        self.start_job(&mut running, shutdown, Renewal::new(self.clone()));
        self.start_job(&mut running, shutdown, Billing::new(self.clone()));
        self.start_job(&mut running, shutdown, EventHandler::new(self.clone()));
        self.start_job(&mut running, shutdown, Reconciliation::new(self.clone()));
        let pushing = Dispatcher::new(self.clone(), Pusher::new(self.clone()));
        self.start_job(&mut running, shutdown, pushing);
        self.start_job(&mut running, shutdown, Housekeeping::new(self.clone()));
        if let Some(mover) = Mover::new(self.clone()) {
            self.start_job(&mut running, shutdown, mover);
        }
        running
    }

    fn start_job(&self, running: &mut JoinSet<()>, shutdown: &Shutdown, job: impl Job) {
        running.spawn(jobs::run_until_shutdown(
            self.clone(),
            job,
            shutdown.clone(),
        ));
    }
}

/// A connection to Redis that is made when first used and again when it is lost.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redis")
    }
}

impl Redis {
    pub(crate) fn new(config: &RedisConfig) -> redis::RedisResult<Self> {
        let patience = Duration::from_millis(config.timeout_ms.into());
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            // Who asks decides whether and when to ask again.
            .set_number_of_retries(0);
        let client = redis::Client::open(config.url.expose())?;
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, settings)?,
        })
    }

    /// A handle to the shared connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// Asks Redis for an answer, and nothing else.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ping(&self) -> redis::RedisResult<()> {
        redis::cmd("PING").query_async(&mut self.connection()).await
    }
}

/// Tells when the process is to end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// Says that the process is to end.
#[derive(Debug)]
pub struct ShutdownSender(watch::Sender<Phase>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Ending,
}

impl Shutdown {
    /// Both ends of the word that the process is to end.
    #[must_use]
    pub fn new() -> (ShutdownSender, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (ShutdownSender(sender), Self(receiver))
    }

    /// Whether the process is to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() == Phase::Ending
    }

    /// Resolves when the process is to end.
    pub async fn requested(&mut self) {
        // A sender that is gone cannot ask any more: that is the end, too.
        let _ = self.0.wait_for(|phase| *phase == Phase::Ending).await;
    }
}

impl ShutdownSender {
    /// Has everything that listens come to its end.
    pub fn request(&self) {
        self.0.send_replace(Phase::Ending);
    }
}

/// What a process of the control plane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Answers requests.
    Api,
    /// Does the work in the background.
    Jobs,
}

/// A running control plane.
#[derive(Debug)]
pub struct Server {
    /// The application it serves.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: ShutdownSender,
    http: JoinHandle<std::io::Result<()>>,
    jobs: JoinSet<()>,
    upkeep: JoinHandle<()>,
}

impl Server {
    /// Makes the first admin key, begins to listen and starts the jobs.
    ///
    /// Health, readiness and metrics are answered in every role.
    ///
    /// # Errors
    /// When the first key cannot be handed over or the address is taken.
    pub async fn start(
        app: App,
        roles: &[Role],
        first_admin_key: Option<&str>,
    ) -> anyhow::Result<Self> {
        bootstrap::ensure_first_key(&app, first_admin_key).await?;
        let listen = app.config.server.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let _ = app.address.set(address);
        let (sender, shutdown) = Shutdown::new();
        let mut jobs = JoinSet::new();
        if roles.contains(&Role::Jobs) {
            if app.database.backend() == Backend::Sqlite {
                // Nobody else serves this file: what a killed process held is free.
                jobs::free_all(&app.database).await?;
            }
            jobs = app.start_jobs(&shutdown);
        }
        if app.config.environment == Environment::Sandbox {
            jobs.spawn(sandbox::follow(app.clone(), shutdown.clone()));
        }
        let service =
            router::router(&app, roles).into_make_service_with_connect_info::<SocketAddr>();
        let mut ending = shutdown.clone();
        let http = axum::serve(listener, service)
            .with_graceful_shutdown(async move { ending.requested().await });
        let http = tokio::spawn(http.into_future());
        let upkeep = tokio::spawn(keep_metrics(app.metrics.clone()));
        tracing::info!(%address, ?roles, environment = ?app.config.environment, "listening");
        Ok(Self {
            app,
            address,
            shutdown: sender,
            http,
            jobs,
            upkeep,
        })
    }

    /// Ends: takes no new requests, lets running ones and jobs finish in the time configured.
    ///
    /// # Errors
    /// When they did not finish, or the listener had failed.
    pub async fn shut_down(mut self) -> anyhow::Result<()> {
        self.shutdown.request();
        let patience = self.app.config.server.shutdown_timeout();
        let ended = timeout(patience, async {
            while self.jobs.join_next().await.is_some() {}
            (&mut self.http).await
        });
        let outcome = ended.await;
        self.http.abort();
        self.upkeep.abort();
        self.app.database.close().await;
        outcome.context("not everything ended in time")???;
        Ok(())
    }
}

async fn keep_metrics(metrics: Metrics) {
    loop {
        sleep(UPKEEP_INTERVAL).await;
        metrics.upkeep();
    }
}
