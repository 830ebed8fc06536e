//! Who gets the key.

use serde_json::Value;
use tollgate_tests::stripe::cards::{AUTHENTICATES_ONCE, GOOD};

use crate::world::{Checkout, World, shown_key};

async fn completed(world: &World) -> (Checkout, String) {
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world
        .stripe
        .enter_card(&opening.page, AUTHENTICATES_ONCE)
        .await;
    world.wait_until(&checkout, "completed").await;
    (checkout, opening.cookie)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_that_completed_it_gets_the_key_once() {
    let world = World::open().await;
    let (checkout, cookie) = completed(&world).await;
    let early = world.success(&checkout, &cookie).await;
    assert!(shown_key(&early.body).is_none(), "{early}");
    let (left, right) = tokio::join!(
        world.claim(&checkout, &cookie),
        world.claim(&checkout, &cookie)
    );
    let keys: Vec<_> = [&left, &right]
        .iter()
        .filter_map(|page| shown_key(&page.body))
        .collect();
    assert_eq!(keys.len(), 1, "{left}\n{right}");
    for page in [&left, &right] {
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    let later = world.success(&checkout, &cookie).await;
    assert!(later.body.contains("was shown before"), "{later}");
    let subscription = world.look(&checkout).await["subscription"].clone();
    let path = format!("/v1/subscriptions/{}/keys", subscription.as_str().unwrap());
    let listed = world.control_plane.get(&path).await;
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    assert!(!listed.to_string().contains(keys[0]), "{listed}");
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_token_claims_it_too() {
    let world = World::open().await;
    let (checkout, _) = completed(&world).await;
    let claimed = world.claim_with(&checkout, &checkout.claim_token).await;
    assert_eq!(claimed.status, 200, "{claimed}");
    assert!(claimed.json()["secret"].is_string(), "{claimed}");
    let again = world.claim_with(&checkout, &checkout.claim_token).await;
    assert_eq!(again.code(), "key_already_claimed", "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_claims_close_it() {
    let world = World::open().await;
    let (checkout, cookie) = completed(&world).await;
    for _ in 0..5 {
        let wrong = world.claim_with(&checkout, "x".repeat(43).as_str()).await;
        assert_eq!(wrong.code(), "claim_token_wrong", "{wrong}");
    }
    let closed = world.claim(&checkout, &cookie).await;
    assert_eq!(closed.status, 403, "{closed}");
    assert!(shown_key(&closed.body).is_none(), "{closed}");
    let key: Value = world.look(&checkout).await["key"].clone();
    assert!(key.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_did_not_complete_it_gets_nothing() {
    let world = World::open().await;
    let checkout = world.newcomer().await;
    let (other, opening) = (world.visit(&checkout).await, world.visit(&checkout).await);
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.wait_until(&checkout, "completed").await;
    let wrong = world.claim(&checkout, &other.cookie).await;
    assert_eq!(wrong.status, 403, "{wrong}");
    let nobody = world.claim(&checkout, "").await;
    assert_eq!(nobody.status, 403, "{nobody}");
    let claimed = world.claim(&checkout, &opening.cookie).await;
    assert!(shown_key(&claimed.body).is_some(), "{claimed}");
}
