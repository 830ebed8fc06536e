//! The simulator as a server: HTTP/1.1 whose connections can end without an answer.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::faults::{Faults, RequestTrouble, WebhookTrouble};
use super::webhooks::{Attempt, dispatch};
use super::world::{Delivery, Mode, World};
use super::{api, collection, control, pages};

/// More than this is no request of ours, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// How a simulator is started.
#[derive(Clone, Debug)]
pub struct StripeOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only API key it knows.
    pub key: String,
    /// What the key may do.
    pub permissions: Permissions,
    /// What webhooks are signed with that go where [`super::StripeSimulator::send_webhooks_to`] says.
    pub webhook_secret: String,
    /// How soon an invoice is charged that advances by itself, in milliseconds.
    pub collection_delay_ms: u64,
    /// What is done about exchanges in the end.
    pub exchanges: Exchanges,
}

/// What is done about the calls that a simulator answered, when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchanges {
    /// They are checked against Stripe's contract, if it is at hand.
    Checked,
    /// Nothing: some are wrong on purpose.
    Free,
}

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Everything.
    All,
    /// These, named as in Stripe's messages without `rak_`; write implies read.
    Only(BTreeSet<String>),
}

/// The permissions that the product's main flow asks for.
pub const MAIN_FLOW: [&str; 8] = [
    "accounts_kyc_basic_read",
    "customer_write",
    "payment_method_read",
    "checkout_session_write",
    "customer_portal_write",
    "invoice_write",
    "tax_calculation_write",
    "webhook_write",
];

impl Permissions {
    /// These and no others.
    #[must_use]
    pub fn only(names: &[&str]) -> Self {
        Self::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether they allow what needs this one.
    #[must_use]
    pub fn allow(&self, needed: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => {
                let write = needed
                    .strip_suffix("_read")
                    .map(|row| format!("{row}_write"));
                names.contains(needed) || write.is_some_and(|write| names.contains(&write))
            }
        }
    }
}

/// A running simulator, shared by its connections.
#[derive(Debug)]
pub struct Simulator {
    options: StripeOptions,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    exchanges: Mutex<Vec<Value>>,
    attempts: Mutex<Vec<Attempt>>,
    held: Mutex<Vec<Delivery>>,
    client: reqwest::Client,
}

/// A request as it came.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

/// What comes of a request.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Whole(Response<Body>),
    /// The connection ends without one.
    Closed,
}

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on demand")]
struct Closed;

impl Simulator {
    /// One with an empty account, whose pages are at `base`.
    ///
    /// # Panics
    /// When the HTTP client cannot be made.
    #[must_use]
    pub fn new(options: StripeOptions, base: String) -> Self {
        let mode = if options.key.contains("_live_") {
            Mode::Live
        } else {
            Mode::Test
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Self {
            world: Mutex::new(World::new(base, mode)),
            options,
            faults: Mutex::default(),
            exchanges: Mutex::default(),
            attempts: Mutex::default(),
            held: Mutex::default(),
            client: client.expect("a client can be built"),
        }
    }

    /// How it was started.
    #[must_use]
    pub const fn options(&self) -> &StripeOptions {
        &self.options
    }

    /// Its account.
    pub fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    /// What is to go wrong.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    /// All calls of the API with their answers, in the form that the contract's checker reads.
    pub fn exchanges(&self) -> MutexGuard<'_, Vec<Value>> {
        locked(&self.exchanges)
    }

    /// All attempts to deliver webhooks.
    pub fn attempts(&self) -> MutexGuard<'_, Vec<Attempt>> {
        locked(&self.attempts)
    }

    /// What delivers webhooks.
    #[must_use]
    pub const fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Notes an attempt to deliver a webhook.
    pub fn note(&self, attempt: Attempt) {
        self.attempts().push(attempt);
    }

    /// What happens to a request of this method and path.
    pub fn request_trouble(&self, method: &str, path: &str) -> Option<RequestTrouble> {
        self.faults().of_request(method, path)
    }

    /// What happens to a webhook of this type, and to how many more.
    pub fn webhook_trouble(&self, kind: &str) -> Option<(WebhookTrouble, u32)> {
        self.faults().of_webhook(kind)
    }

    /// Keeps a webhook back.
    pub fn hold(&self, delivery: Delivery) {
        locked(&self.held).push(delivery);
    }

    /// The webhooks that were kept back.
    pub fn release(&self) -> Vec<Delivery> {
        std::mem::take(&mut *locked(&self.held))
    }

    /// The webhooks that wait to be sent.
    pub fn take_outgoing(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.world().outgoing)
    }
}

/// Sends what waits to be sent, and charges soon what is to be charged.
pub fn go_on(simulator: &Arc<Simulator>) {
    dispatch(simulator);
    let due = std::mem::take(&mut simulator.world().due);
    for invoice in due {
        let simulator = Arc::clone(simulator);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(simulator.options.collection_delay_ms)).await;
            collection::collect_first(&mut simulator.world(), &invoice);
            dispatch(&simulator);
        });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the task is dropped.
///
/// # Panics
/// When the socket does not listen.
pub async fn serve(simulator: Arc<Simulator>, listener: TcpListener) {
    listener.set_nonblocking(true).expect("a socket has modes");
    let listener = tokio::net::TcpListener::from_std(listener).expect("the socket listens");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let simulator = Arc::clone(&simulator);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&simulator, request));
            // A connection may end as it likes.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    simulator: &Arc<Simulator>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_BODY)
        .await
        .map_err(|_| Closed)?;
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    // What has begun goes on, whether somebody waits for the answer or not.
    let simulator = Arc::clone(simulator);
    let reply = tokio::spawn(async move { reply(&simulator, &asked).await });
    match reply.await {
        Ok(Reply::Whole(response)) => Ok(response),
        Ok(Reply::Closed) | Err(_) => Err(Closed),
    }
}

async fn reply(simulator: &Arc<Simulator>, asked: &Asked) -> Reply {
    let reply = match asked.path.split('/').nth(1) {
        Some("v1") => api::answer(simulator, asked).await,
        Some("_simulator") => Reply::Whole(control::answer(simulator, asked)),
        _ => Reply::Whole(pages::answer(simulator, asked)),
    };
    go_on(simulator);
    reply
}

/// An answer with this body.
#[must_use]
pub fn response(status: u16, content_type: &str, body: String) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body));
    response.unwrap_or_default()
}
