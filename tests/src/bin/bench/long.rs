//! Units counted before, for two minutes over a network that is not the loopback: whether a gateway's connections to
//! Redis are more than Linux's defaults allow.
//!
//! The network is a pair of virtual devices into a network namespace, which takes root's rights and iproute2. At its
//! other end a process of this program relays to Redis's Unix socket, one connection for each.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_tests::envoy::{AccessLog, Envoy, EnvoyOptions};
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::wait;

use crate::backend;
use crate::customer::{self, Customers, Limit};
use crate::load::{self, Keys};
use crate::work::RedisWork;

const SECONDS: u32 = 120;
const WORKERS: u32 = 4;
const CONNECTIONS: u32 = 32;
const REDIS_PORT: u16 = 6_379;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 1);
const REDIS: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 2);
/// The state of a connection in `/proc/net/tcp` whose closer waits for what may still come.
const TIME_WAIT: &str = "06";

/// What two minutes showed.
#[derive(Clone, Copy, Debug)]
pub struct Long {
    requests_per_second: f64,
    connections_per_second: f64,
    time_wait: usize,
    /// Calls to Redis that failed, for whatever reason.
    pub failed: u64,
}

impl Long {
    /// The figures as a member of a JSON object.
    pub fn json(&self) -> String {
        format!(
            "\"exact_veth\":{{\"rps\":{:.0},\"connections_per_second\":{:.1},\"time_wait\":{},\"failed_calls\":{}}}",
            self.requests_per_second, self.connections_per_second, self.time_wait, self.failed
        )
    }
}

impl fmt::Display for Long {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Exact over a veth pair for {SECONDS} s, {WORKERS} workers at the default pace: {:.0} requests/s, {:.1} connections/s to Redis, {} in TIME_WAIT, {} failed calls.",
            self.requests_per_second, self.connections_per_second, self.time_wait, self.failed
        )
    }
}

/// Measures it.
///
/// # Panics
/// When the machine does not allow a network namespace, or something does not run.
pub async fn measure() -> Long {
    eprintln!("exact over a veth pair, {SECONDS} s");
    let mut redis = RedisServer::start(RedisOptions::default());
    customer::open(&mut redis);
    let customers = Customers::publish(&mut redis, "long", 1, Limit::Hard);
    let _network = Network::lay();
    let _relay = Relay::start(&redis.socket());
    let mut options = EnvoyOptions {
        access_log: AccessLog::None,
        concurrency: WORKERS,
        ..EnvoyOptions::new(backend::start(), SocketAddr::from((REDIS, REDIS_PORT)))
    };
    options.policy["metering"]["mode"] = "exact".into();
    let envoy = Envoy::start(options).await;
    let keys = Keys::new(customers.keys());
    let (before, start) = (RedisWork::of(&redis), Instant::now());
    let seen = load::put(&envoy.url(), &keys, CONNECTIONS, SECONDS).await;
    let seconds = start.elapsed().as_secs_f64();
    let time_wait = time_wait();
    let calls = RedisWork::of(&redis).calls - before.calls - 1.0;
    let stats = envoy.stats("tollgate.calls").await;
    let failed = stats.iter().filter(|(name, _)| !name.contains("ok"));
    Long {
        requests_per_second: seen.rps,
        connections_per_second: calls / seconds,
        time_wait,
        failed: failed.map(|(_, count)| count).sum(),
    }
}

/// Connections to Redis that the gateway has closed and Linux has not forgotten.
fn time_wait() -> usize {
    let remote = format!(
        "{:08X}:{REDIS_PORT:04X}",
        u32::from_ne_bytes(REDIS.octets())
    );
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux tells its connections");
    let waits = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&TIME_WAIT)
    };
    table.lines().filter(waits).count()
}

/// A namespace at the other end of a pair of devices, gone when dropped.
struct Network {
    name: String,
}

impl Network {
    fn lay() -> Self {
        let network = Self { name: namespace() };
        let name = &network.name;
        for arguments in [
            format!("netns add {name}"),
            format!("link add tgbench type veth peer name tgbenchr netns {name}"),
            format!("address add {GATEWAY}/24 dev tgbench"),
            format!("-n {name} address add {REDIS}/24 dev tgbenchr"),
            format!("-n {name} link set tgbenchr up"),
            "link set tgbench up".to_owned(),
        ] {
            let made = Command::new("ip").args(arguments.split(' ')).status();
            let made = made.expect("iproute2 is installed");
            assert!(made.success(), "ip {arguments}: it takes root's rights");
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The devices go with it.
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

fn namespace() -> String {
    format!("tollgate-bench-{}", std::process::id())
}

/// A process in the namespace that relays to Redis, ended when dropped.
struct Relay(Child);

impl Relay {
    fn start(socket: &Path) -> Self {
        let program = env::current_exe().expect("a program knows where it is");
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace()])
            .arg(program)
            .arg("relay")
            .arg(socket)
            .stdin(Stdio::null())
            .spawn();
        let relay = Self(child.expect("iproute2 is installed"));
        wait::blocking_until("the relay", || {
            TcpStream::connect((REDIS, REDIS_PORT)).map(drop)
        });
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Relays each connection to a Unix socket, until it is killed.
///
/// # Panics
/// When it cannot listen.
pub fn relay(socket: &Path) {
    let listener = TcpListener::bind((REDIS, REDIS_PORT)).expect("the address is in the namespace");
    for stream in listener.incoming().flatten() {
        let socket = PathBuf::from(socket);
        // Whoever breaks the connection off has its reasons.
        thread::spawn(move || drop(carry(stream, &socket)));
    }
}

fn carry(mut client: TcpStream, socket: &Path) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    client.read_to_end(&mut request)?;
    let mut redis = UnixStream::connect(socket)?;
    redis.write_all(&request)?;
    redis.shutdown(Shutdown::Write)?;
    redis.read_to_end(&mut answer)?;
    client.write_all(&answer)
}
