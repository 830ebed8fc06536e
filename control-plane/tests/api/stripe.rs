//! A little of Stripe: enough for a Checkout, with what goes wrong on the way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tollgate::ids::WorkerId;
use tollgate::jobs::{Claim, Job};
use tollgate::payments::reconcile::Reconciliation;
use tollgate::payments::webhooks::EventHandler;

use crate::world::{Answer, TestDatabase, World};

pub const SECRET: &str = "whsec_test";
const API_KEY: &str = "sk_test_0123456789";

/// The fake, listening until it is dropped.
#[derive(Clone)]
pub struct Stripe {
    pub url: String,
    state: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    objects: HashMap<String, Value>,
    answered: HashMap<String, (String, Value)>,
    calls: Vec<Call>,
    faults: VecDeque<Fault>,
    numbers: u64,
}

/// A request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub form: String,
    pub key: Option<String>,
    pub version: String,
}

/// What goes wrong with the next request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is refused with this status, headers and body, and nothing is done.
    Refuse(u16, Vec<(&'static str, &'static str)>, Value),
    /// It is done, and then answered with a 500.
    FailAfter,
    /// The answer is not what was promised.
    Garble,
}

impl Stripe {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Inside::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state }
    }

    /// A world whose money is here.
    pub async fn world(&self, database: TestDatabase) -> World {
        self.world_with(database, &[]).await
    }

    pub async fn world_with(&self, database: TestDatabase, more: &[(&str, &str)]) -> World {
        let own = [
            ("STRIPE_API_KEY", API_KEY),
            ("STRIPE_API_BASE", self.url.as_str()),
            ("STRIPE_WEBHOOK_SECRET", SECRET),
            ("TOLLGATE_SERVER_PUBLIC_URL", "https://billing.example.com"),
        ];
        World::with(database, &[&own, more].concat()).await
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap()
    }

    pub fn fail_next(&self, faults: &[Fault]) {
        self.inside().faults.extend(faults.iter().cloned());
    }

    /// Requests with this method and beginning of the path, in order.
    pub fn calls(&self, method: &Method, path: &str) -> Vec<Call> {
        let calls = self.inside().calls.clone();
        let wanted = |call: &Call| call.method == *method && call.path.starts_with(path);
        calls.into_iter().filter(wanted).collect()
    }

    pub fn object(&self, id: &str) -> Value {
        self.inside().objects[id].clone()
    }

    pub fn change(&self, id: &str, change: impl FnOnce(&mut Value)) {
        change(self.inside().objects.get_mut(id).unwrap());
    }

    /// Has the customer of a Checkout give a card, which attaches it and completes the session.
    pub fn give_card(&self, session: &str, last4: &str) {
        let customer = self.object(session)["customer"]
            .as_str()
            .unwrap()
            .to_owned();
        self.attach(&customer, last4);
        self.change(session, |session| session["status"] = json!("complete"));
    }

    /// Attaches a card to a customer and gives its id.
    pub fn attach(&self, customer: &str, last4: &str) -> String {
        let mut inside = self.inside();
        inside.numbers += 1;
        let number = inside.numbers;
        let id = format!("pm_{number}");
        let method = json!({
            "id": id, "object": "payment_method", "type": "card", "customer": customer,
            "created": number, "livemode": false, "billing_details": {},
            "card": {"brand": "visa", "last4": last4},
        });
        inside.objects.insert(id.clone(), method);
        id
    }
}

impl Inside {
    fn create(&mut self, prefix: &str, mut object: Value) -> Value {
        self.numbers += 1;
        let id = format!("{prefix}_{}", self.numbers);
        object["id"] = json!(id);
        object["livemode"] = json!(false);
        object["created"] = json!(self.numbers);
        self.objects.insert(id, object.clone());
        object
    }

    fn perform(&mut self, method: &Method, path: &str, form: &Value) -> Option<Value> {
        let parts: Vec<_> = path.trim_start_matches("/v1/").split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["customers"]) => Some(self.create("cus", merged(form, "customer"))),
            ("POST", ["customers", id]) => {
                let customer = self.objects.get_mut(*id)?;
                customer["invoice_settings"] = form["invoice_settings"].clone();
                Some(customer.clone())
            }
            ("GET", ["customers", id, "payment_methods"]) => {
                let mut theirs: Vec<_> = self.objects.values().cloned().collect();
                theirs.retain(|object| {
                    object["object"] == "payment_method" && object["customer"] == **id
                });
                theirs.sort_by_key(|object| std::cmp::Reverse(object["created"].as_i64()));
                Some(json!({"object": "list", "data": theirs, "has_more": false}))
            }
            ("POST", ["checkout", "sessions"]) => {
                let mut session = merged(form, "checkout.session");
                session["status"] = json!("open");
                let made = self.create("cs_test", session);
                let id = made["id"].as_str().unwrap().to_owned();
                let session = self.objects.get_mut(&id).unwrap();
                session["url"] = json!(format!("https://checkout.stripe.example/{id}"));
                Some(session.clone())
            }
            ("POST", ["billing_portal", "sessions"]) => {
                let mut session = merged(form, "billing_portal.session");
                session["url"] = json!("https://billing.stripe.example/p/session");
                Some(self.create("bps", session))
            }
            ("POST", ["invoices"]) => {
                let mut invoice = merged(form, "invoice");
                invoice["status"] = json!("draft");
                Some(self.create("in", invoice))
            }
            ("GET", ["invoices" | "customers"]) => {
                let kind = parts[0].trim_end_matches('s');
                let mut all: Vec<_> = self.objects.values().cloned().collect();
                all.retain(|object| object["object"] == kind);
                Some(json!({"object": "list", "data": all, "has_more": false}))
            }
            ("GET", ["checkout", "sessions", id] | ["customers" | "invoices", id]) => {
                self.objects.get(*id).cloned()
            }
            _ => None,
        }
    }
}

fn merged(form: &Value, object: &str) -> Value {
    let mut merged = form.clone();
    merged["object"] = json!(object);
    merged
}

async fn answer(State(state): State<Arc<Mutex<Inside>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let header = |headers: &HeaderMap, name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    assert_eq!(parts.headers["authorization"], format!("Bearer {API_KEY}"));
    let call = Call {
        path: parts.uri.path().to_owned(),
        form: String::from_utf8(body.to_vec()).unwrap(),
        key: header(&parts.headers, "idempotency-key"),
        version: header(&parts.headers, "stripe-version").unwrap_or_default(),
        method: parts.method,
    };
    let mut inside = state.lock().unwrap();
    inside.calls.push(call.clone());
    let fault = inside.faults.pop_front();
    if let Some(Fault::Refuse(status, headers, body)) = &fault {
        let status = StatusCode::from_u16(*status).unwrap();
        let mut response = (status, axum::Json(body)).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        return response;
    }
    let repeat = call
        .key
        .as_ref()
        .and_then(|key| inside.answered.get(key))
        .cloned();
    let done = match repeat {
        Some((form, _)) if form != call.form => {
            return (StatusCode::BAD_REQUEST, "another body under this key").into_response();
        }
        Some((_, body)) => Some(body),
        None => inside.perform(&call.method, &call.path, &decode(&call.form)),
    };
    let Some(body) = done else {
        let error = json!({"type": "invalid_request_error", "code": "resource_missing",
            "message": format!("No such object: {}", call.path)});
        return (StatusCode::NOT_FOUND, axum::Json(json!({"error": error}))).into_response();
    };
    if let Some(key) = call.key {
        inside.answered.insert(key, (call.form, body.clone()));
    }
    match fault {
        Some(Fault::FailAfter) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Fault::Garble) => axum::Json(json!({"id": 1})).into_response(),
        _ => ([("request-id", "req_test")], axum::Json(body)).into_response(),
    }
}

/// `a[b]=c` as nested objects; everything is text.
fn decode(form: &str) -> Value {
    let mut root = json!({});
    let base = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
    for (name, value) in base.query_pairs() {
        let name = name.replace(']', "");
        let mut place = &mut root;
        for part in name.split('[') {
            place = &mut place[part];
        }
        *place = json!(value);
    }
    root
}

/// An event as Stripe sends it.
pub fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "type": kind, "livemode": false, "created": 1_767_225_600,
        "api_version": "2026-09-30.endive", "pending_webhooks": 1, "data": {"object": object},
    })
}

/// The header that proves a body.
pub fn sign(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let signature = mac.finalize().into_bytes();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Brings an event with a signature of one's own making.
pub async fn bring(world: &World, signature: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/webhooks/stripe")
        .header("stripe-signature", signature)
        .body(Body::from(body.to_owned()));
    world.send(request.unwrap()).await
}

/// Brings an event as Stripe would.
pub async fn tell(world: &World, event: &Value) {
    let (body, now) = (event.to_string(), world.clock.machine_now());
    let signature = sign(SECRET, now.timestamp().as_second(), &body);
    bring(world, &signature, &body).await.expect(200);
}

/// Runs the handler of events once.
pub async fn handle(world: &World) {
    run(world, EventHandler::new(world.app.clone())).await;
}

/// Compares what is open with Stripe once.
pub async fn reconcile(world: &World) {
    run(world, Reconciliation::new(world.app.clone())).await;
}

async fn run(world: &World, job: impl Job) {
    let (now, lease) = (world.clock.machine_now(), Duration::from_secs(10));
    let owner = WorkerId::generate(now);
    let claim = Claim::take(&world.app.database, job.name(), owner, now, lease);
    let claim = claim.await.unwrap().unwrap();
    job.run(&claim).await.unwrap();
    claim.release(&world.app.database).await.unwrap();
}
