//! Customers and their payment methods.

use serde_json::{Value, json};

use super::cards::Card;
use super::objects::{address, list, merge_metadata, set_texts, text};
use super::refusal::Refusal;
use super::world::{Call, World};

const TEXTS: [&str; 4] = ["description", "email", "name", "phone"];

/// `POST /v1/customers`
pub fn create(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut customer = world.object("cus", "customer");
    let blank = json!({
        "address": null, "balance": 0, "currency": null, "default_source": null, "delinquent": false,
        "description": null, "email": null, "invoice_prefix": world.token()[..8].to_uppercase(),
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null,
        },
        "metadata": {}, "name": null, "next_invoice_sequence": 1, "phone": null, "preferred_locales": [],
        "shipping": null, "tax_exempt": "none", "test_clock": null,
    });
    extend(&mut customer, blank);
    write(world, &mut customer, call)?;
    world.put_and_tell(customer.clone(), &["customer.created"]);
    Ok(customer)
}

/// `POST /v1/customers/{customer}`
pub fn update(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut customer = world.objects.find("customer", call.ids[0])?;
    if customer["deleted"] == true {
        return Err(Refusal::not_found("customer", call.ids[0]));
    }
    write(world, &mut customer, call)?;
    world.put_and_tell(customer.clone(), &["customer.updated"]);
    Ok(customer)
}

/// `GET /v1/customers/{customer}`
pub fn retrieve(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("customer", call.ids[0])
}

/// `GET /v1/customers`
pub fn list_all(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let email = call.form.text("email");
    let fits = |customer: &Value| email.is_none_or(|email| customer["email"] == email);
    world.objects.page("customer", call.path, call.form, fits)
}

/// `DELETE /v1/customers/{customer}`
pub fn delete(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let id = call.ids[0];
    let customer = world.objects.find("customer", id)?;
    world.tell("customer.deleted", &customer);
    let deleted = json!({ "id": id, "object": "customer", "deleted": true });
    world.objects.put(deleted.clone());
    Ok(deleted)
}

fn write(world: &World, customer: &mut Value, call: &Call) -> Result<(), Refusal> {
    set_texts(customer, call.form, &TEXTS);
    merge_metadata(customer, call.form, "metadata");
    if call.form.get("address").is_some() {
        customer["address"] = address(call.form, "address");
    }
    let place = "invoice_settings.default_payment_method";
    if let Some(id) = call.form.text(place) {
        let param = "invoice_settings[default_payment_method]";
        let method = world.objects.named("payment_method", id, param)?;
        if method["customer"] != customer["id"] {
            let message = format!(
                "The customer does not have a payment method with the ID {id}. The payment method must be attached to the customer."
            );
            return Err(Refusal::parameter("resource_missing", param, message));
        }
        customer["invoice_settings"]["default_payment_method"] = json!(id);
    }
    Ok(())
}

/// A new payment method for a card, of this customer if there is one.
pub fn save_card(world: &mut World, card: Card, customer: &Value) -> Value {
    let mut method = world.object("pm", "payment_method");
    let details = json!({
        "allow_redisplay": "always",
        "billing_details": {
            "address": { "city": null, "country": "US", "line1": null, "line2": null, "postal_code": null, "state": null },
            "email": customer["email"], "name": customer["name"], "phone": null, "tax_id": null,
        },
        "card": {
            "brand": card.brand(), "display_brand": card.brand(), "country": "US", "exp_month": 12, "exp_year": 2099,
            "fingerprint": format!("card{}", card.number), "funding": "credit", "generated_from": null,
            "last4": card.last4(), "networks": { "available": [card.brand()], "preferred": null },
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "three_d_secure_usage": { "supported": true }, "wallet": null,
        },
        "customer": customer["id"], "metadata": {}, "type": "card",
    });
    extend(&mut method, details);
    world.cards.insert(text(&method, "id").to_owned(), card);
    world.objects.put(method.clone());
    if method["customer"].is_string() {
        world.tell("payment_method.attached", &method);
    }
    method
}

/// Makes a payment method the one that pays a customer's invoices.
pub fn set_default_method(world: &mut World, customer: &str, method: &Value) {
    if let Ok(mut customer) = world.objects.find("customer", customer) {
        customer["invoice_settings"]["default_payment_method"] = method["id"].clone();
        world.put_and_tell(customer, &["customer.updated"]);
    }
}

/// `GET /v1/customers/{customer}/payment_methods`
pub fn list_methods(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.named("customer", call.ids[0], "customer")?;
    methods_of(world, call, Some(call.ids[0]))
}

/// `GET /v1/payment_methods`
pub fn list_all_methods(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let customer = call.form.text("customer");
    if let Some(customer) = customer {
        world.objects.named("customer", customer, "customer")?;
    }
    methods_of(world, call, customer)
}

fn methods_of(world: &World, call: &Call, customer: Option<&str>) -> Result<Value, Refusal> {
    if call.form.text("type").is_some_and(|kind| kind != "card") {
        return Ok(list(Vec::new(), call.path, false));
    }
    let fits = |method: &Value| customer.is_some_and(|customer| method["customer"] == customer);
    world
        .objects
        .page("payment_method", call.path, call.form, fits)
}

/// `GET /v1/payment_methods/{payment_method}`
pub fn retrieve_method(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("payment_method", call.ids[0])
}

/// `GET /v1/customers/{customer}/payment_methods/{payment_method}`
pub fn retrieve_method_of(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let method = world.objects.find("payment_method", call.ids[1])?;
    if method["customer"] != call.ids[0] {
        return Err(Refusal::not_found("PaymentMethod", call.ids[1]));
    }
    Ok(method)
}

/// `POST /v1/payment_methods/{payment_method}/detach`
pub fn detach_method(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut method = world.objects.find("payment_method", call.ids[0])?;
    let Some(owner) = method["customer"].as_str().map(str::to_owned) else {
        return Err(Refusal::invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
        ));
    };
    method["customer"] = Value::Null;
    world.put_and_tell(method.clone(), &["payment_method.detached"]);
    if let Ok(mut customer) = world.objects.find("customer", &owner)
        && customer["invoice_settings"]["default_payment_method"] == method["id"]
    {
        customer["invoice_settings"]["default_payment_method"] = Value::Null;
        world.put_and_tell(customer, &["customer.updated"]);
    }
    Ok(method)
}

/// Adds the parts of one object to another.
pub fn extend(object: &mut Value, parts: Value) {
    if let (Value::Object(object), Value::Object(parts)) = (object, parts) {
        object.extend(parts);
    }
}
