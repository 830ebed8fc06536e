//! A service and a client that speak gRPC as Envoy sees it: HTTP/2 whose status comes in trailers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How the service answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Headers, besides that it is gRPC.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Whether there are a message and trailers, or all stands among the headers.
    pub form: Form,
    /// Trailers.
    pub trailers: Vec<(&'static str, &'static str)>,
}

impl Reply {
    /// One without headers of its own.
    #[must_use]
    pub fn new(form: Form, trailers: &[(&'static str, &'static str)]) -> Self {
        Self {
            headers: Vec::new(),
            form,
            trailers: trailers.to_vec(),
        }
    }
}

/// Of what a response consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A message, and trailers.
    Message,
    /// Headers alone, which hold the trailers too.
    TrailersOnly,
    /// A message, and then nothing for as long as somebody listens.
    Endless,
}

/// A running service, on a thread of its own until dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    calls: AtomicU64,
}

/// What a client got.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Bytes of messages.
    pub body: Vec<u8>,
    /// Trailers; none when the headers were all.
    pub trailers: Option<HeaderMap>,
}

impl Outcome {
    /// A trailer, among the headers when they were all; empty when it is missing.
    #[must_use]
    pub fn last(&self, name: &str) -> &str {
        let fields = self.trailers.as_ref().unwrap_or(&self.headers);
        let value = fields.get(name);
        value.map_or("", |value| value.to_str().unwrap_or_default())
    }
}

impl Service {
    /// Starts one on a free loopback port, which answers that all went well.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a socket has modes");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            reply: Mutex::new(Reply::new(Form::Message, &[("grpc-status", "0")])),
            calls: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(listener, served, stopped));
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers so from now on.
    pub fn answer(&self, reply: Reply) {
        *locked(&self.shared.reply) = reply;
    }

    /// How many calls reached it.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Either is gone already when its thread has failed, which the test has noticed by then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket listens");
        tokio::select! {
            () = accept(listener, shared) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((_, respond))) = connection.accept().await {
                shared.calls.fetch_add(1, Ordering::SeqCst);
                let reply = locked(&shared.reply).clone();
                // A client that is gone by now is no concern of ours.
                tokio::spawn(async move { drop(act(respond, reply).await) });
            }
        });
    }
}

async fn act(mut respond: h2::server::SendResponse<Bytes>, reply: Reply) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.headers_mut() = fields(&reply.headers);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    if reply.form == Form::TrailersOnly {
        response.headers_mut().extend(fields(&reply.trailers));
        return respond.send_response(response, true).map(drop);
    }
    let mut stream = respond.send_response(response, false)?;
    // One message of three bytes, not compressed.
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x03abc"), false)?;
    if reply.form == Form::Endless {
        // Until whoever listens goes away.
        return std::future::poll_fn(|context| stream.poll_reset(context))
            .await
            .map(drop);
    }
    stream.send_trailers(fields(&reply.trailers))
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    lines.iter().map(field).collect()
}

/// How long a client listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until the end.
    Whole,
    /// Until the first bytes of the body; then it breaks off.
    FirstMessage,
}

/// Calls a method of the service at `url` with these header lines.
///
/// # Errors
/// When no answer comes.
pub async fn call(
    url: &str,
    headers: &[(&'static str, &str)],
    patience: Patience,
) -> io::Result<Outcome> {
    timeout(TIMEOUT, exchange(url, headers, patience)).await?
}

async fn exchange(
    url: &str,
    headers: &[(&'static str, &str)],
    patience: Patience,
) -> io::Result<Outcome> {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    let (client, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.map_err(io::Error::other)?;
    let mut request = Request::post(format!("{url}/shop.Shop/Buy"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).map_err(io::Error::other)?;
    let (response, _) = client
        .send_request(request, true)
        .map_err(io::Error::other)?;
    let (head, mut body) = response.await.map_err(io::Error::other)?.into_parts();
    let mut outcome = Outcome {
        status: head.status.as_u16(),
        headers: head.headers,
        body: Vec::new(),
        trailers: None,
    };
    while let Some(bytes) = body.data().await {
        outcome.body.extend(bytes.map_err(io::Error::other)?);
        if patience == Patience::FirstMessage {
            driver.abort();
            return Ok(outcome);
        }
    }
    outcome.trailers = body.trailers().await.map_err(io::Error::other)?;
    driver.abort();
    Ok(outcome)
}
