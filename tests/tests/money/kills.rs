//! The control plane dies right after Stripe has done what it asked for, or while Stripe is at it, and comes back.

use tollgate_tests::stripe::StripeOptions;
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::RequestTrouble;
use tollgate_tests::wait;

use crate::world::{Checkout, POSTS, World};

/// Longer than any test waits, in milliseconds.
const FOR_EVER: u64 = 3_600_000;
/// How long Stripe is at it, in milliseconds: the control plane is back before.
const A_WHILE: u64 = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_gets_one_of_everything_though_it_dies_after_a_step() {
    for path in POSTS {
        dies_at(path, RequestTrouble::SilentAfter(FOR_EVER)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_gets_one_of_everything_though_it_dies_during_a_step() {
    for path in POSTS {
        dies_at(path, RequestTrouble::Late(A_WHILE)).await;
    }
}

/// Has the control plane die while it waits for the answer to a POST of this path.
async fn dies_at(path: &str, what: RequestTrouble) {
    let options = StripeOptions {
        // Stripe must not collect by itself before it is asked to.
        collection_delay_ms: FOR_EVER,
        ..StripeOptions::default()
    };
    let mut world = World::with(options, &[]).await;
    let checkout = world.newcomer().await;
    world.stripe.fault("POST", path, what);
    tokio::select! {
        () = go(&world, &checkout) => panic!("{path} was never posted to"),
        () = world.stripe.wait_for_trouble() => {}
    }
    world.control_plane.kill();
    world.control_plane.restart().await;
    go(&world, &checkout).await;
    let claimed = world.claim_with(&checkout, &checkout.claim_token).await;
    assert_eq!(claimed.status, 200, "{path}: {claimed}");
    world.assert_settled().await;
}

/// Goes from the link to the paid invoice, as far as it is not done already.
async fn go(world: &World, checkout: &Checkout) {
    if world.stripe.objects("payment_method").is_empty() {
        // Who is turned away while Stripe is still at it comes again.
        let opening = wait::until("Stripe's page", async || world.try_visit(checkout).await).await;
        world.stripe.enter_card(&opening.page, GOOD).await;
    }
    world.wait_until(checkout, "completed").await;
    world.invoice_that_is("paid").await;
}
