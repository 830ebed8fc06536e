//! An API to put behind Envoy: it counts requests and tells what it saw of each.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{AppendHeaders, IntoResponse};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;

/// A running API, on a thread of its own until dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Behaviour {
    requests: Mutex<BTreeMap<String, u64>>,
    status: AtomicU16,
    delay_ms: AtomicU64,
    header: Mutex<Option<(&'static str, &'static str)>>,
}

impl Upstream {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// Starts one on a free port of one of the machine's addresses.
    ///
    /// # Panics
    /// When there is no such port or address.
    #[must_use]
    pub fn start_at(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a socket has modes");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let behaviour = Arc::new(Behaviour {
            requests: Mutex::default(),
            status: AtomicU16::new(200),
            delay_ms: AtomicU64::new(0),
            header: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&behaviour));
        let thread = thread::spawn(move || serve(listener, router, stopped));
        Self {
            address,
            behaviour,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests reached it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        locked(&self.behaviour.requests).values().sum()
    }

    /// How many requests for this path reached it.
    #[must_use]
    pub fn requests_to(&self, path: &str) -> u64 {
        let requests = locked(&self.behaviour.requests);
        requests.get(path).copied().unwrap_or(0)
    }

    /// Answers with this status from now on.
    pub fn set_status(&self, status: u16) {
        self.behaviour.status.store(status, Ordering::SeqCst);
    }

    /// Answers so much later from now on.
    pub fn set_delay_ms(&self, delay_ms: u64) {
        self.behaviour.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// Answers with this header from now on.
    pub fn set_header(&self, name: &'static str, value: &'static str) {
        *locked(&self.behaviour.header) = Some((name, value));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Either is gone already when its thread has failed, which the test has noticed by then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket listens");
        tokio::select! {
            served = axum::serve(listener, router) => served.expect("a listening socket accepts"),
            _ = stopped => {}
        }
    });
}

/// Tells method, path and headers as the upstream saw them.
async fn answer(State(behaviour): State<Arc<Behaviour>>, request: Request) -> impl IntoResponse {
    let path = request.uri().path().to_owned();
    *locked(&behaviour.requests).entry(path).or_default() += 1;
    tokio::time::sleep(Duration::from_millis(
        behaviour.delay_ms.load(Ordering::SeqCst),
    ))
    .await;
    let mut headers = BTreeMap::<&str, Vec<_>>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers.entry(name.as_str()).or_default().push(value);
    }
    let status = behaviour.status.load(Ordering::SeqCst);
    let seen = json!({
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "headers": headers.into_iter().map(|(name, values)| (name.to_owned(), values.join(", "))).collect::<BTreeMap<_, _>>(),
    });
    let header = *locked(&behaviour.header);
    (
        StatusCode::from_u16(status).unwrap_or_default(),
        AppendHeaders(header),
        Json(seen),
    )
}
