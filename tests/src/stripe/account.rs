//! The account itself: portal sessions, webhook endpoints and events.

use serde_json::{Value, json};

use super::customers::extend;
use super::objects::{merge_metadata, set_texts, text};
use super::refusal::Refusal;
use super::world::{ACCOUNT, Call, Mode, VERSION, World};

/// `GET /v1/account`
pub fn retrieve(world: &mut World, _: &Call) -> Result<Value, Refusal> {
    let payouts_enabled = world.mode == Mode::Live;
    Ok(json!({
        "id": ACCOUNT, "object": "account", "business_type": "company", "charges_enabled": true, "country": "US",
        "created": 1_700_000_000, "default_currency": "usd", "details_submitted": true, "email": null,
        "metadata": {}, "payouts_enabled": payouts_enabled, "type": "standard",
    }))
}

/// `POST /v1/billing_portal/sessions`
pub fn open_portal(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let customer = call
        .form
        .text("customer")
        .ok_or_else(|| Refusal::missing("customer"))?;
    world.objects.named("customer", customer, "customer")?;
    let mut session = world.object("bps", "billing_portal.session");
    let parts = json!({
        "configuration": "bpc_simulator", "customer": customer, "flow": null, "locale": call.form.text("locale"),
        "on_behalf_of": null, "return_url": call.form.text("return_url"),
        "url": format!("{}/p/session/{}", world.base, text(&session, "id")),
    });
    extend(&mut session, parts);
    if let Some(kind) = call.form.text("flow_data.type") {
        session["flow"] = json!({
            "after_completion": { "type": "portal_homepage", "hosted_confirmation": null, "redirect": null },
            "subscription_cancel": null, "subscription_update": null, "subscription_update_confirm": null, "type": kind,
        });
    }
    world.objects.put(session.clone());
    Ok(session)
}

/// `POST /v1/webhook_endpoints`
pub fn create_endpoint(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let kinds = call.form.entries("enabled_events");
    let kinds: Vec<&str> = kinds.iter().filter_map(|(_, kind)| kind.value()).collect();
    let url = call.form.text("url").unwrap_or_default();
    if call
        .form
        .text("api_version")
        .is_some_and(|version| version != VERSION)
    {
        return Err(
            Refusal::invalid(format!("This simulator speaks only {VERSION}.")).about("api_version"),
        );
    }
    let secret = format!("whsec_{}", world.token());
    let mut endpoint = add_endpoint(world, url, &kinds, &secret)?;
    set_texts(&mut endpoint, call.form, &["description"]);
    merge_metadata(&mut endpoint, call.form, "metadata");
    world.objects.put(endpoint.clone());
    endpoint["secret"] = json!(secret);
    Ok(endpoint)
}

/// Sends events of these kinds to `url` from now on, signed with `secret`.
///
/// # Errors
/// When it is no URL.
pub fn add_endpoint(
    world: &mut World,
    url: &str,
    kinds: &[&str],
    secret: &str,
) -> Result<Value, Refusal> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Refusal::parameter(
            "url_invalid",
            "url",
            "Invalid URL: An explicit scheme (such as https) must be provided.",
        ));
    }
    let mut endpoint = world.object("we", "webhook_endpoint");
    let parts = json!({
        "api_version": VERSION, "application": null, "description": null, "enabled_events": kinds, "metadata": {},
        "status": "enabled", "url": url,
    });
    extend(&mut endpoint, parts);
    world
        .secrets
        .insert(text(&endpoint, "id").to_owned(), secret.to_owned());
    world.objects.put(endpoint.clone());
    Ok(endpoint)
}

/// `POST /v1/webhook_endpoints/{webhook_endpoint}`
pub fn update_endpoint(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut endpoint = world.objects.find("webhook_endpoint", call.ids[0])?;
    set_texts(&mut endpoint, call.form, &["description", "url"]);
    merge_metadata(&mut endpoint, call.form, "metadata");
    if call.form.get("enabled_events").is_some() {
        let kinds = call.form.entries("enabled_events");
        endpoint["enabled_events"] = kinds.iter().filter_map(|(_, kind)| kind.value()).collect();
    }
    if let Some(disabled) = call.form.boolean("disabled") {
        endpoint["status"] = json!(if disabled { "disabled" } else { "enabled" });
    }
    world.objects.put(endpoint.clone());
    Ok(endpoint)
}

/// `GET /v1/webhook_endpoints/{webhook_endpoint}`
pub fn retrieve_endpoint(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("webhook_endpoint", call.ids[0])
}

/// `GET /v1/webhook_endpoints`
pub fn list_endpoints(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world
        .objects
        .page("webhook_endpoint", call.path, call.form, |_| true)
}

/// `DELETE /v1/webhook_endpoints/{webhook_endpoint}`
pub fn delete_endpoint(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("webhook_endpoint", call.ids[0])?;
    let deleted = json!({ "id": call.ids[0], "object": "webhook_endpoint", "deleted": true });
    world.objects.put(deleted.clone());
    Ok(deleted)
}

/// `GET /v1/events/{id}`
pub fn retrieve_event(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("event", call.ids[0])
}

/// `GET /v1/events`
pub fn list_events(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let kinds = call.form.entries("types");
    let kinds: Vec<&str> = kinds
        .iter()
        .filter_map(|(_, kind)| kind.value())
        .chain(call.form.text("type"))
        .collect();
    let fits = |event: &Value| {
        kinds.is_empty() || kinds.iter().any(|kind| matches(kind, text(event, "type")))
    };
    world.objects.page("event", call.path, call.form, fits)
}

/// Whether an event's type is `pattern`, or begins with it when it ends in `*`.
#[must_use]
pub fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => kind == pattern,
    }
}
