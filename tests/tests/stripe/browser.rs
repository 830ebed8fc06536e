//! The pages in a real Chromium.

use tollgate_tests::browser::Browser;
use tollgate_tests::stripe::cards::AUTHENTICATES_ONCE;

use crate::world::{World, id, url};

#[tokio::test]
async fn a_person_pays_with_three_d_secure() {
    let world = World::new();
    let customer = world.customer().await;
    let session = world.session(&customer).await;
    let browser = Browser::start().await;
    browser.open(&url(&session)).await;
    assert!(
        browser
            .text("body")
            .await
            .contains("This is a simulator, not Stripe")
    );
    browser
        .type_into("input[name=cardNumber]", "4000 0000 0000 0002")
        .await;
    browser.click("#submit").await;
    assert_eq!(
        browser.text("[role=alert]").await,
        "Your card was declined."
    );
    browser
        .type_into("input[name=cardNumber]", AUTHENTICATES_ONCE)
        .await;
    browser.click("#submit").await;
    browser
        .arrive(&format!("{}/authenticate", url(&session)))
        .await;
    browser.click("#complete").await;
    browser
        .arrive(&format!("http://localhost/done?session={}", id(&session)))
        .await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    assert_eq!(world.get(&path).await.json()["status"], "complete");
}
