//! PostgreSQL that goes away under a running control plane, and comes back.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tollgate_tests::postgres::{Durability, PostgresServer};
use tollgate_tests::redis::{RedisOptions, RedisServer};

use crate::process::{self, Process};
use crate::world::{ADMIN_KEY, TestDatabase};

/// How long a writer waits for another one here, and so about how long an answer takes.
const PATIENCE_MS: &str = "1000";
/// The longest that any answer may take.
const BOUND: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);

struct Plane {
    process: Process,
    client: Client,
    postgres: PostgresServer,
    /// Customers that were made, and those of which nothing is known.
    made: u32,
    _redis: RedisServer,
}

impl Plane {
    /// A control plane that is ready, where PostgreSQL is installed.
    async fn start() -> Option<Self> {
        let postgres = PostgresServer::start(Durability::Lost)?;
        let redis = RedisServer::start(RedisOptions::default());
        let database = TestDatabase {
            url: postgres.new_database(),
            ..TestDatabase::sqlite()
        };
        let mut command = process::command(&database);
        command
            .env("REDIS_URL", format!("redis://{}", redis.address()))
            .env("TOLLGATE_DATABASE_BUSY_TIMEOUT_MS", PATIENCE_MS)
            .env("TOLLGATE_JOBS_LEASE_SECONDS", "2");
        let plane = Self {
            process: Process::begin(command),
            client: Client::new(),
            postgres,
            made: 0,
            _redis: redis,
        };
        plane.recovers().await;
        Some(plane)
    }

    async fn call(&self, method: Method, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let begun = Instant::now();
        let url = format!("{}{path}", self.process.url);
        let mut request = self.client.request(method.clone(), url);
        if method == Method::POST {
            request = request.header("idempotency-key", key).json(body);
        }
        let answer = request.bearer_auth(ADMIN_KEY).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert!(begun.elapsed() < BOUND, "{path}: {:?}", begun.elapsed());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, "", &Value::Null).await
    }

    /// Makes the customer of this number, or asks again for it.
    async fn make(&self, number: u32) -> (u16, Value) {
        let document = json!({"name": "One", "key": format!("customer-{number}")});
        let key = format!("make-{number}");
        self.call(Method::POST, "/v1/customers", &key, &document)
            .await
    }

    /// Waits until everything is ready again.
    async fn recovers(&self) {
        let begun = Instant::now();
        loop {
            let (status, found) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "{found}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything that is asked while the database is away is answered in time, and says so.
    async fn is_away(&self) {
        let (reading, writing) = tokio::join!(self.get("/v1/customers"), self.make(self.made));
        for (status, problem) in [reading, writing] {
            assert_eq!(
                (status, &problem["code"]),
                (503, &json!("unavailable")),
                "{problem}"
            );
        }
        let (status, problem) = self.get("/readyz").await;
        assert_eq!((status, &problem["code"]), (503, &json!("not_ready")));
        assert!(
            problem["errors"].to_string().contains("\"database\""),
            "{problem}"
        );
        assert_eq!(self.get("/healthz").await.0, 200);
    }

    /// What was refused is done when it is asked for again, once, and the jobs go on.
    async fn goes_on(&mut self) {
        self.recovers().await;
        for number in self.made..=self.made + 1 {
            let (status, made) = self.make(number).await;
            assert_eq!(status, 201, "{made}");
            let (_, again) = self.make(number).await;
            assert_eq!(made, again);
        }
        self.made += 2;
        let (_, page) = self.get("/v1/customers?limit=200").await;
        assert_eq!(page["items"].as_array().unwrap().len(), self.made as usize);
        self.jobs_go_on().await;
    }

    /// What is due is carried out: a plan is sold, and its subscription's access reaches Redis.
    async fn jobs_go_on(&self) {
        let customer = format!("customer-{}", self.made - 1);
        let document = json!({"customer": customer, "plan": "free"});
        let key = format!("subscribe-{}", self.made);
        let made = self
            .call(Method::POST, "/v1/subscriptions", &key, &document)
            .await;
        assert_eq!(made.0, 201, "{}", made.1);
        let begun = Instant::now();
        while self.pending().await != 0.0 {
            assert!(begun.elapsed() < DEADLINE, "the outbox is not carried out");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Messages of the outbox that are to be carried out, as the metrics have it.
    async fn pending(&self) -> f64 {
        let url = format!("{}/metrics", self.process.url);
        let text = self
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let named = |line: &&str| line.starts_with("tollgate_outbox_pending{topic=\"publish\"}");
        let line = text.lines().find(named).unwrap_or_default();
        line.rsplit(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .unwrap_or(f64::NAN)
    }

    async fn sells(&self) {
        let plan = json!({"key": "free", "name": "Free", "currency": "USD", "billingCadence": "P1M",
            "phases": [{"key": "main", "name": "Main", "rateCards": [{
                "type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
                "entitlementTemplate": {"type": "metered", "issueAfterReset": 1_000}}]}]});
        for (path, document) in [
            ("/v1/meters", json!({"slug": "calls", "name": "Calls"})),
            (
                "/v1/features",
                json!({"key": "calls", "name": "Calls", "meterSlug": "calls"}),
            ),
            ("/v1/plans", plan),
            ("/v1/plans/free/publish", json!({})),
        ] {
            let (status, answer) = self.call(Method::POST, path, path, &document).await;
            assert!(status < 300, "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back_loses_nothing() {
    let Some(mut plane) = Plane::start().await else {
        return;
    };
    plane.sells().await;
    for _ in 0..2 {
        plane.postgres.freeze();
        plane.is_away().await;
        plane.is_away().await;
        plane.postgres.thaw();
        plane.goes_on().await;

        plane.postgres.kill();
        plane.is_away().await;
        plane.postgres.start_again();
        plane.goes_on().await;
    }
}
