//! The next period's invoice: once, though the control plane dies between its boundary and its payment.

use serde_json::json;
use tollgate_tests::stripe::StripeOptions;
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::RequestTrouble;
use tollgate_tests::wait;

use crate::world::World;

/// What is posted from the boundary to the open invoice, which Stripe collects by itself then.
const POSTS: [&str; 3] = [
    "/v1/invoices",
    "/v1/invoices/*/add_lines",
    "/v1/invoices/*/finalize",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_billed_once_though_it_dies_after_a_step() {
    for path in POSTS {
        dies_at(path, RequestTrouble::SilentAfter(3_600_000)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_billed_once_though_an_answer_is_lost() {
    for path in POSTS {
        let world = subscribed().await;
        world
            .stripe
            .fault("POST", path, RequestTrouble::ClosedAfter);
        a_month_passes(&world).await;
        assert_billed_twice(&world).await;
    }
}

/// A sandbox with a customer whose first invoice is paid.
async fn subscribed() -> World {
    let settings = [("TOLLGATE_ENV", "sandbox")];
    let world = World::with(StripeOptions::default(), &settings).await;
    let checkout = world.newcomer().await;
    let opening = world.visit(&checkout).await;
    world.stripe.enter_card(&opening.page, GOOD).await;
    world.assert_settled().await;
    world
}

/// Has the control plane die while it waits for the answer to a POST of this path.
async fn dies_at(path: &str, what: RequestTrouble) {
    let mut world = subscribed().await;
    world.stripe.fault("POST", path, what);
    let trouble = world.stripe.wait_for_trouble();
    tokio::select! {
        () = a_month_passes(&world) => panic!("{path} was never posted to"),
        () = trouble => {}
    }
    world.control_plane.kill();
    world.control_plane.restart().await;
    assert_billed_twice(&world).await;
}

async fn a_month_passes(world: &World) {
    let moved = json!({"advance": "P1M"});
    world.control_plane.post("/v1/sandbox/clock", &moved).await;
    let closed = json!({"advance": "PT10M"});
    world.control_plane.post("/v1/sandbox/clock", &closed).await;
}

/// Waits for the second invoice, and looks whether each was charged once.
async fn assert_billed_twice(world: &World) {
    let invoices = wait::until("two paid invoices", async || {
        let invoices = world.control_plane.get("/v1/invoices").await;
        let items = invoices["items"].as_array().unwrap();
        let paid = items.iter().filter(|invoice| invoice["status"] == "paid");
        if paid.count() == 2 {
            Ok(items.clone())
        } else {
            Err(invoices.to_string())
        }
    })
    .await;
    assert_eq!(invoices.len(), 2, "{invoices:?}");
    assert_eq!(world.stripe.objects("invoice").len(), 2);
    let charges = world.stripe.charges();
    let amounts: Vec<_> = charges
        .iter()
        .map(|charge| (charge.amount, charge.paid))
        .collect();
    assert_eq!(amounts, [(2900, true), (2900, true)]);
    world.assert_healthy();
}
