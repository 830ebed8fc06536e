//! Invoices: drafts, and what becomes of them.

use serde_json::{Value, json};

use super::customers::extend;
use super::form::Node;
use super::objects::{integer, merge_metadata, nulls, set_texts, text};
use super::refusal::Refusal;
use super::world::{Call, World, now};
use super::{collection, lines};

/// What a draft does not have yet, and what our invoices never have.
const UNSET: [&str; 26] = [
    "account_tax_ids",
    "application",
    "automatically_finalizes_at",
    "custom_fields",
    "customer_shipping",
    "default_payment_method",
    "default_source",
    "description",
    "due_date",
    "effective_at",
    "ending_balance",
    "footer",
    "from_invoice",
    "hosted_invoice_url",
    "invoice_pdf",
    "last_finalization_error",
    "latest_revision",
    "next_payment_attempt",
    "number",
    "on_behalf_of",
    "parent",
    "receipt_number",
    "rendering",
    "shipping_cost",
    "statement_descriptor",
    "webhooks_delivered_at",
];

/// `POST /v1/invoices`
pub fn create(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let form = call.form;
    let id = form
        .text("customer")
        .ok_or_else(|| Refusal::missing("customer"))?;
    let customer = world.objects.named("customer", id, "customer")?;
    let currency = form
        .text("currency")
        .unwrap_or_else(|| customer["currency"].as_str().unwrap_or("usd"))
        .to_owned();
    if customer["currency"]
        .as_str()
        .is_some_and(|known| known != currency.as_str())
    {
        return Err(Refusal::invalid(format!(
            "The customer's currency is {}; an invoice in {currency} cannot be made.",
            customer["currency"]
        ))
        .about("currency"));
    }
    if form.boolean("automatic_tax.enabled") == Some(true) {
        return Err(
            Refusal::invalid("This simulator computes no tax.").about("automatic_tax[enabled]")
        );
    }
    if form.text("collection_method") == Some("send_invoice") {
        return Err(
            Refusal::invalid("This simulator only charges automatically.")
                .about("collection_method"),
        );
    }
    let mut invoice = blank(world, &customer, &currency);
    invoice["auto_advance"] = json!(form.boolean("auto_advance").unwrap_or(false));
    write(world, &mut invoice, form)?;
    world
        .lines
        .insert(text(&invoice, "id").to_owned(), Vec::new());
    lines::refresh(world, &mut invoice);
    world.put_and_tell(invoice.clone(), &["invoice.created"]);
    if customer["currency"].is_null() {
        let mut customer = customer;
        customer["currency"] = json!(currency);
        world.objects.put(customer);
    }
    Ok(invoice)
}

fn blank(world: &mut World, customer: &Value, currency: &str) -> Value {
    let mut invoice = world.object("in", "invoice");
    let parts = json!({
        "account_country": "US",
        "account_name": "Stripe simulator",
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": false,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": { "type": "self" },
        "metadata": {},
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": now(),
        "period_start": now(),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": { "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null },
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    });
    extend(&mut invoice, nulls(&UNSET));
    extend(&mut invoice, parts);
    invoice
}

fn write(world: &World, invoice: &mut Value, form: &Node) -> Result<(), Refusal> {
    set_texts(
        invoice,
        form,
        &["description", "footer", "statement_descriptor", "number"],
    );
    merge_metadata(invoice, form, "metadata");
    if let Some(auto_advance) = form.boolean("auto_advance") {
        invoice["auto_advance"] = json!(auto_advance);
    }
    if let Some(method) = form.text("default_payment_method") {
        let method = world
            .objects
            .named("payment_method", method, "default_payment_method")?;
        invoice["default_payment_method"] = method["id"].clone();
    }
    Ok(())
}

/// `POST /v1/invoices/{invoice}`
pub fn update(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut invoice = world.objects.find("invoice", call.ids[0])?;
    let only_notes = ["description", "footer", "number", "statement_descriptor"]
        .iter()
        .all(|name| call.form.get(name).is_none());
    if invoice["status"] != "draft" && !only_notes {
        return Err(not_editable());
    }
    write(world, &mut invoice, call.form)?;
    world.put_and_tell(invoice.clone(), &["invoice.updated"]);
    Ok(invoice)
}

/// `POST /v1/invoices/{invoice}/finalize`
pub fn finalize(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let invoice = world.objects.find("invoice", call.ids[0])?;
    if invoice["status"] != "draft" {
        return Err(Refusal::invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
        )
        .coded("invoice_not_editable"));
    }
    if integer(&invoice, "total") < 0 {
        return Err(Refusal::invalid(
            "This simulator gives no credit for a negative invoice.",
        ));
    }
    Ok(collection::finalize(
        world,
        invoice,
        call.form.boolean("auto_advance"),
    ))
}

/// `POST /v1/invoices/{invoice}/pay`
pub fn pay(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let invoice = world.objects.find("invoice", call.ids[0])?;
    let invoice = match text(&invoice, "status") {
        "draft" => collection::finalize(world, invoice, None),
        "open" | "uncollectible" => invoice,
        "paid" => return Err(Refusal::invalid("Invoice is already paid")),
        status => {
            return Err(Refusal::invalid(format!(
                "This invoice is {status} and cannot be paid."
            )));
        }
    };
    if invoice["status"] == "paid" {
        return Ok(invoice);
    }
    if call.form.boolean("paid_out_of_band") == Some(true) {
        return Ok(collection::settle(world, invoice));
    }
    collection::attempt(world, invoice, call.form.text("payment_method"))
}

/// `POST /v1/invoices/{invoice}/void`
pub fn void(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    transition(
        world,
        call,
        &["open", "uncollectible"],
        "void",
        "voided_at",
        "invoice.voided",
    )
}

/// `POST /v1/invoices/{invoice}/mark_uncollectible`
pub fn mark_uncollectible(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    transition(
        world,
        call,
        &["open"],
        "uncollectible",
        "marked_uncollectible_at",
        "invoice.marked_uncollectible",
    )
}

fn transition(
    world: &mut World,
    call: &Call,
    from: &[&str],
    to: &str,
    at: &str,
    kind: &str,
) -> Result<Value, Refusal> {
    let mut invoice = world.objects.find("invoice", call.ids[0])?;
    if !from.contains(&text(&invoice, "status")) {
        return Err(Refusal::invalid(format!(
            "You can only pass in open invoices. This invoice is {}.",
            text(&invoice, "status")
        ))
        .coded("status_transition_invalid"));
    }
    invoice["status"] = json!(to);
    invoice["status_transitions"][at] = json!(now());
    invoice["next_payment_attempt"] = Value::Null;
    world.put_and_tell(invoice.clone(), &["invoice.updated", kind]);
    Ok(invoice)
}

/// `DELETE /v1/invoices/{invoice}`
pub fn delete(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let invoice = draft(world, call.ids[0])?;
    world.tell("invoice.deleted", &invoice);
    let deleted = json!({ "id": call.ids[0], "object": "invoice", "deleted": true });
    world.objects.put(deleted.clone());
    Ok(deleted)
}

/// `GET /v1/invoices/{invoice}`
pub fn retrieve(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let invoice = world.objects.find("invoice", call.ids[0])?;
    if invoice["deleted"] == true {
        return Err(Refusal::not_found("invoice", call.ids[0]));
    }
    Ok(invoice)
}

/// `GET /v1/invoices`
pub fn list_all(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let (customer, status) = (call.form.text("customer"), call.form.text("status"));
    let fits = |invoice: &Value| {
        customer.is_none_or(|customer| invoice["customer"] == customer)
            && status.is_none_or(|status| invoice["status"] == status)
    };
    world.objects.page("invoice", call.path, call.form, fits)
}

/// The draft with this id.
///
/// # Errors
/// When there is none, or it is no draft any more.
pub fn draft(world: &World, id: &str) -> Result<Value, Refusal> {
    let invoice = world.objects.find("invoice", id)?;
    if invoice["status"] == "draft" {
        Ok(invoice)
    } else {
        Err(not_editable())
    }
}

fn not_editable() -> Refusal {
    Refusal::invalid("This invoice is no longer editable.").coded("invoice_not_editable")
}
