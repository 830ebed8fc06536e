//! Idempotency keys, and what goes wrong on demand.

use std::sync::Arc;
use std::time::Duration;

use tollgate_tests::stripe::faults::{RequestFault, RequestTrouble};

use crate::world::{World, code};

const CUSTOMERS: &str = "/v1/customers";

#[tokio::test]
async fn a_key_gives_its_first_answer_again() {
    let world = World::new();
    let first = world.post_as(CUSTOMERS, "name=Ada", "k").await;
    let first = first.expect("it answers");
    let again = world.post_as(CUSTOMERS, "name=Ada", "k").await;
    let again = again.expect("it answers");
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("idempotent-replayed"), "");
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_ne!(first.header("request-id"), again.header("request-id"));
    for (path, form) in [(CUSTOMERS, "name=Bob"), ("/v1/invoices", "name=Ada")] {
        let other = world.post_as(path, form, "k").await.expect("it answers");
        assert_eq!(other.status, 400, "{other}");
    }
    assert_eq!(world.stripe.objects("customer").len(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_form_frees_its_key_and_any_other_keeps_it() {
    let world = World::new();
    let wrong = world.post_as(CUSTOMERS, "nam=Ada", "k").await;
    assert_eq!(wrong.expect("it answers").status, 400);
    let right = world.post_as(CUSTOMERS, "name=Ada", "k").await;
    assert_eq!(right.expect("it answers").status, 200);
    let path = "/v1/invoices/in_none/pay";
    for replayed in ["", "true"] {
        let missing = world.post_as(path, "", "l").await.expect("it answers");
        assert_eq!(missing.status, 404);
        assert_eq!(missing.header("idempotent-replayed"), replayed);
    }
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict() {
    let world = Arc::new(World::new());
    world
        .stripe
        .fault("POST", CUSTOMERS, RequestTrouble::Late(500));
    let slow = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.post_as(CUSTOMERS, "name=Ada", "k").await }
    });
    let mut conflict = None;
    while !slow.is_finished() {
        // The slow one may not have begun yet: then this one would, so another form tells nothing of it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = world.post_as(CUSTOMERS, "name=Ada", "k").await;
        conflict = conflict.or(answer.ok().filter(|answer| answer.status == 409));
    }
    let conflict = conflict.expect("the key was in use");
    assert_eq!(code(&conflict), "idempotency_key_in_use");
    let slow = slow.await.expect("it ran").expect("it answers");
    assert_eq!(slow.status, 200);
    assert_eq!(world.stripe.objects("customer").len(), 1);
}

#[tokio::test]
async fn a_failure_is_kept_under_its_key_and_a_refusal_to_begin_is_not() {
    let world = World::new();
    for (what, statuses, customers) in [
        (RequestTrouble::Failed, [500, 500], 0),
        (RequestTrouble::FailedAfter, [500, 500], 1),
        (RequestTrouble::Unavailable, [503, 200], 2),
        (RequestTrouble::RateLimited(1), [429, 200], 3),
        (RequestTrouble::Locked, [409, 200], 4),
    ] {
        world.stripe.fault("POST", CUSTOMERS, what);
        for status in statuses {
            let key = format!("{what:?}");
            let answer = world.post_as(CUSTOMERS, "name=Ada", &key).await;
            let answer = answer.expect("it answers");
            assert_eq!(answer.status, status, "{what:?}: {answer}");
        }
        assert_eq!(
            world.stripe.objects("customer").len(),
            customers,
            "{what:?}"
        );
    }
    world.stripe.check_exchanges();
}

#[tokio::test]
async fn a_lost_answer_is_given_again_under_its_key() {
    let world = World::new();
    for (made, what) in [
        (0, RequestTrouble::ClosedBefore),
        (1, RequestTrouble::ClosedAfter),
        (1, RequestTrouble::SilentAfter(200)),
    ] {
        let before = world.stripe.objects("customer").len();
        world.stripe.fault("POST", CUSTOMERS, what);
        let key = format!("{what:?}");
        let lost = world.post_as(CUSTOMERS, "name=Ada", &key).await;
        assert!(lost.is_err(), "{what:?}: {lost:?}");
        assert_eq!(world.stripe.objects("customer").len(), before + made);
        let found = world.post_as(CUSTOMERS, "name=Ada", &key).await;
        assert_eq!(found.expect("it answers").status, 200);
        assert_eq!(world.stripe.objects("customer").len(), before + 1);
    }
}

#[tokio::test]
async fn a_fault_hits_what_it_names_as_often_as_it_says() {
    let world = World::new();
    let customer = world.customer().await;
    world.stripe.request_fault(RequestFault {
        method: None,
        path: "/v1/customers/*".to_owned(),
        what: RequestTrouble::Unavailable,
        after: 1,
        times: 2,
    });
    let path = format!("/v1/customers/{customer}");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.get(&path).await.status);
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    assert_eq!(world.get(CUSTOMERS).await.status, 200);
}

#[tokio::test]
async fn other_keys_and_missing_permissions_are_refused() {
    use tollgate_tests::stripe::{Permissions, StripeOptions};
    let world = World::with(StripeOptions {
        permissions: Permissions::only(&["customer_read", "invoice_write"]),
        ..StripeOptions::default()
    });
    let refused = world.post(CUSTOMERS, "name=Ada").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("'rak_customer_write'"), "{refused}");
    assert_eq!(world.get(CUSTOMERS).await.status, 200);
    assert_eq!(world.get("/v1/invoices").await.status, 200);
    let anonymous = world.stripe.open("/v1/customers").await;
    assert_eq!(anonymous.status, 401);
}
