//! Who gets the key of a Checkout: whoever holds the token of the opening that completed it, once.

use serde_json::{Value, json};

use crate::both_databases;
use crate::checkouts::{
    PAID, claim, completed_by_webhook, key_on, keys, new_checkout, open, state, visit, visit_with,
};
use crate::shop::{self, customer, text};
use crate::stripe::{Stripe, reconcile};
use crate::world::TestDatabase;

both_databases! {
    async fn who_never_comes_back_is_subscribed_though_no_webhook_came(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (_, left) = visit(&world, &checkout).await;
        let (session, cookie) = visit(&world, &checkout).await;
        reconcile(&world).await;
        assert_eq!(state(&world, &checkout).await["status"], "open");
        stripe.give_card(&session, "4242");
        reconcile(&world).await;
        assert_eq!(state(&world, &checkout).await["status"], "completed");
        claim(&world, &checkout, &left).await.expect(403);
        let page = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&page.text).is_some(), "{}", page.text);
    }

    async fn five_wrong_claims_close_it(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (session, cookie) = visit(&world, &checkout).await;
        stripe.give_card(&session, "4242");
        completed_by_webhook(&world, &stripe, &session).await;
        customer(&world, "other").await;
        let document = json!({"plan": "free", "customer": "other"});
        let other = world.post("/v1/checkout-sessions", &document).await.expect(201);
        // Without a token nothing was guessed.
        for _ in 0..6 {
            claim(&world, &checkout, "").await.expect(403);
        }
        for guess in ["tollgate_claim=x", "a=b; tollgate_claim=y.z", &cookie[..cookie.len() - 1]] {
            claim(&world, &checkout, guess).await.expect(403);
        }
        let path = format!("/portal/checkout/{}/claim", text(&checkout["id"]));
        // The token of another Checkout is as wrong as any.
        for token in [text(&other["claimToken"]), ""] {
            let answer = world.post(&path, &json!({"claimToken": token})).await;
            answer.problem(403, "claim_token_wrong");
        }
        let closed = claim(&world, &checkout, &cookie).await;
        assert!(closed.text.contains("Too many wrong claims"), "{}", closed.text);
        closed.expect(403);
        let ours = json!({"claimToken": checkout["claimToken"]});
        world.post(&path, &ours).await.problem(403, "claims_closed");
        assert_eq!(keys(&world, &checkout).await, 0);
        // The operator can still issue one.
        let subscription = json!({"id": state(&world, &checkout).await["subscription"]});
        shop::issue(&world, &subscription).await;
    }

    async fn an_operator_claims_with_the_token_it_was_given(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let document = json!({"plan": PAID, "customerId": "acme"});
        let made = world.post_with_key("/v1/checkout-sessions", "k", &document).await.expect(201);
        let again = world.post_with_key("/v1/checkout-sessions", "k", &document).await.expect(201);
        assert_eq!((&again["id"], &again["claimToken"]), (&made["id"], &Value::Null));
        assert_eq!(again["secretAlreadyShown"], true);
        let (session, _) = visit(&world, &made).await;
        let path = format!("/portal/checkout/{}/claim", text(&made["id"]));
        let token = json!({"claimToken": made["claimToken"]});
        world.post(&path, &token).await.problem(409, "checkout_session_not_completed");
        stripe.give_card(&session, "4242");
        let issued = world.post(&path, &token).await.expect(200);
        assert!(text(&issued["secret"]).starts_with("tg_test_"));
        world.post(&path, &token).await.problem(409, "key_already_claimed");
        assert_eq!(state(&world, &made).await["key"], issued["id"]);
    }

    async fn a_browser_with_two_tabs_claims_with_either(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (first, cookie) = visit(&world, &checkout).await;
        let (_, cookie) = visit_with(&world, &checkout, &cookie).await;
        stripe.give_card(&first, "4242");
        let page = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&page.text).is_some(), "{}", page.text);
    }
}
