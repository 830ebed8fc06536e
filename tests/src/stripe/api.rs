//! A call of the API, from the key it comes with to the record of the exchange.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::faults::RequestTrouble;
use super::form::{Node, decode};
use super::idempotency::{Answer, Turn};
use super::operations::{self, Operation};
use super::parameters::check;
use super::refusal::Refusal;
use super::server::{Asked, Reply, Simulator, go_on, response};
use super::world::{ACCOUNT, Call, VERSION};

/// What is answered, and whether it was answered before.
struct Done {
    answer: Answer,
    replayed: bool,
}

/// Answers a call, unless a fault wants otherwise.
pub async fn answer(simulator: &Arc<Simulator>, asked: &Asked) -> Reply {
    let request_id = simulator.world().id("req");
    let trouble = simulator.request_trouble(&asked.method, &asked.path);
    let done = match trouble {
        Some(RequestTrouble::ClosedBefore) => return Reply::Closed,
        Some(RequestTrouble::Unavailable) => Err(Refusal::failure(503)),
        Some(RequestTrouble::RateLimited(_)) => Err(Refusal::rate_limited()),
        Some(RequestTrouble::Locked) => Err(Refusal::locked()),
        _ => perform(simulator, asked, trouble, &request_id).await,
    };
    let done = done.unwrap_or_else(|refusal| Done {
        answer: (refusal.status, refusal.body().to_string()),
        replayed: false,
    });
    record(simulator, asked, &done.answer);
    match trouble {
        Some(RequestTrouble::SilentAfter(silence_ms)) => {
            go_on(simulator);
            tokio::time::sleep(Duration::from_millis(silence_ms)).await;
            Reply::Closed
        }
        Some(RequestTrouble::ClosedAfter) => Reply::Closed,
        _ => Reply::Whole(headed(asked, done, &request_id, trouble)),
    }
}

fn headed(
    asked: &Asked,
    done: Done,
    request_id: &str,
    trouble: Option<RequestTrouble>,
) -> axum::http::Response<axum::body::Body> {
    let mut whole = response(done.answer.0, "application/json", done.answer.1);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            whole.headers_mut().insert(name, value);
        }
    };
    set("request-id", request_id);
    set("stripe-version", VERSION);
    set("x-simulator", "Stripe simulator");
    if let Some(key) = header(asked, "idempotency-key") {
        set("idempotency-key", key);
    }
    if done.replayed {
        set("idempotent-replayed", "true");
    }
    match trouble {
        Some(RequestTrouble::RateLimited(wait_s)) => set("retry-after", &wait_s.to_string()),
        Some(RequestTrouble::Unavailable | RequestTrouble::Locked) => {
            set("stripe-should-retry", "true")
        }
        _ => {}
    }
    whole
}

async fn perform(
    simulator: &Arc<Simulator>,
    asked: &Asked,
    trouble: Option<RequestTrouble>,
    request_id: &str,
) -> Result<Done, Refusal> {
    let (operation, ids, form) = accept(simulator, asked)?;
    let key = header(asked, "idempotency-key").filter(|_| operation.method == "POST");
    if let Some(key) = key {
        let request = format!("{} {}\n{}", asked.method, asked.path, asked.body);
        if let Turn::Again(answer) = simulator.world().keys.begin(key, &request)? {
            return Ok(Done {
                answer,
                replayed: true,
            });
        }
    }
    if let Some(RequestTrouble::Late(delay_ms)) = trouble {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    let mut world = simulator.world();
    world.request = (Some(request_id.to_owned()), key.map(str::to_owned));
    let call = Call {
        path: &asked.path,
        ids,
        form: &form,
    };
    let result = match trouble {
        Some(RequestTrouble::Failed) => Err(Refusal::failure(500)),
        _ => (operation.run)(&mut world, &call),
    };
    let result = result.and_then(|mut object| world.expand(&mut object, &form).map(|()| object));
    let result = match trouble {
        Some(RequestTrouble::FailedAfter) => Err(Refusal::failure(500)),
        _ => result,
    };
    world.request = (None, None);
    let answer = match result {
        Ok(object) => (200, object.to_string()),
        Err(refusal) => (refusal.status, refusal.body().to_string()),
    };
    if let Some(key) = key {
        world.keys.finish(key, answer.clone());
    }
    Ok(Done {
        answer,
        replayed: false,
    })
}

/// What is checked before a call begins; a refusal here is not kept under its idempotency key.
fn accept<'a>(
    simulator: &Simulator,
    asked: &'a Asked,
) -> Result<(&'static Operation, Vec<&'a str>, Node), Refusal> {
    let key = &simulator.options().key;
    match header(asked, "authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        None => {
            return Err(Refusal::unauthenticated(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            ));
        }
        Some(given) if given != key => {
            return Err(Refusal::unauthenticated(format!(
                "Invalid API Key provided: {}",
                masked(given)
            )));
        }
        Some(_) => {}
    }
    let found = operations::find(&asked.method, &asked.path);
    let (operation, ids) =
        found.ok_or_else(|| Refusal::unrecognized(&asked.method, &asked.path))?;
    if !simulator.options().permissions.allow(operation.permission) {
        return Err(Refusal::forbidden(format!(
            "The provided key '{}' does not have the required permissions for this endpoint on account '{ACCOUNT}'. Having the 'rak_{}' permission would allow this request to continue.",
            masked(key),
            operation.permission
        )));
    }
    if header(asked, "stripe-version").is_some_and(|version| version != VERSION) {
        return Err(Refusal::invalid(format!(
            "Invalid Stripe API version: this simulator speaks only {VERSION}."
        )));
    }
    let form = form(asked)?;
    check(&form, &operation.parameters)?;
    Ok((operation, ids, form))
}

fn form(asked: &Asked) -> Result<Node, Refusal> {
    if asked.method != "POST" {
        return decode(&asked.query);
    }
    let content_type = header(asked, "content-type").unwrap_or_default();
    if !asked.body.is_empty() && !content_type.starts_with("application/x-www-form-urlencoded") {
        return Err(Refusal::invalid(format!(
            "Invalid request: the content type must be application/x-www-form-urlencoded, not {content_type}."
        )));
    }
    if !asked.query.is_empty() {
        return Err(Refusal::invalid(
            "Invalid request: parameters of a POST go into its body.",
        ));
    }
    if header(asked, "idempotency-key").is_some_and(|key| key.len() > 255) {
        return Err(Refusal::idempotency(
            400,
            None,
            "Idempotency keys can be up to 255 characters long.",
        ));
    }
    decode(&asked.body)
}

fn header<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.headers.get(name)?.to_str().ok()
}

/// A key of which only the beginning and the end can be read.
fn masked(key: &str) -> String {
    let ends = key.get(..8).zip(key.get(key.len().saturating_sub(4)..));
    ends.map_or_else(
        || "****".to_owned(),
        |(first, last)| format!("{first}********{last}"),
    )
}

fn record(simulator: &Simulator, asked: &Asked, answer: &Answer) {
    let headers: serde_json::Map<String, Value> = asked
        .headers
        .iter()
        .map(|(name, value)| {
            let secret = name == "authorization";
            let value = if secret {
                "Bearer hidden"
            } else {
                value.to_str().unwrap_or_default()
            };
            (name.as_str().to_owned(), json!(value))
        })
        .collect();
    let body: Value = serde_json::from_str(&answer.1).unwrap_or_default();
    let mut exchange = json!({
        "method": asked.method, "path": asked.path, "query": asked.query, "body": asked.body,
        "headers": headers, "status": answer.0, "response": body,
    });
    // A person with curl may leave out headers that a program must send.
    if header(asked, "user-agent").is_some_and(|agent| agent.starts_with("curl/")) {
        exchange["headers"] = Value::Null;
    }
    simulator.exchanges().push(exchange);
}
