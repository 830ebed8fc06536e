//! Subscriptions: how they begin, change and end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::{self, act, look, subscribe, text, try_subscribe};
use crate::world::{TestDatabase, World};

const DAY: Duration = Duration::from_secs(86_400);

pub async fn world(database: TestDatabase) -> World {
    let world = World::new(database).await;
    shop::open(&world).await;
    world
}

/// Status, end and phase of a subscription.
pub async fn state(world: &World, subscription: &Value) -> [Value; 3] {
    let shown = look(world, subscription, "").await;
    ["status", "activeTo", "phase"].map(|field| shown[field].clone())
}

pub async fn status(world: &World, subscription: &Value) -> String {
    text(&look(world, subscription, "").await["status"]).to_owned()
}

pub async fn access(world: &World, subscription: &Value) -> String {
    text(&look(world, subscription, "/access").await["access"]).to_owned()
}

/// Start, end and limit of the current window.
pub async fn window(world: &World, subscription: &Value) -> [String; 3] {
    let usage = look(world, subscription, "/usage").await;
    let meter = &usage["meters"][0];
    ["windowStart", "windowEnd", "limit"].map(|field| text(&meter[field]).to_owned())
}

pub fn window_of(start: &str, end: &str, limit: &str) -> [String; 3] {
    let at = |date: &str| match date.contains('T') {
        true => date.to_owned(),
        false => format!("{date}T00:00:00Z"),
    };
    [at(start), at(end), limit.to_owned()]
}

both_databases! {
    async fn a_customer_subscribes_and_is_shown(database: TestDatabase) {
        let world = world(database).await;
        let document = json!({"customer": "acme", "plan": "free", "key": "acme-free"});
        let made = world.post("/v1/subscriptions", &document).await.expect(201);
        assert_eq!(made["status"], "active");
        assert_eq!(made["paymentStatus"], "not_required");
        assert_eq!(made["activeFrom"], "2026-01-01T00:00:00Z");
        assert_eq!(made["activeTo"], Value::Null);
        assert_eq!((&made["plan"], &made["planVersion"]), (&json!("free"), &json!(1)));
        assert_eq!((&made["chain"], &made["epoch"]), (&made["id"], &json!(1)));
        assert_eq!(look(&world, &made, "").await, made);
        assert_eq!(world.get("/v1/subscriptions/acme-free").await.expect(200), made);
        assert_eq!(access(&world, &made).await, "granted");
        let usage = look(&world, &made, "/usage").await;
        assert_eq!(
            usage,
            json!({"subscription": made["id"], "asOf": null, "meters": [{
                "meter": "calls", "windowStart": "2026-01-01T00:00:00Z",
                "windowEnd": "2026-02-01T00:00:00Z", "used": "0", "carried": "0",
                "included": "1000", "limit": "1000", "remaining": "1000",
            }]})
        );
        world.get("/v1/subscriptions/nobody").await.problem(404, "subscription_not_found");
    }

    async fn subscriptions_are_listed_by_customer_and_plan(database: TestDatabase) {
        let world = world(database).await;
        let mut made = vec![subscribe(&world, "tiny").await];
        for key in ["beta", "gamma"] {
            shop::customer(&world, key).await;
            let document = json!({"customer": key, "plan": "free"});
            made.push(world.post("/v1/subscriptions", &document).await.expect(201));
        }
        made.reverse();
        assert_eq!(world.list("/v1/subscriptions", 1).await, made);
        for (query, expected) in [
            ("?customer=gamma", &made[..1]),
            ("?customer=acme&plan=tiny", &made[2..]),
            ("?plan=free", &made[..2]),
            ("?customer=nobody", &[]),
            ("?customer=acme&plan=free", &[]),
        ] {
            let page = world.get(&format!("/v1/subscriptions{query}")).await.expect(200);
            assert_eq!(page["items"], json!(expected), "{query}");
        }
        assert_eq!(world.list("/v1/customers/beta/subscriptions", 1).await, made[1..2]);
        let nobody = world.get("/v1/customers/nobody/subscriptions").await;
        nobody.problem(404, "customer_not_found");
    }

    async fn a_wrong_document_is_refused_with_every_mistake(database: TestDatabase) {
        let world = world(database).await;
        let wrong = json!({"plan": "Free!", "timing": "later", "key": "sub_x", "paid": true});
        assert_eq!(
            world.post("/v1/subscriptions", &wrong).await.mistakes(),
            pairs([
                ("unknown_field", "$.paid"),
                ("customer_missing", "$.customer"),
                ("invalid_timing", "$.timing"),
                ("invalid_key", "$.key"),
                ("invalid_key", "$.plan"),
            ])
        );
        for (field, value, mistake) in [
            ("customer", json!("nobody"), "customer_not_found"),
            ("plan", json!("none"), "plan_not_found"),
            ("planVersion", json!(2), "plan_not_found"),
            ("startingPhase", json!("phase_9"), "phase_not_found"),
            ("timing", json!("next_billing_cycle"), "invalid_timing"),
            ("timing", json!("2025-12-31T23:59:59Z"), "timing_out_of_range"),
            ("timing", json!("2036-02-01T00:00:00Z"), "timing_out_of_range"),
        ] {
            let mut document = json!({"customer": "acme", "plan": "free"});
            document[field] = value;
            let refused = world.post("/v1/subscriptions", &document).await;
            assert_eq!(refused.mistakes()[0].0, mistake, "{document}");
        }
    }

    async fn only_the_version_that_is_sold_can_be_subscribed_to(database: TestDatabase) {
        let world = world(database).await;
        let free = world.get("/v1/plans/free").await.expect(200);
        let draft = world.put(&format!("/v1/plans/{}", text(&free["id"])), &free).await.expect(200);
        let second = json!({"customer": "acme", "plan": "free", "planVersion": 2});
        let refused = world.post("/v1/subscriptions", &second).await;
        refused.problem(409, "plan_not_active");
        shop::publish(&world, &draft).await;
        let first = json!({"customer": "acme", "plan": "free", "planVersion": 1});
        world.post("/v1/subscriptions", &first).await.problem(409, "plan_not_active");
        let made = subscribe(&world, "free").await;
        assert_eq!(made["planVersion"], 2);
        // What somebody is on goes on when it is no longer sold.
        let path = format!("/v1/plans/{}/archive", text(&draft["id"]));
        world.post(&path, &json!({})).await.expect(200);
        assert_eq!(access(&world, &made).await, "granted");
    }

    async fn a_customer_has_one_subscription_at_a_time(database: TestDatabase) {
        let world = world(database).await;
        let first = subscribe(&world, "free").await;
        try_subscribe(&world, "tiny").await.problem(409, "subscription_exists");
        let end = json!({"timing": "2026-01-10T00:00:00Z"});
        act(&world, &first, "cancel", &end).await.expect(200);
        try_subscribe(&world, "tiny").await.problem(409, "subscription_exists");
        world.clock.advance_business(9 * DAY);
        subscribe(&world, "tiny").await;
    }

    async fn several_at_a_time_are_chains_of_their_own(database: TestDatabase) {
        let world = world(database).await;
        let enabled = json!({"multipleSubscriptionsEnabled": true});
        shop::configure(&world, &enabled).await;
        let (first, second) = (subscribe(&world, "free").await, subscribe(&world, "free").await);
        assert_ne!(first["chain"], second["chain"]);
        // Who ends both and comes back goes on with the one that ended last, then with the other.
        act(&world, &first, "cancel", &json!({})).await.expect(200);
        world.clock.advance_business(DAY);
        act(&world, &second, "cancel", &json!({})).await.expect(200);
        assert_eq!(subscribe(&world, "free").await["chain"], second["chain"]);
        assert_eq!(subscribe(&world, "free").await["chain"], first["chain"]);
        let third = subscribe(&world, "free").await;
        assert_eq!(third["chain"], third["id"]);
    }

    async fn many_who_subscribe_a_customer_at_once_do_it_once(database: TestDatabase) {
        let world = world(database).await;
        let attempts: Vec<_> = (0..8)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { try_subscribe(&world, "free").await.status.as_u16() })
            })
            .collect();
        let mut statuses = Vec::new();
        for attempt in attempts {
            statuses.push(attempt.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![201], vec![409; 7]].concat());
    }

    async fn what_begins_later_is_scheduled_until_then(database: TestDatabase) {
        let world = world(database).await;
        let document =
            json!({"customer": "acme", "plan": "free", "timing": "2026-01-31T12:00:00Z"});
        let made = world.post("/v1/subscriptions", &document).await.expect(201);
        assert_eq!(state(&world, &made).await, [json!("scheduled"), Value::Null, Value::Null]);
        assert_eq!(access(&world, &made).await, "subscription_not_started");
        world.clock.advance_business(30 * DAY + DAY / 2 - Duration::from_millis(1));
        assert_eq!(status(&world, &made).await, "scheduled");
        world.clock.advance_business(Duration::from_millis(1));
        assert_eq!(status(&world, &made).await, "active");
        assert_eq!(access(&world, &made).await, "granted");
        let expected = window_of("2026-01-31T12:00:00Z", "2026-02-28T12:00:00Z", "1000");
        assert_eq!(window(&world, &made).await, expected);
        world.clock.advance_business(28 * DAY);
        let expected = window_of("2026-02-28T12:00:00Z", "2026-03-31T12:00:00Z", "1000");
        assert_eq!(window(&world, &made).await, expected);
    }

    async fn what_is_canceled_before_it_begins_never_was(database: TestDatabase) {
        let world = world(database).await;
        let document = json!({"customer": "acme", "plan": "free", "timing": "2026-03-01T00:00:00Z"});
        let made = world.post("/v1/subscriptions", &document).await.expect(201);
        act(&world, &made, "change", &json!({"plan": "tiny"})).await
            .problem(409, "subscription_not_active");
        act(&world, &made, "unschedule-cancelation", &json!({})).await
            .problem(409, "subscription_not_canceled");
        act(&world, &made, "cancel", &json!({})).await.expect(200);
        assert_eq!(status(&world, &made).await, "inactive");
        assert_eq!(access(&world, &made).await, "subscription_ended");
        subscribe(&world, "tiny").await;
        world.clock.advance_business(60 * DAY);
        assert_eq!(status(&world, &made).await, "inactive");
    }

    async fn a_free_plan_ends_at_once(database: TestDatabase) {
        let world = world(database).await;
        let current = subscribe(&world, "free").await;
        world.clock.advance_business(DAY);
        let waiting = json!({"timing": "next_billing_cycle"});
        act(&world, &current, "cancel", &waiting).await.problem(409, "nothing_to_bill");
        let ended = act(&world, &current, "cancel", &json!({})).await.expect(200);
        assert_eq!((&ended["status"], &ended["activeTo"]), (&json!("inactive"), &json!("2026-01-02T00:00:00Z")));
        for verb in ["cancel", "unschedule-cancelation"] {
            act(&world, &current, verb, &json!({})).await.problem(409, "subscription_ended");
        }
    }

    async fn a_cancelation_is_taken_back_before_the_end_only(database: TestDatabase) {
        let world = world(database).await;
        let current = subscribe(&world, "free").await;
        let undo = "unschedule-cancelation";
        act(&world, &current, undo, &json!({})).await.problem(409, "subscription_not_canceled");
        let end = json!({"timing": "2026-01-10T00:00:00Z"});
        act(&world, &current, "cancel", &end).await.expect(200);
        assert_eq!(status(&world, &current).await, "canceled");
        assert_eq!(access(&world, &current).await, "granted");
        let sooner = json!({"timing": "2026-01-05T00:00:00Z"});
        let canceled = act(&world, &current, "cancel", &sooner).await.expect(200);
        assert_eq!(canceled["activeTo"], "2026-01-05T00:00:00Z");
        let restored = act(&world, &current, undo, &json!({})).await.expect(200);
        assert_eq!((&restored["status"], &restored["activeTo"]), (&json!("active"), &Value::Null));
        act(&world, &current, "cancel", &sooner).await.expect(200);
        world.clock.advance_business(4 * DAY);
        act(&world, &current, undo, &json!({})).await.problem(409, "subscription_ended");
    }

    async fn who_comes_back_goes_on_with_window_and_chain(database: TestDatabase) {
        let world = world(database).await;
        let first = subscribe(&world, "free").await;
        world.clock.advance_business(5 * DAY);
        act(&world, &first, "cancel", &json!({})).await.expect(200);
        world.clock.advance_business(5 * DAY);
        let again = subscribe(&world, "tiny").await;
        assert_eq!((&again["chain"], &again["epoch"]), (&first["id"], &json!(2)));
        assert_eq!(window(&world, &again).await, window_of("2026-01-11", "2026-02-01", "20"));
    }

    async fn a_trial_ends_by_itself_and_is_had_once(database: TestDatabase) {
        let world = world(database).await;
        let phases = [(Some("P2W"), 5), (None, 50)];
        shop::sell(&world, "trial", &phases).await;
        let trial = subscribe(&world, "trial").await;
        assert_eq!(trial["phase"], "phase_0");
        assert_eq!(window(&world, &trial).await, window_of("2026-01-01", "2026-01-15", "5"));
        world.clock.advance_business(14 * DAY);
        assert_eq!(state(&world, &trial).await[2], "phase_1");
        assert_eq!(window(&world, &trial).await, window_of("2026-01-15", "2026-02-15", "50"));
        act(&world, &trial, "cancel", &json!({})).await.expect(200);
        let again = subscribe(&world, "trial").await;
        assert_eq!(again["phase"], "phase_1");
        act(&world, &again, "cancel", &json!({})).await.expect(200);
        // Unless the operator says so.
        let document = json!({"customer": "acme", "plan": "trial", "startingPhase": "phase_0"});
        let anyway = world.post("/v1/subscriptions", &document).await.expect(201);
        assert_eq!(anyway["phase"], "phase_0");
        // Another customer has one.
        shop::customer(&world, "beta").await;
        let document = json!({"customer": "beta", "plan": "trial"});
        assert_eq!(world.post("/v1/subscriptions", &document).await.expect(201)["phase"], "phase_0");
    }

    async fn a_trial_of_a_higher_plan_counts_and_one_that_never_began_does_not(database: TestDatabase) {
        let world = world(database).await;
        let phases = [(Some("P2W"), 5), (None, 50)];
        for key in ["low", "mid", "high"] {
            shop::sell(&world, key, &phases).await;
        }
        shop::order(&world, &["low", "mid", "high"]).await;
        let document = json!({"customer": "acme", "plan": "high", "timing": "2026-01-05T00:00:00Z"});
        let never = world.post("/v1/subscriptions", &document).await.expect(201);
        act(&world, &never, "cancel", &json!({})).await.expect(200);
        let mid = subscribe(&world, "mid").await;
        assert_eq!(mid["phase"], "phase_0");
        let now = |plan| json!({"plan": plan, "timing": "immediate"});
        let low = act(&world, &mid, "change", &now("low")).await.expect(200);
        assert_eq!(low["phase"], "phase_1");
        let high = act(&world, &low, "change", &now("high")).await.expect(200);
        assert_eq!(high["phase"], "phase_0");
    }

    async fn a_key_names_one_subscription(database: TestDatabase) {
        let world = world(database).await;
        let document = json!({"customer": "acme", "plan": "tiny", "key": "own"});
        let first = world.post("/v1/subscriptions", &document).await.expect(201);
        let same = json!({"plan": "free", "key": "own"});
        act(&world, &first, "change", &same).await.problem(409, "subscription_key_taken");
        // Nothing of the refused change is kept.
        assert_eq!(status(&world, &first).await, "active");
        let other = json!({"plan": "free", "key": "own-2"});
        let answer = world.post("/v1/subscriptions/own/change", &other).await.expect(200);
        assert_eq!(world.get("/v1/subscriptions/own-2").await.expect(200), answer);
    }
}
