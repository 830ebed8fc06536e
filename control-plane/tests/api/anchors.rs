//! Anchors, and limits that customers set themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::{self, act, look, subscribe, text};
use crate::subscriptions::{window, window_of, world};
use crate::till::{PAYS, Till, lines};
use crate::world::{Answer, TestDatabase, World};

const DAY: Duration = Duration::from_secs(86_400);

/// Publishes the plan `payg`: 100 calls a month, and 50 more when nobody says otherwise.
async fn sell_softly(world: &World) {
    let phase = json!({
        "key": "main", "name": "Main", "duration": null,
        "rateCards": [{
            "type": "flat_fee", "key": "calls", "featureKey": "calls", "price": null,
            "billingCadence": "P1M", "entitlementTemplate":
                {"type": "metered", "issueAfterReset": 100, "isSoftLimit": true, "overageLimit": 50},
        }],
    });
    shop::sell_with(world, "payg", &[], &json!({"phases": [phase]})).await;
}

async fn set_limit(world: &World, subscription: &Value, meter: &str, limit: Value) -> Answer {
    let path = format!(
        "/v1/subscriptions/{}/overage-limits/{meter}",
        text(&subscription["id"])
    );
    world.put(&path, &json!({"overageLimit": limit})).await
}

both_databases! {
    async fn boundaries_count_from_the_anchor_that_is_given(database: TestDatabase) {
        let world = world(database).await;
        let document = json!({"customer": "acme", "plan": "free", "billingAnchor": "2026-03-15T00:00:00Z"});
        let made = world.post("/v1/subscriptions", &document).await.expect(201);
        assert_eq!(made["billingAnchor"], "2026-03-15T00:00:00Z");
        assert_eq!(window(&world, &made).await, window_of("2026-01-01", "2026-01-15", "1000"));
        world.clock.advance_business(20 * DAY);
        assert_eq!(window(&world, &made).await, window_of("2026-01-15", "2026-02-15", "1000"));
        assert_eq!(look(&world, &made, "").await["billingAnchor"], "2026-03-15T00:00:00Z");
    }

    async fn a_new_subscription_waits_for_the_next_cycle(database: TestDatabase) {
        let world = world(database).await;
        let next = json!({"customer": "acme", "plan": "free", "timing": "next_billing_cycle"});
        let refused = world.post("/v1/subscriptions", &next).await;
        assert_eq!(refused.mistakes(), pairs([("invalid_timing", "$.timing")]));
        let mut anchored = next.clone();
        anchored["billingAnchor"] = json!("2025-06-20T00:00:00Z");
        let made = world.post("/v1/subscriptions", &anchored).await.expect(201);
        assert_eq!((&made["status"], &made["activeFrom"]), (&json!("scheduled"), &json!("2026-01-20T00:00:00Z")));
        shop::configure(&world, &json!({"multipleSubscriptionsEnabled": true})).await;
        world.clock.advance_business(25 * DAY);
        let other = world.post("/v1/subscriptions", &next).await.expect(201);
        assert_eq!(other["activeFrom"], "2026-02-20T00:00:00Z");
        assert_ne!(other["chain"], made["chain"]);
    }

    async fn wrong_anchors_are_refused(database: TestDatabase) {
        let world = world(database).await;
        for (anchor, code) in [
            ("keep", "invalid_billing_anchor"),
            ("2126-01-01T00:00:00Z", "billing_anchor_out_of_range"),
        ] {
            let document = json!({"customer": "acme", "plan": "free", "billingAnchor": anchor});
            let refused = world.post("/v1/subscriptions", &document).await;
            assert_eq!(refused.mistakes(), pairs([(code, "$.billingAnchor")]));
        }
        let made = subscribe(&world, "tiny").await;
        let document = json!({"plan": "free", "billingAnchor": "2026-01-01T00:00:00Z"});
        let refused = act(&world, &made, "change", &document).await;
        assert_eq!(refused.mistakes(), pairs([("invalid_billing_anchor", "$.billingAnchor")]));
    }

    async fn a_change_keeps_the_boundaries_when_it_is_to(database: TestDatabase) {
        let world = world(database).await;
        let old = subscribe(&world, "tiny").await;
        world.clock.advance_business(10 * DAY);
        let keep = json!({"plan": "free", "billingAnchor": "keep"});
        let new = act(&world, &old, "change", &keep).await.expect(200);
        assert_eq!(new["billingAnchor"], "2026-01-01T00:00:00Z");
        assert_eq!(window(&world, &new).await, window_of("2026-01-11", "2026-02-01", "1000"));
        let again = json!({"plan": "big", "billingAnchor": "keep"});
        let newer = act(&world, &new, "change", &again).await.expect(200);
        assert_eq!(newer["billingAnchor"], "2026-01-01T00:00:00Z");
        let plain = shop::change(&world, &newer, "free").await;
        assert_eq!((&plain["activeFrom"], &plain["billingAnchor"]), (&json!("2026-02-01T00:00:00Z"), &Value::Null));
    }

    async fn a_customers_overage_limit_replaces_the_plans(database: TestDatabase) {
        let world = world(database).await;
        sell_softly(&world).await;
        let made = subscribe(&world, "payg").await;
        assert_eq!(window(&world, &made).await[2], "150");
        let lowered = set_limit(&world, &made, "calls", json!("5.5")).await.expect(200);
        assert_eq!(lowered["overageLimits"], json!({"calls": "5.5"}));
        assert_eq!(window(&world, &made).await[2], "105.5");
        set_limit(&world, &made, "calls", json!(1_000)).await.expect(200);
        assert_eq!(window(&world, &made).await[2], "1100");
        set_limit(&world, &made, "calls", json!("-1")).await.problem(400, "invalid_document");
        set_limit(&world, &made, "else", json!(1)).await.problem(409, "no_soft_limit");
        // It goes on over a change, holds only where the limit is soft, and is given up again.
        let hard = shop::change(&world, &made, "tiny").await;
        assert_eq!(window(&world, &hard).await[2], "20");
        set_limit(&world, &hard, "calls", json!(1)).await.problem(409, "no_soft_limit");
        let back = shop::change(&world, &hard, "payg").await;
        assert_eq!(window(&world, &back).await[2], "1100");
        set_limit(&world, &back, "calls", Value::Null).await.expect(200);
        assert_eq!(window(&world, &back).await[2], "150");
        act(&world, &back, "cancel", &json!({})).await.expect(200);
        set_limit(&world, &back, "calls", json!(1)).await.problem(409, "subscription_ended");
    }

    async fn a_change_that_keeps_the_boundaries_costs_and_gives_its_share(database: TestDatabase) {
        let till = Till::open(database).await;
        let first = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        till.go_to("01-16T12:00:00").await;
        let keep = json!({"plan": "pro", "billingAnchor": "keep"});
        let estimate = act(&till.world, &first, "change/estimate-credit", &keep).await.expect(200);
        let second = act(&till.world, &first, "change", &keep).await.expect(200);
        till.go_to("01-16T12:00:10").await;
        till.settle().await;
        // Half of January is left: of 99.00 as of 29.00, and of 50,000 units.
        let change = &till.invoices().await[1];
        assert_eq!(lines(change), ["pro: base 49.50 -14.50"]);
        assert_eq!((&change["total"], &estimate["total"]), (&json!("35.00"), &json!("35.00")));
        let used = look(&till.world, &second, "/usage").await["meters"][0].clone();
        assert_eq!((&used["included"], &used["windowEnd"]), (&json!("25000"), &json!("2026-02-01T00:00:00Z")));
        till.consume(&second, "2026-01-16T12:00:00Z", 30_000).await;
        till.go_to("02-01T00:02:00").await;
        till.settle().await;
        assert_eq!(till.invoices().await[2]["total"], "109.00");
        let used = look(&till.world, &second, "/usage").await["meters"][0].clone();
        assert_eq!((&used["included"], &used["windowEnd"]), (&json!("50000"), &json!("2026-03-01T00:00:00Z")));
        till.assert_sound().await;
    }
}
