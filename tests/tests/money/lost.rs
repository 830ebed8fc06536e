//! Answers of Stripe that never come, after it has done what was asked, and Stripe in trouble.

use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::RequestTrouble;

use crate::world::{POSTS, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_stripe_did_it_is_asked_for_again() {
    for what in [
        RequestTrouble::ClosedAfter,
        RequestTrouble::SilentAfter(300),
    ] {
        all_the_way(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_waited_for() {
    for what in [
        RequestTrouble::ClosedBefore,
        RequestTrouble::Unavailable,
        RequestTrouble::RateLimited(1),
        RequestTrouble::Locked,
    ] {
        all_the_way(what).await;
    }
}

/// A customer comes, opens a Checkout and completes it, while each POST meets this trouble once.
async fn all_the_way(what: RequestTrouble) {
    let world = World::open().await;
    for path in POSTS {
        world.stripe.fault("POST", path, what);
    }
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.wait_until(&checkout, "completed").await;
    assert_eq!(
        world.stripe.objects("checkout.session").len(),
        1,
        "{what:?}"
    );
    world.assert_settled().await;
}
