//! What Stripe tells of invoices: late, twice, in any order, or not at all, it ends alike.

use std::time::Duration;

use axum::http::{Method, header};
use serde_json::{Value, json};

use crate::both_databases;
use crate::checkouts::browse;
use crate::shop::{self, text};
use crate::stripe::{Fault, Stripe, bring, event, handle, reconcile, sign, tell};
use crate::till::{ATTACHES_AND_FAILS, PAYS, Till, fee, sell};
use crate::world::{TestDatabase, World};

/// A customer whose renewal is issued and paid in Stripe, and nobody has told us.
async fn renewed_unheard(database: TestDatabase) -> (Till, Value) {
    let till = Till::open(database).await;
    till.check_out("acme", "starter", PAYS).await;
    till.settle().await;
    till.go_to("02-01T00:02:00").await;
    till.bill().await;
    till.push().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let renewal = till.stripe.objects("invoice").pop().unwrap();
        if renewal["status"] == "paid" {
            assert_eq!(till.summary().await[1], "recurring open 29.00");
            return (till, renewal);
        }
        assert!(tokio::time::Instant::now() < deadline, "{renewal}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn bring_signed(till: &Till, event: &Value) {
    let (body, now) = (event.to_string(), till.world.clock.machine_now());
    let seconds = now.timestamp().as_second();
    let signature = sign(till.stripe.webhook_secret(), seconds, &body);
    bring(&till.world, &signature, &body).await.expect(200);
}

/// A paid plan, and the invoice that a Checkout left to be paid.
async fn invoice_of(world: &World, stripe: &Stripe) -> Value {
    crate::catalog::metered_feature(world, "calls").await;
    sell(world, "starter", json!([fee("29.00")])).await;
    shop::customer(world, "acme").await;
    let document = json!({"plan": "starter", "customer": "acme"});
    let made = world
        .post("/v1/checkout-sessions", &document)
        .await
        .expect(201);
    let (session, _) = crate::checkouts::visit(world, &made).await;
    stripe.give_card(&session, "4242");
    tell(
        world,
        &event(
            "evt_0",
            "checkout.session.completed",
            &stripe.object(&session),
        ),
    )
    .await;
    handle(world).await;
    world.list("/v1/invoices", 50).await.remove(0)
}

both_databases! {
    async fn an_invoice_goes_forward_whatever_comes_when(database: TestDatabase) {
        let (till, renewal) = renewed_unheard(database).await;
        let mut older = renewal.clone();
        older["status"] = json!("open");
        older["attempted"] = json!(true);
        let told = [
            ("evt_4", "invoice.payment_failed", &older), ("evt_3", "invoice.paid", &renewal),
            ("evt_1", "invoice.finalized", &older), ("evt_3", "invoice.paid", &renewal),
            ("evt_2", "invoice.overdue", &older), ("evt_4", "invoice.payment_failed", &older),
        ];
        for (id, kind, object) in told {
            bring_signed(&till, &event(id, kind, object)).await;
            handle(&till.world).await;
            // The object counts, not what was told of it.
            assert_eq!(till.summary().await, ["first paid 29.00", "recurring paid 29.00"]);
        }
        let paid = till.invoices().await.remove(1);
        assert_eq!(paid["number"], renewal["number"]);
        let events = till.world.get("/v1/stripe-events?status=handled").await.expect(200);
        assert_eq!(events["items"].as_array().unwrap().len(), 4);
    }

    async fn a_webhook_that_never_comes_is_made_up_for(database: TestDatabase) {
        let (till, _) = renewed_unheard(database).await;
        reconcile(&till.world).await;
        assert_eq!(till.summary().await, ["first paid 29.00", "recurring paid 29.00"]);
        reconcile(&till.world).await;
        assert_eq!(till.stripe.charges().len(), 2);
    }

    async fn a_first_payment_that_fails_leads_to_the_page_where_it_can_be_made(database: TestDatabase) {
        let till = Till::open(database).await;
        let world = &till.world;
        shop::customer(world, "acme").await;
        let document = json!({"plan": "starter", "customer": "acme"});
        let made = world.post("/v1/checkout-sessions", &document).await.expect(201);
        let path = format!("/portal/checkout/{}", text(&made["id"]));
        let page = browse(world, Method::GET, &path, "").await;
        let location = page.headers[header::LOCATION].to_str().unwrap();
        till.stripe.enter_card(location, ATTACHES_AND_FAILS).await;
        let success = async || browse(world, Method::GET, &format!("{path}/success"), "").await;
        assert!(success().await.text.contains("You are subscribed"));
        till.settle().await;
        let failed = till.invoices().await.remove(0);
        let page = success().await.text;
        let link = text(&failed["hostedInvoiceUrl"]);
        assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        till.stripe.enter_card(link, PAYS).await;
        till.hear().await;
        assert!(!success().await.text.contains("Pay the first invoice"));
    }

    async fn what_may_not_be_read_is_taken_from_what_was_told_last(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        let ours = invoice_of(&world, &stripe).await;
        let told = |id: &str, kind: &str, status: &str, seconds: i64| {
            let object = json!({
                "id": "in_1", "object": "invoice", "status": status, "livemode": false,
                "metadata": {"tollgate_invoice": ours["id"]}, "attempted": true,
            });
            let mut event = event(id, kind, &object);
            event["created"] = json!(seconds);
            event
        };
        tell(&world, &told("evt_2", "invoice.paid", "paid", 2)).await;
        tell(&world, &told("evt_1", "invoice.payment_failed", "open", 1)).await;
        let forbidden = json!({"error": {"type": "invalid_request_error", "message": "no row"}});
        stripe.fail_next(&[Fault::Refuse(403, Vec::new(), forbidden)]);
        handle(&world).await;
        let path = format!("/v1/invoices/{}", text(&ours["id"]));
        assert_eq!(world.get(&path).await.expect(200)["status"], "paid");
        // A draft that was thrown away is nothing to wait for.
        tell(&world, &told("evt_3", "invoice.overdue", "open", 3)).await;
        handle(&world).await;
        let shown = world.get("/v1/stripe-events/evt_3").await.expect(200);
        assert_eq!(shown["status"], "handled");
        assert_eq!(world.get(&path).await.expect(200)["status"], "paid");
    }
}
