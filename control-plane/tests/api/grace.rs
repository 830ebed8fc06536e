//! Access by payment: from the first invoice to the one that is given up.

use serde_json::{Value, json};
use tollgate_engine::contract::{Block, BlockCode};

use crate::bank::{self, DAY, assert_access, give_card, pass, say};
use crate::both_databases;
use crate::edge::Edge;
use crate::shop::{self, act, change, look, subscribe, text, try_subscribe};
use crate::world::{TestDatabase, World};

async fn paid_up(database: TestDatabase) -> (World, Value) {
    let world = bank::open(database).await;
    give_card(&world).await;
    let subscription = subscribe(&world, "starter").await;
    say(&world, "paid").await;
    (world, subscription)
}

/// From when payment closes access.
async fn closed_from(world: &World, subscription: &Value) -> Value {
    look(world, subscription, "/access").await["closedFrom"].clone()
}

both_databases! {
    async fn a_paid_plan_needs_what_it_takes_to_be_paid(database: TestDatabase) {
        let bare = World::new(database.clone()).await;
        shop::open(&bare).await;
        bank::sell(&bare, "starter", "29.00", 10, &json!({})).await;
        let refused = try_subscribe(&bare, "starter").await.problem(409, "stripe_not_set_up");
        assert!(text(&refused["detail"]).contains("STRIPE_API_KEY"), "{refused}");
        let free = subscribe(&bare, "free").await;
        let paid = json!({"plan": "starter"});
        act(&bare, &free, "change", &paid).await.problem(409, "stripe_not_set_up");
        act(&bare, &free, "cancel", &json!({})).await.expect(200);

        let key = [("STRIPE_API_KEY", bank::STRIPE_KEY), ("STRIPE_WEBHOOK_SECRET", bank::WEBHOOK_SECRET)];
        let world = World::at(database, &key, bare.clock.clone()).await;
        let refused = try_subscribe(&world, "starter").await.problem(409, "payment_method_required");
        assert!(text(&refused["detail"]).contains("/v1/checkout-sessions"), "{refused}");
        give_card(&world).await;
        subscribe(&world, "starter").await;
    }

    async fn the_first_invoice_opens_access_when_it_is_paid(database: TestDatabase) {
        let world = bank::open(database).await;
        give_card(&world).await;
        let subscription = subscribe(&world, "starter").await;
        assert_eq!(subscription["paymentStatus"], "pending");
        assert_access(&world, &subscription, ("payment_required", "pending")).await;
        say(&world, "open").await;
        assert_access(&world, &subscription, ("payment_required", "pending")).await;
        say(&world, "failed").await;
        assert_access(&world, &subscription, ("payment_required", "failed")).await;
        say(&world, "paid").await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
        // What is older changes nothing.
        say(&world, "failed").await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
    }

    async fn a_renewal_that_fails_has_grace(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        pass(&world, 31 * DAY).await;
        assert_access(&world, &subscription, ("granted", "pending")).await;
        world.clock.advance_business(DAY / 2);
        say(&world, "failed").await;
        assert_access(&world, &subscription, ("granted", "failed")).await;
        assert_eq!(closed_from(&world, &subscription).await, "2026-02-04T12:00:00Z");
        // Trying again, and failing again, moves nothing.
        pass(&world, 2 * DAY).await;
        say(&world, "failed").await;
        assert_access(&world, &subscription, ("granted", "failed")).await;
        pass(&world, DAY).await;
        assert_access(&world, &subscription, ("payment_overdue", "failed")).await;
        say(&world, "paid").await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
        assert_eq!(closed_from(&world, &subscription).await, Value::Null);
    }

    async fn an_invoice_that_is_given_up_ends_access(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        pass(&world, 31 * DAY).await;
        say(&world, "uncollectible").await;
        assert_access(&world, &subscription, ("payment_uncollectible", "uncollectible")).await;
        say(&world, "paid").await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
    }

    async fn grace_is_the_customers_the_plans_or_the_configured(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        pass(&world, 31 * DAY).await;
        say(&world, "failed").await;
        let closes = async || closed_from(&world, &subscription).await;
        assert_eq!(closes().await, "2026-02-04T00:00:00Z");
        shop::configure(&world, &json!({"maxPaymentOverdueDays": 5})).await;
        assert_eq!(closes().await, "2026-02-06T00:00:00Z");
        let document = json!({"key": "acme", "name": "acme", "metadata": {"maxPaymentOverdueDays": 0}});
        world.put("/v1/customers/acme", &document).await.expect(200);
        assert_eq!(closes().await, "2026-02-01T00:00:00Z");
        assert_access(&world, &subscription, ("payment_overdue", "failed")).await;
    }

    async fn who_owes_cannot_take_more(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        shop::order(&world, &["tiny", "free", "starter", "pro"]).await;
        pass(&world, 31 * DAY).await;
        say(&world, "failed").await;
        let upgrade = json!({"plan": "pro"});
        act(&world, &subscription, "change", &upgrade).await.problem(409, "payment_overdue");
        // To a free plan at the cycle's end, and access is open from then on.
        let free = change(&world, &subscription, "free").await;
        assert_eq!(free["activeFrom"], "2026-03-01T00:00:00Z");
        pass(&world, 4 * DAY).await;
        assert_access(&world, &subscription, ("payment_overdue", "failed")).await;
        pass(&world, 24 * DAY).await;
        assert_access(&world, &free, ("granted", "failed")).await;
        act(&world, &free, "change", &upgrade).await.problem(409, "payment_overdue");
        act(&world, &free, "cancel", &json!({})).await.expect(200);
        try_subscribe(&world, "free").await.problem(409, "payment_overdue");
        say(&world, "paid").await;
        subscribe(&world, "free").await;
    }

    async fn a_trial_ends_in_a_payment_that_is_taken_or_not(database: TestDatabase) {
        let world = bank::open(database).await;
        let mut trial = bank::paid_phase("trial", "0", 10);
        trial["duration"] = json!("P2W");
        trial["rateCards"].as_array_mut().unwrap().remove(0);
        let phases = json!({"phases": [trial, bank::paid_phase("main", "29.00", 10)], "paymentMethodRequired": false});
        shop::sell_with(&world, "trial", &[], &phases).await;
        let subscription = subscribe(&world, "trial").await;
        assert_access(&world, &subscription, ("granted", "not_required")).await;
        // Known beforehand: nothing need be written when the trial ends.
        assert_eq!(closed_from(&world, &subscription).await, "2026-01-15T00:00:00Z");
        let end = json!({"timing": "next_billing_cycle"});
        act(&world, &subscription, "cancel", &end).await.problem(409, "nothing_to_bill");
        give_card(&world).await;
        assert_eq!(closed_from(&world, &subscription).await, Value::Null);
        pass(&world, 14 * DAY).await;
        assert_access(&world, &subscription, ("granted", "pending")).await;
        say(&world, "failed").await;
        assert_access(&world, &subscription, ("payment_required", "failed")).await;
        say(&world, "paid").await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
    }

    async fn plans_outside_the_order_compare_by_what_they_cost_a_month(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        bank::sell(&world, "yearly", "240.00", 10, &json!({})).await;
        let yearly = json!({"phases": [{"key": "main", "name": "Main", "duration": null, "rateCards": [
            {"type": "flat_fee", "key": "fee", "billingCadence": "P1Y", "price": {"type": "flat", "amount": "240.00"}}]}],
            "billingCadence": "P1Y"});
        let plan = world.get("/v1/plans/yearly").await.expect(200);
        let mut edited = plan.clone();
        for (field, value) in yearly.as_object().unwrap() {
            edited[field] = value.clone();
        }
        let path = format!("/v1/plans/{}", text(&plan["id"]));
        let draft = world.put(&path, &edited).await.expect(200);
        shop::publish(&world, &draft).await;
        // 20.00 a month is less than 29.00, and 99.00 is more.
        let later = change(&world, &subscription, "yearly").await;
        assert_eq!((&later["status"], &later["activeFrom"]), (&json!("scheduled"), &json!("2026-02-01T00:00:00Z")));
        let now = change(&world, &subscription, "pro").await;
        assert_eq!(now["status"], "active");
        assert_eq!(look(&world, &later, "").await["status"], "inactive");
    }

    async fn the_end_of_a_paid_plan_can_wait_for_its_cycle(database: TestDatabase) {
        let (world, subscription) = paid_up(database).await;
        pass(&world, 10 * DAY).await;
        let end = json!({"timing": "next_billing_cycle"});
        let canceled = act(&world, &subscription, "cancel", &end).await.expect(200);
        assert_eq!((&canceled["status"], &canceled["activeTo"]), (&json!("canceled"), &json!("2026-02-01T00:00:00Z")));
        let again = act(&world, &subscription, "unschedule-cancelation", &json!({})).await.expect(200);
        assert_eq!((&again["status"], &again["activeTo"]), (&json!("active"), &Value::Null));
        act(&world, &subscription, "cancel", &end).await.expect(200);
        pass(&world, 20 * DAY).await;
        assert_access(&world, &subscription, ("granted", "paid")).await;
        pass(&world, 2 * DAY).await;
        assert_access(&world, &subscription, ("subscription_ended", "paid")).await;
        act(&world, &subscription, "unschedule-cancelation", &json!({})).await.problem(409, "subscription_ended");
        // Nothing was charged for what did not come.
        let invoices = world.get("/v1/customers/acme/invoices").await.expect(200);
        assert_eq!(invoices["items"].as_array().unwrap().len(), 1);
    }

    async fn the_filter_knows_from_when_access_is_closed(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let world = &edge.world;
        bank::sell(world, "starter", "29.00", 10, &json!({})).await;
        give_card(world).await;
        let subscription = subscribe(world, "starter").await;
        let chain = edge.chain(&subscription).await;
        let block = async || {
            edge.publish().await;
            edge.access(&chain).unwrap().block
        };
        let first = block().await.unwrap();
        assert_eq!((first.from_ms, first.code), (start_ms(&subscription), BlockCode::PaymentRequired));
        say(world, "paid").await;
        assert_eq!(block().await, None);
        pass(world, 31 * DAY).await;
        assert_eq!(block().await, None);
        say(world, "failed").await;
        let failed_ms = world.clock.business_now().unix_ms();
        let overdue = |days: i64| Some(Block { from_ms: failed_ms + days * 86_400_000, code: BlockCode::PaymentOverdue });
        assert_eq!(block().await, overdue(3));
        // Everything that moves it is written again.
        let document = json!({"key": "acme", "name": "acme", "metadata": {"maxPaymentOverdueDays": 1}});
        world.put("/v1/customers/acme", &document).await.expect(200);
        assert_eq!(block().await, overdue(1));
        let document = json!({"key": "acme", "name": "acme"});
        world.put("/v1/customers/acme", &document).await.expect(200);
        shop::configure(world, &json!({"maxPaymentOverdueDays": 7})).await;
        edge.renew().await;
        assert_eq!(block().await, overdue(7));
        // A free plan that begins opens access, written when it does.
        let free = change(world, &subscription, "free").await;
        assert_eq!(block().await, overdue(7));
        let ahead = start_ms(&free) - world.clock.business_now().unix_ms();
        pass(world, std::time::Duration::from_millis(u64::try_from(ahead).unwrap())).await;
        assert_eq!(block().await, None);
    }
}

/// When a subscription begins, in Unix milliseconds.
fn start_ms(subscription: &Value) -> i64 {
    text(&subscription["activeFrom"])
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond()
}
