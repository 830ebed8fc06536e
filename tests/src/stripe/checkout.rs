//! Checkout in setup mode: sessions, and what the hosted page does with a card.

use serde_json::{Value, json};

use super::cards::{Card, Reaction, declined};
use super::customers::{extend, save_card};
use super::objects::{merge_metadata, nulls, text};
use super::refusal::Refusal;
use super::world::{Call, Mode, World, now};

/// How long a session is open, in seconds, when the call says nothing.
const LIFETIME_S: i64 = 24 * 3600;
/// The least of it.
const LEAST_LIFETIME_S: i64 = 30 * 60;

/// What a session has in other modes only.
const UNUSED: [&str; 19] = [
    "allow_promotion_codes",
    "amount_subtotal",
    "amount_total",
    "client_secret",
    "consent",
    "consent_collection",
    "customer_creation",
    "customer_details",
    "invoice",
    "invoice_creation",
    "payment_intent",
    "payment_link",
    "recovered_from",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "total_details",
    "wallet_options",
];

/// What a customer's step on a page leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is done; the customer goes there.
    Done(String),
    /// 3-D Secure comes next.
    Authenticate,
}

/// `POST /v1/checkout/sessions`
pub fn create(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let form = call.form;
    if form.text("mode") != Some("setup") {
        return Err(
            Refusal::invalid("This simulator has Checkout in setup mode only.").about("mode"),
        );
    }
    for required in ["currency", "success_url"] {
        form.text(required)
            .ok_or_else(|| Refusal::missing(required))?;
    }
    for url in ["success_url", "cancel_url"] {
        if form
            .text(url)
            .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(Refusal::parameter("url_invalid", url, "Not a valid URL"));
        }
    }
    if let Some(customer) = form.text("customer") {
        world.objects.named("customer", customer, "customer")?;
        if form.text("customer_email").is_some() {
            return Err(Refusal::invalid(
                "You may only specify one of these parameters: customer, customer_email.",
            )
            .coded("parameters_exclusive"));
        }
    }
    let intent = intent(world, call);
    let session = session(world, call, &intent)?;
    world.objects.put(intent);
    world.objects.put(session.clone());
    Ok(session)
}

fn session(world: &mut World, call: &Call, intent: &Value) -> Result<Value, Refusal> {
    let form = call.form;
    let prefix = match world.mode {
        Mode::Live => "cs_live",
        Mode::Test => "cs_test",
    };
    let mut session = world.object(prefix, "checkout.session");
    let expires_at = form.integer("expires_at").unwrap_or(now() + LIFETIME_S);
    if !(now() + LEAST_LIFETIME_S - 60..=now() + LIFETIME_S + 60).contains(&expires_at) {
        return Err(Refusal::invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.",
        )
        .about("expires_at"));
    }
    let id = text(&session, "id").to_owned();
    let parts = json!({
        "allowed_payment_method_types": ["card"],
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": form.text("billing_address_collection"),
        "cancel_url": form.text("cancel_url"),
        "client_reference_id": form.text("client_reference_id"),
        "currency": form.text("currency"),
        "custom_fields": [],
        "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
        "customer": form.text("customer"),
        "customer_email": form.text("customer_email"),
        "expires_at": expires_at,
        "locale": form.text("locale"),
        "metadata": {},
        "mode": "setup",
        "payment_method_collection": "always",
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required",
        "phone_number_collection": { "enabled": false },
        "setup_intent": intent["id"],
        "shipping_options": [],
        "status": "open",
        "success_url": form.text("success_url"),
        "ui_mode": "hosted_page",
        "url": format!("{}/c/pay/{id}", world.base),
    });
    extend(&mut session, nulls(&UNUSED));
    extend(&mut session, parts);
    merge_metadata(&mut session, form, "metadata");
    Ok(session)
}

fn intent(world: &mut World, call: &Call) -> Value {
    let mut intent = world.object("seti", "setup_intent");
    let parts = json!({
        "application": null, "automatic_payment_methods": null, "cancellation_reason": null,
        "client_secret": format!("{}_secret_{}", text(&intent, "id"), world.token()),
        "customer": call.form.text("customer"), "description": call.form.text("setup_intent_data.description"),
        "last_setup_error": null, "latest_attempt": null, "mandate": null, "metadata": {}, "next_action": null,
        "on_behalf_of": null, "payment_method": null, "payment_method_options": null,
        "payment_method_types": ["card"], "single_use_mandate": null, "status": "requires_payment_method",
        "usage": "off_session",
    });
    extend(&mut intent, parts);
    merge_metadata(&mut intent, call.form, "setup_intent_data.metadata");
    intent
}

/// `GET /v1/checkout/sessions/{session}`
pub fn retrieve(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    current(world, call.ids[0])
}

/// `POST /v1/checkout/sessions/{session}`
pub fn update(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut session = current(world, call.ids[0])?;
    merge_metadata(&mut session, call.form, "metadata");
    world.objects.put(session.clone());
    Ok(session)
}

/// `GET /v1/checkout/sessions`
pub fn list_all(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let ids: Vec<String> = world
        .objects
        .of_kind("checkout.session")
        .map(|session| text(session, "id").to_owned())
        .collect();
    for id in ids {
        current(world, &id)?;
    }
    let (customer, status) = (call.form.text("customer"), call.form.text("status"));
    let fits = |session: &Value| {
        customer.is_none_or(|customer| session["customer"] == customer)
            && status.is_none_or(|status| session["status"] == status)
    };
    world
        .objects
        .page("checkout.session", call.path, call.form, fits)
}

/// `POST /v1/checkout/sessions/{session}/expire`
pub fn expire(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let session = current(world, call.ids[0])?;
    if session["status"] != "open" {
        return Err(Refusal::invalid(format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of `{}`.",
            text(&session, "status")
        )));
    }
    Ok(close(world, session, "expired"))
}

/// `GET /v1/setup_intents/{intent}`
pub fn retrieve_intent(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("setup_intent", call.ids[0])
}

/// `GET /v1/setup_intents`
pub fn list_intents(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let (customer, method) = (call.form.text("customer"), call.form.text("payment_method"));
    let fits = |intent: &Value| {
        customer.is_none_or(|customer| intent["customer"] == customer)
            && method.is_none_or(|method| intent["payment_method"] == method)
    };
    world
        .objects
        .page("setup_intent", call.path, call.form, fits)
}

/// The session as it is now: expired if its time is over.
pub fn current(world: &mut World, id: &str) -> Result<Value, Refusal> {
    let session = world.objects.find("checkout.session", id)?;
    let over = session["status"] == "open"
        && session["expires_at"]
            .as_i64()
            .is_some_and(|end| end <= now());
    Ok(if over {
        close(world, session, "expired")
    } else {
        session
    })
}

fn close(world: &mut World, mut session: Value, status: &str) -> Value {
    session["status"] = json!(status);
    session["url"] = Value::Null;
    let kind = if status == "expired" {
        "checkout.session.expired"
    } else {
        "checkout.session.completed"
    };
    world.put_and_tell(session.clone(), &[kind]);
    session
}

/// The customer enters a card on the hosted page.
///
/// # Errors
/// When the card is declined, or the session is no longer open.
pub fn enter_card(world: &mut World, id: &str, number: &str) -> Result<Step, Refusal> {
    let session = open(world, id)?;
    let card = Card::find(number)?;
    match card.entered {
        Reaction::Accepts => Ok(complete(world, session, card)),
        Reaction::WantsAuthentication => {
            world.authenticating.insert(id.to_owned(), card);
            Ok(Step::Authenticate)
        }
        Reaction::Declines(code) => {
            let refusal = declined(code);
            fail(world, &session, &refusal);
            Err(refusal)
        }
    }
}

/// The customer passes or fails 3-D Secure on the hosted page.
///
/// # Errors
/// When it failed, or nothing waits for it.
pub fn authenticate(world: &mut World, id: &str, passed: bool) -> Result<Step, Refusal> {
    let session = open(world, id)?;
    let card = world
        .authenticating
        .remove(id)
        .ok_or_else(|| Refusal::invalid("No card waits for authentication."))?;
    if passed {
        return Ok(complete(world, session, card));
    }
    let refusal = Refusal::invalid("We are unable to authenticate your payment method. Please choose a different payment method and try again.")
        .coded("setup_intent_authentication_failure");
    fail(world, &session, &refusal);
    Err(refusal)
}

fn open(world: &mut World, id: &str) -> Result<Value, Refusal> {
    let session = current(world, id)?;
    match text(&session, "status") {
        "open" => Ok(session),
        status => Err(Refusal::invalid(format!(
            "This Checkout Session is {status}."
        ))),
    }
}

fn complete(world: &mut World, mut session: Value, card: Card) -> Step {
    let customer = world
        .objects
        .get(text(&session, "customer"))
        .cloned()
        .unwrap_or_default();
    let method = save_card(world, card, &customer);
    if let Ok(mut intent) = world
        .objects
        .find("setup_intent", text(&session, "setup_intent"))
    {
        intent["status"] = json!("succeeded");
        intent["payment_method"] = method["id"].clone();
        intent["last_setup_error"] = Value::Null;
        world.put_and_tell(intent, &["setup_intent.succeeded"]);
    }
    session["customer_details"] = json!({
        "address": method["billing_details"]["address"], "email": customer["email"].as_str().or(session["customer_email"].as_str()),
        "name": customer["name"], "phone": null, "tax_exempt": "none", "tax_ids": [],
    });
    let target =
        text(&session, "success_url").replace("{CHECKOUT_SESSION_ID}", text(&session, "id"));
    close(world, session, "complete");
    Step::Done(target)
}

fn fail(world: &mut World, session: &Value, refusal: &Refusal) {
    if let Ok(mut intent) = world
        .objects
        .find("setup_intent", text(session, "setup_intent"))
    {
        intent["last_setup_error"] = refusal.body()["error"].clone();
        world.put_and_tell(intent, &["setup_intent.setup_failed"]);
    }
}
