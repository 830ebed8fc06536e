//! Periods of all kinds: trials, later starts, changes to come, windows that go on, credits that are kept.

use serde_json::{Value, json};

use crate::both_databases;
use crate::shop::{act, text};
use crate::till::{ATTACHES_AND_FAILS, PAYS, Till, fee, lines, sell, sell_with};
use crate::world::TestDatabase;

async fn subscribe(till: &Till, document: &Value) -> Value {
    till.world
        .post("/v1/subscriptions", document)
        .await
        .expect(201)
}

async fn change_at(till: &Till, subscription: &Value, plan: &str, timing: &str) -> Value {
    let document = json!({"plan": plan, "timing": timing});
    act(&till.world, subscription, "change", &document)
        .await
        .expect(200)
}

/// A card of the meter `calls`, by use.
fn by_use(unit_amount: &str) -> Value {
    json!({"type": "usage_based", "featureKey": "calls", "billingCadence": "P1M",
        "price": {"type": "tiered", "mode": "graduated", "tiers": [
            {"upToAmount": "1000", "flatPrice": {"amount": "1"}, "unitPrice": {"amount": "0"}},
            {"unitPrice": {"amount": unit_amount}}]},
        "entitlementTemplate": {"type": "metered", "isSoftLimit": true}})
}

both_databases! {
    async fn a_trial_is_free_and_the_first_paid_period_is_charged_at_its_end(database: TestDatabase) {
        let till = Till::open(database).await;
        let phases = json!({"paymentMethodRequired": true, "phases": [
            {"key": "trial", "name": "Trial", "duration": "P2W", "rateCards": [
                {"type": "flat_fee", "featureKey": "calls",
                 "entitlementTemplate": {"type": "metered", "issueAfterReset": 10}}]},
            {"key": "default", "name": "Default", "rateCards": [fee("29.00")]},
        ]});
        sell_with(&till.world, "tried", phases).await;
        till.check_out("acme", "tried", PAYS).await;
        till.go_to("01-14T23:59:59").await;
        till.settle().await;
        assert!(till.invoices().await.is_empty());
        till.go_to("01-15T00:00:00").await;
        till.settle().await;
        till.go_to("02-15T00:00:00").await;
        till.settle().await;
        assert_eq!(till.summary().await, ["recurring paid 29.00", "recurring paid 29.00"]);
        assert_eq!(till.invoices().await[0]["lines"][0]["periodEnd"], "2026-02-15T00:00:00Z");
        till.assert_sound().await;
    }

    async fn a_later_start_is_billed_then(database: TestDatabase) {
        let till = Till::open(database).await;
        let first = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        act(&till.world, &first, "cancel", &json!({})).await.expect(200);
        let start = "2026-01-20T00:00:00Z";
        let document = json!({"customer": "acme", "plan": "pro", "timing": start});
        let dropped = subscribe(&till, &document).await;
        act(&till.world, &dropped, "cancel", &json!({})).await.expect(200);
        let later = subscribe(&till, &document).await;
        till.go_to("01-20T00:00:00").await;
        till.settle().await;
        assert_eq!(till.summary().await, ["first paid 29.00", "first paid 99.00"]);
        assert_eq!(till.invoices().await[1]["subscription"], later["id"]);
        till.go_to("02-20T00:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["recurring paid 99.00"]);
        till.assert_sound().await;
    }

    async fn a_downgrade_waits_for_the_cycle_and_gives_nothing_back(database: TestDatabase) {
        let till = Till::open(database).await;
        let pro = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        let document = json!({"plan": "starter"});
        let estimated = act(&till.world, &pro, "change/estimate-credit", &document).await.expect(200);
        assert_eq!((&estimated["credit"], &estimated["effectiveAt"]),
            (&json!("0.00"), &json!("2026-02-01T00:00:00Z")));
        // Scheduled, and taken back: as if it had not been.
        change_at(&till, &pro, "starter", "next_billing_cycle").await;
        act(&till.world, &pro, "unschedule-cancelation", &json!({})).await.expect(200);
        till.go_to("02-01T00:02:00").await;
        till.settle().await;
        let starter = change_at(&till, &pro, "starter", "next_billing_cycle").await;
        till.consume(&pro, "2026-02-01T00:00:00Z", 50_500).await;
        till.go_to("03-01T00:02:00").await;
        till.settle().await;
        let expected = ["first paid 99.00", "recurring paid 99.00", "change paid 30.00"];
        assert_eq!(till.summary().await, expected);
        let last = &till.invoices().await[2];
        assert_eq!(last["subscription"], starter["id"]);
        let expected = [
            "starter: base 29.00 -0.00",
            "pro: calls, tier 1 0.00 -0.00",
            "pro: calls, tier 2 1.00 -0.00",
        ];
        assert_eq!(lines(last), expected);
        till.go_to("04-01T00:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[3..], ["recurring paid 29.00"]);
        till.assert_sound().await;
    }

    async fn what_is_left_of_a_credit_is_kept_for_a_year(database: TestDatabase) {
        let till = Till::open(database).await;
        let left = async || till.number(
            "SELECT CAST(SUM(amount) AS BIGINT) - (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT)
             FROM credit_applications) FROM credits WHERE expired_at_ms IS NULL").await;
        let pro = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        let starter = change_at(&till, &pro, "starter", "immediate").await;
        till.go_to("01-01T00:00:10").await;
        till.settle().await;
        assert_eq!(till.summary().await[1..], ["change paid 0.00"]);
        assert_eq!(left().await, 7_000);
        act(&till.world, &starter, "cancel", &json!({})).await.expect(200);
        till.go_to("11-01T00:00:00").await;
        let again = subscribe(&till, &json!({"customer": "acme", "plan": "starter"})).await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["first paid 0.00"]);
        act(&till.world, &again, "cancel", &json!({})).await.expect(200);
        assert_eq!(left().await, 4_100);
        let year = std::time::Duration::from_secs(365 * 86_400);
        till.world.clock.advance_business(year);
        subscribe(&till, &json!({"customer": "acme", "plan": "starter"})).await;
        till.settle().await;
        assert_eq!(till.summary().await[3..], ["first paid 29.00"]);
        let expired = till.number("SELECT COUNT(*) FROM credits WHERE expired_at_ms IS NOT NULL").await;
        assert_eq!(expired, 1);
        till.assert_sound().await;
    }

    async fn a_credit_of_an_invoice_that_is_taken_back_is_left(database: TestDatabase) {
        let till = Till::open(database).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        // Half of the month is left, and the next card pays nothing.
        till.go_to("01-16T12:00:00").await;
        till.replace_card("acme", ATTACHES_AND_FAILS).await;
        change_at(&till, &starter, "pro", "immediate").await;
        till.go_to("01-16T12:00:10").await;
        till.settle().await;
        assert_eq!(till.summary().await[1..], ["change failed 84.50"]);
        let open = text(&till.invoices().await[1]["stripeInvoiceId"]).to_owned();
        till.void(&open).await;
        till.hear().await;
        assert_eq!(till.summary().await[1..], ["change void 84.50"]);
        till.replace_card("acme", PAYS).await;
        till.go_to("02-16T12:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["recurring paid 84.50"]);
        till.assert_sound().await;
    }

    async fn units_of_a_window_that_goes_on_are_billed_once(database: TestDatabase) {
        let till = Till::open(database).await;
        sell(&till.world, "use", json!([by_use("0.01")])).await;
        sell(&till.world, "more_use", json!([by_use("0.02")])).await;
        let old = till.check_out("acme", "use", PAYS).await;
        till.consume(&old, "2026-01-01T00:00:00Z", 1_500).await;
        till.settle().await;
        assert!(till.invoices().await.is_empty());
        till.go_to("01-16T00:00:00").await;
        let new = change_at(&till, &old, "more_use", "immediate").await;
        till.go_to("01-16T00:00:10").await;
        till.settle().await;
        till.consume(&new, "2026-01-16T00:00:00Z", 700).await;
        till.consume(&new, "2026-02-01T00:00:00Z", 100).await;
        till.go_to("02-16T00:02:00").await;
        till.settle().await;
        // 1 + 500 × 0.01, then 700 × 0.02 beyond a tier that was entered before.
        assert_eq!(till.summary().await, ["change paid 6.00", "recurring paid 14.00"]);
        till.go_to("03-16T00:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["recurring paid 1.00"]);
        assert_eq!(till.number("SELECT COUNT(*) FROM rated_windows").await, 3);
        till.assert_sound().await;
    }

    async fn currencies_without_a_minor_unit_and_amounts_of_nothing_work(database: TestDatabase) {
        let till = Till::open(database).await;
        let mut free_use = by_use("0.4");
        free_use["price"]["tiers"][0]["flatPrice"] = Value::Null;
        let phases = json!({"currency": "JPY", "phases": [
            {"key": "default", "name": "Default", "rateCards": [free_use]}]});
        sell_with(&till.world, "yen", phases).await;
        let subscription = till.check_out("acme", "yen", PAYS).await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 1_000).await;
        till.go_to("02-01T00:02:00").await;
        till.settle().await;
        till.consume(&subscription, "2026-02-01T00:00:00Z", 2_234).await;
        till.go_to("03-01T00:02:00").await;
        till.settle().await;
        // 1,234 × 0.4 = 493.6.
        assert_eq!(till.summary().await, ["recurring paid 0", "recurring paid 494"]);
        assert_eq!(till.stripe.objects("invoice")[1]["total"], 494);
        till.stripe.check_exchanges();
        till.assert_sound().await;
    }

    async fn a_yearly_fee_has_the_quotas_of_twelve_months(database: TestDatabase) {
        let till = Till::open(database).await;
        let mut yearly = fee("365.00");
        yearly["billingCadence"] = json!("P1Y");
        let quota = json!({"type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
            "entitlementTemplate": {"type": "metered", "issueAfterReset": 1_000}});
        let cards = json!([yearly, quota]);
        let phases = json!({"billingCadence": "P1Y", "phases": [
            {"key": "default", "name": "Default", "rateCards": cards}]});
        sell_with(&till.world, "yearly", phases).await;
        let subscription = till.check_out("acme", "yearly", PAYS).await;
        till.settle().await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 1_000).await;
        till.consume(&subscription, "2026-02-01T00:00:00Z", 200).await;
        // 36.5 days of 365 are over, and 1,200 units of 12,000 used.
        till.go_to("02-06T12:00:00").await;
        let document = json!({"plan": "pro", "timing": "immediate"});
        let estimated = act(&till.world, &subscription, "change/estimate-credit", &document).await;
        assert_eq!(estimated.expect(200)["credit"], "328.50");
        // Then more than half of them.
        till.consume(&subscription, "2026-02-01T00:00:00Z", 6_000).await;
        let estimated = act(&till.world, &subscription, "change/estimate-credit", &document).await;
        assert_eq!(estimated.expect(200)["credit"], "146.00");
        assert_eq!(text(&till.invoices().await[0]["total"]), "365.00");
        till.assert_sound().await;
    }
}
