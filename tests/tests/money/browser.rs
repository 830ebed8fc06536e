//! The way from the Checkout link to the key in a real Chromium.

use tollgate_tests::browser::Browser;
use tollgate_tests::stripe::cards::AUTHENTICATES_ONCE;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_subscribes_and_sees_the_key_once() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let browser = Browser::start().await;
    browser.open(&checkout.url).await;
    browser.arrive(&world.stripe.url()).await;
    browser
        .type_into("input[name=cardNumber]", "4242 4242 4242 4242")
        .await;
    browser.click("#submit").await;
    let ours = format!(
        "{}/portal/checkout/{}",
        world.control_plane.url(),
        checkout.id
    );
    browser.arrive(&format!("{ours}/success")).await;
    assert_eq!(browser.count("#api-key").await, 0);
    browser.arrive_at("main form button").await;
    browser.click("main form button").await;
    browser.arrive_at("#api-key").await;
    let key = browser.text("#api-key").await;
    assert!(
        key.starts_with("tg_test_") || key.starts_with("tg"),
        "{key}"
    );
    assert!(!browser.url().await.contains(&key));
    let cookies = browser.run("return document.cookie").await;
    assert_eq!(cookies, "", "a script can read the cookie");

    browser.open(&format!("{ours}/success")).await;
    assert!(browser.text("main").await.contains("shown before"));
    browser.open(&checkout.url).await;
    browser.arrive(&format!("{ours}/success")).await;
    assert_eq!(browser.count("#api-key").await, 0);
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gives_up_and_comes_back() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let browser = Browser::start().await;
    browser.open(&checkout.url).await;
    browser.arrive(&world.stripe.url()).await;
    browser.click("#cancel").await;
    browser.arrive(&world.control_plane.url()).await;
    assert!(browser.text("main").await.contains("nothing was charged"));
    assert_eq!(world.look(&checkout).await["status"], "open");
    browser.click("main a").await;
    browser.arrive(&world.stripe.url()).await;
    browser
        .type_into("input[name=cardNumber]", AUTHENTICATES_ONCE)
        .await;
    browser.click("#submit").await;
    browser.arrive_at("#complete").await;
    browser.click("#complete").await;
    browser.arrive(&world.control_plane.url()).await;
    browser.arrive_at("main form button").await;
    browser.click("main form button").await;
    browser.arrive_at("#api-key").await;
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_browser_gets_no_key() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world
        .stripe
        .enter_card(&opening.page, AUTHENTICATES_ONCE)
        .await;
    world.wait_until(&checkout, "completed").await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/success", checkout.url)).await;
    assert_eq!(
        browser.count("button").await,
        0,
        "{}",
        browser.source().await
    );
    assert!(
        browser
            .text("main")
            .await
            .contains("in the browser in which")
    );
}
