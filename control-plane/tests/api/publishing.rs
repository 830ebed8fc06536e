//! Documents in Redis: written whenever they change, the newest always standing.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use tollgate::app::{App, Role, Server};
use tollgate::clock::Clock;
use tollgate::outbox;
use tollgate::publisher::PUBLISH;
use tollgate_engine::contract::{Entitlement, Script};
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::wait;

use crate::both_databases;
use crate::edge::Edge;
use crate::shop::{self, act, change, issue, subscribe, text};
use crate::world::{ADMIN_KEY, TestDatabase, World, config};

const DAY: Duration = Duration::from_secs(86_400);

both_databases! {
    async fn what_changes_is_written(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let world = &edge.world;
        let subscription = subscribe(world, "tiny").await;
        let document = json!({"subject": "team", "bypass": true});
        let issued = act(world, &subscription, "keys", &document).await.expect(201);
        let chain = edge.chain(&subscription).await;
        assert_eq!(edge.access(&chain), None);
        edge.publish().await;

        let access = edge.access(&chain).unwrap();
        assert_eq!(access.version, 1);
        assert_eq!(access.customer, text(&subscription["customer"]));
        assert_eq!(access.block, None);
        assert_eq!(access.terms.len(), 1);
        assert_eq!(access.terms[0].subscription, text(&subscription["id"]));
        assert_eq!((access.terms[0].epoch, access.terms[0].to_ms), (1, None));
        let Entitlement::Metered { windows } = &access.terms[0].entitlements["calls"] else {
            panic!("{access:?}");
        };
        assert_eq!(windows[0].start_ms, access.terms[0].from_ms);
        assert_eq!(windows[0].limit.unwrap().milli(), 20_000);
        let key = edge.key(&chain, &issued["secret"]).unwrap();
        assert_eq!((key.id.as_str(), key.tag), (text(&issued["id"]), chain.tag));
        assert_eq!((key.subject.as_deref(), key.bypass), (Some("team"), true));

        let changed = change(world, &subscription, "free").await;
        let revoke = format!("/v1/keys/{}/revoke", text(&issued["id"]));
        world.post(&revoke, &json!({})).await.expect(200);
        edge.publish().await;
        let access = edge.access(&chain).unwrap();
        assert_eq!(access.version, 2);
        let last = access.terms.last().unwrap();
        assert_eq!((last.epoch, last.subscription.as_str()), (2, text(&changed["id"])));
        let key = edge.key(&chain, &issued["secret"]).unwrap();
        assert!(key.revoked_at_ms.is_some());

        act(world, &changed, "cancel", &json!({})).await.expect(200);
        edge.publish().await;
        let now_ms = world.clock.business_now().unix_ms();
        let access = edge.access(&chain).unwrap();
        assert!(!access.terms.iter().any(|term| term.contains(now_ms)), "{access:?}");
    }

    async fn the_newest_stands_whatever_is_written_last(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let world = &edge.world;
        let subscription = subscribe(world, "tiny").await;
        let issued = issue(world, &subscription).await;
        // A process that took the first changes is killed before it writes, and another one, whose word it is then,
        // writes first.
        let late = World::at(world.database.clone(), &[], world.clock.clone()).await;
        let chain = edge.chain(&subscription).await;
        let revoke = format!("/v1/keys/{}/revoke", text(&issued["id"]));
        world.post(&revoke, &json!({})).await.expect(200);
        let newest = change(world, &subscription, "free").await;
        assert_eq!(outbox::pending(&late.app, PUBLISH).await.unwrap(), 4);
        edge.publish().await;
        let written = (edge.access(&chain).unwrap(), edge.key(&chain, &issued["secret"]).unwrap());
        // What an earlier version said comes again: nothing changes.
        let store = edge.names.store();
        let changes = edge.names.changes();
        let name = edge.names.access(chain.tag, &chain.id);
        let old = ["s", &chain.id, "1", "1000", "doc", "old"];
        let keys = [store.as_str(), &changes, &name];
        assert_eq!(edge.run_script(Script::Publish, &keys, &old), "0");
        let again = (edge.access(&chain).unwrap(), edge.key(&chain, &issued["secret"]).unwrap());
        assert_eq!(again, written);
        assert_eq!(written.0.terms.last().unwrap().subscription, text(&newest["id"]));
        assert!(written.1.revoked_at_ms.is_some());
    }

    async fn many_changes_at_once_end_in_the_newest(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let world = edge.world.clone();
        let mut current = subscribe(&world, "tiny").await;
        let chain = edge.chain(&current).await;
        let changing = tokio::spawn(async move {
            for n in 0..20 {
                let plan = ["free", "big"][n % 2];
                let document = json!({"plan": plan, "timing": "immediate"});
                current = act(&world, &current, "change", &document).await.expect(200);
            }
            current
        });
        while !changing.is_finished() {
            edge.publish().await;
        }
        let newest = changing.await.unwrap();
        edge.publish().await;
        let access = edge.access(&chain).unwrap();
        assert_eq!(access.version, 21);
        assert_eq!(access.terms.last().unwrap().subscription, text(&newest["id"]));
    }

    async fn a_change_that_was_committed_is_written_after_a_kill(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let subscription = subscribe(&edge.world, "tiny").await;
        let issued = issue(&edge.world, &subscription).await;
        let chain = edge.chain(&subscription).await;
        // Nothing was written by the process that answered; the next one does.
        let edge = edge.replica();
        edge.publish().await;
        assert!(edge.access(&chain).is_some());
        assert!(edge.key(&chain, &issued["secret"]).is_some());
    }

    async fn an_outage_of_redis_delays_and_loses_nothing(database: TestDatabase) {
        let mut edge = Edge::open(database).await;
        let subscription = subscribe(&edge.world, "tiny").await;
        let issued = issue(&edge.world, &subscription).await;
        edge.publish().await;
        let chain = edge.chain(&subscription).await;
        edge.redis.kill();
        let revoke = format!("/v1/keys/{}/revoke", text(&issued["id"]));
        edge.world.post(&revoke, &json!({})).await.expect(200);
        for _ in 0..20 {
            edge.publish().await;
            edge.keep().await;
        }
        assert_eq!(outbox::pending(&edge.world.app, PUBLISH).await.unwrap(), 1);
        edge.redis.restart();
        // However long it took: what is due is written by the next run.
        edge.publish().await;
        assert_eq!(outbox::pending(&edge.world.app, PUBLISH).await.unwrap(), 0);
        assert!(edge.key(&chain, &issued["secret"]).unwrap().revoked_at_ms.is_some());
    }

    async fn documents_are_renewed_before_they_run_out(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let world = &edge.world;
        let hourly = json!({"phases": [{
            "key": "main", "name": "Main", "duration": null,
            "rateCards": [{
                "type": "flat_fee", "key": "calls", "featureKey": "calls", "price": null,
                "entitlementTemplate":
                    {"type": "metered", "issueAfterReset": 5, "usagePeriod": "PT1H"},
            }],
        }]});
        shop::sell_with(world, "hourly", &[], &hourly).await;
        let subscription = subscribe(world, "hourly").await;
        let chain = edge.chain(&subscription).await;
        edge.publish().await;
        let last_end = |edge: &Edge| {
            let access = edge.access(&chain).unwrap();
            let Entitlement::Metered { windows } = &access.terms[0].entitlements["calls"] else {
                panic!("{access:?}");
            };
            (access.version, windows.last().unwrap().end_ms)
        };
        let reach_ms = 72 * 3_600_000;
        let mut versions = 0;
        for _ in 0..20 {
            world.clock.advance_business(DAY / 4);
            edge.renew().await;
            let (version, end_ms) = last_end(&edge);
            assert!(world.clock.business_now().unix_ms() + reach_ms <= end_ms);
            versions = version;
        }
        // Five days of hourly windows: about once a day, not at every look.
        assert!((5..9).contains(&versions), "{versions}");
    }
}

/// Waits until a key's document in Redis says so.
async fn until_revoked(edge: &Edge, chain: &crate::edge::Chain, secret: &serde_json::Value) {
    wait::until("the revocation", async || match edge.key(chain, secret) {
        Some(key) if key.revoked_at_ms.is_some() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_redis_within_milliseconds() {
    let database = TestDatabase::sqlite();
    let redis = RedisServer::start(RedisOptions::default());
    let edge = Edge::on(database.clone(), redis, Timestamp::now()).await;
    shop::open(&edge.world).await;
    let url = format!("redis://{}", edge.redis.address());
    // Nobody looks by itself for so long: the commit wakes who writes.
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("TOLLGATE_OUTBOX_POLL_MS", "60000"),
    ];
    let app = App::build(config(&database, &settings), Clock::system())
        .await
        .unwrap();
    let server = Server::start(app, &[Role::Api, Role::Jobs], Some(ADMIN_KEY))
        .await
        .unwrap();
    let client = reqwest::Client::new();
    let post = async |path: String, document: serde_json::Value| {
        let url = format!("http://{}{path}", server.address);
        let request = client.post(url).bearer_auth(ADMIN_KEY).json(&document);
        let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        answer
    };
    let document = json!({"customer": "acme", "plan": "free"});
    let subscription = post("/v1/subscriptions".to_owned(), document).await;
    let chain = edge.chain(&subscription).await;
    let mut delays = Vec::new();
    for _ in 0..20 {
        let path = format!("/v1/subscriptions/{}/keys", text(&subscription["id"]));
        let issued = post(path, json!({})).await;
        post(
            format!("/v1/keys/{}/revoke", text(&issued["id"])),
            json!({}),
        )
        .await;
        let answered = Instant::now();
        until_revoked(&edge, &chain, &issued["secret"]).await;
        delays.push(answered.elapsed());
    }
    delays.sort_unstable();
    assert!(delays[10] < Duration::from_millis(500), "{delays:?}");
    server.shut_down().await.unwrap();
}
