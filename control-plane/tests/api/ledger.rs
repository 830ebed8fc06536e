//! From Redis into the ledger and back: nothing counts twice, and what is lost is what Redis lost.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate_engine::contract::answer::Outcome::{Applied, Repeated, Stale};
use tollgate_engine::contract::call::Order;
use tollgate_tests::redis::{RedisOptions, RedisServer};

use crate::both_databases;
use crate::edge::Reaction::{Granted, Settled};
use crate::edge::Report::{Needs, Spent, Unleased};
use crate::edge::{Chain, Edge, HOUR, Worker, window_at};
use crate::shop::{self, subscribe};
use crate::world::{TestDatabase, World};

const DAY: Duration = Duration::from_secs(86_400);

/// A subscription to `tiny` (20 units a month), with its chain and the id of its window.
pub async fn subscribed(edge: &Edge) -> (Value, Chain, String) {
    let subscription = subscribe(&edge.world, "tiny").await;
    edge.publish().await;
    let chain = edge.chain(&subscription).await;
    let window = current_window(edge, &chain);
    (subscription, chain, window)
}

pub fn current_window(edge: &Edge, chain: &Chain) -> String {
    window_at(
        &edge.access(chain).unwrap(),
        edge.world.clock.business_now().unix_ms(),
    )
}

/// Everything that the ledger holds of a chain, in whole units: the sum of its windows, which must be that of its
/// counters.
pub async fn ledger(world: &World, chain: &str) -> i64 {
    let mut reader = world.app.database.read().await.unwrap();
    let sums: (i64, i64) = sqlx::query_as(
        "SELECT
             (SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM usage_windows WHERE chain_id = $1),
             (SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM usage_counters WHERE chain_id = $1)",
    )
    .bind(chain)
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!(sums.0, sums.1);
    sums.0 / 1_000
}

pub fn pair(used: &str, remaining: &str) -> (String, String) {
    (used.to_owned(), remaining.to_owned())
}

both_databases! {
    async fn what_was_consumed_is_in_the_ledger_after_a_drain(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let (mut one, mut two) = (Worker::new("one", &chain), Worker::new("two", &chain));
        assert_eq!(one.settle(&edge, &[Needs(4)]), Granted(Applied, 4, 16, 0));
        one.settle(&edge, &[Spent(&window, 3)]);
        two.settle(&edge, &[Unleased(&window, 2)]);
        assert_eq!(edge.usage(&subscription).await, pair("0", "20"));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        assert_eq!(edge.command(&["SCARD", &edge.names.pending()]), "0");
        // Again, and after more: the greatest value counts.
        edge.keep().await;
        two.settle(&edge, &[Unleased(&window, 1)]);
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("6", "14"));
        let shown = shop::look(&edge.world, &subscription, "/usage").await;
        assert!(!shown["asOf"].is_null());
    }

    async fn a_drain_that_was_killed_is_repeated(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        // Read and not stored: another replica had taken over.
        let lost = edge.claim("store").await;
        let held = edge.claim("store").await;
        assert!(edge.run_keeper(&lost).await.is_err());
        assert_eq!(edge.usage(&subscription).await, pair("0", "20"));
        edge.run_keeper(&held).await.unwrap();
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        // Stored and not taken off the list: as if the end of the drain had never come.
        let dirty = format!("{}dirty:{}", edge.names.tagged(chain.tag), chain.id);
        let field = format!("h/{window}/{HOUR}/key_1");
        edge.command(&["SADD", &dirty, &field]);
        let member = format!("{} {}", edge.names.tagged(chain.tag), chain.id);
        edge.command(&["SADD", &edge.names.pending(), &member]);
        let edge = edge.replica();
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        assert_eq!(edge.command(&["SCARD", &edge.names.pending()]), "0");
        assert_eq!(ledger(&edge.world, &chain.id).await, 5);
    }

    async fn a_drain_may_run_twice_at_once(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        for _ in 0..10 {
            worker.settle(&edge, &[Unleased(&window, 1)]);
            let claim = edge.claim("store").await;
            let other = edge.second_keeper();
            let (one, two) = tokio::join!(edge.run_keeper(&claim), edge.run(&other, &claim));
            one.and(two).unwrap();
        }
        assert_eq!(edge.usage(&subscription).await, pair("10", "10"));
        assert_eq!(ledger(&edge.world, &chain.id).await, 10);
    }

    async fn units_of_unknown_windows_and_chains_are_kept(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased("9/calls/123", 4), Unleased(&window, 1), Unleased("1/else/5", 2)]);
        let stranger = Chain { id: "sub_stranger".to_owned(), tag: chain.tag };
        let mut other = Worker::new("two", &stranger);
        other.settle(&edge, &[Unleased(&window, 7)]);
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("1", "19"));
        assert_eq!(ledger(&edge.world, &chain.id).await, 7);
        assert_eq!(ledger(&edge.world, "sub_stranger").await, 7);
        assert_eq!(edge.command(&["SCARD", &edge.names.pending()]), "0");
    }
}

/// A subscription with daily windows that began four days ago, and the id of its first window, which ended since.
async fn long_subscribed(database: TestDatabase) -> (Edge, Chain, String) {
    let redis = RedisServer::start(RedisOptions::default());
    let began = Timestamp::now() - jiff::SignedDuration::from_hours(4 * 24);
    let edge = Edge::on(database, redis, began).await;
    shop::open(&edge.world).await;
    let daily = json!({"phases": [{
        "key": "main", "name": "Main", "duration": null,
        "rateCards": [{
            "type": "flat_fee", "key": "calls", "featureKey": "calls", "price": null,
            "entitlementTemplate": {"type": "metered", "issueAfterReset": 20, "usagePeriod": "P1D"},
        }],
    }]});
    shop::sell_with(&edge.world, "daily", &[], &daily).await;
    edge.keep().await;
    let subscription = subscribe(&edge.world, "daily").await;
    edge.publish().await;
    let chain = edge.chain(&subscription).await;
    let first = current_window(&edge, &chain);
    (edge, chain, first)
}

both_databases! {
    async fn closed_windows_leave_redis_once_the_ledger_holds_them(database: TestDatabase) {
        let (edge, chain, first) = long_subscribed(database).await;
        let usage = edge.names.usage(chain.tag, &chain.id);
        let consumed = |edge: &Edge| edge.field(&usage, &format!("c/{first}"));
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&first, 5)]);
        edge.keep().await;
        // Until a day after its end it stays.
        edge.world.clock.advance_business(2 * DAY - Duration::from_secs(1));
        edge.keep().await;
        assert_eq!(consumed(&edge), "5000");
        edge.world.clock.advance_business(2 * DAY + Duration::from_secs(1));
        edge.keep().await;
        assert_eq!(consumed(&edge), "");
        assert_eq!(edge.field(&usage, "late"), "1");
        // What comes later counts under another late generation, is read and leaves as well.
        worker.settle(&edge, &[Unleased(&first, 2)]);
        assert_eq!(consumed(&edge), "2000");
        edge.keep().await;
        assert_eq!(ledger(&edge.world, &chain.id).await, 7);
        assert_eq!(consumed(&edge), "");
        worker.settle(&edge, &[Unleased(&first, 1)]);
        edge.keep().await;
        assert_eq!(ledger(&edge.world, &chain.id).await, 8);
        edge.renew().await;
        // Units that left Redis are not brought back to it; those of now are.
        let now = current_window(&edge, &chain);
        worker.settle(&edge, &[Unleased(&now, 3)]);
        edge.keep().await;
        edge.command(&["FLUSHALL"]);
        edge.keep().await;
        assert_eq!(edge.field(&usage, &format!("b/{first}")), "");
        assert_eq!(edge.field(&usage, &format!("b/{now}")), "3000");
        worker.sequence = 4;
        let again = worker.settle_again(&edge, Order::Next, &[Unleased(&now, 3)]);
        assert_eq!(again, Settled(Repeated, 4));
        worker.sequence = 2;
        let older = worker.settle_again(&edge, Order::Next, &[Unleased(&first, 2)]);
        assert_eq!(older, Settled(Stale, 4));
        worker.sequence = 4;
        worker.settle(&edge, &[Unleased(&first, 4)]);
        edge.keep().await;
        assert_eq!(ledger(&edge.world, &chain.id).await, 15);
    }

    async fn a_window_that_is_carried_stays_in_redis(database: TestDatabase) {
        let (edge, chain, first) = long_subscribed(database).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&first, 5)]);
        edge.keep().await;
        // Two days later the document still says that a window which is open carries it.
        let carrying = format!("{0},{0}9,20000,2,{first}", edge.world.clock.business_now().unix_ms());
        let access = edge.names.access(chain.tag, &chain.id);
        edge.command(&["HSET", &access, "m/calls", &carrying]);
        edge.world.clock.advance_business(4 * DAY);
        edge.keep().await;
        let usage = edge.names.usage(chain.tag, &chain.id);
        assert_eq!(edge.field(&usage, &format!("c/{first}")), "5000");
        edge.command(&["HDEL", &access, "m/calls"]);
        edge.world.clock.advance_business(Duration::from_secs(3_600));
        edge.keep().await;
        assert_eq!(edge.field(&usage, &format!("c/{first}")), "");
    }
}
