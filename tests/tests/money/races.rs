//! Several who tell of one Checkout, and several Checkouts of one customer.

use reqwest::Method;
use tollgate_tests::http::{Connections, HttpClient, send};
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::WebhookTrouble;
use tollgate_tests::wait;

use crate::world::{World, shown_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_before_the_redirect_completes_a_checkout() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.wait_until(&checkout, "completed").await;
    let page = world.success(&checkout, &opening.cookie).await;
    assert!(page.body.contains("Show my API key"), "{page}");
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_before_the_webhook_completes_a_checkout() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world
        .stripe
        .webhook_fault("*", WebhookTrouble::Late(1_500), 20);
    let target = world.stripe.enter_card(&opening.page, GOOD).await;
    let path = target.strip_prefix(&world.control_plane.url()).unwrap();
    let page = world.page(Method::GET, path, &opening.cookie).await;
    assert!(page.body.contains("Show my API key"), "{page}");
    assert!(shown_key(&page.body).is_none(), "{page}");
    wait::until("the late webhook", async || {
        let arrived = world.stripe.attempts();
        let completed = |attempt: &tollgate_tests::stripe::webhooks::Attempt| {
            attempt.kind == "checkout.session.completed" && attempt.status == Some(200)
        };
        if arrived.iter().any(completed) {
            Ok(())
        } else {
            Err(format!("{arrived:?}"))
        }
    })
    .await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_come_twice_and_shuffled_complete_a_checkout_once() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world
        .stripe
        .webhook_fault("checkout.session.completed", WebhookTrouble::Twice, 1);
    world.stripe.webhook_fault("*", WebhookTrouble::Shuffled, 2);
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.wait_until(&checkout, "completed").await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_without_any_webhook_is_completed_by_looking() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.webhook_fault("*", WebhookTrouble::Dropped, 99);
    world.stripe.enter_card(&opening.page, GOOD).await;
    let claimed = world.claim(&checkout, &opening.cookie).await;
    assert!(shown_key(&claimed.body).is_some(), "{claimed}");
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_checkout_completed_in_two_tabs_at_once_subscribes_once() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let (left, right) = (world.visit(&checkout).await, world.visit(&checkout).await);
    assert_ne!(left.page, right.page);
    let left_tab = async {
        world.stripe.enter_card(&left.page, GOOD).await;
        world.success(&checkout, &left.cookie).await
    };
    let right_tab = async {
        world.stripe.enter_card(&right.page, GOOD).await;
        world.success(&checkout, &right.cookie).await
    };
    tokio::join!(left_tab, right_tab);
    world.wait_until(&checkout, "completed").await;
    let (left, right) = tokio::join!(
        world.claim(&checkout, &left.cookie),
        world.claim(&checkout, &right.cookie)
    );
    let keys = [&left, &right].map(|page| shown_key(&page.body).is_some());
    assert_eq!(
        keys.iter().filter(|shown| **shown).count(),
        1,
        "{left}\n{right}"
    );
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_checkouts_completed_at_once_give_one_subscription() {
    let world = World::open().await;
    world.customer("ada").await;
    let (first, second) = (world.checkout("ada").await, world.checkout("ada").await);
    let (left, right) = (world.visit(&first).await, world.visit(&second).await);
    tokio::join!(
        world.stripe.enter_card(&left.page, GOOD),
        world.stripe.enter_card(&right.page, GOOD)
    );
    tokio::join!(
        world.success(&first, &left.cookie),
        world.success(&second, &right.cookie)
    );
    let statuses = wait::until("both Checkouts", async || {
        let statuses = [world.look(&first).await, world.look(&second).await];
        let statuses = statuses.map(|checkout| checkout["status"].as_str().unwrap().to_owned());
        if statuses.iter().all(|status| status != "open") {
            Ok(statuses)
        } else {
            Err(format!("{statuses:?}"))
        }
    })
    .await;
    let mut sorted = statuses.clone();
    sorted.sort();
    assert_eq!(sorted, ["completed", "failed"]);
    let (winner, loser) = match statuses[0].as_str() {
        "completed" => ((&first, &left), (&second, &right)),
        _ => ((&second, &right), (&first, &left)),
    };
    let refused = world.claim(loser.0, &loser.1.cookie).await;
    assert!(shown_key(&refused.body).is_none(), "{refused}");
    let claimed = world.claim(winner.0, &winner.1.cookie).await;
    assert!(shown_key(&claimed.body).is_some(), "{claimed}");
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_are_told_the_same_subscribe_once() {
    let world = World::open().await;
    let replica = world.control_plane.replica().await;
    let endpoint = format!("{}/webhooks/stripe", replica.url());
    world.stripe.send_webhooks_to(&endpoint);
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.enter_card(&opening.page, GOOD).await;
    let claim = async |base: String| {
        let client = HttpClient::new(base, Connections::Fresh);
        let path = format!("/portal/checkout/{}/claim", checkout.id);
        let request = client.request(Method::POST, &path);
        send(request.header("cookie", &opening.cookie))
            .await
            .unwrap()
    };
    let urls = (world.control_plane.url(), replica.url());
    let (left, right) = tokio::join!(claim(urls.0), claim(urls.1));
    let keys = [&left, &right].map(|page| shown_key(&page.body).is_some());
    let shown = keys.iter().filter(|shown| **shown).count();
    assert_eq!(shown, 1, "{left}\n{right}");
    world.assert_settled().await;
}
