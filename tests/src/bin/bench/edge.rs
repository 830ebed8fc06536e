//! What the filter costs: gateways that differ only in what stands before the same backend, measured by turns.
//!
//! All of them are started once, since that takes longer than measuring them. Those that are not measured are paused: a
//! gateway has its processor to itself where it is used, and the ticks of others would leave their traces in its caches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use nix::unistd::Pid;
use tollgate_tests::envoy::{AccessLog, Envoy, EnvoyOptions};
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::wait;

use crate::customer::{Customers, Limit};
use crate::extras::{self, Extras};
use crate::load::{Keys, Seen};
use crate::long::{self, Long};
use crate::processors::{self, Shares};
use crate::report::median;
use crate::rows::Row;
use crate::work::{RedisWork, ended_children_us, machine_us, processor_us};
use crate::{backend, customer, load};

/// How often every row is measured.
pub const ROUNDS: usize = 5;
/// Connections under which a gateway's worker has no time to spare.
const BUSY_CONNECTIONS: u32 = 32;
/// Connections on which a gateway meets every key for the first time: fewer than it looks up at once.
const FIRST_CONNECTIONS: u32 = 160;
const FIRST_SECONDS: u32 = 5;
const FIRST_TRIES: usize = 20;
const WARM_UP_SECONDS: u32 = 1;
/// Seconds of load that a round of a row keeps for each number of connections.
const KEPT: usize = 3;
/// Seconds that are put again while plain Envoy, which runs before and after each, is slower than [`LEAST_SPEED`].
const SPARE: usize = 3;
/// The part of its greatest rate at which plain Envoy shows that the machine's processors are its own: neighbours on the
/// same cores take up to half of it for seconds at a time, and not the same half of what is compared.
pub const LEAST_SPEED: f64 = 0.9;

/// What is measured of every row.
pub const COLUMNS: [&str; 7] = [
    "rps_1",
    "p50_us_1",
    "p99_us_1",
    "rps_32",
    "p50_us_32",
    "p99_us_32",
    "cpu_us_per_request",
];
/// The column of the median latency on one connection.
pub const P50_SINGLE: usize = 1;
/// The column of requests per second on the busy connections.
pub const RPS_BUSY: usize = 3;
/// The column of processor time.
pub const CPU: usize = 6;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// What takes minutes in all.
    Usual,
    /// What takes minutes by itself, too.
    Long,
}

/// One round of one row.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// By [`COLUMNS`].
    pub figures: [f64; COLUMNS.len()],
    /// The same of plain Envoy in the seconds between.
    pub plain: [f64; COLUMNS.len()],
    /// Calls, commands sent and commands executed per 1,000 requests on the busy connections.
    pub redis: [f64; 3],
    /// Seconds of load.
    pub seconds: usize,
    /// Of these, kept ones in which plain Envoy was slower than [`LEAST_SPEED`].
    pub slow: usize,
}

impl Measured {
    /// A figure divided by plain Envoy's in the same seconds.
    pub fn of_plain(&self, column: usize) -> f64 {
        self.figures[column] / self.plain[column]
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    /// The version of Envoy.
    pub envoy: String,
    /// How many processors the machine has.
    pub processors: usize,
    /// Which share of the machine's processors something else took meanwhile.
    pub other_work: f64,
    /// Every round of every row.
    pub rows: Vec<(Row, Vec<Measured>)>,
    /// What is measured once.
    pub extras: Extras,
    /// What takes minutes, if it was asked for.
    pub long: Option<Long>,
}

/// Measures every row.
///
/// # Panics
/// When something does not run, or did not do what it is measured for.
pub async fn measure(stretch: Stretch) -> Results {
    let processors = processors::usable().len();
    let mut bench = Bench::start().await;
    let (other_us, start) = (bench.other_us(), Instant::now());
    let mut rows = Row::ALL.map(|row| (row, Vec::new()));
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for at in 0..rows.len() {
            // Every other round goes backwards, so that a machine that slows down favours none.
            let at = if round % 2 == 0 {
                at
            } else {
                rows.len() - 1 - at
            };
            let measured = bench.measure(&bench.gateways[at]).await;
            rows[at].1.push(measured);
        }
    }
    let other_us = bench.other_us() - other_us;
    let available_us = start.elapsed().as_micros() as f64 * processors as f64;
    for gateway in &bench.gateways {
        gateway.envoy.resume();
        bench.check(gateway).await;
    }
    let envoy = bench.gateways[0].envoy.version().await;
    // What they still have to tell Redis would be counted among what follows.
    bench.gateways.clear();
    let backend = bench.backend;
    let extras = extras::measure(&mut bench.redis, backend).await;
    drop(bench);
    let long = match stretch {
        Stretch::Usual => None,
        Stretch::Long => Some(long::measure().await),
    };
    Results {
        extras,
        long,
        envoy,
        processors,
        other_work: other_us / available_us,
        rows: rows.into(),
    }
}

struct Bench {
    redis: RedisServer,
    backend: SocketAddr,
    gateways: Vec<Gateway>,
    /// The greatest rate of plain Envoy, by connections.
    fastest: RefCell<BTreeMap<u32, f64>>,
}

/// Has every worker of a gateway look every key up, since those rows measure what is known.
async fn meet(envoy: &Envoy, keys: &Keys, row: Row) {
    let all = row.keys() as u64 * u64::from(row.workers());
    let mut known = 0;
    for _ in 0..FIRST_TRIES {
        load::put(&envoy.url(), keys, FIRST_CONNECTIONS, FIRST_SECONDS).await;
        known = envoy.stats("tollgate.cached_keys$").await.values().sum();
        if known >= all {
            return;
        }
    }
    panic!("{row}: the workers know {known} of {all} keys");
}

/// A second of load on one gateway.
#[derive(Clone, Copy)]
struct Load {
    seen: Seen,
    /// Processor time of a request.
    processor_us: f64,
    redis: [f64; 3],
}

/// A second of load on a gateway, between two on plain Envoy.
struct Second {
    before: Load,
    load: Load,
    after: Load,
}

impl Second {
    fn plain_rps(&self) -> f64 {
        self.before.seen.rps.min(self.after.seen.rps)
    }
}

struct Sample {
    kept: Vec<Second>,
    seconds: usize,
    slow: usize,
}

/// The medians of all columns.
fn columns(
    single: &Sample,
    busy: &Sample,
    figure: impl Fn(&Second, fn(&Load) -> f64) -> f64,
) -> [f64; COLUMNS.len()] {
    let of =
        |sample: &Sample, of_load| median(sample.kept.iter().map(|second| figure(second, of_load)));
    [
        of(single, |load| load.seen.rps),
        of(single, |load| load.seen.p50_us),
        of(single, |load| load.seen.p99_us),
        of(busy, |load| load.seen.rps),
        of(busy, |load| load.seen.p50_us),
        of(busy, |load| load.seen.p99_us),
        of(busy, |load| load.processor_us),
    ]
}

struct Gateway {
    row: Row,
    envoy: Envoy,
    customers: Customers,
    keys: Keys,
}

impl Bench {
    async fn start() -> Self {
        let shares = Shares::for_workers(1);
        if let Some(shares) = &shares {
            shares.confine_rest();
        }
        let backend = backend::start();
        let mut redis = RedisServer::start(RedisOptions::default());
        customer::open(&mut redis);
        let mut gateways = Vec::new();
        for row in Row::ALL {
            let limit = if row.keys() > 1 {
                Limit::Soft
            } else {
                Limit::Hard
            };
            let customers = Customers::publish(&mut redis, &row.to_string(), row.keys(), limit);
            let mut options = EnvoyOptions {
                module: row.module(),
                access_log: AccessLog::None,
                concurrency: row.workers(),
                ..EnvoyOptions::new(backend, redis.address())
            };
            row.configure(&mut options.policy);
            let envoy = Envoy::start(options).await;
            if let Some(shares) = &shares {
                shares.confine_gateway(envoy.pid());
            }
            let keys = Keys::new(customers.keys());
            if row.keys() > 1 {
                meet(&envoy, &keys, row).await;
            }
            gateways.push(Gateway {
                row,
                envoy,
                customers,
                keys,
            });
        }
        let but_plain = gateways.iter().skip(1);
        but_plain.for_each(|gateway| gateway.envoy.pause());
        Self {
            redis,
            backend,
            gateways,
            fastest: RefCell::default(),
        }
    }

    async fn measure(&self, gateway: &Gateway) -> Measured {
        gateway.envoy.resume();
        let url = gateway.envoy.url();
        load::put(&url, &gateway.keys, BUSY_CONNECTIONS, WARM_UP_SECONDS).await;
        let busy = self.sample(gateway, BUSY_CONNECTIONS).await;
        let single = self.sample(gateway, 1).await;
        if gateway.row != Row::Plain {
            gateway.envoy.pause();
        }
        Measured {
            figures: columns(&single, &busy, |second, figure| figure(&second.load)),
            plain: columns(&single, &busy, |second, figure| {
                (figure(&second.before) + figure(&second.after)) / 2.0
            }),
            redis: std::array::from_fn(|at| {
                median(busy.kept.iter().map(|second| second.load.redis[at]))
            }),
            seconds: busy.seconds + single.seconds,
            slow: busy.slow + single.slow,
        }
    }

    /// Puts load on a gateway by the second, by turns with plain Envoy, until there are enough seconds in which plain
    /// Envoy was as fast as it can be, and keeps those in which it was fastest.
    async fn sample(&self, gateway: &Gateway, connections: u32) -> Sample {
        let plain = &self.gateways[0];
        let mut kept = Vec::<Second>::new();
        let mut before = self.load(plain, connections).await;
        let (mut seconds, mut slow) = (0, 0);
        while seconds < KEPT || slow > 0 && seconds < KEPT + SPARE {
            let load = self.load(gateway, connections).await;
            let after = self.load(plain, connections).await;
            kept.push(Second {
                before: mem::replace(&mut before, after),
                load,
                after,
            });
            kept.sort_by(|one, other| other.plain_rps().total_cmp(&one.plain_rps()));
            kept.truncate(KEPT);
            let least = LEAST_SPEED * self.note_fastest(connections, after.seen.rps);
            let is_slow = |second: &&Second| second.plain_rps() < least;
            slow = kept.iter().filter(is_slow).count();
            seconds += 1;
        }
        Sample {
            kept,
            seconds,
            slow,
        }
    }

    /// The greatest rate of plain Envoy on so many connections, this one included.
    fn note_fastest(&self, connections: u32, rps: f64) -> f64 {
        let mut fastest = self.fastest.borrow_mut();
        let fastest = fastest.entry(connections).or_default();
        *fastest = rps.max(*fastest);
        *fastest
    }

    async fn load(&self, gateway: &Gateway, connections: u32) -> Load {
        let (redis, processor) = (RedisWork::of(&self.redis), self.processor_us(gateway));
        let seen = load::put(&gateway.envoy.url(), &gateway.keys, connections, 1).await;
        let processor = self.processor_us(gateway) - processor;
        Load {
            seen,
            processor_us: processor / seen.requests,
            redis: RedisWork::of(&self.redis).per_thousand(redis, seen.requests),
        }
    }

    /// Of the gateway, Redis, and this process, which does nothing meanwhile but serve the backend.
    fn processor_us(&self, gateway: &Gateway) -> f64 {
        let processes = [gateway.envoy.pid(), self.redis.pid(), Pid::this()];
        processes.into_iter().map(processor_us).sum()
    }

    /// Processor time of all that is neither measured nor the load, in µs.
    fn other_us(&self) -> f64 {
        let gateways = self.gateways.iter();
        let gateways: f64 = gateways
            .map(|gateway| processor_us(gateway.envoy.pid()))
            .sum();
        let ours = gateways + processor_us(self.redis.pid()) + processor_us(Pid::this());
        machine_us() - ours - ended_children_us()
    }

    /// Holds a gateway to what it was measured for: every answer came from the backend, through the module or none,
    /// and metered ones are counted in Redis, each once.
    async fn check(&self, gateway: &Gateway) {
        let Gateway {
            row,
            envoy,
            customers,
            ..
        } = gateway;
        let stats = envoy.stats("^http.public.downstream_rq_[1-5]xx$").await;
        let answered = |class: u8| stats[&format!("http.public.downstream_rq_{class}xx")];
        for class in [1, 3, 4, 5] {
            assert_eq!(answered(class), 0, "{row} answered with {class}xx");
        }
        let vms = envoy.stats("^wasm.*active$").await.values().sum::<u64>();
        assert_eq!(vms > 0, *row != Row::Plain, "{row} has {vms} VMs");
        if row.is_metered() {
            wait::until("all usage in Redis", async || {
                let consumed = customers.consumed(&self.redis);
                let served = answered(2);
                (consumed == served)
                    .then_some(())
                    .ok_or_else(|| format!("{consumed} of {served}"))
            })
            .await;
        }
    }
}
