//! Counters of many chains, carried from a real Redis into the ledger.

use std::time::{Duration, Instant};

use tollgate::ids::WorkerId;
use tollgate::jobs::Claim;
use tollgate::publisher::edge::Edge;
use tollgate::usage::Drain;
use tollgate_engine::resp::Command;
use tollgate_tests::redis::{RedisOptions, RedisServer};

use crate::fill::{self, Filled, METERS};

/// Chains in one request that fills Redis.
const CHAINS_PER_REQUEST: usize = 500;
/// The month after the one that is billed, and an hour of it.
pub const WINDOW_MS: i64 = 1_769_904_000_000;
pub const HOUR: i64 = WINDOW_MS / 3_600_000;
pub const KEY: &str = "key_0";
pub const COUNTERS: usize = 100_000;

/// What a drain took.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    pub counters: usize,
    pub seconds: f64,
}

/// Drains two counters of each of so many chains that it is 100,000 of them, or of all there are.
pub async fn drain(filled: &Filled) -> Drained {
    let redis = RedisServer::start(RedisOptions::default());
    let app = fill::app(&filled.url, &format!("redis://{}", redis.address())).await;
    let edge = Edge::new(&app);
    let chains = &filled.chains[..filled.chains.len().min(COUNTERS / METERS.len())];
    let names = edge.names().clone();
    let tagged = names.tagged("AbCd".parse().unwrap());
    let mut request = Vec::new();
    append(
        &mut request,
        &["HSET", &names.store(), "generation", "1", "ready", "1"],
    );
    for page in chains.chunks(CHAINS_PER_REQUEST) {
        for chain in page {
            let chain = chain.to_string();
            let fields = METERS.map(|meter| format!("h/1/{meter}/{WINDOW_MS}/{HOUR}/{KEY}"));
            let (usage, dirty) = (
                format!("{tagged}usage:{chain}"),
                format!("{tagged}dirty:{chain}"),
            );
            append(
                &mut request,
                &["HSET", &usage, &fields[0], "5000", &fields[1], "7000"],
            );
            append(&mut request, &["SADD", &dirty, &fields[0], &fields[1]]);
            append(
                &mut request,
                &["SADD", &names.pending(), &format!("{tagged} {chain}")],
            );
            let worker = [
                "HSET",
                &format!("{tagged}workers:{chain}"),
                "worker",
                "3,0,",
            ];
            append(&mut request, &worker);
        }
        let _ = redis.exchange(&request);
        request.clear();
    }
    let now = app.clock.machine_now();
    let hour = Duration::from_secs(3_600);
    let owner = WorkerId::generate(now);
    let claim = Claim::take(&app.database, "store", owner, now, hour).await;
    let claim = claim.unwrap().unwrap();
    let drain = Drain::new(app.clone(), edge.clone());
    let began = Instant::now();
    drain.pass(&claim, 1).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert!(edge.pending().await.unwrap().is_empty());
    app.database.close().await;
    Drained {
        counters: chains.len() * METERS.len(),
        seconds,
    }
}

fn append(request: &mut Vec<u8>, words: &[&str]) {
    Command::append(request, words[0], |command| {
        for word in &words[1..] {
            command.word(word);
        }
    });
}
