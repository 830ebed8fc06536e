//! The simulator's own address `/_simulator/`: faults, and what was seen.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Response;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::add_endpoint;
use super::faults::{RequestFault, WebhookFault};
use super::form::Node;
use super::objects::text;
use super::refusal::Refusal;
use super::server::{Asked, Simulator, response};
use super::world::{Call, World};
use super::{collection, invoices};

/// Answers what a test or a person asks of the simulator itself.
pub fn answer(simulator: &Simulator, asked: &Asked) -> Response<Body> {
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').skip(1).collect();
    let done = match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["faults", "requests"]) => read(asked).map(|fault: RequestFault| {
            simulator.faults().add_request(fault);
            Value::Null
        }),
        ("POST", ["faults", "webhooks"]) => read(asked).map(|fault: WebhookFault| {
            simulator.faults().add_webhook(fault);
            Value::Null
        }),
        ("DELETE", ["faults"]) => {
            simulator.faults().clear();
            Ok(Value::Null)
        }
        ("POST", ["webhooks"]) => read(asked).and_then(|document: Value| {
            let secret = &simulator.options().webhook_secret;
            let added = add_endpoint(
                &mut simulator.world(),
                text(&document, "url"),
                &["*"],
                secret,
            );
            added.map_err(|refusal| refusal.message().to_owned())
        }),
        ("POST", ["invoices", invoice, "retry"]) => {
            collection::collect(&mut simulator.world(), invoice);
            Ok(Value::Null)
        }
        ("POST", ["invoices", invoice, "void"]) => by_hand(simulator, invoice, invoices::void),
        ("POST", ["invoices", invoice, "mark_uncollectible"]) => {
            by_hand(simulator, invoice, invoices::mark_uncollectible)
        }
        ("POST", ["events", event, "send"]) => send_again(simulator, event),
        ("GET", ["attempts"]) => Ok(json!(&*simulator.attempts())),
        ("GET", ["charges"]) => Ok(json!(&simulator.world().charges)),
        ("GET", ["exchanges"]) => {
            return response(200, "application/jsonl", lines(&simulator.exchanges()));
        }
        _ => {
            return response(
                404,
                "application/json",
                json!({ "error": "no such address" }).to_string(),
            );
        }
    };
    match done {
        Ok(body) => response(200, "application/json", body.to_string()),
        Err(error) => response(
            400,
            "application/json",
            json!({ "error": error }).to_string(),
        ),
    }
}

fn read<T: DeserializeOwned>(asked: &Asked) -> Result<T, String> {
    serde_json::from_str(&asked.body).map_err(|error| error.to_string())
}

/// What a person does to an invoice in Stripe's dashboard.
fn by_hand(
    simulator: &Simulator,
    invoice: &str,
    step: fn(&mut World, &Call) -> Result<Value, Refusal>,
) -> Result<Value, String> {
    let call = Call {
        path: "",
        ids: vec![invoice],
        form: &Node::Hash(Vec::new()),
    };
    let done = step(&mut simulator.world(), &call);
    done.map_err(|refusal| refusal.message().to_owned())
}

/// Delivers an event once more to every endpoint, as Stripe's dashboard can.
fn send_again(simulator: &Simulator, event: &str) -> Result<Value, String> {
    let mut world = simulator.world();
    let event = world
        .objects
        .find("event", event)
        .map_err(|refusal| refusal.message().to_owned())?;
    let endpoints = world.objects.of_kind("webhook_endpoint");
    let deliveries: Vec<_> = endpoints
        .map(|endpoint| world.delivery(&event, endpoint))
        .collect();
    world.outgoing.extend(deliveries);
    Ok(event)
}

/// One JSON object a line.
#[must_use]
pub fn lines(exchanges: &[Value]) -> String {
    exchanges.iter().fold(String::new(), |mut lines, exchange| {
        // Writing into a string cannot fail.
        let _ = writeln!(lines, "{exchange}");
        lines
    })
}
