//! The pages that a customer sees, used as a browser without scripts would.

use tollgate_tests::stripe::cards::{
    ALWAYS_AUTHENTICATES, AUTHENTICATES_ONCE, DECLINED, FAILS_LATER, GOOD, NO_FUNDS,
};

use crate::world::{World, id, url};

#[tokio::test]
async fn checkout_saves_a_card_and_sends_the_customer_back() {
    let world = World::new();
    let customer = world.customer().await;
    let session = world.session(&customer).await;
    let page = world.stripe.open(&url(&session)).await;
    for expected in [
        "simulator",
        "name=\"cardNumber\"",
        "http://localhost/back",
        "ada@example.com",
    ] {
        assert!(page.body.contains(expected), "{expected}: {page}");
    }
    let spaced = "4242 4242 4242 4242";
    let target = world.stripe.enter_card(&url(&session), spaced).await;
    assert_eq!(
        target,
        format!("http://localhost/done?session={}", id(&session))
    );
    let path = format!(
        "/v1/checkout/sessions/{}?expand[]=setup_intent",
        id(&session)
    );
    let session = world.get(&path).await.json();
    assert_eq!(session["status"], "complete");
    let method = &session["setup_intent"]["payment_method"];
    let methods = world
        .get(&format!("/v1/customers/{customer}/payment_methods"))
        .await
        .json();
    assert_eq!(&methods["data"][0]["id"], method);
    let customer = world.get(&format!("/v1/customers/{customer}")).await.json();
    assert!(customer["invoice_settings"]["default_payment_method"].is_null());
    let kinds: Vec<_> = world.stripe.objects("event");
    let kinds: Vec<_> = kinds
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    let expected = [
        "customer.created",
        "payment_method.attached",
        "setup_intent.succeeded",
        "checkout.session.completed",
    ];
    assert_eq!(kinds, expected);
    world.stripe.check_exchanges();
}

#[tokio::test]
async fn a_completed_checkout_takes_no_second_card() {
    let world = World::new();
    let customer = world.customer().await;
    let session = world.session(&customer).await;
    world.stripe.enter_card(&url(&session), GOOD).await;
    let again = world.stripe.try_card(&url(&session), GOOD).await;
    assert_eq!(again.status, 200, "{again}");
    assert!(again.body.contains("all done"), "{again}");
    assert_eq!(world.stripe.objects("payment_method").len(), 1);
}

#[tokio::test]
async fn a_declined_card_leaves_the_checkout_open() {
    let world = World::new();
    let customer = world.customer().await;
    let session = world.session(&customer).await;
    for (number, words) in [
        (DECLINED, "Your card was declined."),
        (NO_FUNDS, "insufficient funds"),
        ("4111 1111 1111 1111", "Your card number is invalid"),
    ] {
        let page = world.stripe.try_card(&url(&session), number).await;
        assert_eq!(page.status, 402, "{page}");
        assert!(page.body.contains(words), "{page}");
    }
    world.stripe.enter_card(&url(&session), GOOD).await;
}

#[tokio::test]
async fn three_d_secure_can_be_passed_and_failed() {
    let world = World::new();
    let customer = world.customer().await;
    let session = world.session(&customer).await;
    let page = world
        .stripe
        .try_card(&url(&session), AUTHENTICATES_ONCE)
        .await;
    assert!(page.header("location").ends_with("/authenticate"), "{page}");
    let page = world.stripe.open(page.header("location")).await;
    assert!(page.body.contains("value=\"fail\""), "{page}");
    world
        .stripe
        .enter_card(&url(&session), AUTHENTICATES_ONCE)
        .await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    assert_eq!(world.get(&path).await.json()["status"], "complete");
}

#[tokio::test]
async fn the_portal_replaces_the_card_and_shows_invoices() {
    let world = World::new();
    let customer = world.paying_customer().await;
    let invoice = world.open_invoice(&customer).await;
    world.made(&format!("/v1/invoices/{invoice}/pay"), "").await;
    let form = format!("customer={customer}&return_url=http%3A%2F%2Flocalhost%2Fback");
    let portal = world.made("/v1/billing_portal/sessions", &form).await;
    world.stripe.enter_card(&url(&portal), FAILS_LATER).await;
    let page = world.stripe.open(&url(&portal)).await;
    for expected in [
        "visa ending in 4242</li>",
        "visa ending in 0341 (default)",
        "31.50 USD paid",
        "simulator",
    ] {
        assert!(page.body.contains(expected), "{expected}: {page}");
    }
    let next = world.open_invoice(&customer).await;
    let declined = world.post(&format!("/v1/invoices/{next}/pay"), "").await;
    assert_eq!(declined.status, 402);
    let declined = world.stripe.try_card(&url(&portal), DECLINED).await;
    assert_eq!(declined.status, 402);
}

#[tokio::test]
async fn the_hosted_invoice_takes_another_card_or_the_authentication_it_waits_for() {
    let world = World::new();
    let customer = world.customer_with(FAILS_LATER).await;
    let invoice = world.open_invoice(&customer).await;
    let hosted = world.invoice(&invoice).await["hosted_invoice_url"].clone();
    let hosted = hosted.as_str().expect("it has a page");
    assert_eq!(world.stripe.try_card(hosted, DECLINED).await.status, 402);
    world.stripe.enter_card(hosted, GOOD).await;
    assert_eq!(world.invoice(&invoice).await["status"], "paid");
    let page = world.stripe.open(hosted).await;
    assert!(!page.body.contains("cardNumber"), "{page}");

    let customer = world.customer_with(ALWAYS_AUTHENTICATES).await;
    let invoice = world.open_invoice(&customer).await;
    let pay = format!("/v1/invoices/{invoice}/pay");
    assert_eq!(world.post(&pay, "").await.status, 402);
    let hosted = world.invoice(&invoice).await["hosted_invoice_url"].clone();
    let hosted = hosted.as_str().expect("it has a page");
    let page = world.stripe.open(hosted).await;
    assert!(page.body.contains("Confirm the payment"), "{page}");
    world.stripe.enter_card(hosted, ALWAYS_AUTHENTICATES).await;
    assert_eq!(world.invoice(&invoice).await["status"], "paid");
    let paid: Vec<_> = world.stripe.charges();
    let paid = paid
        .iter()
        .filter(|charge| charge.invoice == invoice && charge.paid);
    assert_eq!(paid.count(), 1);
}
