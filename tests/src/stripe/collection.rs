//! Taking the money of an invoice: finalizing, attempts, and what a customer does on the hosted invoice page.

use serde_json::{Value, json};

use super::cards::{Card, Reaction, declined};
use super::customers::{extend, save_card};
use super::objects::{integer, list, text};
use super::refusal::Refusal;
use super::world::{ACCOUNT, Call, Charge, World, now};

/// When Stripe tries again by itself, in seconds after a failure.
const RETRY_S: i64 = 3 * 24 * 3600;

/// Opens a draft: numbers it, applies the customer's balance, and pays at once what needs no money.
pub fn finalize(world: &mut World, mut invoice: Value, auto_advance: Option<bool>) -> Value {
    let mut customer = world
        .objects
        .get(text(&invoice, "customer"))
        .cloned()
        .unwrap_or_default();
    let sequence = integer(&customer, "next_invoice_sequence");
    customer["next_invoice_sequence"] = json!(sequence + 1);
    if invoice["number"].is_null() {
        invoice["number"] = json!(format!(
            "{}-{sequence:04}",
            text(&customer, "invoice_prefix")
        ));
    }
    let (total, balance) = (integer(&invoice, "total"), integer(&customer, "balance"));
    let due = (total + balance).max(0);
    let too_small = due > 0 && due < least_charge(text(&invoice, "currency"));
    let ending = if due == 0 {
        total + balance
    } else if too_small {
        due
    } else {
        0
    };
    customer["balance"] = json!(ending);
    if let Some(auto_advance) = auto_advance {
        invoice["auto_advance"] = json!(auto_advance);
    }
    let url = format!("{}/i/{ACCOUNT}/{}", world.base, text(&invoice, "id"));
    let due = if too_small { 0 } else { due };
    let parts = json!({
        "status": "open", "starting_balance": balance, "ending_balance": ending, "amount_due": due,
        "amount_remaining": due, "effective_at": now(), "invoice_pdf": format!("{url}/pdf"), "hosted_invoice_url": url,
    });
    extend(&mut invoice, parts);
    invoice["status_transitions"]["finalized_at"] = json!(now());
    world.objects.put(customer);
    world.put_and_tell(invoice.clone(), &["invoice.finalized", "invoice.updated"]);
    if due == 0 {
        return settle(world, invoice);
    }
    let payment = payment(world, &invoice);
    world.objects.put(payment);
    if invoice["auto_advance"] == true {
        world.due.push(text(&invoice, "id").to_owned());
    }
    invoice
}

/// The least amount that Stripe charges in a currency, in its smallest unit.
fn least_charge(currency: &str) -> i64 {
    match currency {
        "gbp" => 30,
        "jpy" => 50,
        "kwd" => 150,
        "huf" => 17_500,
        "sek" | "nok" => 300,
        "dkk" => 250,
        _ => 50,
    }
}

fn payment(world: &mut World, invoice: &Value) -> Value {
    let mut payment = world.object("inpay", "invoice_payment");
    let intent = world.id("pi");
    let parts = json!({
        "amount_paid": null, "amount_requested": invoice["amount_due"], "currency": invoice["currency"],
        "invoice": invoice["id"], "is_default": true, "payment": { "type": "payment_intent", "payment_intent": intent },
        "status": "open", "status_transitions": { "canceled_at": null, "paid_at": null },
    });
    extend(&mut payment, parts);
    payment
}

impl World {
    /// The payments of an invoice as a list.
    #[must_use]
    pub fn payments(&self, invoice: &str) -> Value {
        let payments = self.objects.of_kind("invoice_payment");
        let of_invoice = payments.filter(|payment| payment["invoice"] == invoice);
        list(of_invoice.cloned().collect(), "/v1/invoice_payments", false)
    }
}

/// `GET /v1/invoice_payments`
pub fn list_payments(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let (invoice, status) = (call.form.text("invoice"), call.form.text("status"));
    let fits = |payment: &Value| {
        invoice.is_none_or(|invoice| payment["invoice"] == invoice)
            && status.is_none_or(|status| payment["status"] == status)
    };
    world
        .objects
        .page("invoice_payment", call.path, call.form, fits)
}

/// `GET /v1/invoice_payments/{invoice_payment}`
pub fn retrieve_payment(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("invoice_payment", call.ids[0])
}

/// Marks an invoice as paid.
pub fn settle(world: &mut World, mut invoice: Value) -> Value {
    let due = integer(&invoice, "amount_due");
    let parts = json!({
        "status": "paid", "amount_paid": due, "amount_remaining": 0, "attempted": true, "next_payment_attempt": null,
    });
    extend(&mut invoice, parts);
    invoice["status_transitions"]["paid_at"] = json!(now());
    let id = text(&invoice, "id").to_owned();
    world.authenticating.remove(&id);
    let open = world
        .objects
        .of_kind("invoice_payment")
        .find(|payment| payment["invoice"] == id.as_str());
    if let Some(mut payment) = open.cloned() {
        payment["status"] = json!("paid");
        payment["amount_paid"] = json!(due);
        payment["status_transitions"]["paid_at"] = json!(now());
        world.put_and_tell(payment, &["invoice_payment.paid"]);
    }
    world.put_and_tell(
        invoice.clone(),
        &[
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
        ],
    );
    invoice
}

/// Tries to take the money while the customer is away.
///
/// # Errors
/// When the card is declined, wants 3-D Secure, or there is none.
pub fn attempt(
    world: &mut World,
    mut invoice: Value,
    method: Option<&str>,
) -> Result<Value, Refusal> {
    let customer = world
        .objects
        .get(text(&invoice, "customer"))
        .cloned()
        .unwrap_or_default();
    let fallback = invoice["default_payment_method"]
        .as_str()
        .or(customer["invoice_settings"]["default_payment_method"].as_str());
    let card = match (method, fallback) {
        (Some(method), _) => {
            let method = world
                .objects
                .named("payment_method", method, "payment_method")?;
            world.cards.get(text(&method, "id"))
        }
        (None, fallback) => fallback.and_then(|method| world.cards.get(method)),
    };
    let Some(card) = card.copied() else {
        count_attempt(&mut invoice);
        world.put_and_tell(invoice, &["invoice.updated", "invoice.payment_failed"]);
        let message = "This customer has no attached payment source or default payment method. Please consider adding a default payment method.";
        return Err(Refusal::invalid(message).coded("resource_missing"));
    };
    react(world, invoice, card, card.charged)
}

/// What a bank's reaction makes of an invoice.
fn react(
    world: &mut World,
    mut invoice: Value,
    card: Card,
    reaction: Reaction,
) -> Result<Value, Refusal> {
    count_attempt(&mut invoice);
    world.charges.push(Charge {
        invoice: text(&invoice, "id").to_owned(),
        amount: integer(&invoice, "amount_due"),
        currency: text(&invoice, "currency").to_owned(),
        paid: reaction == Reaction::Accepts,
    });
    match reaction {
        Reaction::Accepts => Ok(settle(world, invoice)),
        Reaction::WantsAuthentication => {
            world
                .authenticating
                .insert(text(&invoice, "id").to_owned(), card);
            let kinds = [
                "invoice.updated",
                "invoice.payment_action_required",
                "invoice.payment_failed",
            ];
            world.put_and_tell(invoice, &kinds);
            Err(Refusal::action_required())
        }
        Reaction::Declines(code) => {
            world.put_and_tell(invoice, &["invoice.updated", "invoice.payment_failed"]);
            Err(declined(code))
        }
    }
}

fn count_attempt(invoice: &mut Value) {
    invoice["attempted"] = json!(true);
    invoice["attempt_count"] = json!(integer(invoice, "attempt_count") + 1);
    invoice["next_payment_attempt"] = match invoice["auto_advance"] {
        Value::Bool(true) => json!(now() + RETRY_S),
        _ => Value::Null,
    };
}

/// Charges an invoice soon after it was finalized, unless somebody has tried already.
pub fn collect_first(world: &mut World, id: &str) {
    let invoice = world.objects.get(id);
    if invoice.is_some_and(|invoice| invoice["attempted"] == false) {
        collect(world, id);
    }
}

/// Charges an open invoice as Stripe does by itself, days after it failed.
pub fn collect(world: &mut World, id: &str) {
    let invoice = world.objects.find("invoice", id).ok();
    if let Some(invoice) = invoice.filter(|invoice| invoice["status"] == "open") {
        // A refusal has been told by its events.
        let _ = attempt(world, invoice, None);
    }
}

/// The customer enters a card on the hosted invoice page.
///
/// # Errors
/// When it is declined or wants 3-D Secure, or the invoice is not open.
pub fn enter_card(world: &mut World, id: &str, number: &str) -> Result<Value, Refusal> {
    let invoice = payable(world, id)?;
    let card = Card::find(number)?;
    save_card(world, card, &Value::Null);
    let reaction = match (card.entered, card.charged) {
        (Reaction::Accepts, charged) => charged,
        (entered, _) => entered,
    };
    react(world, invoice, card, reaction)
}

/// The customer passes or fails 3-D Secure on the hosted invoice page.
///
/// # Errors
/// When it failed, or nothing waits for it.
pub fn authenticate(world: &mut World, id: &str, passed: bool) -> Result<Value, Refusal> {
    let invoice = payable(world, id)?;
    let card = world
        .authenticating
        .remove(id)
        .ok_or_else(|| Refusal::invalid("No card waits for authentication."))?;
    if passed {
        return react(world, invoice, card, Reaction::Accepts);
    }
    react(
        world,
        invoice,
        card,
        Reaction::Declines("authentication_required"),
    )
}

fn payable(world: &World, id: &str) -> Result<Value, Refusal> {
    let invoice = world.objects.find("invoice", id)?;
    match text(&invoice, "status") {
        "open" | "uncollectible" => Ok(invoice),
        status => Err(Refusal::invalid(format!("This invoice is {status}."))),
    }
}
