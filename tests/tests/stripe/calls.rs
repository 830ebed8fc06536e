//! Calls of the API: what comes of them, and what is refused.

use tollgate_tests::stripe::cards::{ALWAYS_AUTHENTICATES, FAILS_LATER, GOOD};
use tollgate_tests::stripe::{MAIN_FLOW, Permissions, StripeOptions};
use tollgate_tests::wait;

use crate::world::{World, code, id};

#[tokio::test]
async fn the_whole_path_of_a_customer_keeps_to_the_contract() {
    let world = World::with(StripeOptions {
        key: "rk_test_simulator0000000000000000".to_owned(),
        permissions: Permissions::only(&MAIN_FLOW),
        ..StripeOptions::default()
    });
    let customer = world.paying_customer().await;
    let invoice = world.open_invoice(&customer).await;
    let form = "expand[]=payments&expand[]=customer.invoice_settings.default_payment_method";
    let paid = world
        .made(&format!("/v1/invoices/{invoice}/pay"), form)
        .await;
    assert_eq!(paid["status"], "paid");
    assert_eq!(paid["amount_paid"], 3150);
    assert_eq!(paid["payments"]["data"][0]["status"], "paid");
    let card = &paid["customer"]["invoice_settings"]["default_payment_method"]["card"];
    assert_eq!(card["last4"], "4242");

    for path in [
        "/v1/account".to_owned(),
        "/v1/customers?limit=3&email=ada%40example.com".to_owned(),
        format!("/v1/customers/{customer}"),
        format!("/v1/payment_methods?customer={customer}&type=card"),
        format!("/v1/checkout/sessions?customer={customer}&expand[]=data.customer"),
        format!("/v1/invoices?customer={customer}&status=paid&created[gte]=1"),
        format!("/v1/invoices/{invoice}/lines"),
        format!("/v1/invoice_payments?invoice={invoice}"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
    }
    let portal = format!("customer={customer}&return_url=http%3A%2F%2Flocalhost%2F");
    world.made("/v1/billing_portal/sessions", &portal).await;
    let void = world.open_invoice(&customer).await;
    world.made(&format!("/v1/invoices/{void}/void"), "").await;
    let bad = world.open_invoice(&customer).await;
    world
        .made(&format!("/v1/invoices/{bad}/mark_uncollectible"), "")
        .await;
    let draft = world.draft(&customer).await;
    assert_eq!(
        world.delete(&format!("/v1/invoices/{draft}")).await.status,
        200
    );
    let url = "url=http%3A%2F%2Flocalhost%2Fwebhooks&enabled_events[]=invoice.paid&enabled_events[]=customer.updated";
    let endpoint = world.made("/v1/webhook_endpoints", url).await;
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    assert!(world.get(&path).await.json()["secret"].is_null());
    assert_eq!(world.delete(&path).await.status, 200);

    assert_eq!(world.get("/v1/events").await.status, 403);
    world.stripe.check_exchanges();
}

#[tokio::test]
async fn everything_that_can_be_read_keeps_to_the_contract() {
    let world = World::new();
    let customer = world.paying_customer().await;
    let session = world.session(&customer).await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    let expanded = world.get(&format!("{path}?expand[]=setup_intent")).await;
    assert_eq!(
        expanded.json()["setup_intent"]["status"],
        "requires_payment_method"
    );
    let expired = world.made(&format!("{path}/expire"), "").await;
    assert_eq!(expired["status"], "expired");
    assert_eq!(world.post(&format!("{path}/expire"), "").await.status, 400);
    let intents = world
        .get(&format!("/v1/setup_intents?customer={customer}"))
        .await;
    assert_eq!(
        intents.json()["data"].as_array().map(Vec::len),
        Some(2),
        "{intents}"
    );
    let events = world.get("/v1/events?types[]=checkout.session.*").await;
    let kinds: Vec<_> = events.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["checkout.session.expired", "checkout.session.completed"]
    );
    let methods = world
        .get(&format!("/v1/customers/{customer}/payment_methods"))
        .await
        .json();
    let path = format!("/v1/payment_methods/{}/detach", id(&methods["data"][0]));
    assert!(world.made(&path, "").await["customer"].is_null());
    assert_eq!(world.post(&path, "").await.status, 400);
    assert_eq!(
        world
            .delete(&format!("/v1/customers/{customer}"))
            .await
            .status,
        200
    );
    let gone = world
        .post("/v1/invoices", &format!("customer={customer}"))
        .await;
    assert_eq!(
        (gone.status, code(&gone).as_str()),
        (400, "resource_missing")
    );
    world.stripe.check_exchanges();
}

#[tokio::test]
async fn what_stripe_refuses_is_refused() {
    let world = World::new();
    let customer = world.customer().await;
    for (path, form, refusal) in [
        ("/v1/customers", "emial=a", "parameter_unknown"),
        ("/v1/customers", "email=", "parameter_invalid_empty"),
        ("/v1/customers", "balance=1", "parameter_unknown"),
        (
            "/v1/checkout/sessions",
            "mode=setup&success_url=http%3A%2F%2Fa&customer=cus_none&currency=usd",
            "resource_missing",
        ),
        (
            "/v1/checkout/sessions",
            "mode=setup&success_url=http%3A%2F%2Fa",
            "parameter_missing",
        ),
        (
            "/v1/checkout/sessions",
            "mode=setup&success_url=a&currency=usd",
            "url_invalid",
        ),
        (
            "/v1/checkout/sessions",
            "mode=setup&currency=usd&payment_method_types[]=card",
            "parameter_unknown",
        ),
        (
            "/v1/checkout/sessions",
            "mode=later",
            "invalid_request_error",
        ),
        ("/v1/checkout/sessions", "currency=usd", "parameter_missing"),
        ("/v1/invoices", "currency=usd", "parameter_missing"),
        ("/v1/invoices", "currency=USD", "invalid_request_error"),
        ("/v1/invoices", "auto_advance=yes", "invalid_request_error"),
        ("/v1/invoices/in_none/finalize", "", "resource_missing"),
    ] {
        let answer = world.post(path, form).await;
        assert_eq!(code(&answer), refusal, "{path} {form}: {answer}");
    }
    let draft = world.draft(&customer).await;
    let path = format!("/v1/invoices/{draft}/add_lines");
    for (form, refusal) in [
        ("", "parameter_missing"),
        ("lines[0][description]=a", "parameter_missing"),
        ("lines[0][amount]=1.5", "parameter_invalid_integer"),
        ("lines[0][amount]=100000000", "amount_too_large"),
        ("lines[1][amount]=1", "invalid_request_error"),
        (
            "lines[0][tax_behavior]=exclusive&lines[0][amount]=1",
            "parameter_unknown",
        ),
    ] {
        let answer = world.post(&path, form).await;
        assert_eq!(code(&answer), refusal, "{form}: {answer}");
    }
    let many: String = (0..251).map(|n| format!("lines[{n}][amount]=1&")).collect();
    assert_eq!(world.post(&path, &many).await.status, 400);
    assert_eq!(world.get("/v1/prices").await.status, 404);
}

#[tokio::test]
async fn invoices_only_go_forward() {
    let world = World::new();
    let customer = world.paying_customer().await;
    let invoice = world.open_invoice(&customer).await;
    let path = |step: &str| format!("/v1/invoices/{invoice}/{step}");
    let again = world.post(&path("finalize"), "").await;
    assert_eq!(code(&again), "invoice_not_editable");
    let lines = world.post(&path("add_lines"), "lines[0][amount]=1").await;
    assert_eq!(code(&lines), "invoice_not_editable");
    world.made(&path("pay"), "").await;
    for step in ["pay", "void", "mark_uncollectible"] {
        assert_eq!(world.post(&path(step), "").await.status, 400, "{step}");
    }
    assert_eq!(
        world
            .delete(&format!("/v1/invoices/{invoice}"))
            .await
            .status,
        400
    );
    assert_eq!(world.stripe.charges().len(), 1);
}

#[tokio::test]
async fn cards_behave_as_documented_when_they_are_charged() {
    let world = World::new();
    for (card, status, refusal) in [
        (GOOD, 200, ""),
        (FAILS_LATER, 402, "card_declined"),
        (
            ALWAYS_AUTHENTICATES,
            402,
            "invoice_payment_intent_requires_action",
        ),
    ] {
        let customer = world.customer_with(card).await;
        let invoice = world.open_invoice(&customer).await;
        let answer = world.post(&format!("/v1/invoices/{invoice}/pay"), "").await;
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (status, refusal),
            "{answer}"
        );
        assert_eq!(world.invoice(&invoice).await["attempt_count"], 1);
    }
    let customer = world.customer().await;
    let invoice = world.open_invoice(&customer).await;
    let answer = world.post(&format!("/v1/invoices/{invoice}/pay"), "").await;
    assert_eq!(answer.status, 400, "{answer}");
    world.stripe.check_exchanges();
}

#[tokio::test]
async fn an_invoice_that_advances_by_itself_is_charged_once() {
    let world = World::new();
    let customer = world.paying_customer().await;
    let invoice = world.draft(&customer).await;
    let path = format!("/v1/invoices/{invoice}/finalize");
    assert_eq!(
        world.made(&path, "auto_advance=true").await["status"],
        "open"
    );
    wait::until("the invoice is paid", async || {
        let invoice = world.invoice(&invoice).await;
        let paid = invoice["status"] == "paid";
        paid.then_some(()).ok_or_else(|| invoice.to_string())
    })
    .await;
    let charges = world.stripe.charges();
    assert_eq!(charges.len(), 1, "{charges:?}");
    assert_eq!((charges[0].amount, charges[0].paid), (3150, true));
}

#[tokio::test]
async fn an_invoice_that_somebody_tried_to_pay_waits_for_stripes_retry() {
    let world = World::new();
    let customer = world.customer_with(FAILS_LATER).await;
    let invoice = world.draft(&customer).await;
    let path = |step: &str| format!("/v1/invoices/{invoice}/{step}");
    world.made(&path("finalize"), "auto_advance=true").await;
    assert_eq!(world.post(&path("pay"), "").await.status, 402);
    let another = world.draft(&customer).await;
    let finalize = format!("/v1/invoices/{another}/finalize");
    world.made(&finalize, "auto_advance=true").await;
    // What is finalized later is charged later.
    wait::until("the other invoice's charge", async || {
        let charges = world.stripe.charges();
        let charged = charges.iter().any(|charge| charge.invoice == another);
        charged.then_some(()).ok_or_else(|| format!("{charges:?}"))
    })
    .await;
    assert_eq!(world.invoice(&invoice).await["attempt_count"], 1);
}

#[tokio::test]
async fn what_needs_no_money_is_paid_at_once() {
    let world = World::new();
    let customer = world.paying_customer().await;
    for (amount, balance) in [(0, 0), (20, 20), (30, 0)] {
        let form = format!("customer={customer}&currency=usd");
        let invoice = id(&world.made("/v1/invoices", &form).await);
        let lines = format!("lines[0][amount]={amount}");
        let path = format!("/v1/invoices/{invoice}");
        world.made(&format!("{path}/add_lines"), &lines).await;
        world.made(&format!("{path}/finalize"), "").await;
        let invoice = world.invoice(&invoice).await;
        let left = world.get(&format!("/v1/customers/{customer}")).await.json();
        if amount == 30 {
            // With the balance it is as much as Stripe charges.
            assert_eq!(
                (&invoice["status"], invoice["amount_due"].as_i64()),
                (&"open".into(), Some(50))
            );
        } else {
            assert_eq!(invoice["status"], "paid", "{amount}");
        }
        assert_eq!(left["balance"], balance, "{amount}");
    }
    world.stripe.check_exchanges();
}
