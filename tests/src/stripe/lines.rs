//! Lines of invoices.

use serde_json::{Value, json};

use super::customers::extend;
use super::form::Node;
use super::invoices::draft;
use super::objects::{integer, list, merge_metadata, page, text};
use super::refusal::Refusal;
use super::world::{Call, World, now};

/// The most lines of an invoice.
const LINES: usize = 250;
/// How many lines an invoice shows itself.
const EMBEDDED: usize = 10;
/// More than eight digits are too much for a line.
const LARGEST: i64 = 99_999_999;

/// Sums the lines up and shows the first of them.
pub fn refresh(world: &World, invoice: &mut Value) {
    let id = text(invoice, "id").to_owned();
    let lines = world.lines.get(&id).map_or(&[][..], Vec::as_slice);
    let total: i64 = lines.iter().map(|line| integer(line, "amount")).sum();
    for name in [
        "subtotal",
        "subtotal_excluding_tax",
        "total",
        "total_excluding_tax",
    ] {
        invoice[name] = json!(total);
    }
    invoice["amount_due"] = json!(total.max(0));
    invoice["amount_remaining"] = json!(total.max(0));
    let shown = lines.iter().take(EMBEDDED).cloned().collect();
    invoice["lines"] = list(
        shown,
        &format!("/v1/invoices/{id}/lines"),
        lines.len() > EMBEDDED,
    );
}

/// `POST /v1/invoices/{invoice}/add_lines`
pub fn add(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let mut invoice = draft(world, call.ids[0])?;
    merge_metadata(&mut invoice, call.form, "invoice_metadata");
    let mut made = Vec::new();
    for position in 0..call.form.entries("lines").len() {
        made.push(line(
            world,
            &invoice,
            call.form,
            &format!("lines.{position}"),
        )?);
    }
    let lines = world.lines.entry(call.ids[0].to_owned()).or_default();
    if lines.len() + made.len() > LINES {
        return Err(
            Refusal::invalid(format!("An invoice can have at most {LINES} line items."))
                .about("lines"),
        );
    }
    lines.extend(made);
    refresh(world, &mut invoice);
    world.put_and_tell(invoice.clone(), &["invoice.updated"]);
    Ok(invoice)
}

fn line(world: &mut World, invoice: &Value, form: &Node, place: &str) -> Result<Value, Refusal> {
    let amount = match (
        form.integer(&format!("{place}.amount")),
        form.get(&format!("{place}.price_data")),
    ) {
        (Some(amount), None) => amount,
        (None, Some(_)) => priced(invoice, form, place)?,
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "You may only specify one of these parameters: amount, price_data.",
            )
            .coded("parameters_exclusive"));
        }
        (None, None) => return Err(Refusal::missing(&format!("{place}.amount"))),
    };
    if amount.abs() > LARGEST {
        return Err(
            Refusal::invalid(format!("Amount must be no more than {LARGEST}."))
                .coded("amount_too_large"),
        );
    }
    let moment = |name: &str| {
        form.integer(&format!("{place}.period.{name}"))
            .unwrap_or_else(now)
    };
    let (start, end) = (moment("start"), moment("end"));
    if end < start {
        return Err(
            Refusal::invalid("The period's end must not be before its start.").about("period[end]"),
        );
    }
    let mut line = world.object("il", "line_item");
    let item = world.id("ii");
    let quantity = form.integer(&format!("{place}.quantity")).unwrap_or(1);
    let parts = json!({
        "amount": amount, "currency": invoice["currency"], "description": form.text(&format!("{place}.description")),
        "discount_amounts": [], "discountable": form.boolean(&format!("{place}.discountable")).unwrap_or(true),
        "discounts": [], "invoice": invoice["id"], "metadata": {},
        "parent": {
            "invoice_item_details": { "invoice_item": item, "proration": false, "proration_details": null, "subscription": null },
            "subscription_item_details": null, "type": "invoice_item_details",
        },
        "period": { "end": end, "start": start }, "pretax_credit_amounts": [], "pricing": null,
        "quantity": quantity, "quantity_decimal": quantity.to_string(), "subtotal": amount, "subscription": null, "taxes": [],
    });
    extend(&mut line, parts);
    merge_metadata(&mut line, form, &format!("{place}.metadata"));
    Ok(line)
}

/// Unit amount × quantity, for whole unit amounts.
fn priced(invoice: &Value, form: &Node, place: &str) -> Result<i64, Refusal> {
    let data = format!("{place}.price_data");
    if form.text(&format!("{data}.currency")) != invoice["currency"].as_str() {
        return Err(
            Refusal::invalid("The price's currency is not the invoice's.")
                .about("price_data[currency]"),
        );
    }
    let unit = form.integer(&format!("{data}.unit_amount"));
    let unit = unit.ok_or_else(|| Refusal::missing(&format!("{data}.unit_amount")))?;
    Ok(unit * form.integer(&format!("{place}.quantity")).unwrap_or(1))
}

/// `GET /v1/invoices/{invoice}/lines`
pub fn list_all(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    world.objects.find("invoice", call.ids[0])?;
    let lines = world.lines.get(call.ids[0]).map_or(&[][..], Vec::as_slice);
    page(&lines.iter().collect::<Vec<_>>(), call.path, call.form)
}
