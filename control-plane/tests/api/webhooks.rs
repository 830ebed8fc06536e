//! What Stripe tells us: proven, once, in any order; and what it was told, when nobody knows what it heard.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::both_databases;
use crate::checkouts::{claim, new_checkout, open, state, visit};
use crate::shop::text;
use crate::stripe::{Fault, SECRET, Stripe, bring, event, handle, sign, tell};
use crate::world::{TestDatabase, World};

async fn events(world: &World, query: &str) -> Vec<Value> {
    let page = world
        .get(&format!("/v1/stripe-events{query}"))
        .await
        .expect(200);
    page["items"].as_array().unwrap().clone()
}

fn seconds(world: &World) -> i64 {
    world.clock.machine_now().timestamp().as_second()
}

both_databases! {
    async fn only_stripes_own_events_are_taken_in(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let more = [("STRIPE_WEBHOOK_SECRET", "whsec_old,whsec_test")];
        let world = stripe.world_with(database, &more).await;
        let (now, object) = (seconds(&world), json!({"id": "cus_1", "object": "customer"}));
        let body = event("evt_1", "customer.updated", &object).to_string();
        let refused = async |signature: &str, body: &str| {
            let problem = bring(&world, signature, body).await.expect(400);
            text(&problem["code"]).to_owned()
        };
        let invalid = "stripe_signature_invalid";
        assert_eq!(refused("", &body).await, invalid);
        assert_eq!(refused(&sign("whsec_other", now, &body), &body).await, invalid);
        assert_eq!(refused(&sign("", now, &body), &body).await, invalid);
        let forged = body.replace("cus_1", "cus_2");
        assert_eq!(refused(&sign(SECRET, now, &body), &forged).await, invalid);
        for stale in [now - 301, now + 301] {
            let signature = sign(SECRET, stale, &body);
            assert_eq!(refused(&signature, &body).await, "stripe_signature_stale");
        }
        let mut live = event("evt_1", "customer.updated", &object);
        live["livemode"] = json!(true);
        let live = live.to_string();
        let signature = sign(SECRET, now, &live);
        assert_eq!(refused(&signature, &live).await, "stripe_event_of_other_mode");
        let mut others = event("evt_1", "customer.updated", &object);
        others["account"] = json!("acct_1");
        let others = others.to_string();
        let signature = sign(SECRET, now, &others);
        assert_eq!(refused(&signature, &others).await, "stripe_event_of_other_account");
        for nonsense in ["", "[]", "{\"id\": 1}"] {
            let signature = sign(SECRET, now, nonsense);
            assert_eq!(refused(&signature, nonsense).await, "stripe_event_invalid");
        }
        let long = "x".repeat(512 * 1024 + 1);
        bring(&world, &sign(SECRET, now, &long), &long).await.problem(413, "body_too_large");
        assert!(events(&world, "").await.is_empty());
        // While a secret is rolled, either proves it.
        for (id, secret) in [("evt_1", SECRET), ("evt_2", "whsec_old")] {
            let body = event(id, "customer.updated", &object).to_string();
            bring(&world, &sign(secret, now, &body), &body).await.expect(200);
        }
        assert_eq!(events(&world, "").await.len(), 2);
    }

    async fn an_event_is_stored_once_and_what_concerns_nobody_is_ignored(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        let told = event("evt_1", "customer.updated", &json!({"id": "cus_9"}));
        for _ in 0..3 {
            tell(&world, &told).await;
        }
        tell(&world, &event("evt_2", "price.created", &json!({"id": "price_1"}))).await;
        tell(&world, &event("evt_3", "balance.available", &json!({}))).await;
        let stored = events(&world, "").await;
        let ids: Vec<_> = stored.iter().map(|event| text(&event["stripeId"])).collect();
        assert_eq!(ids, ["evt_3", "evt_2", "evt_1"]);
        assert_eq!(events(&world, "?status=ignored").await.len(), 2);
        handle(&world).await;
        tell(&world, &told).await;
        handle(&world).await;
        let handled = events(&world, "?status=handled").await;
        assert_eq!((handled.len(), &handled[0]["object"]), (1, &json!("cus_9")));
        // It was none of ours: nobody was asked.
        assert!(stripe.calls(&Method::GET, "/").is_empty());
    }

    async fn any_order_of_events_ends_alike(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, "starter").await;
        let (session, cookie) = visit(&world, &checkout).await;
        let customer = text(&stripe.object(&session)["customer"]).to_owned();
        stripe.give_card(&session, "4242");
        let of_customer = json!({"id": "x", "customer": customer});
        let told = [
            event("evt_5", "customer.updated", &json!({"id": customer})),
            event("evt_2", "payment_method.attached", &of_customer),
            event("evt_4", "checkout.session.completed", &stripe.object(&session)),
            event("evt_1", "setup_intent.succeeded", &of_customer),
            event("evt_4", "checkout.session.completed", &stripe.object(&session)),
        ];
        for event in &told {
            tell(&world, event).await;
            handle(&world).await;
        }
        assert_eq!(state(&world, &checkout).await["status"], "completed");
        claim(&world, &checkout, &cookie).await.expect(200);
        let defaults = stripe.calls(&Method::POST, &format!("/v1/customers/{customer}"));
        assert_eq!(defaults.len(), 1, "{defaults:?}");
        assert_eq!(events(&world, "?status=handled").await.len(), 4);
    }

    async fn a_new_card_becomes_the_one_to_charge(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, "starter").await;
        let (session, _) = visit(&world, &checkout).await;
        let customer = text(&stripe.object(&session)["customer"]).to_owned();
        let default = || stripe.object(&customer)["invoice_settings"]["default_payment_method"].clone();
        let first = stripe.attach(&customer, "4242");
        let attached = |id: &str, method: &str| {
            event(id, "payment_method.attached", &stripe.object(method))
        };
        tell(&world, &attached("evt_1", &first)).await;
        handle(&world).await;
        assert_eq!(default(), json!(first));
        let second = stripe.attach(&customer, "0341");
        tell(&world, &attached("evt_2", &second)).await;
        // A repeat of what is long past changes nothing.
        tell(&world, &attached("evt_1", &first)).await;
        handle(&world).await;
        assert_eq!(default(), json!(second));
        // Who chooses the old one again keeps it.
        let choice = json!({"default_payment_method": first});
        stripe.change(&customer, |customer| customer["invoice_settings"] = choice);
        tell(&world, &event("evt_3", "customer.updated", &json!({"id": customer}))).await;
        tell(&world, &event("evt_4", "payment_method.updated", &stripe.object(&second))).await;
        handle(&world).await;
        assert_eq!(default(), json!(first));
        // When it is gone, the other one is charged.
        stripe.change(&first, |method| method["customer"] = Value::Null);
        tell(&world, &event("evt_5", "payment_method.detached", &stripe.object(&first))).await;
        handle(&world).await;
        assert_eq!(default(), json!(second));
        assert!(events(&world, "?status=dead").await.is_empty());
    }

    async fn what_fails_again_and_again_waits_for_a_person(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, "starter").await;
        let (session, _) = visit(&world, &checkout).await;
        stripe.give_card(&session, "4242");
        let told = event("evt_1", "checkout.session.completed", &stripe.object(&session));
        tell(&world, &told).await;
        let forbidden = json!({"error": {"type": "invalid_request_error", "message": "no row"}});
        let refusal = Fault::Refuse(403, Vec::new(), forbidden);
        for attempt in 1..=20 {
            assert_eq!(events(&world, "?status=pending").await.len(), 1, "{attempt}");
            stripe.fail_next(std::slice::from_ref(&refusal));
            handle(&world).await;
            // Not before its time.
            let calls = stripe.calls(&Method::GET, "/v1/checkout").len();
            handle(&world).await;
            assert_eq!(stripe.calls(&Method::GET, "/v1/checkout").len(), calls);
            world.clock.advance_machine(Duration::from_secs(3_600));
        }
        let dead = events(&world, "?status=dead").await;
        assert_eq!((dead.len(), &dead[0]["attempts"]), (1, &json!(20)));
        assert!(text(&dead[0]["failure"]).contains("403"), "{}", dead[0]);
        assert_eq!(state(&world, &checkout).await["status"], "open");
        let readers = world.issue_admin_key(&["read", "customers"]).await;
        let reader = world.with_key(text(&readers["secret"]));
        let replay = format!("/v1/stripe-events/{}/replay", text(&dead[0]["id"]));
        reader.post(&replay, &json!({})).await.problem(403, "scope_missing");
        let replayed = world.post(&replay, &json!({})).await.expect(200);
        assert_eq!(replayed["status"], "pending");
        handle(&world).await;
        assert_eq!(state(&world, &checkout).await["status"], "completed");
        let shown = world.get("/v1/stripe-events/evt_1").await.expect(200);
        assert_eq!((&shown["status"], &shown["failure"]), (&json!("handled"), &Value::Null));
        world.post("/v1/stripe-events/evt_9/replay", &json!({})).await.problem(404, "stripe_event_not_found");
    }
}

#[tokio::test]
async fn without_a_key_or_a_secret_nothing_is_taken_in() {
    let world = World::new(TestDatabase::sqlite()).await;
    let body = event("evt_1", "customer.updated", &json!({})).to_string();
    let signature = sign("", seconds(&world), &body);
    bring(&world, &signature, &body)
        .await
        .problem(409, "stripe_not_set_up");
    let stripe = Stripe::start().await;
    let world = stripe
        .world_with(TestDatabase::sqlite(), &[("STRIPE_WEBHOOK_SECRET", "")])
        .await;
    bring(&world, &signature, &body)
        .await
        .problem(409, "webhook_secret_missing");
}
