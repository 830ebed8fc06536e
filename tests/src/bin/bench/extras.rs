//! What is measured once: what a cold key asks of Redis, what cached keys take of memory, and how long a revoked key is
//! let through.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tollgate_tests::envoy::{AccessLog, Envoy, EnvoyOptions};
use tollgate_tests::http::{Connections, HttpClient};
use tollgate_tests::redis::RedisServer;

use crate::customer::{Customers, Limit};
use crate::load::{self, Keys};
use crate::work::RedisWork;

/// Keys that are asked for once each.
const COLD_KEYS: usize = 21;
/// Keys that a worker's cache holds.
const CACHED_KEYS: usize = 100_000;
/// Keys that are revoked.
const REVOKED_KEYS: usize = 200;
/// Of them at a time.
const REVOKED_TOGETHER: usize = 20;
/// Connections over which a revoked key is tried, so that every worker has some.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_millis(20);
const WORKERS: u32 = 4;

/// What is measured once.
#[derive(Clone, Copy, Debug)]
pub struct Extras {
    /// Calls to Redis for the first request of a key.
    pub cold_key_calls: f64,
    /// What a gateway takes for the keys it has cached, in MB of memory.
    pub cached_keys_mb: f64,
    /// From a change log that has it to the last worker's first refusal, in ms: median and 99th percentile.
    pub revocation_ms: [f64; 2],
}

/// Measures all of it.
///
/// # Panics
/// When something does not run, or did not do what it is measured for.
pub async fn measure(redis: &mut RedisServer, backend: SocketAddr) -> Extras {
    eprintln!("a cold key, cached keys, revoked keys");
    Extras {
        cold_key_calls: cold_key_calls(redis, backend).await,
        cached_keys_mb: cached_keys_mb(redis, backend).await,
        revocation_ms: revocation_ms(redis, backend).await,
    }
}

async fn gateway(redis: &RedisServer, backend: SocketAddr, workers: u32, calls: u64) -> Envoy {
    let mut options = EnvoyOptions {
        access_log: AccessLog::None,
        concurrency: workers,
        ..EnvoyOptions::new(backend, redis.address())
    };
    options.policy["redis"]["maxCallsPerSecond"] = calls.into();
    // So that no request is refused while many keys are looked up for the first time.
    options.policy["redis"]["timeoutMs"] = 2_000.into();
    Envoy::start(options).await
}

async fn cold_key_calls(redis: &mut RedisServer, backend: SocketAddr) -> f64 {
    let customers = Customers::publish(redis, "cold", COLD_KEYS, Limit::Hard);
    let envoy = gateway(redis, backend, 1, 25).await;
    let client = envoy.client(Connections::Kept);
    let mut calls = Vec::new();
    for key in customers.keys() {
        // Whatever the one before has to tell is told by then.
        sleep(Duration::from_millis(100)).await;
        let before = RedisWork::of(redis);
        ask(&client, key, 200).await;
        let after = RedisWork::of(redis);
        // One connection is that which asks how many there were.
        calls.push(after.calls - before.calls - 1.0);
    }
    calls.sort_by(f64::total_cmp);
    // Beside most of them no other call is due.
    calls[calls.len() / 2]
}

async fn cached_keys_mb(redis: &mut RedisServer, backend: SocketAddr) -> f64 {
    let customers = Customers::publish(redis, "cached", CACHED_KEYS, Limit::Hard);
    let envoy = gateway(redis, backend, 1, 0).await;
    let first = Keys::new(customers.keys().take(1));
    load::put(&envoy.url(), &first, 32, 2).await;
    let before = memory_bytes(envoy.pid());
    let keys = Keys::new(customers.keys());
    for _ in 0..10 {
        load::put(&envoy.url(), &keys, 160, 6).await;
        sleep(Duration::from_millis(1_200)).await;
        let cached: u64 = envoy.stats("tollgate.cached_keys$").await.values().sum();
        if cached >= CACHED_KEYS as u64 {
            break;
        }
    }
    let cached: u64 = envoy.stats("tollgate.cached_keys$").await.values().sum();
    // A cache in two halves holds as many as it may, or half of them right after it has forgotten the other half.
    assert!(cached >= CACHED_KEYS as u64 / 2, "{cached} keys are cached");
    (memory_bytes(envoy.pid()) - before) / (1_024.0 * 1_024.0)
}

/// What a process has in memory.
fn memory_bytes(process: Pid) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.expect("Linux tells it") * 1_024.0
}

async fn revocation_ms(redis: &mut RedisServer, backend: SocketAddr) -> [f64; 2] {
    let customers = Customers::publish(redis, "revoked", REVOKED_KEYS, Limit::Soft);
    let envoy = gateway(redis, backend, WORKERS, 25).await;
    let keys: Vec<String> = customers.keys().map(str::to_owned).collect();
    let mut took = Vec::new();
    for from in (0..REVOKED_KEYS).step_by(REVOKED_TOGETHER) {
        let numbers = from..from + REVOKED_TOGETHER;
        let mut clients = Vec::new();
        for number in numbers.clone() {
            for _ in 0..TRIES {
                let client = envoy.client(Connections::Kept);
                ask(&client, &keys[number], 200).await;
                clients.push((number, client));
            }
        }
        let mut revoked = vec![Instant::now(); REVOKED_KEYS];
        for number in numbers {
            customers.revoke(redis, number);
            revoked[number] = Instant::now();
        }
        let mut tries = JoinSet::new();
        for (number, client) in clients {
            let (key, start) = (keys[number].clone(), revoked[number]);
            tries.spawn(async move {
                while client
                    .get_with_key("/", &key)
                    .await
                    .expect("Envoy answers")
                    .status
                    == 200
                {
                    sleep(PAUSE).await;
                }
                (number, start.elapsed())
            });
        }
        let mut last = vec![Duration::ZERO; REVOKED_KEYS];
        for (number, elapsed) in tries.join_all().await {
            last[number] = last[number].max(elapsed);
        }
        took.extend(last[from..from + REVOKED_TOGETHER].iter().copied());
    }
    took.sort();
    [took.len() / 2, took.len() * 99 / 100].map(|at| took[at].as_secs_f64() * 1_000.0)
}

async fn ask(client: &HttpClient, key: &str, status: u16) {
    let answer = client.get_with_key("/", key).await.expect("Envoy answers");
    assert_eq!(answer.status, status, "{answer}");
}
