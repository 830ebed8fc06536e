//! The pages a customer sees: Checkout, the portal and the hosted invoice. They need no scripts, and a plain form POST
//! does what a click does.

use axum::body::Body;
use axum::http::{HeaderValue, Response};
use serde_json::Value;

use super::cards::{CARDS, Card, Reaction, declined};
use super::checkout::{self, Step};
use super::collection;
use super::customers::{save_card, set_default_method};
use super::form::{Node, decode};
use super::objects::{integer, text};
use super::refusal::Refusal;
use super::server::{Asked, Simulator, response};
use super::world::World;

/// Answers a customer's browser.
pub fn answer(simulator: &Simulator, asked: &Asked) -> Response<Body> {
    let mut world = simulator.world();
    let form = decode(&asked.body).unwrap_or(Node::Hash(Vec::new()));
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    let post = asked.method == "POST";
    let shown = match parts.as_slice() {
        ["c", "pay", session] if post => enter_card(&mut world, session, &form),
        ["c", "pay", session] => checkout_page(&mut world, session, None),
        ["c", "pay", session, "authenticate"] if post => authenticate(&mut world, session, &form),
        ["c", "pay", session, "authenticate"] => {
            Ok(authentication_page(&format!("/c/pay/{session}")))
        }
        ["p", "session", session] if post => replace_card(&mut world, session, &form),
        ["p", "session", session] => portal_page(&world, session, None),
        ["p", "session", session, "authenticate"] if post => {
            replace_authenticated(&mut world, session, &form)
        }
        ["p", "session", session, "authenticate"] => {
            Ok(authentication_page(&format!("/p/session/{session}")))
        }
        ["i", _, invoice] if post => pay(&mut world, invoice, &form),
        ["i", _, invoice] => invoice_page(&world, invoice, None),
        ["i", account, invoice, "authenticate"] if post => {
            pay_authenticated(&mut world, account, invoice, &form)
        }
        ["i", account, invoice, "authenticate"] => {
            Ok(authentication_page(&format!("/i/{account}/{invoice}")))
        }
        [""] => Ok(page(
            200,
            "Nothing is sold here",
            "<p>The API is at <code>/v1</code>; faults and records are at <code>/_simulator</code>.</p>",
        )),
        _ => Err(Refusal::not_found("page", &asked.path)),
    };
    shown.unwrap_or_else(|refusal| {
        let text = format!("<p role=\"alert\">{}</p>", escaped(refusal.message()));
        page(refusal.status, "This does not work", &text)
    })
}

fn enter_card(world: &mut World, session: &str, form: &Node) -> Result<Response<Body>, Refusal> {
    match checkout::enter_card(world, session, form.text("cardNumber").unwrap_or_default()) {
        Ok(step) => Ok(follow(step, &format!("/c/pay/{session}"))),
        Err(refusal) => checkout_page(world, session, Some(&refusal)),
    }
}

fn authenticate(world: &mut World, session: &str, form: &Node) -> Result<Response<Body>, Refusal> {
    match checkout::authenticate(world, session, passed(form)) {
        Ok(step) => Ok(follow(step, &format!("/c/pay/{session}"))),
        Err(refusal) => checkout_page(world, session, Some(&refusal)),
    }
}

fn passed(form: &Node) -> bool {
    form.text("result") == Some("complete")
}

fn follow(step: Step, place: &str) -> Response<Body> {
    match step {
        Step::Done(target) => redirect(&target),
        Step::Authenticate => redirect(&format!("{place}/authenticate")),
    }
}

fn checkout_page(
    world: &mut World,
    session: &str,
    refusal: Option<&Refusal>,
) -> Result<Response<Body>, Refusal> {
    let session = checkout::current(world, session)?;
    if session["status"] != "open" {
        let text = format!(
            "<p>This Checkout Session is {}. You can close this page.</p>",
            text(&session, "status")
        );
        return Ok(page(200, "You're all done here", &text));
    }
    let cancel = session["cancel_url"]
        .as_str()
        .map_or_else(String::new, |url| {
            format!(
                "<p><a id=\"cancel\" href=\"{}\">Cancel and go back</a></p>",
                escaped(url)
            )
        });
    let customer = world.objects.get(text(&session, "customer"));
    let email = customer
        .map(|customer| text(customer, "email"))
        .unwrap_or_default();
    let body = format!(
        "<p>{}</p>{}{cancel}",
        escaped(email),
        card_form(refusal, "Save card")
    );
    Ok(page(status(refusal), "Save a card", &body))
}

fn status(refusal: Option<&Refusal>) -> u16 {
    refusal.map_or(200, |refusal| refusal.status)
}

fn portal_page(
    world: &World,
    session: &str,
    refusal: Option<&Refusal>,
) -> Result<Response<Body>, Refusal> {
    let session = world.objects.find("billing_portal.session", session)?;
    let customer = world
        .objects
        .named("customer", text(&session, "customer"), "customer")?;
    let default = &customer["invoice_settings"]["default_payment_method"];
    let mut body = "<h2>Payment methods</h2><ul>".to_owned();
    for method in world
        .objects
        .of_kind("payment_method")
        .filter(|method| method["customer"] == customer["id"])
    {
        let note = if method["id"] == *default {
            " (default)"
        } else {
            ""
        };
        body += &format!(
            "<li>{} ending in {}{note}</li>",
            text(&method["card"], "brand"),
            text(&method["card"], "last4")
        );
    }
    body += "</ul>";
    body += &card_form(refusal, "Replace card");
    body += "<h2>Invoices</h2><ul>";
    for invoice in world
        .objects
        .of_kind("invoice")
        .filter(|invoice| invoice["customer"] == customer["id"] && invoice["status"] != "draft")
    {
        let url = escaped(text(invoice, "hosted_invoice_url"));
        body += &format!(
            "<li><a href=\"{url}\">{}</a> {} {}</li>",
            escaped(text(invoice, "number")),
            amount(invoice, "total"),
            text(invoice, "status")
        );
    }
    body += "</ul>";
    if let Some(url) = session["return_url"].as_str() {
        body += &format!(
            "<p><a id=\"return\" href=\"{}\">Return</a></p>",
            escaped(url)
        );
    }
    Ok(page(status(refusal), "Manage billing", &body))
}

fn replace_card(world: &mut World, session: &str, form: &Node) -> Result<Response<Body>, Refusal> {
    let customer = portal_customer(world, session)?;
    let card = match Card::find(form.text("cardNumber").unwrap_or_default()) {
        Ok(card) => card,
        Err(refusal) => return portal_page(world, session, Some(&refusal)),
    };
    match card.entered {
        Reaction::Accepts => Ok(save_default(world, session, card, &customer)),
        Reaction::WantsAuthentication => {
            world.authenticating.insert(session.to_owned(), card);
            Ok(redirect(&format!("/p/session/{session}/authenticate")))
        }
        Reaction::Declines(code) => portal_page(world, session, Some(&declined(code))),
    }
}

fn replace_authenticated(
    world: &mut World,
    session: &str,
    form: &Node,
) -> Result<Response<Body>, Refusal> {
    let customer = portal_customer(world, session)?;
    match world.authenticating.remove(session) {
        Some(card) if passed(form) => Ok(save_default(world, session, card, &customer)),
        _ => portal_page(world, session, Some(&declined("authentication_required"))),
    }
}

fn portal_customer(world: &World, session: &str) -> Result<Value, Refusal> {
    let session = world.objects.find("billing_portal.session", session)?;
    world
        .objects
        .named("customer", text(&session, "customer"), "customer")
}

fn save_default(world: &mut World, session: &str, card: Card, customer: &Value) -> Response<Body> {
    let method = save_card(world, card, customer);
    set_default_method(world, text(customer, "id"), &method);
    redirect(&format!("/p/session/{session}"))
}

fn invoice_page(
    world: &World,
    invoice: &str,
    refusal: Option<&Refusal>,
) -> Result<Response<Body>, Refusal> {
    let invoice = world.objects.find("invoice", invoice)?;
    let mut body = "<ul>".to_owned();
    for line in world.lines.get(text(&invoice, "id")).into_iter().flatten() {
        body += &format!(
            "<li>{}: {}</li>",
            escaped(text(line, "description")),
            amount(line, "amount")
        );
    }
    body += &format!(
        "</ul><p>Total {}. <span id=\"status\">{}</span></p>",
        amount(&invoice, "total"),
        text(&invoice, "status")
    );
    let open = matches!(text(&invoice, "status"), "open" | "uncollectible");
    if open && world.authenticating.contains_key(text(&invoice, "id")) {
        body += &format!(
            "<p><a id=\"authenticate\" href=\"{}/authenticate\">Confirm the payment with your bank</a></p>",
            escaped(text(&invoice, "hosted_invoice_url"))
        );
    }
    if open {
        body += &card_form(refusal, "Pay");
    }
    Ok(page(
        status(refusal),
        &format!("Invoice {}", escaped(text(&invoice, "number"))),
        &body,
    ))
}

fn pay(world: &mut World, invoice: &str, form: &Node) -> Result<Response<Body>, Refusal> {
    let paid = collection::enter_card(world, invoice, form.text("cardNumber").unwrap_or_default());
    let waits = world.authenticating.contains_key(invoice);
    match paid {
        Ok(paid) => Ok(redirect(text(&paid, "hosted_invoice_url"))),
        Err(refusal) if refusal == Refusal::action_required() && waits => {
            let invoice = world.objects.find("invoice", invoice)?;
            Ok(redirect(&format!(
                "{}/authenticate",
                text(&invoice, "hosted_invoice_url")
            )))
        }
        Err(refusal) => invoice_page(world, invoice, Some(&refusal)),
    }
}

fn pay_authenticated(
    world: &mut World,
    account: &str,
    invoice: &str,
    form: &Node,
) -> Result<Response<Body>, Refusal> {
    match collection::authenticate(world, invoice, passed(form)) {
        Ok(_) => Ok(redirect(&format!("/i/{account}/{invoice}"))),
        Err(refusal) => invoice_page(world, invoice, Some(&refusal)),
    }
}

fn authentication_page(place: &str) -> Response<Body> {
    let place = escaped(place);
    let body = format!(
        "<p>Your bank wants to know whether this is you.</p><form method=\"post\" action=\"{place}/authenticate\">\
         <button id=\"complete\" name=\"result\" value=\"complete\">Complete authentication</button> \
         <button id=\"fail\" name=\"result\" value=\"fail\">Fail authentication</button></form>"
    );
    page(200, "3-D Secure", &body)
}

fn card_form(refusal: Option<&Refusal>, action: &str) -> String {
    let alert = refusal.map_or_else(String::new, |refusal| {
        format!("<p role=\"alert\">{}</p>", escaped(refusal.message()))
    });
    let numbers: Vec<&str> = CARDS.iter().map(|card| card.number).collect();
    format!(
        "{alert}<form method=\"post\"><label>Card number <input name=\"cardNumber\" inputmode=\"numeric\" autocomplete=\"off\" \
         required></label> <button id=\"submit\">{action}</button></form><p>Test cards: {}</p>",
        numbers.join(", ")
    )
}

/// An amount for people, exact whatever the currency.
fn amount(object: &Value, name: &str) -> String {
    let (minor, currency) = (integer(object, name), text(object, "currency"));
    let places = match currency {
        "jpy" | "krw" | "vnd" | "clp" => 0,
        "kwd" | "bhd" | "jod" | "omr" | "tnd" => 3,
        _ => 2,
    };
    let unit = 10_i64.pow(places);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, part) = (minor.abs() / unit, minor.abs() % unit);
    let currency = currency.to_uppercase();
    match places {
        0 => format!("{sign}{whole} {currency}"),
        places => format!(
            "{sign}{whole}.{part:0>width$} {currency}",
            width = places as usize
        ),
    }
}

fn redirect(target: &str) -> Response<Body> {
    let mut response = response(303, "text/plain", String::new());
    if let Ok(target) = HeaderValue::from_str(target) {
        response.headers_mut().insert("location", target);
    }
    response
}

fn page(status: u16, title: &str, body: &str) -> Response<Body> {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Stripe simulator</title></head><body>\
         <p><strong>This is a simulator, not Stripe: no money moves here.</strong></p><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    response(status, "text/html; charset=utf-8", page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
