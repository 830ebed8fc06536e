//! Changes of a chain that never paid: they take effect when their invoice is paid.

use serde_json::{Value, json};

use crate::bank::{self, DAY, assert_access, give_card, newest, pass, say, say_of};
use crate::both_databases;
use crate::shop::{self, act, change, look, subscribe, text, try_subscribe};
use crate::world::{TestDatabase, World};

async fn waiting(database: TestDatabase) -> (World, Value, Value) {
    let world = bank::open(database).await;
    give_card(&world).await;
    let free = subscribe(&world, "free").await;
    pass(&world, 10 * DAY).await;
    let paid = change(&world, &free, "starter").await;
    (world, free, paid)
}

async fn status(world: &World, subscription: &Value) -> String {
    text(&look(world, subscription, "").await["status"]).to_owned()
}

/// Notes that units were used in the window that begins at an instant.
async fn consume(world: &World, subscription: &Value, start: &str, units: u64) {
    let start: jiff::Timestamp = start.parse().unwrap();
    let mut tx = world.app.database.begin_write().await.unwrap();
    sqlx::query(
        "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trimmed)
         SELECT chain_id, epoch, 'calls', $1, $2, 0 FROM subscriptions WHERE id = $3",
    )
    .bind(start.as_millisecond())
    .bind(i64::try_from(units * 1_000).unwrap())
    .bind(text(&subscription["id"]))
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

both_databases! {
    async fn the_old_plan_goes_on_until_the_new_one_is_paid(database: TestDatabase) {
        let (world, free, paid) = waiting(database).await;
        assert_eq!((&paid["status"], &paid["paymentStatus"]), (&json!("scheduled"), &json!("pending")));
        assert_eq!(text(&newest(&world).await["total"]), "29.00");
        say(&world, "failed").await;
        pass(&world, 3 * DAY).await;
        assert_access(&world, &free, ("granted", "failed")).await;
        assert_access(&world, &paid, ("subscription_not_started", "failed")).await;

        say(&world, "paid").await;
        assert_eq!(status(&world, &free).await, "inactive");
        let begun = look(&world, &paid, "").await;
        assert_eq!((&begun["status"], &begun["activeFrom"]), (&json!("active"), &json!("2026-01-14T00:00:00Z")));
        assert_eq!(look(&world, &free, "").await["activeTo"], begun["activeFrom"]);
        assert_access(&world, &paid, ("granted", "paid")).await;
        // The fee is charged again a month after that.
        pass(&world, 30 * DAY).await;
        assert_eq!(world.list("/v1/customers/acme/invoices", 50).await.len(), 1);
        pass(&world, DAY).await;
        let next = newest(&world).await;
        assert_eq!((text(&next["total"]), text(&next["boundary"])), ("29.00", "2026-02-14T00:00:00Z"));
        // It has paid once: another change stands at once.
        say(&world, "paid").await;
        let pro = change(&world, &paid, "pro").await;
        assert_eq!(pro["status"], "active");
    }

    async fn what_was_used_of_a_plan_that_waited_is_not_given_back(database: TestDatabase) {
        let (world, _, paid) = waiting(database).await;
        pass(&world, 3 * DAY).await;
        say(&world, "paid").await;
        consume(&world, &paid, "2026-01-14T00:00:00Z", 8_000).await;
        pass(&world, DAY).await;
        let pro = json!({"plan": "pro"});
        let estimate = act(&world, &paid, "change/estimate-credit", &pro).await.expect(200);
        // A fifth of 29.00, though most of the month that was paid for are to come.
        assert_eq!(estimate["credit"], "5.80");
    }

    async fn an_invoice_that_is_voided_takes_the_change_with_it(database: TestDatabase) {
        let (world, free, paid) = waiting(database).await;
        for word in ["pro", "tiny"] {
            act(&world, &free, "change", &json!({"plan": word})).await.problem(409, "payment_awaited");
        }
        act(&world, &paid, "cancel", &json!({})).await.problem(409, "payment_awaited");
        act(&world, &paid, "change", &json!({"plan": "pro"})).await.problem(409, "subscription_not_active");
        try_subscribe(&world, "free").await.problem(409, "subscription_exists");
        let invoice = newest(&world).await;
        say(&world, "void").await;
        assert_eq!(status(&world, &paid).await, "inactive");
        assert_access(&world, &free, ("granted", "not_required")).await;
        // What was dropped stays so, whatever is told later.
        say_of(&world, &invoice, "paid").await;
        assert_eq!(status(&world, &paid).await, "inactive");
        let again = change(&world, &free, "pro").await;
        assert_eq!(again["status"], "scheduled");
        say(&world, "paid").await;
        assert_eq!(status(&world, &again).await, "active");
        pass(&world, 20 * DAY).await;
        assert_eq!(world.list("/v1/customers/acme/invoices", 50).await.len(), 2);
    }

    async fn what_was_canceled_meanwhile_is_taken_up_by_who_pays(database: TestDatabase) {
        let (world, free, paid) = waiting(database).await;
        act(&world, &free, "cancel", &json!({})).await.expect(200);
        assert_access(&world, &free, ("subscription_ended", "pending")).await;
        pass(&world, DAY).await;
        say(&world, "uncollectible").await;
        assert_eq!(status(&world, &paid).await, "scheduled");
        say(&world, "paid").await;
        assert_access(&world, &paid, ("granted", "paid")).await;
        assert_eq!(look(&world, &free, "").await["activeTo"], "2026-01-11T00:00:00Z");
    }

    async fn who_pays_as_they_go_is_not_blocked_for_what_they_only_wished(database: TestDatabase) {
        let world = bank::open(database).await;
        give_card(&world).await;
        let usage = json!({"phases": [{"key": "main", "name": "Main", "duration": null, "rateCards": [
            {"type": "usage_based", "key": "calls", "featureKey": "calls", "billingCadence": "P1M",
                "price": {"type": "tiered", "mode": "graduated", "tiers": [{"unitPrice": {"amount": "0.01"}}]},
                "entitlementTemplate": {"type": "metered", "isSoftLimit": true}}]}]});
        shop::sell_with(&world, "usage", &[], &usage).await;
        let used = subscribe(&world, "usage").await;
        assert_access(&world, &used, ("granted", "not_required")).await;
        let paid = change(&world, &used, "starter").await;
        say(&world, "failed").await;
        assert_access(&world, &used, ("granted", "failed")).await;
        say(&world, "paid").await;
        assert_access(&world, &paid, ("granted", "paid")).await;
    }
}
