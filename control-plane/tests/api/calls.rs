//! Calls of Stripe: what is sent, what is sent again, and what is looked for first.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tollgate::payments::StripeError;
use tollgate::payments::stripe::{NewStripeInvoice, NewStripeLine, StripeInvoiceStatus};

use crate::both_databases;
use crate::stripe::{Fault, Stripe};
use crate::world::{TestDatabase, World};

fn client(world: &World) -> &tollgate::payments::Stripe {
    world.app.stripe().unwrap()
}

fn invoice<'a>(id: &'a str, currency: &str) -> NewStripeInvoice<'a> {
    NewStripeInvoice {
        id,
        customer: "cus_1",
        currency: currency.parse().unwrap(),
    }
}

fn refusal(status: u16, advice: &[(&'static str, &'static str)]) -> Fault {
    let headers = [&[("retry-after", "0"), ("request-id", "req_1")], advice].concat();
    let error = json!({"error": {"type": "card_error", "code": "card_declined",
        "decline_code": "insufficient_funds", "param": "x", "message": "No."}});
    Fault::Refuse(status, headers, error)
}

both_databases! {
    async fn an_invoice_is_sent_as_stripe_wants_it(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        let made = client(&world).create_invoice("inv_1:create:1", &invoice("inv_1", "KWD")).await;
        assert_eq!(made.unwrap().status, StripeInvoiceStatus::Draft);
        let call = stripe.calls(&Method::POST, "/v1/invoices").remove(0);
        assert_eq!(call.key.as_deref(), Some("inv_1:create:1"));
        assert_eq!(call.version, "2026-09-30.endive");
        for part in [
            "auto_advance=false", "collection_method=charge_automatically", "currency=kwd",
            "pending_invoice_items_behavior=exclude", "automatic_tax[enabled]=false",
            "metadata[tollgate_invoice]=inv_1",
        ] {
            let sent = call.form.replace("%5B", "[").replace("%5D", "]");
            assert!(sent.split('&').any(|sent| sent == part), "{part} in {sent}");
        }
        let line = NewStripeLine {
            identity: "sub_1/phase/card/v1/0/flat/all/0".to_owned(),
            description: "Fee".to_owned(),
            amount: 29_000,
            period: (world.clock.business_now(), world.clock.business_now()),
            metadata: vec![("quantity".to_owned(), "1".to_owned())],
        };
        let refused = client(&world).add_lines("inv_1:lines:1", "in_9", &[line]).await;
        assert!(refused.unwrap_err().is_missing());
        let call = stripe.calls(&Method::POST, "/v1/invoices/in_9/add_lines").remove(0);
        let sent = call.form.replace("%5B", "[").replace("%5D", "]");
        assert!(sent.contains("lines[0][amount]=29000"), "{sent}");
        assert!(sent.contains("lines[0][period][start]=1767225600"), "{sent}");
    }

    async fn it_is_asked_again_where_that_may_help(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        let create = async |id: &str, faults: &[Fault]| {
            stripe.fail_next(faults);
            let before = stripe.calls(&Method::POST, "/v1/invoices").len();
            let key = format!("{id}:create:1");
            let made = client(&world).create_invoice(&key, &invoice(id, "KWD")).await;
            (made, stripe.calls(&Method::POST, "/v1/invoices").len() - before)
        };
        for (id, status) in [("inv_1", 409), ("inv_2", 429), ("inv_3", 500), ("inv_4", 503)] {
            let (made, tries) = create(id, &[refusal(status, &[]), refusal(status, &[])]).await;
            assert_eq!((made.is_ok(), tries), (true, 3), "{status}");
        }
        let thrice = vec![refusal(500, &[]); 3];
        let (made, tries) = create("inv_5", &thrice).await;
        assert_eq!((made.unwrap_err().is_temporary(), tries), (true, 3));
        let (made, tries) = create("inv_6", &[refusal(402, &[])]).await;
        let error = made.unwrap_err();
        assert_eq!((error.is_declined(), error.is_temporary(), tries), (true, false, 1));
        let told = error.refusal().unwrap();
        assert_eq!(told.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!((told.status, told.request_id.as_str()), (402, "req_1"));
        // Stripe's own word counts more than the status.
        let (_, tries) = create("inv_7", &[refusal(500, &[("stripe-should-retry", "false")])]).await;
        assert_eq!(tries, 1);
        let (made, tries) = create("inv_8", &[refusal(400, &[("stripe-should-retry", "true")])]).await;
        assert_eq!((made.is_ok(), tries), (true, 2));
        let (made, tries) = create("inv_9", &[Fault::Garble]).await;
        let Err(StripeError::Decode { place, .. }) = made else { panic!("{made:?}") };
        assert_eq!((place.as_str(), tries), ("id", 1));
    }

    async fn what_was_sent_is_sent_again_and_never_built_anew(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        stripe.fail_next(&vec![Fault::FailAfter; 3]);
        let lost = client(&world).create_invoice("inv_1:create:1", &invoice("inv_1", "KWD")).await;
        assert!(lost.unwrap_err().is_temporary());
        // Another process, which would now build another form.
        let world = stripe.world(world.database.clone()).await;
        let made = client(&world).create_invoice("inv_1:create:1", &invoice("inv_1", "USD")).await;
        made.unwrap();
        let calls = stripe.calls(&Method::POST, "/v1/invoices");
        assert_eq!(calls.len(), 4);
        assert!(calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    }

    async fn after_a_day_it_is_looked_for_before_it_is_sent_again(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = stripe.world(database).await;
        let create = async |id: &str| {
            let key = format!("{id}:create:1");
            client(&world).create_invoice(&key, &invoice(id, "KWD")).await
        };
        stripe.fail_next(&vec![Fault::FailAfter; 3]);
        create("inv_1").await.unwrap_err();
        stripe.fail_next(&vec![refusal(500, &[]); 3]);
        create("inv_2").await.unwrap_err();
        world.clock.advance_machine(Duration::from_secs(25 * 3_600));
        let before = stripe.calls(&Method::POST, "/v1/invoices").len();
        let found = create("inv_1").await.unwrap();
        assert_eq!(found.metadata["tollgate_invoice"], "inv_1");
        assert_eq!(stripe.calls(&Method::POST, "/v1/invoices").len(), before);
        // The other one is not there, so that it is made, under a key that Stripe cannot know.
        let made = create("inv_2").await.unwrap();
        assert_eq!(made.metadata["tollgate_invoice"], "inv_2");
        let last = stripe.calls(&Method::POST, "/v1/invoices").pop().unwrap();
        assert_eq!(last.key.as_deref(), Some("inv_2:create:1:again1"));
    }

    async fn no_answer_at_all_is_in_doubt(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let nowhere = [("STRIPE_API_BASE", "http://127.0.0.1:1")];
        let world = stripe.world_with(database, &nowhere).await;
        let lost = client(&world).create_invoice("inv_1:create:1", &invoice("inv_1", "KWD")).await;
        let error = lost.unwrap_err();
        assert!(matches!(error, StripeError::Transport { .. }), "{error}");
        assert!(error.is_temporary());
    }
}
