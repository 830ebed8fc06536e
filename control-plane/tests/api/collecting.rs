//! Invoices on their way to Stripe: one each, whatever breaks, and paid once.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::invoicing;
use tollgate::invoicing::pusher::Pusher;
use tollgate::jobs::Job;
use tollgate::outbox::Dispatcher;
use tollgate::payments::grace::{FirstPayment, Standing};
use tollgate::subscriptions::PaymentStatus;
use tollgate_tests::stripe::faults::RequestTrouble::{
    self, ClosedAfter, Failed, FailedAfter, Locked,
};

use crate::both_databases;
use crate::shop::text;
use crate::till::{ATTACHES_AND_FAILS, PAYS, Till};
use crate::world::TestDatabase;

/// Pushes until nothing is left to do, and expects one paid invoice of 29.00 for each of `customers`.
async fn all_paid_once(till: &Till, customers: usize) {
    for _ in 0..4 {
        till.push().await;
    }
    till.hear().await;
    assert_eq!(till.summary().await, vec!["first paid 29.00"; customers]);
    let theirs = till.stripe.objects("invoice");
    assert!(
        theirs.iter().all(|invoice| invoice["status"] == "paid"),
        "{theirs:?}"
    );
    assert_eq!(theirs.len(), customers);
    let charges = till.stripe.charges();
    assert!(
        charges
            .iter()
            .all(|charge| charge.paid && charge.amount == 2_900),
        "{charges:?}"
    );
    assert_eq!(charges.len(), customers);
}

async fn standing(till: &Till, subscription: &Value) -> Standing {
    let chain = text(&subscription["id"]).parse().unwrap();
    let mut reader = till.world.app.database.read().await.unwrap();
    invoicing::standing(&mut reader, chain).await.unwrap()
}

both_databases! {
    async fn a_step_that_fails_or_is_done_unheard_is_done_once(database: TestDatabase) {
        const TROUBLES: [RequestTrouble; 4] = [ClosedAfter, FailedAfter, Failed, Locked];
        const PATHS: [&str; 4] = [
            "/v1/invoices",
            "/v1/invoices/*/add_lines",
            "/v1/invoices/*/finalize",
            "/v1/invoices/*/pay",
        ];
        let till = Till::open(database).await;
        let mut customers = 0;
        for trouble in TROUBLES {
            for path in PATHS {
                customers += 1;
                till.check_out(&format!("customer_{customers}"), "starter", PAYS).await;
                till.stripe.fault("POST", path, trouble);
                till.push().await;
            }
        }
        till.stripe.clear_faults();
        all_paid_once(&till, customers).await;
        till.stripe.check_exchanges();
        till.assert_sound().await;
    }

    async fn a_pusher_killed_at_any_request_leaves_one_invoice(database: TestDatabase) {
        let till = Till::open(database).await;
        for customer in 0..6 {
            till.check_out(&format!("customer_{customer}"), "starter", PAYS).await;
            let begun = till.stripe.exchanges().len();
            let claim = till.claim("invoices").await;
            let app = till.world.app.clone();
            let run = tokio::spawn(async move {
                Dispatcher::new(app.clone(), Pusher::new(app)).run(&claim).await
            });
            while till.stripe.exchanges().len() < begun + customer && !run.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            run.abort();
            let _ = run.await;
            till.world.clock.advance_machine(Duration::from_secs(120));
        }
        all_paid_once(&till, 6).await;
        till.assert_sound().await;
    }

    async fn a_declined_invoice_is_failed_until_it_is_paid(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "starter", ATTACHES_AND_FAILS).await;
        let pending = Standing {
            status: PaymentStatus::Pending,
            due_since: None,
            first_payment: FirstPayment::ToCome,
        };
        assert_eq!(standing(&till, &subscription).await, pending);
        till.world.clock.advance_business(Duration::from_secs(60));
        till.push().await;
        assert_eq!(till.summary().await, ["first failed 29.00"]);
        let [invoice] = &till.invoices().await[..] else { panic!() };
        assert_eq!(invoice["dueSince"], "2026-01-01T00:01:00Z");
        let failed = standing(&till, &subscription).await;
        assert_eq!((failed.status, failed.first_payment), (PaymentStatus::Failed, FirstPayment::ToCome));
        let app = till.world.app.clone();
        let theirs = text(&invoice["stripeInvoiceId"]);
        let older = app.stripe().unwrap().get_invoice(theirs).await.unwrap();
        // Another attempt fails, too, and does not move since when.
        till.world.clock.advance_business(Duration::from_secs(60));
        let path = format!("/v1/invoices/{}/retry", text(&invoice["id"]));
        till.world.post(&path, &json!({})).await.expect(200);
        till.push().await;
        let [invoice] = &till.invoices().await[..] else { panic!() };
        assert_eq!((&invoice["status"], &invoice["dueSince"]), (&json!("failed"), &json!("2026-01-01T00:01:00Z")));
        // Stripe may have tried by itself, too.
        let charges = till.stripe.charges();
        assert!(2 <= charges.len() && charges.iter().all(|charge| !charge.paid), "{charges:?}");
        // The customer pays it, and what was said before comes again.
        till.stripe.enter_card(text(&invoice["hostedInvoiceUrl"]), PAYS).await;
        till.hear().await;
        let mut tx = app.database.begin_write().await.unwrap();
        invoicing::apply(&app, &mut tx, &older).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(till.summary().await, ["first paid 29.00"]);
        let paid = standing(&till, &subscription).await;
        let expected = Standing {
            status: PaymentStatus::Paid,
            due_since: None,
            first_payment: FirstPayment::Made,
        };
        assert_eq!(paid, expected);
        till.assert_sound().await;
    }

    async fn a_sum_that_stripe_does_not_agree_on_is_not_issued(database: TestDatabase) {
        let till = Till::open(database).await;
        till.check_out("acme", "starter", PAYS).await;
        till.execute("UPDATE invoices SET total = 2800".to_owned()).await;
        till.push().await;
        till.push().await;
        let [invoice] = &till.invoices().await[..] else { panic!() };
        assert_eq!(invoice["status"], "pushing");
        assert_eq!(invoice["failure"], "stopped: Stripe's subtotal is 2900, ours 2800");
        assert_eq!(till.stripe.objects("invoice")[0]["status"], "draft");
        // Once ours is put right, the operator lets it go on.
        till.execute("UPDATE invoices SET total = 2900".to_owned()).await;
        let path = format!("/v1/invoices/{}/retry", text(&invoice["id"]));
        till.world.post(&path, &json!({})).await.expect(200);
        all_paid_once(&till, 1).await;
    }
}
