//! Clients that go on asking until they are stopped, and what they saw.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::{Connections, HttpClient};

/// What a client waits between two requests, so that a few do not fill two cores.
const PAUSE: Duration = Duration::from_millis(4);

/// Clients at work.
pub struct Load {
    clients: JoinSet<Seen>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    sent: AtomicU64,
}

/// What clients saw.
#[derive(Clone, Default)]
pub struct Seen {
    /// When which answer came: `200`, or status and code of a refusal; `none` when the connection broke.
    answers: Vec<(Instant, String)>,
    /// The longest wait for an answer.
    pub slowest: Duration,
}

impl Load {
    /// Starts so many clients on each Envoy, half of which keep their connection and half make a new one per request.
    pub fn start<'e>(
        envoys: impl IntoIterator<Item = &'e Envoy>,
        each: u32,
        path: &'static str,
        key: &str,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for envoy in envoys {
            for number in 0..each {
                let connections = if number % 2 == 0 {
                    Connections::Kept
                } else {
                    Connections::Fresh
                };
                let client = envoy.client(connections);
                clients.spawn(ask(client, path, key.to_owned(), Arc::clone(&shared)));
            }
        }
        Self { clients, shared }
    }

    /// How many requests were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Stops the clients after the answers they wait for.
    pub async fn stop(self) -> Seen {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut all = Seen::default();
        for seen in self.clients.join_all().await {
            all.add(seen);
        }
        all
    }

    /// Lets the clients ask for so long, and stops them.
    pub async fn for_ms(self, milliseconds: u64) -> Seen {
        sleep(Duration::from_millis(milliseconds)).await;
        self.stop().await
    }
}

async fn ask(client: HttpClient, path: &'static str, key: String, shared: Arc<Shared>) -> Seen {
    let mut seen = Seen::default();
    while !shared.is_over.load(Ordering::SeqCst) {
        shared.sent.fetch_add(1, Ordering::SeqCst);
        let started = Instant::now();
        let answer = match client.get_with_key(path, &key).await {
            Ok(answer) => format!("{} {}", answer.status, answer.code()),
            Err(_) => "none".to_owned(),
        };
        let answer = answer.trim_end().to_owned();
        seen.answers.push((Instant::now(), answer));
        seen.slowest = seen.slowest.max(started.elapsed());
        sleep(PAUSE).await;
    }
    seen
}

impl Seen {
    /// When this answer came, in no order.
    pub fn times<'a>(&'a self, answer: &'a str) -> impl Iterator<Item = Instant> + 'a {
        let of_answer = self.answers.iter().filter(move |(_, seen)| seen == answer);
        of_answer.map(|(at, _)| *at)
    }

    /// How many requests were allowed.
    pub fn allowed(&self) -> u64 {
        self.times("200").count() as u64
    }

    /// Adds what others saw.
    pub fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.slowest = self.slowest.max(other.slowest);
    }

    /// How long after `start` this answer came for the last time, if it did.
    pub fn last_after(&self, answer: &str, start: Instant) -> Duration {
        let last = self.times(answer).max();
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(start))
    }

    /// Every answer was one of these.
    #[track_caller]
    pub fn assert_only(&self, expected: &[&str]) {
        let is_expected = |(_, answer): &(_, String)| expected.contains(&answer.as_str());
        assert!(self.answers.iter().all(is_expected), "{self}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<_, u64>::new();
        for (_, answer) in &self.answers {
            *counts.entry(answer).or_default() += 1;
        }
        write!(formatter, "{counts:?}, slowest {:?}", self.slowest)
    }
}
