//! A TCP proxy between Envoy and Redis that does to calls what a bad network does.
//!
//! A connection carries one call, as Envoy's pool of raw TCP connections makes them: a request to its end, then an
//! answer to its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::process::free_port;

/// How long a connection that never gets its answer stays open: longer than Envoy waits.
const SILENCE: Duration = Duration::from_secs(10);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// Redis never sees it, and nobody is told.
    RequestLost,
    /// Redis executes it, and its answer never comes.
    AnswerLost,
    /// Redis executes it, and its answer comes so much later.
    AnswerLate(Duration),
    /// Redis executes it, and its answer ends somewhere on the way.
    AnswerShort,
    /// Redis executes it, and its answer comes as bytes that mean nothing.
    AnswerGarbled,
    /// Redis executes it, and its answer does not end for so many bytes.
    AnswerEndless(usize),
    /// It arrives, and so does its answer; so much later the same request arrives again.
    Repeated(Duration),
}

#[derive(Clone, Debug)]
enum Weather {
    Open(Vec<Fate>),
    Closed,
}

/// A running proxy, on a thread of its own until dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    line: Arc<Line>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
struct Line {
    target: SocketAddr,
    calls: AtomicU64,
    disturbed: AtomicU64,
}

impl Proxy {
    /// Starts one on a free loopback port; every call arrives.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, target)
    }

    /// Starts one on a free port of one of the machine's addresses.
    ///
    /// # Panics
    /// When there is no such port or address.
    #[must_use]
    pub fn start_at(address: Ipv4Addr, target: SocketAddr) -> Self {
        let listener = StdListener::bind((address, free_port()));
        let listener = listener.expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (weather, watched) = watch::channel(Weather::Open(vec![Fate::Arrives]));
        let line = Arc::new(Line {
            target,
            calls: AtomicU64::new(0),
            disturbed: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&line);
        let thread = thread::spawn(move || serve(listener, shared, watched, stopped));
        Self {
            address,
            weather,
            line,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives each call from now on one of these fates, all as often.
    pub fn treat(&self, fates: &[Fate]) {
        self.weather.send_replace(Weather::Open(fates.to_vec()));
    }

    /// Refuses connections from now on.
    pub fn close(&self) {
        self.weather.send_replace(Weather::Closed);
    }

    /// Lets everything arrive from now on.
    pub fn heal(&self) {
        self.treat(&[Fate::Arrives]);
    }

    /// How many calls did not simply arrive so far.
    #[must_use]
    pub fn disturbed(&self) -> u64 {
        self.line.disturbed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Either is gone already when its thread has failed, which the test has noticed by then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    listener: StdListener,
    line: Arc<Line>,
    weather: watch::Receiver<Weather>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        tokio::select! {
            () = accept(listener, line, weather) => {}
            _ = stopped => {}
        }
    });
}

/// Listens while the weather lets it.
async fn accept(listener: StdListener, line: Arc<Line>, mut weather: watch::Receiver<Weather>) {
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    listener
        .set_nonblocking(true)
        .expect("a socket has non-blocking mode");
    let mut listening = Some(TcpListener::from_std(listener).expect("the socket listens"));
    loop {
        let fates = match &*weather.borrow_and_update() {
            Weather::Open(fates) => Some(fates.clone()),
            Weather::Closed => None,
        };
        let Some(fates) = fates else {
            listening = None;
            weather.changed().await.expect("the proxy is there");
            continue;
        };
        if listening.is_none() {
            let again = TcpListener::bind(address).await;
            listening = Some(again.expect("nobody else takes the port"));
        }
        let Some(listener) = &listening else { continue };
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a listening socket accepts");
                let call = Arc::clone(&line).carry(stream, fates);
                // Who breaks the connection off has its reasons.
                tokio::spawn(async move { drop(call.await) });
            }
            changed = weather.changed() => changed.expect("the proxy is there"),
        }
    }
}

impl Line {
    async fn carry(self: Arc<Self>, mut stream: TcpStream, fates: Vec<Fate>) -> io::Result<()> {
        let random = mixed(self.calls.fetch_add(1, Ordering::SeqCst));
        let fate = fates[at_random(random, fates.len())];
        if fate != Fate::Arrives {
            self.disturbed.fetch_add(1, Ordering::SeqCst);
        }
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await?;
        if fate == Fate::RequestLost {
            sleep(SILENCE).await;
            return Ok(());
        }
        let mut answer = self.exchange(&request).await?;
        match fate {
            Fate::AnswerLost => sleep(SILENCE).await,
            Fate::AnswerLate(delay) => sleep(delay).await,
            Fate::AnswerShort => answer.truncate(at_random(mixed(random), answer.len())),
            Fate::AnswerGarbled => garble(&mut answer, random),
            Fate::AnswerEndless(bytes) => answer = b":1\r\n".repeat(bytes / 4),
            Fate::Arrives | Fate::RequestLost | Fate::Repeated(_) => {}
        }
        if fate != Fate::AnswerLost {
            stream.write_all(&answer).await?;
        }
        stream.shutdown().await?;
        if let Fate::Repeated(delay) = fate {
            sleep(delay).await;
            self.exchange(&request).await?;
        }
        Ok(())
    }

    async fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut redis = TcpStream::connect(self.target).await?;
        redis.write_all(request).await?;
        redis.shutdown().await?;
        let mut answer = Vec::new();
        redis.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// Puts other bytes in place of most, at any length, but of the form of a reply now and then.
fn garble(answer: &mut Vec<u8>, random: u64) {
    let begins = [&b"*3\r\n"[..], b"$4\r\n", b"-ERR ", b"HTTP/1.1 ", b"", b":"];
    let length = at_random(mixed(random), 2 * answer.len());
    *answer = begins[at_random(random, begins.len())].to_vec();
    let noise = (0..length as u64 / 8).flat_map(|at| mixed(random ^ at).to_le_bytes());
    answer.extend(noise);
}

fn at_random(random: u64, length: usize) -> usize {
    usize::try_from(random % length.max(1) as u64).unwrap_or(0)
}

/// A number that looks random: the output function of SplitMix64.
const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
