//! Invoices: what is billed when, once, and what becomes of it in Stripe.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::invoicing::billing::Billing;
use tollgate::jobs::Job;

use crate::both_databases;
use crate::shop::{act, change, text};
use crate::till::{DAY, PAYS, Till, fee, lines, sell};
use crate::world::{TestDatabase, World};

async fn estimate(world: &World, subscription: &Value, plan: &str) -> Value {
    let document = json!({"plan": plan});
    act(world, subscription, "change/estimate-credit", &document)
        .await
        .expect(200)
}

both_databases! {
    async fn a_first_invoice_is_charged_at_once(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "starter", PAYS).await;
        assert_eq!(till.summary().await, ["first draft 29.00"]);
        till.push().await;
        assert_eq!(till.summary().await, ["first paid 29.00"]);
        let [invoice] = &till.invoices().await[..] else { panic!() };
        assert_eq!(lines(invoice), ["starter: base 29.00 -0.00"]);
        assert_eq!(invoice["subscription"], subscription["id"]);
        assert_eq!(invoice["paidAt"], "2026-01-01T00:00:00Z");
        let line = &invoice["lines"][0];
        assert_eq!((&line["periodStart"], &line["periodEnd"]),
            (&json!("2026-01-01T00:00:00Z"), &json!("2026-02-01T00:00:00Z")));
        let charges = till.stripe.charges();
        assert_eq!(charges.len(), 1, "{charges:?}");
        let [theirs] = &till.stripe.objects("invoice")[..] else { panic!() };
        assert_eq!((&theirs["id"], &theirs["total"]), (&invoice["stripeInvoiceId"], &json!(2900)));
        assert_eq!(theirs["number"], invoice["number"]);
        let shown = till.world.get(&format!("/v1/invoices/{}", text(&invoice["id"]))).await;
        assert_eq!(&shown.expect(200), invoice);
        till.world.get("/v1/invoices/inv_none").await.problem(404, "invoice_not_found");
        let path = format!("/v1/invoices/{}/retry", text(&invoice["id"]));
        till.world.post(&path, &json!({})).await.problem(409, "invoice_settled");
        till.assert_sound().await;
    }

    async fn lists_are_filtered(database: TestDatabase) {
        let till = Till::open(database).await;
        let one = till.check_out("acme", "starter", PAYS).await;
        till.push().await;
        till.check_out("other", "pro", PAYS).await;
        let count = async |query: String| {
            let page = till.world.get(&format!("/v1/invoices?{query}")).await.expect(200);
            page["items"].as_array().unwrap().len()
        };
        assert_eq!(count(String::new()).await, 2);
        assert_eq!(count("customer=acme".to_owned()).await, 1);
        assert_eq!(count("customer=nobody".to_owned()).await, 0);
        assert_eq!(count(format!("subscription={}", text(&one["id"]))).await, 1);
        assert_eq!(count("subscription=none".to_owned()).await, 0);
        assert_eq!(count("status=paid".to_owned()).await, 1);
        assert_eq!(count("status=paid&customer=other".to_owned()).await, 0);
        assert_eq!(till.world.list("/v1/customers/other/invoices", 50).await.len(), 1);
        till.world.get("/v1/customers/nobody/invoices").await.problem(404, "customer_not_found");
        till.assert_sound().await;
    }

    async fn a_period_is_billed_once_its_window_is_closed(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 60_000).await;
        // Its end has come, and a drain began after that, but too early.
        till.go_to("02-01T00:01:59").await;
        till.bill().await;
        assert_eq!(till.invoices().await.len(), 1);
        // Then it could be, and no drain has begun.
        till.world.clock.advance_business(Duration::from_secs(1));
        till.bill().await;
        assert_eq!(till.invoices().await.len(), 1);
        till.drain().await;
        till.bill().await;
        // The same again, by another replica.
        till.bill().await;
        till.push().await;
        till.hear().await;
        assert_eq!(till.summary().await, ["first paid 99.00", "recurring paid 119.00"]);
        let [_, renewal] = &till.invoices().await[..] else { panic!() };
        let expected = [
            "pro: base 99.00 -0.00",
            "pro: calls, tier 1 0.00 -0.00",
            "pro: calls, tier 2 20.00 -0.00",
        ];
        assert_eq!(lines(renewal), expected);
        let usage = &renewal["lines"][2];
        assert_eq!((&usage["quantity"], &usage["unitAmount"]), (&json!("10000"), &json!("0.002")));
        assert_eq!(usage["periodEnd"], "2026-02-01T00:00:00Z");
        assert_eq!(till.stripe.charges().len(), 2);
        till.assert_sound().await;
    }

    async fn catching_up_gives_the_same_invoices_as_being_on_time(database: TestDatabase) {
        let till = Till::open(database).await;
        let late = till.check_out("late", "pro", PAYS).await;
        till.consume(&late, "2026-01-01T00:00:00Z", 51_000).await;
        till.consume(&late, "2026-03-01T00:00:00Z", 52_000).await;
        till.go_to("04-01T00:02:00").await;
        till.bill().await;
        let boundaries: Vec<_> = till.invoices().await.iter()
            .map(|it| format!("{} {}", text(&it["boundary"]), text(&it["total"])))
            .collect();
        let expected = [
            "2026-01-01T00:00:00Z 99.00",
            "2026-02-01T00:00:00Z 101.00",
            "2026-03-01T00:00:00Z 99.00",
            "2026-04-01T00:00:00Z 103.00",
        ];
        assert_eq!(boundaries, expected);
        till.assert_sound().await;
    }

    async fn two_replicas_and_one_that_lost_its_claim_make_one_invoice(database: TestDatabase) {
        let till = Till::open(database).await;
        for customer in ["a", "b", "c", "d"] {
            till.check_out(customer, "starter", PAYS).await;
        }
        till.go_to("02-01T00:02:00").await;
        let lost = till.claim("billing").await;
        let held = till.claim("billing").await;
        let (one, other) = (Billing::new(till.world.app.clone()), Billing::new(till.world.app.clone()));
        // Alone it has everything to do, and nothing of it comes to be.
        assert!(one.run(&lost).await.is_err());
        assert_eq!(till.invoices().await.len(), 4);
        // Beside another one it may find everything done.
        let (_, other) = tokio::join!(one.run(&lost), other.run(&held));
        other.unwrap();
        assert_eq!(till.invoices().await.len(), 8);
        assert_eq!(till.number("SELECT COUNT(*) FROM rated_windows").await, 0);
        till.assert_sound().await;
    }

    async fn fees_do_not_wait_for_usage_longer_than_a_day(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 60_000).await;
        till.go_to("02-01T00:01:00").await;
        till.world.clock.advance_business(DAY);
        till.bill().await;
        assert_eq!(till.invoices().await.len(), 1);
        till.world.clock.advance_business(Duration::from_secs(60));
        till.bill().await;
        till.bill().await;
        let all = till.invoices().await;
        assert_eq!((all.len(), &all[1]["part"], &all[1]["total"]), (2, &json!("fees"), &json!("99.00")));
        till.drain().await;
        till.bill().await;
        let all = till.invoices().await;
        assert_eq!((all.len(), &all[2]["part"], &all[2]["total"]), (3, &json!("arrears"), &json!("20.00")));
        // And on as ever.
        till.go_to("03-01T00:02:00").await;
        till.bill().await;
        assert_eq!(till.invoices().await[3]["part"], "all");
        till.assert_sound().await;
    }

    async fn late_usage_is_on_the_next_invoice_and_comes_to_the_same(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 49_999).await;
        till.go_to("02-01T00:02:00").await;
        till.bill().await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 1_000).await;
        till.go_to("03-01T00:02:00").await;
        till.bill().await;
        let all = till.invoices().await;
        assert_eq!(all[2]["total"], "101.00");
        let late = &all[2]["lines"][1];
        assert_eq!(late["description"], "pro: calls, later usage");
        assert_eq!((&late["kind"], &late["amount"], &late["quantity"]),
            (&json!("late"), &json!("2.00"), &json!("1000")));
        assert_eq!(late["periodStart"], "2026-01-01T00:00:00Z");
        // Rated by slices as at once: 50,999 units are 999 beyond, 1.998.
        let rated = till.number("SELECT amount FROM rated_windows ORDER BY start_ms LIMIT 1").await;
        assert_eq!(rated, 200);
        till.go_to("04-01T00:02:00").await;
        till.bill().await;
        assert_eq!(till.invoices().await[3]["total"], "99.00");
        till.assert_sound().await;
    }

    async fn late_usage_of_who_left_goes_on_an_invoice_of_its_own_once_a_day(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        till.go_to("01-10T00:00:00").await;
        act(&till.world, &subscription, "cancel", &json!({})).await.expect(200);
        till.consume(&subscription, "2026-01-01T00:00:00Z", 60_000).await;
        till.go_to("01-10T00:02:00").await;
        till.bill().await;
        assert_eq!(till.summary().await[1..], ["final draft 20.00"]);
        till.consume(&subscription, "2026-01-01T00:00:00Z", 500).await;
        till.go_to("01-10T12:00:00").await;
        till.bill().await;
        assert_eq!(till.invoices().await.len(), 2);
        till.go_to("01-11T00:00:00").await;
        till.bill().await;
        assert_eq!(till.summary().await[2..], ["late draft 1.00"]);
        till.consume(&subscription, "2026-01-01T00:00:00Z", 500).await;
        till.go_to("01-11T23:00:00").await;
        till.bill().await;
        assert_eq!(till.invoices().await.len(), 3);
        till.go_to("01-12T00:00:00").await;
        till.bill().await;
        assert_eq!(till.summary().await[3..], ["late draft 1.00"]);
        till.assert_sound().await;
    }

    async fn an_upgrade_costs_the_fee_less_what_is_left_of_the_old_one(database: TestDatabase) {
        let till = Till::open(database).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        till.consume(&starter, "2026-01-01T00:00:00Z", 7_000).await;
        // 15 of 31 days: less of the quota is left than of the time.
        till.go_to("01-16T00:00:00").await;
        let estimated = estimate(&till.world, &starter, "pro").await;
        assert_eq!((&estimated["credit"], &estimated["total"]), (&json!("8.70"), &json!("90.30")));
        assert_eq!(estimated["effectiveAt"], "2026-01-16T00:00:00Z");
        let pro = change(&till.world, &starter, "pro").await;
        till.drain().await;
        till.bill().await;
        // Workers may still settle.
        assert_eq!(till.invoices().await.len(), 1);
        till.go_to("01-16T00:00:10").await;
        till.settle().await;
        assert_eq!(till.summary().await, ["first paid 29.00", "change paid 90.30"]);
        let all = till.invoices().await;
        assert_eq!(lines(&all[1]), ["pro: base 99.00 -8.70"]);
        assert_eq!(all[1]["subscription"], pro["id"]);
        assert_eq!(lines(&all[1]), lines(&estimated));
        // From then on by its own months, and the old one no more.
        till.go_to("02-16T00:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["recurring paid 99.00"]);
        assert_eq!(till.number("SELECT COUNT(*) FROM credits").await, 1);
        till.assert_sound().await;
    }

    async fn changes_at_one_instant_are_billed_as_one(database: TestDatabase) {
        let till = Till::open(database).await;
        sell(&till.world, "large", json!([fee("490.00")])).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        till.go_to("01-16T12:00:00").await;
        let pro = change(&till.world, &starter, "pro").await;
        let large = change(&till.world, &pro, "large").await;
        till.go_to("01-16T12:00:10").await;
        till.settle().await;
        assert_eq!(till.summary().await, ["first paid 29.00", "change paid 475.50"]);
        assert_eq!(till.invoices().await[1]["subscription"], large["id"]);
        // One after the other, before the first is billed: each fee is charged, and given back.
        till.go_to("02-01T00:00:00").await;
        let pro = json!({"plan": "pro", "timing": "immediate"});
        let pro = act(&till.world, &large, "change", &pro).await.expect(200);
        till.world.clock.advance_business(Duration::from_secs(1));
        let starter = json!({"plan": "starter", "timing": "immediate"});
        act(&till.world, &pro, "change", &starter).await.expect(200);
        till.go_to("02-01T00:00:10").await;
        till.settle().await;
        till.hear().await;
        assert_eq!(till.summary().await[2..], ["change paid 0.00", "change paid 0.00"]);
        assert_eq!(till.number("SELECT COUNT(*) FROM credits").await, 3);
        till.assert_sound().await;
    }

    async fn what_is_left_of_a_fee_that_is_paid_later_is_given_back_then(database: TestDatabase) {
        let till = Till::open(database).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        till.go_to("02-01T00:00:00").await;
        // The renewal is assembled, and not paid when the change is billed.
        till.bill().await;
        till.go_to("02-15T00:00:00").await;
        change(&till.world, &starter, "pro").await;
        till.go_to("02-15T00:00:10").await;
        till.bill().await;
        let expected = ["first paid 29.00", "recurring draft 29.00", "change draft 99.00"];
        assert_eq!(till.summary().await, expected);
        till.settle().await;
        assert_eq!(till.number("SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM credits").await, 1_450);
        till.hear().await;
        till.go_to("03-15T00:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[3..], ["recurring paid 84.50"]);
        till.assert_sound().await;
    }

    async fn who_cancels_is_billed_until_the_end(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        let next = json!({"timing": "next_billing_cycle"});
        act(&till.world, &subscription, "cancel", &next).await.expect(200);
        act(&till.world, &subscription, "unschedule-cancelation", &json!({})).await.expect(200);
        till.consume(&subscription, "2026-01-01T00:00:00Z", 50_500).await;
        till.go_to("02-01T00:02:00").await;
        till.settle().await;
        act(&till.world, &subscription, "cancel", &next).await.expect(200);
        till.consume(&subscription, "2026-02-01T00:00:00Z", 51_000).await;
        till.go_to("05-01T00:00:00").await;
        till.settle().await;
        let expected = ["first paid 99.00", "recurring paid 100.00", "final paid 2.00"];
        assert_eq!(till.summary().await, expected);
        till.assert_sound().await;
    }
}
