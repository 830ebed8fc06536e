//! Business time that moves, and everything that is due on its way.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};
use tollgate::app::{App, Role, Server};
use tollgate::clock::Clock;
use tollgate_engine::contract::Names;
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::store::request;
use tollgate_tests::wait;

use crate::both_databases;
use crate::shop::{self, act, subscribe, text};
use crate::world::{Answer, TestDatabase, World, config};

const CLOCK: &str = "/v1/sandbox/clock";

/// A sandbox whose jobs run, with a Redis of its own.
struct Sandbox {
    world: World,
    redis: RedisServer,
    server: Server,
}

impl Sandbox {
    async fn start(database: TestDatabase) -> Self {
        let redis = RedisServer::start(RedisOptions::default());
        let sandbox = Self::on(database, redis).await;
        shop::open(&sandbox.world).await;
        sandbox
    }

    async fn on(database: TestDatabase, redis: RedisServer) -> Self {
        let url = format!("redis://{}", redis.address());
        let settings = [
            ("TOLLGATE_ENV", "sandbox"),
            ("TOLLGATE_SANDBOX_STEP_TIMEOUT_SECONDS", "4"),
            ("REDIS_URL", url.as_str()),
        ];
        let world = World::at(database, &settings, Clock::system()).await;
        let app = world.app.clone();
        let server = Server::start(app, &[Role::Api, Role::Jobs], None);
        Self {
            server: server.await.unwrap(),
            world,
            redis,
        }
    }

    /// The same after a restart of the process.
    async fn restart(self) -> Self {
        let database = self.world.database.clone();
        self.server.shut_down().await.unwrap();
        Self::on(database, self.redis).await
    }

    async fn advance(&self, by: &str) -> Answer {
        self.world.post(CLOCK, &json!({"advance": by})).await
    }

    /// How far business time is ahead of machine time.
    async fn lead(&self) -> SignedDuration {
        let clock = self.world.get(CLOCK).await.expect(200);
        assert_eq!(clock["movingTo"], Value::Null);
        instant(&clock["now"]).duration_since(Timestamp::now())
    }
}

fn instant(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

#[track_caller]
fn assert_about(actual: SignedDuration, hours: i64) {
    let expected = SignedDuration::from_hours(hours);
    assert!(
        (actual - expected).abs() < SignedDuration::from_secs(60),
        "{actual:?} for {expected:?}"
    );
}

both_databases! {
    async fn business_time_goes_where_it_is_wished_and_stays_there(database: TestDatabase) {
        let sandbox = Sandbox::start(database).await;
        let subscription = subscribe(&sandbox.world, "free").await;
        let end = instant(&subscription["activeFrom"]).checked_add(SignedDuration::from_hours(48)).unwrap();
        act(&sandbox.world, &subscription, "cancel", &json!({"timing": end})).await.expect(200);
        assert_about(sandbox.lead().await, 0);

        let moved = sandbox.advance("PT47H").await.expect(200);
        assert_about(instant(&moved["now"]).duration_since(Timestamp::now()), 47);
        assert_about(sandbox.lead().await, 47);
        assert_eq!(crate::subscriptions::status(&sandbox.world, &subscription).await, "canceled");
        let to = json!({"to": end});
        sandbox.world.post(CLOCK, &to).await.expect(200);
        assert_eq!(crate::subscriptions::status(&sandbox.world, &subscription).await, "inactive");
        sandbox.world.post(CLOCK, &to).await.mistakes();

        let sandbox = sandbox.restart().await;
        assert_about(sandbox.lead().await, 48);
        // Who was told of the time that was cannot go back to it.
        let mut settings = config(&sandbox.world.database, &[]);
        settings.redis = sandbox.world.app.config.redis.clone();
        let refused = App::build(settings, Clock::system()).await.unwrap_err();
        assert!(refused.to_string().contains("sandbox"), "{refused}");
        sandbox.server.shut_down().await.unwrap();
    }

    async fn what_is_due_on_the_way_is_done_when_it_is(database: TestDatabase) {
        let sandbox = Sandbox::start(database).await;
        let hourly = json!({"phases": [{
            "key": "main", "name": "Main", "duration": null,
            "rateCards": [{
                "type": "flat_fee", "key": "calls", "featureKey": "calls", "price": null,
                "entitlementTemplate":
                    {"type": "metered", "issueAfterReset": 5, "usagePeriod": "PT1H"},
            }],
        }]});
        shop::sell_with(&sandbox.world, "hourly", &[], &hourly).await;
        let subscription = subscribe(&sandbox.world, "hourly").await;
        let month = instant(&subscription["activeFrom"]).to_zoned(jiff::tz::TimeZone::UTC);
        let month = month.checked_add(1.month()).unwrap().duration_since(&month);
        sandbox.advance("P1M").await.expect(200);
        assert_about(sandbox.lead().await, month.as_hours());
        // Documents reach four days and are renewed in the last three.
        let version: i64 = documents(&sandbox, &subscription).await;
        assert!((28..34).contains(&version), "{version}");
        sandbox.server.shut_down().await.unwrap();
    }

    async fn where_something_cannot_be_done_the_clock_stays_and_says_what(database: TestDatabase) {
        let mut sandbox = Sandbox::start(database).await;
        wait::until("readiness", async || {
            match sandbox.world.get("/readyz").await.status.as_u16() {
                200 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        sandbox.redis.kill();
        let refused = sandbox.advance("P1M").await.problem(504, "clock_stopped");
        assert!(text(&refused["detail"]).contains("usage to read from Redis"), "{refused}");
        assert_about(sandbox.lead().await, 0);
        sandbox.redis.restart();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_about(sandbox.lead().await, 0);
        sandbox.advance("PT1H").await.expect(200);
        assert_about(sandbox.lead().await, 1);
        sandbox.server.shut_down().await.unwrap();
    }

    async fn a_store_that_is_lost_comes_back_with_its_time(database: TestDatabase) {
        let sandbox = Sandbox::start(database).await;
        sandbox.advance("PT24H").await.expect(200);
        let store = Names::new(&sandbox.world.app.config.redis.prefix).store();
        let read = || {
            let answer = sandbox.redis.exchange(&request(&["HMGET", &store, "generation", "ready", "offset"]));
            String::from_utf8(answer).unwrap()
        };
        let lead = sandbox.world.app.clock.lead_ms().to_string();
        let before = read();
        assert!(before.contains(&lead), "{before}");
        assert_eq!(sandbox.redis.exchange(&request(&["FLUSHALL"])), b"+OK\r\n");
        wait::until("another life of the store", async || match read() {
            now if now.starts_with("*3\r\n$1\r\n2\r\n$1\r\n1\r\n") => Ok(()),
            other => Err(other),
        })
        .await;
        assert!(read().contains(&lead), "{}", read());
        sandbox.server.shut_down().await.unwrap();
    }

    async fn processes_have_one_time(database: TestDatabase) {
        let redis = RedisServer::start(RedisOptions::default());
        let url = format!("redis://{}", redis.address());
        let settings = [("TOLLGATE_ENV", "sandbox"), ("REDIS_URL", url.as_str())];
        // One that answers, one that works, and one that does neither.
        let world = World::at(database.clone(), &settings, Clock::system()).await;
        let start = async |roles: &[Role]| {
            let app = App::build(config(&database, &settings), Clock::system()).await.unwrap();
            Server::start(app, roles, None).await.unwrap()
        };
        let (working, idle) = (start(&[Role::Jobs]).await, start(&[]).await);
        world.post(CLOCK, &json!({"advance": "PT24H"})).await.expect(200);
        for server in [working, idle] {
            let now = server.app.clock.business_now().timestamp();
            assert_about(now.duration_since(Timestamp::now()), 24);
            server.shut_down().await.unwrap();
        }
    }

    async fn one_move_at_a_time_and_each_once(database: TestDatabase) {
        let sandbox = Sandbox::start(database).await;
        let document = json!({"advance": "PT1H"});
        let (first, second) = tokio::join!(
            sandbox.world.post_with_key(CLOCK, "one", &document),
            sandbox.world.post_with_key(CLOCK, "two", &document),
        );
        let mut statuses = [first.status.as_u16(), second.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let (done, key) = match first.status.as_u16() {
            200 => (first, "one"),
            _ => (second, "two"),
        };
        let again = sandbox.world.post_with_key(CLOCK, key, &document).await;
        assert_eq!(again.expect(200), done.body);
        assert_about(sandbox.lead().await, 1);
        sandbox.server.shut_down().await.unwrap();
    }
}

/// The version of a subscription's access document, each of which was a renewal.
async fn documents(sandbox: &Sandbox, subscription: &Value) -> i64 {
    let chain = text(&subscription["chain"]);
    let keys = sandbox
        .redis
        .exchange(&request(&["KEYS", &format!("*access:{chain}")]));
    let keys = String::from_utf8(keys).unwrap();
    let key = keys.lines().nth(2).unwrap();
    let version = sandbox.redis.exchange(&request(&["HGET", key, "version"]));
    String::from_utf8(version)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_move_that_makes_no_sense_is_refused() {
    let settings = [("TOLLGATE_ENV", "sandbox")];
    let world = World::with(TestDatabase::sqlite(), &settings).await;
    for (document, path) in [
        (json!({}), "$"),
        (json!({"advance": "P1M", "to": "2026-02-01T00:00:00Z"}), "$"),
        (json!({"advance": "1M"}), "$.advance"),
        (json!({"advance": "-P1M"}), "$.advance"),
        (json!({"advance": "P11Y"}), "$.advance"),
        (json!({"to": "2025-12-31T23:59:59Z"}), "$.to"),
    ] {
        let mistakes = world.post(CLOCK, &document).await.mistakes();
        assert_eq!(
            mistakes,
            [("invalid_move".to_owned(), path.to_owned())],
            "{document}"
        );
    }
}

#[tokio::test]
async fn elsewhere_time_does_not_move() {
    let world = World::new(TestDatabase::sqlite()).await;
    world.get(CLOCK).await.problem(403, "not_a_sandbox");
    let document = json!({"advance": "P1M"});
    world
        .post(CLOCK, &document)
        .await
        .problem(403, "not_a_sandbox");
}
