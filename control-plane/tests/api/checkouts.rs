//! From a link to a key: Checkouts, their pages and their claims.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use crate::both_databases;
use crate::shop::{self, customer, text};
use crate::stripe::{Fault, Stripe, event, handle, tell};
use crate::world::{Answer, TestDatabase, World};

pub const PAID: &str = "starter";

/// A paid plan, a free one, and the customer `acme`.
pub async fn open(stripe: &Stripe, database: TestDatabase) -> World {
    let world = stripe.world(database).await;
    crate::catalog::metered_feature(&world, "calls").await;
    shop::sell(&world, "free", &[(None, 10)]).await;
    let paid = json!({"paymentMethodRequired": true});
    shop::sell_with(&world, PAID, &[(None, 1_000)], &paid).await;
    shop::order(&world, &["free", PAID]).await;
    customer(&world, "acme").await;
    world
}

pub async fn new_checkout(world: &World, plan: &str) -> Value {
    let document = json!({"plan": plan, "customer": "acme"});
    let made = world.post("/v1/checkout-sessions", &document).await;
    made.expect(201)
}

/// What a browser gets from one of our pages.
pub async fn browse(world: &World, method: Method, path: &str, cookie: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::COOKIE, cookie)
        .body(Body::empty());
    world.send(request.unwrap()).await
}

/// Opens a Checkout: Stripe's session and the cookie.
pub async fn visit(world: &World, checkout: &Value) -> (String, String) {
    visit_with(world, checkout, "").await
}

pub async fn visit_with(world: &World, checkout: &Value, cookie: &str) -> (String, String) {
    let path = format!("/portal/checkout/{}", text(&checkout["id"]));
    let page = browse(world, Method::GET, &path, cookie).await;
    assert_eq!(page.status, 303, "{}", page.text);
    let location = page.headers[header::LOCATION].to_str().unwrap();
    let session = location.rsplit('/').next().unwrap().to_owned();
    let cookie = page.headers[header::SET_COOKIE].to_str().unwrap();
    for part in ["HttpOnly", "Secure", "SameSite=Lax"] {
        assert!(
            cookie.split("; ").any(|attribute| attribute == part),
            "{cookie}"
        );
    }
    (session, cookie.split(';').next().unwrap().to_owned())
}

async fn success(world: &World, checkout: &Value, cookie: &str) -> Answer {
    let path = format!("/portal/checkout/{}/success", text(&checkout["id"]));
    browse(world, Method::GET, &path, cookie).await
}

pub async fn claim(world: &World, checkout: &Value, cookie: &str) -> Answer {
    let path = format!("/portal/checkout/{}/claim", text(&checkout["id"]));
    browse(world, Method::POST, &path, cookie).await
}

pub async fn state(world: &World, checkout: &Value) -> Value {
    let path = format!("/v1/checkout-sessions/{}", text(&checkout["id"]));
    world.get(&path).await.expect(200)
}

async fn subscriptions(world: &World) -> Vec<Value> {
    let all = world.list("/v1/customers/acme/subscriptions", 50).await;
    all.into_iter()
        .filter(|subscription| subscription["status"] == "active")
        .collect()
}

pub async fn keys(world: &World, checkout: &Value) -> usize {
    let subscription = state(world, checkout).await["subscription"].clone();
    let path = format!("/v1/subscriptions/{}/keys", text(&subscription));
    world.list(&path, 50).await.len()
}

/// The key on a page.
pub fn key_on(page: &str) -> Option<&str> {
    let start = page.find("tg_test_")?;
    page[start..].split('<').next()
}

pub async fn completed_by_webhook(world: &World, stripe: &Stripe, session: &str) {
    let told = event(
        "evt_done",
        "checkout.session.completed",
        &stripe.object(session),
    );
    tell(world, &told).await;
    handle(world).await;
}

both_databases! {
    async fn a_checkout_leads_to_a_subscription_and_its_key(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        assert_eq!(checkout["status"], "open");
        let url = format!("https://billing.example.com/portal/checkout/{}", text(&checkout["id"]));
        assert_eq!(checkout["url"], url);
        // Nothing is made in Stripe before somebody comes.
        assert!(stripe.calls(&Method::POST, "/").is_empty());
        let (session, cookie) = visit(&world, &checkout).await;
        let made = stripe.object(&session);
        assert_eq!(made["mode"], "setup");
        assert_eq!(made["currency"], "usd");
        assert_eq!(made["client_reference_id"], checkout["id"]);
        assert_eq!(made["success_url"], format!("{url}/success"));
        assert_eq!(made["cancel_url"], format!("{url}/cancel"));
        assert_eq!(made["setup_intent_data"]["metadata"], made["metadata"]);
        let waiting = success(&world, &checkout, &cookie).await;
        assert!(waiting.text.contains("http-equiv=\"refresh\""), "{}", waiting.text);
        claim(&world, &checkout, &cookie).await.expect(409);
        stripe.give_card(&session, "4242");
        completed_by_webhook(&world, &stripe, &session).await;
        let done = state(&world, &checkout).await;
        assert_eq!((&done["status"], &done["url"]), (&json!("completed"), &Value::Null));
        let active = subscriptions(&world).await;
        assert_eq!(active.len(), 1);
        assert_eq!((&active[0]["id"], &active[0]["plan"]), (&done["subscription"], &json!(PAID)));
        let payer = stripe.object(text(&made["customer"]));
        assert_eq!(payer["metadata"]["tollgate_customer"], done["customer"]);
        assert!(payer["invoice_settings"]["default_payment_method"].is_string(), "{payer}");
        // The page says it without a secret; the button shows the key, once.
        let page = success(&world, &checkout, &cookie).await;
        assert!(page.text.contains("Show my API key") && key_on(&page.text).is_none());
        let page = claim(&world, &checkout, &cookie).await;
        page.clone().expect(200);
        assert!(key_on(&page.text).is_some(), "{}", page.text);
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
        let again = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&again.text).is_none());
        again.expect(409);
        assert_eq!(keys(&world, &checkout).await, 1);
        // A key is shown nowhere else.
        let path = format!("/portal/checkout/{}", text(&checkout["id"]));
        let reopened = browse(&world, Method::GET, &path, "").await;
        assert_eq!(reopened.headers[header::LOCATION], format!("{path}/success"));
    }

    async fn a_redirect_completes_it_when_no_webhook_came(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (session, cookie) = visit(&world, &checkout).await;
        // Coming back proves nothing.
        success(&world, &checkout, &cookie).await.expect(200);
        assert_eq!(state(&world, &checkout).await["status"], "open");
        stripe.give_card(&session, "4242");
        let page = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&page.text).is_some(), "{}", page.text);
        completed_by_webhook(&world, &stripe, &session).await;
        completed_by_webhook(&world, &stripe, &session).await;
        assert_eq!(subscriptions(&world).await.len(), 1);
        assert_eq!(keys(&world, &checkout).await, 1);
    }

    async fn two_openings_completed_at_once_subscribe_once(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (first, first_cookie) = visit(&world, &checkout).await;
        let (second, second_cookie) = visit(&world, &checkout).await;
        assert_ne!(first_cookie, second_cookie);
        assert_eq!(stripe.calls(&Method::POST, "/v1/customers").len(), 1);
        stripe.give_card(&first, "4242");
        stripe.give_card(&second, "1881");
        let told = [("evt_1", &first), ("evt_2", &second)].map(|(id, session)| {
            event(id, "checkout.session.completed", &stripe.object(session))
        });
        let (one, two) = (tell(&world, &told[0]), tell(&world, &told[1]));
        tokio::join!(one, two);
        let ((), a, b) = tokio::join!(
            handle(&world),
            success(&world, &checkout, &first_cookie),
            success(&world, &checkout, &second_cookie),
        );
        assert_eq!((a.status.as_u16(), b.status.as_u16()), (200, 200));
        assert_eq!(subscriptions(&world).await.len(), 1);
        // Only the token of the opening that was first claims the key.
        let (a, b) = tokio::join!(
            claim(&world, &checkout, &first_cookie),
            claim(&world, &checkout, &second_cookie),
        );
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{} {}", a.text, b.text);
        assert_eq!(keys(&world, &checkout).await, 1);
    }

    async fn two_checkouts_completed_at_once_subscribe_once(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkouts = [new_checkout(&world, PAID).await, new_checkout(&world, PAID).await];
        let mut cookies = Vec::new();
        for checkout in &checkouts {
            let (session, cookie) = visit(&world, checkout).await;
            stripe.give_card(&session, "4242");
            cookies.push(cookie);
        }
        let (a, b) = tokio::join!(
            claim(&world, &checkouts[0], &cookies[0]),
            claim(&world, &checkouts[1], &cookies[1]),
        );
        let shown = [&a, &b].into_iter().filter(|page| key_on(&page.text).is_some()).count();
        assert_eq!(shown, 1, "{} {}", a.text, b.text);
        assert_eq!(subscriptions(&world).await.len(), 1);
        let mut states = Vec::new();
        for checkout in &checkouts {
            let state = state(&world, checkout).await;
            states.push((text(&state["status"]).to_owned(), state["failure"].clone()));
        }
        states.sort_by_key(|(status, _)| status.clone());
        let completed = ("completed".to_owned(), Value::Null);
        assert_eq!(states, [completed, ("failed".to_owned(), json!("subscription_exists"))]);
    }



    async fn a_plan_without_payment_is_subscribed_to_at_once(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let made = new_checkout(&world, "free").await;
        assert_eq!((&made["status"], &made["url"]), (&json!("completed"), &Value::Null));
        let path = format!("/portal/checkout/{}/claim", text(&made["id"]));
        let token = json!({"claimToken": made["claimToken"]});
        let issued = world.post(&path, &token).await.expect(200);
        // Who is on it already changes to the paid plan, and keeps the key.
        let upgrade = new_checkout(&world, PAID).await;
        let (session, cookie) = visit(&world, &upgrade).await;
        stripe.give_card(&session, "4242");
        let page = success(&world, &upgrade, &cookie).await;
        assert!(page.text.contains("Show my API key"), "{}", page.text);
        let active = subscriptions(&world).await;
        assert_eq!((active.len(), &active[0]["plan"]), (1, &json!(PAID)));
        assert_eq!(active[0]["chain"], issued["chain"]);
        let document = json!({"plan": PAID, "customer": "acme"});
        let more = world.post("/v1/checkout-sessions", &document).await;
        more.problem(409, "subscription_exists");
    }

    async fn what_stripe_did_unheard_is_not_done_twice(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        // Both the customer and the session are made, and nobody hears of it at first.
        stripe.fail_next(&[Fault::FailAfter]);
        let (session, cookie) = visit(&world, &checkout).await;
        assert_eq!(stripe.calls(&Method::POST, "/v1/customers").len(), 2);
        stripe.give_card(&session, "4242");
        stripe.fail_next(&[Fault::FailAfter, Fault::FailAfter, Fault::FailAfter]);
        // It stays open, and the page says so.
        let page = success(&world, &checkout, &cookie).await;
        assert!(page.text.contains("Almost done"), "{}", page.text);
        let page = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&page.text).is_some(), "{}", page.text);
        let customers = stripe.calls(&Method::POST, "/v1/customers");
        let keys: Vec<_> = customers.iter().map(|call| (&call.key, &call.form)).collect();
        assert_eq!(keys[0], keys[1]);
        assert_eq!(subscriptions(&world).await.len(), 1);
    }

    async fn an_opening_expires(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let checkout = new_checkout(&world, PAID).await;
        let (session, cookie) = visit(&world, &checkout).await;
        world.clock.advance_machine(std::time::Duration::from_secs(86_400));
        assert_eq!(state(&world, &checkout).await["status"], "expired");
        let path = format!("/portal/checkout/{}", text(&checkout["id"]));
        browse(&world, Method::GET, &path, "").await.expect(409);
        // Who had it open in time is not turned away.
        stripe.give_card(&session, "4242");
        let page = claim(&world, &checkout, &cookie).await;
        assert!(key_on(&page.text).is_some(), "{}", page.text);
    }

    async fn who_gives_up_can_go_back_or_try_again(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let document = json!({
            "plan": PAID, "customer": "acme", "cancelUrl": "https://example.com/?a=1&b=2",
            "successUrl": "https://example.com/welcome",
        });
        let checkout = world.post("/v1/checkout-sessions", &document).await.expect(201);
        let (session, cookie) = visit(&world, &checkout).await;
        let path = format!("/portal/checkout/{}", text(&checkout["id"]));
        let cancel = browse(&world, Method::GET, &format!("{path}/cancel"), &cookie).await;
        assert!(cancel.text.contains(&format!("href=\"{path}\"")), "{}", cancel.text);
        assert!(cancel.text.contains("href=\"https://example.com/?a=1&amp;b=2\""));
        cancel.expect(200);
        let (other, _) = visit(&world, &checkout).await;
        assert_ne!(session, other);
        stripe.give_card(&session, "4242");
        // Once it is completed there is nothing to cancel.
        let late = browse(&world, Method::GET, &format!("{path}/cancel"), &cookie).await;
        assert_eq!(late.headers[header::LOCATION], format!("{path}/success"));
        let page = claim(&world, &checkout, &cookie).await;
        assert!(page.text.contains("href=\"https://example.com/welcome\""), "{}", page.text);
    }

    async fn mistakes_are_told(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let of = async |document: Value| {
            let answer = world.post("/v1/checkout-sessions", &document).await;
            let mistakes = answer.mistakes();
            mistakes.into_iter().map(|(code, path)| format!("{path} {code}")).collect::<Vec<_>>()
        };
        let all = json!({"plan": "!", "successUrl": "javascript:1", "cancelUrl": "x", "more": 1});
        let mut told = of(all).await;
        told.sort_unstable();
        let expected = [
            "$.cancelUrl invalid_url", "$.customer customer_missing", "$.more unknown_field",
            "$.plan invalid_key", "$.successUrl invalid_url",
        ];
        assert_eq!(told, expected);
        assert_eq!(of(json!({"plan": PAID, "customer": "nobody"})).await, ["$.customer customer_not_found"]);
        assert_eq!(of(json!({"plan": "gone", "customer": "acme"})).await, ["$.plan plan_not_found"]);
        let phase = json!({"plan": PAID, "customer": "acme", "startingPhase": "x"});
        assert_eq!(of(phase).await, ["$.startingPhase phase_not_found"]);
        world.get("/v1/checkout-sessions/x").await.problem(404, "checkout_session_not_found");
        let page = browse(&world, Method::GET, "/portal/checkout/x", "").await;
        assert!(page.text.contains("There is no such Checkout."));
        page.expect(404);
    }

    async fn the_customer_portal_is_stripes(database: TestDatabase) {
        let stripe = Stripe::start().await;
        let world = open(&stripe, database).await;
        let path = "/v1/customers/acme/portal-sessions";
        let made = world.post_with_key(path, "k", &json!({})).await.expect(201);
        assert_eq!(made["url"], "https://billing.stripe.example/p/session");
        let call = &stripe.calls(&Method::POST, "/v1/billing_portal/sessions")[0];
        assert!(call.form.contains("portal/return"), "{}", call.form);
        assert_eq!(world.post_with_key(path, "k", &json!({})).await.expect(201), made);
        assert_eq!(stripe.calls(&Method::POST, "/v1/billing_portal/sessions").len(), 1);
        let wrong = world.post(path, &json!({"returnUrl": "x"})).await.mistakes();
        assert_eq!(wrong, [("invalid_url".to_owned(), "$.returnUrl".to_owned())]);
        browse(&world, Method::GET, "/portal/return", "").await.expect(200);
    }
}

#[tokio::test]
async fn without_a_key_of_stripe_paid_plans_say_what_to_set_up() {
    let world = World::new(TestDatabase::sqlite()).await;
    crate::catalog::metered_feature(&world, "calls").await;
    let paid = json!({"paymentMethodRequired": true});
    shop::sell_with(&world, PAID, &[(None, 1)], &paid).await;
    shop::sell(&world, "free", &[(None, 1)]).await;
    customer(&world, "acme").await;
    let document = json!({"plan": PAID, "customer": "acme"});
    let answer = world.post("/v1/checkout-sessions", &document).await;
    let problem = answer.problem(409, "stripe_not_set_up");
    assert!(text(&problem["detail"]).contains("STRIPE_API_KEY"));
    assert_eq!(new_checkout(&world, "free").await["status"], "completed");
}
