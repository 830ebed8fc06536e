//! A Redis that lost its data, all or the last of it: filled again, nothing counted twice.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate_engine::contract::Script;
use tollgate_engine::contract::answer::Outcome::{Applied, Repeated};
use tollgate_engine::contract::call::Order;
use tollgate_tests::redis::{Persistence, RedisOptions, RedisServer};

use crate::both_databases;
use crate::edge::Reaction::{Granted, Settled, Unready};
use crate::edge::Report::{Holds, Needs, Unleased};
use crate::edge::{Chain, Edge, Worker};
use crate::ledger::{current_window, ledger, pair, subscribed};
use crate::shop::{self, act, change, issue, subscribe, text};
use crate::world::TestDatabase;

fn durable() -> RedisOptions {
    RedisOptions {
        persistence: Persistence::EverySecond,
        ..RedisOptions::default()
    }
}

/// Random numbers that are the same in every run.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

async fn subscribed_again(edge: &Edge, chain: &Chain) -> Value {
    edge.world
        .get(&format!("/v1/subscriptions/{}", chain.id))
        .await
        .expect(200)
}

both_databases! {
    async fn a_first_store_grants_at_once_and_a_later_one_pauses(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (_, chain, _) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        assert_eq!(worker.settle(&edge, &[Needs(2)]), Granted(Applied, 2, 18, 0));
        // Nothing was drained yet, but a worker may hold leases.
        edge.command(&["FLUSHALL"]);
        edge.keep().await;
        let mut other = Worker::new("two", &chain);
        assert_eq!(other.settle(&edge, &[Needs(2)]), Granted(Applied, 0, 20, 0));
    }

    async fn an_empty_redis_is_filled_from_the_database(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let issued = issue(&edge.world, &subscription).await;
        edge.publish().await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        worker.settle(&edge, &[Unleased(&window, 3)]);
        edge.keep().await;
        let before = (edge.access(&chain), edge.key(&chain, &issued["secret"]));
        assert_eq!(edge.store(), pair("1", "1"));
        edge.command(&["FLUSHALL"]);
        edge.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(edge.store(), pair("", ""));

        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "2"));
        assert_eq!((edge.access(&chain), edge.key(&chain, &issued["secret"])), before);
        assert_eq!(edge.usage(&subscription).await, pair("8", "12"));
        // A batch that the ledger holds counts as applied, also when it is sent again.
        assert_eq!(worker.settle_again(&edge, Order::Next, &[Unleased(&window, 3)]), Settled(Repeated, 2));
        // What the ledger holds counts against the limit.
        assert_eq!(worker.settle(&edge, &[Unleased(&window, 1), Needs(1)]), Granted(Applied, 0, 11, 9));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("9", "11"));
        assert_eq!(ledger(&edge.world, &chain.id).await, 9);
    }

    async fn an_unready_store_is_used_by_nobody_until_it_is_filled(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (_, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        edge.command(&["FLUSHALL"]);
        assert_eq!(worker.settle(&edge, &[Unleased(&window, 5)]), Unready);
        // Writing a document does not make it ready.
        change(&edge.world, &subscribed_again(&edge, &chain).await, "free").await;
        edge.publish().await;
        assert_eq!(worker.settle_again(&edge, Order::Next, &[Unleased(&window, 5)]), Unready);
        edge.keep().await;
        assert_eq!(worker.settle_again(&edge, Order::Next, &[Unleased(&window, 5)]), Settled(Applied, 1));
        assert_eq!(edge.access(&chain).unwrap().version, 2);
    }

    async fn a_filling_that_was_cut_short_begins_anew(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        // As a process leaves it that was killed while it filled the store.
        let store = edge.names.store();
        edge.command(&["HSET", &store, "ready", "0"]);
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "2"));
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        assert_eq!(edge.field(&edge.names.usage(chain.tag, &chain.id), &format!("c/{window}")), "");
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 15, 5));
    }

    async fn what_an_earlier_life_still_holds_is_read_before_it_goes(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        // Nothing was drained; the database does not know this life as the last one.
        edge.command(&["HSET", &edge.names.store(), "generation", "7"]);
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "8"));
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        assert_eq!(worker.settle(&edge, &[Unleased(&window, 1)]), Settled(Applied, 2));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("6", "14"));
    }

    async fn a_store_that_somebody_else_began_is_taken_over(database: TestDatabase) {
        let edge = Edge::open(database).await;
        edge.command(&["HSET", &edge.names.store(), "generation", "theirs", "drained", "x"]);
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "2"));
    }

    async fn names_of_others_are_left_alone(database: TestDatabase) {
        let edge = Edge::open(database).await;
        edge.command(&["SET", "tg:live:store", "theirs"]);
        edge.command(&["SET", "tg:testimony", "theirs"]);
        let left = format!("{}access:sub_gone", edge.names.tagged("abcd".parse().unwrap()));
        edge.command(&["HSET", &left, "version", "9"]);
        edge.command(&["HSET", &edge.names.store(), "ready", "0"]);
        edge.keep().await;
        assert_eq!(edge.command(&["EXISTS", "tg:live:store", "tg:testimony"]), "2");
        assert_eq!(edge.command(&["EXISTS", &left]), "0");
    }

    async fn a_replica_that_lost_its_claim_fills_nothing(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        edge.command(&["FLUSHALL"]);
        let lost = edge.claim("store").await;
        let held = edge.claim("store").await;
        let other = edge.second_keeper();
        let (one, two) = tokio::join!(edge.run(&other, &lost), edge.run_keeper(&held));
        assert!(one.is_err());
        two.unwrap();
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "2"));
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 15, 5));
    }

    async fn a_loss_while_the_store_is_filled_is_a_loss_of_that(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        let written = edge.access(&chain);
        for delay_ms in 0..25 {
            edge.command(&["FLUSHALL"]);
            let claim = edge.claim("store").await;
            let lose = async {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                edge.command(&["FLUSHALL"]);
            };
            // It may succeed or fail, but it does not leave a store open that is not filled.
            let _ = tokio::join!(edge.run_keeper(&claim), lose);
            if edge.store().0 == "1" {
                assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 15, 5));
                worker.sequence -= 1;
            }
            edge.keep().await;
            assert_eq!(edge.store().0, "1");
            assert_eq!(edge.access(&chain), written);
            let base = edge.field(&edge.names.usage(chain.tag, &chain.id), &format!("b/{window}"));
            assert_eq!(base, "5000");
        }
        assert_eq!(edge.usage(&subscription).await, pair("5", "15"));
    }

    async fn an_earlier_life_changes_nothing_of_a_later_one(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (_, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.command(&["FLUSHALL"]);
        edge.keep().await;
        worker.sequence = 0;
        worker.settle(&edge, &[Unleased(&window, 5)]);
        // A process that began life 1 and was held up goes on while life 2 is open.
        let (store, usage) = (edge.names.store(), edge.names.usage(chain.tag, &chain.id));
        let tagged = edge.names.tagged(chain.tag);
        for generation in ["1", "2"] {
            assert_eq!(edge.run_script(Script::Close, &[&store], &[generation, &usage]), "0");
            let held = [generation, &tagged, &chain.id, "0", "b", &window, "9"];
            assert_eq!(edge.run_script(Script::Restore, &[&store], &held), "0");
        }
        let guard = edge.names.guard();
        assert_eq!(edge.run_script(Script::Open, &[&store, &guard], &["1", "0"]), "0");
        assert_eq!(edge.store(), pair("1", "2"));
        assert_eq!(edge.field(&usage, &format!("c/{window}")), "5000");
        assert_eq!(edge.field(&usage, &format!("b/{window}")), "");
    }

    async fn what_a_restart_lost_is_written_again(database: TestDatabase) {
        let mut edge = Edge::with(database, durable()).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let issued = issue(&edge.world, &subscription).await;
        edge.publish().await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        let saved = edge.redis.save();
        let revoke = format!("/v1/keys/{}/revoke", text(&issued["id"]));
        edge.world.post(&revoke, &json!({})).await.expect(200);
        edge.publish().await;
        assert!(edge.key(&chain, &issued["secret"]).unwrap().revoked_at_ms.is_some());
        edge.redis.restart_from(&saved);
        assert!(edge.key(&chain, &issued["secret"]).unwrap().revoked_at_ms.is_none());
        edge.keep().await;
        assert!(edge.key(&chain, &issued["secret"]).unwrap().revoked_at_ms.is_some());
        // The same life goes on, with its counters and leases.
        assert_eq!(edge.store(), pair("1", "1"));
        assert_eq!(worker.settle(&edge, &[Unleased(&window, 1)]), Settled(Applied, 2));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("6", "14"));
    }

    async fn a_counter_that_fell_takes_nothing_from_the_ledger(database: TestDatabase) {
        let mut edge = Edge::with(database, durable()).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let (mut one, mut two) = (Worker::new("one", &chain), Worker::new("two", &chain));
        one.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        let saved = edge.redis.save();
        one.settle(&edge, &[Unleased(&window, 3)]);
        edge.keep().await;
        edge.redis.restart_from(&saved);
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "1"));
        // Redis has 6, of which the ledger holds 5, and another 3 that Redis lost.
        two.settle(&edge, &[Unleased(&window, 1)]);
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("8", "12"));
        // What was lost is sent again, and everything is there.
        assert_eq!(one.settle_again(&edge, Order::Next, &[Unleased(&window, 3)]), Settled(Applied, 2));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("9", "11"));
        assert_eq!(ledger(&edge.world, &chain.id).await, 9);
    }

    async fn a_copy_that_is_too_old_is_not_trusted(database: TestDatabase) {
        let mut edge = Edge::with(database, durable()).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        edge.keep().await;
        let saved = edge.redis.save();
        worker.settle(&edge, &[Unleased(&window, 7)]);
        edge.world.clock.advance_machine(Duration::from_secs(12));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("12", "8"));
        edge.redis.restart_from(&saved);
        edge.keep().await;
        assert_eq!(edge.store(), pair("1", "2"));
        assert_eq!(worker.settle_again(&edge, Order::Next, &[Unleased(&window, 7)]), Settled(Repeated, 2));
        assert_eq!(worker.settle(&edge, &[Unleased(&window, 1), Needs(1)]), Granted(Applied, 0, 7, 13));
        edge.keep().await;
        assert_eq!(edge.usage(&subscription).await, pair("13", "7"));
    }

    async fn carried_units_count_in_the_ledger_and_over_a_loss(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 15)]);
        edge.world.clock.advance_business(Duration::from_secs(60));
        let larger = change(&edge.world, &subscription, "free").await;
        edge.publish().await;
        edge.keep().await;
        assert_eq!(edge.usage(&larger).await, pair("15", "985"));
        let next = current_window(&edge, &chain);
        assert_ne!(next, window);
        worker.settle(&edge, &[Unleased(&next, 2), Unleased(&window, 1)]);
        edge.keep().await;
        assert_eq!(edge.usage(&larger).await, pair("18", "982"));
        edge.command(&["FLUSHALL"]);
        edge.keep().await;
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 982, 18));
        // Back to the smaller plan: what was used counts there, too.
        edge.world.clock.advance_business(Duration::from_secs(60));
        let back = json!({"plan": "tiny", "timing": "immediate"});
        let smaller = act(&edge.world, &larger, "change", &back).await.expect(200);
        assert_eq!(edge.usage(&smaller).await, pair("18", "2"));
    }

    async fn holdings_are_declared_within_the_pause(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (_, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        assert_eq!(worker.settle(&edge, &[Needs(6)]), Granted(Applied, 6, 14, 0));
        edge.keep().await;
        edge.command(&["FLUSHALL"]);
        edge.keep().await;
        worker.sequence += 5;
        let declared = worker.settle_again(&edge, Order::Restart, &[Holds(&window, 6), Needs(1)]);
        assert_eq!(declared, Granted(Applied, 0, 14, 0));
    }

    /// The store is lost at any moment: what a worker sends again, as it does, makes good what was lost and counts
    /// nothing twice.
    async fn losses_at_any_moment_lose_and_double_nothing(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (_, chain, window) = subscribed(&edge).await;
        let mut random = Xorshift(0x2545_F491_4F6C_DD1D);
        let mut worker = Worker::new("one", &chain);
        let (mut sent, mut units) = (Vec::new(), 0);
        for _ in 0..120 {
            match random.next() % 4 {
                0 | 1 => {
                    let amount = 1 + random.next() % 3;
                    sent.push(amount);
                    units += amount;
                    worker.settle(&edge, &[Unleased(&window, amount)]);
                }
                2 => edge.keep().await,
                _ => {
                    edge.command(&["FLUSHALL"]);
                    edge.keep().await;
                    for (number, amount) in (1..).zip(&sent) {
                        worker.sequence = number;
                        worker.settle_again(&edge, Order::Next, &[Unleased(&window, *amount)]);
                    }
                }
            }
        }
        edge.keep().await;
        assert_eq!(ledger(&edge.world, &chain.id).await, i64::try_from(units).unwrap());
    }
}

#[tokio::test]
async fn the_user_of_the_control_plane_may_do_what_it_takes() {
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/redis/users.acl");
    let redis = RedisServer::start(RedisOptions {
        acl_file: Some(users.into()),
        ..RedisOptions::default()
    });
    let user = "tollgate:change-this-password-of-the-control-plane";
    let url = format!("redis://{user}@{}", redis.address());
    let edge = Edge::at(TestDatabase::sqlite(), redis, &url, Timestamp::now()).await;
    shop::open(&edge.world).await;
    edge.keep().await;
    let subscription = subscribe(&edge.world, "tiny").await;
    issue(&edge.world, &subscription).await;
    edge.publish().await;
    edge.keep().await;
    edge.world.get("/readyz").await.expect(200);
}
