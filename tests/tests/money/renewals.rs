//! The invoices after the first, at the next period and at an upgrade: once each, though answers are lost and the control
//! plane dies between what they are for and their payment.

use serde_json::json;
use tollgate_tests::stripe::StripeOptions;
use tollgate_tests::stripe::cards::GOOD;
use tollgate_tests::stripe::faults::RequestTrouble;
use tollgate_tests::wait;

use crate::world::World;

/// What is posted for an open invoice.
const POSTS: [&str; 3] = [
    "/v1/invoices",
    "/v1/invoices/*/add_lines",
    "/v1/invoices/*/finalize",
];
/// What is posted for it to be paid at once; others are collected by Stripe itself.
const PAY: &str = "/v1/invoices/*/pay";
/// Longer than any test waits, in milliseconds.
const FOR_EVER: u64 = 3_600_000;

/// What a customer is charged for after the first invoice.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// A month that passed.
    Renewal,
    /// A dearer plan.
    Upgrade,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_billed_once_though_it_dies_after_a_step() {
    for path in POSTS {
        dies_at(path, Cause::Renewal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_billed_once_though_an_answer_is_lost() {
    for path in POSTS {
        let world = subscribed().await;
        world
            .stripe
            .fault("POST", path, RequestTrouble::ClosedAfter);
        Cause::Renewal.comes(&world).await;
        Cause::Renewal.assert_billed_once(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_billed_once_though_it_dies_after_a_step() {
    for path in POSTS.into_iter().chain([PAY]) {
        dies_at(path, Cause::Upgrade).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_bill_a_period_and_an_upgrade_once() {
    for cause in [Cause::Renewal, Cause::Upgrade] {
        let world = subscribed().await;
        let replica = world.control_plane.replica().await;
        let endpoint = format!("{}/webhooks/stripe", replica.url());
        world.stripe.send_webhooks_to(&endpoint);
        cause.comes(&world).await;
        cause.assert_billed_once(&world).await;
    }
}

/// Has the control plane die while it waits for the answer to a POST of this path.
async fn dies_at(path: &str, cause: Cause) {
    let mut world = subscribed().await;
    let what = RequestTrouble::SilentAfter(FOR_EVER);
    world.stripe.fault("POST", path, what);
    let comes = async {
        cause.comes(&world).await;
        // A change does not wait for its invoice.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = comes => {}
        () = world.stripe.wait_for_trouble() => {}
    }
    world.control_plane.kill();
    world.control_plane.restart().await;
    cause.assert_billed_once(&world).await;
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

impl Cause {
    async fn comes(self, world: &World) {
        match self {
            Self::Renewal => {
                let moved = json!({"advance": "P1M"});
                world.control_plane.post("/v1/sandbox/clock", &moved).await;
            }
            Self::Upgrade => {
                world.sell("pro", "99.00").await;
                let subscriptions = world.control_plane.get("/v1/subscriptions").await;
                let id = subscriptions["items"][0]["id"].as_str().unwrap().to_owned();
                let path = format!("/v1/subscriptions/{id}/change");
                let change = json!({"plan": "pro", "timing": "immediate"});
                world.control_plane.post(&path, &change).await;
            }
        }
    }

    /// What it charges, in cents: all of the new fee, less all of the old one within the first minutes.
    const fn amount(self) -> i64 {
        match self {
            Self::Renewal => 2_900,
            Self::Upgrade => 9_900 - 2_900,
        }
    }

    /// Waits for the second invoice, and looks whether each was charged once.
    async fn assert_billed_once(self, world: &World) {
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
        assert_eq!(amounts, [(2_900, true), (self.amount(), true)]);
        world.assert_healthy();
    }
}
