//! What Zuplo's documentation says of access, of canceling and of credit, over the API.

use serde_json::{Value, json};

use crate::bank::{self, DAY, access, give_card, pass, say};
use crate::both_databases;
use crate::shop::{act, look, subscribe, text};
use crate::till::{PAYS, Till};
use crate::world::{TestDatabase, World};

/// The cases of a kind, of which there are so many.
fn cases(kind: &str, count: usize) -> Vec<Value> {
    let figures: Value = serde_json::from_str(include_str!("../cases/zuplo.json")).unwrap();
    let cases = figures["cases"].as_array().unwrap().iter();
    let cases: Vec<_> = cases.filter(|case| case["kind"] == kind).cloned().collect();
    assert_eq!(cases.len(), count);
    cases
}

/// A subscription in the state of a case.
async fn brought_to(world: &World, case: &Value) -> Value {
    let status = text(&case["payment_status"]);
    if status == "not_required" {
        return subscribe(world, "free").await;
    }
    let subscription = subscribe(world, "starter").await;
    if status == "pending_first" {
        return subscription;
    }
    say(world, "paid").await;
    if case["subscription"] == "canceled" {
        let later = json!({"timing": "next_billing_cycle"});
        act(world, &subscription, "cancel", &later)
            .await
            .expect(200);
    }
    if status == "failed" {
        pass(world, 31 * DAY).await;
        say(world, "failed").await;
        let days = u32::try_from(case["days_since_failure"].as_u64().unwrap()).unwrap();
        pass(world, days * DAY).await;
    }
    subscription
}

both_databases! {
    async fn access_is_what_zuplo_documents(database: TestDatabase) {
        for case in cases("access", 4) {
            // The days of grace are those of the defaults.
            assert_eq!(case["grace_days"], 3);
            let world = bank::open(database.copy()).await;
            give_card(&world).await;
            let subscription = brought_to(&world, &case).await;
            let shown = look(&world, &subscription, "").await;
            assert_eq!(shown["status"], case["subscription"], "{case}");
            let (granted, status) = access(&world, &subscription).await;
            assert_eq!(granted == "granted", case["allowed"] == true, "{case}: {granted}");
            assert!(text(&case["payment_status"]).starts_with(&status), "{case}: {status}");
        }
    }

    async fn canceling_is_what_zuplo_documents(database: TestDatabase) {
        let world = bank::open(database).await;
        give_card(&world).await;
        for case in cases("cancel", 2) {
            let is_billed = case["phase_has_billables"] == true;
            let subscription = subscribe(&world, if is_billed { "starter" } else { "free" }).await;
            let document = match case["requested"].as_str() {
                Some(timing) => json!({"timing": timing}),
                None => json!({}),
            };
            let answer = act(&world, &subscription, "cancel", &document).await;
            match text(&case["expected"]) {
                "ends now" => assert_eq!(answer.expect(200)["status"], "inactive", "{case}"),
                "rejected" => {
                    answer.problem(409, "nothing_to_bill");
                }
                other => panic!("{other}"),
            }
            if is_billed {
                say(&world, "void").await;
            }
        }
    }

    async fn credit_is_spent_as_zuplo_documents(database: TestDatabase) {
        let cascade = &cases("credit_cascade", 1)[0];
        let till = Till::open(database).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        // Of 29.00, three tenths are left: more time than units.
        till.consume(&starter, "2026-01-01T00:00:00Z", 7_000).await;
        till.go_to("01-16T00:00:00").await;
        act(&till.world, &starter, "change", &json!({"plan": "pro"})).await.expect(200);
        till.go_to("01-16T00:00:10").await;
        till.settle().await;
        till.go_to("02-16T00:03:00").await;
        till.settle().await;
        let invoices = till.invoices().await;
        let fees: Vec<_> = invoices[1..]
            .iter()
            .map(|invoice| invoice["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "fee").unwrap())
            .collect();
        let of = |field: &str| Value::from(fees.iter().map(|fee| fee[field].clone()).collect::<Vec<_>>());
        assert_eq!(of("amount"), cascade["next_in_advance_flat_fees"]);
        assert_eq!(of("credit"), cascade["expected_discounts"]);
        let left = till.number("SELECT CAST((SELECT SUM(amount) FROM credits) - (SELECT SUM(amount) FROM credit_applications) AS BIGINT)");
        assert_eq!((left.await, &cascade["expected_left"]), (0, &json!("0.00")));
        till.assert_sound().await;
    }
}
