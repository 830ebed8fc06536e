//! What servers did: processor time by the kernel's books, calls and commands by Redis's own.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use tollgate_tests::redis::RedisServer;
use tollgate_tests::store::request;

/// Linux tells processes' times in hundredths of a second on every architecture that Envoy runs on.
const TICK_US: f64 = 10_000.0;
/// Where `cutime` and `cstime` stand in `/proc/<id>/stat`, counted after the command's name.
const ENDED_CHILDREN_TIMES_AT: Range<usize> = 13..15;
/// Where `user`, `nice` and `system`, and `irq`, `softirq` and `steal` stand in `/proc/stat`; idle time is between.
const BUSY_TIMES_AT: [usize; 6] = [0, 1, 2, 5, 6, 7];
/// What the filter sends, as Redis counts it; scripts run other commands.
const SENT: [&str; 4] = ["auth", "eval", "evalsha", "script|load"];

/// Processor time a process has taken, in µs: all its threads, in user and kernel mode.
pub fn processor_us(process: Pid) -> f64 {
    let clock = clock_getcpuclockid(process).expect("the process runs");
    let time = clock_gettime(clock).expect("a process's time can be read");
    Duration::from(time).as_secs_f64() * 1e6
}

/// Processor time of this process's children that have ended, in µs.
pub fn ended_children_us() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this process runs");
    let (_, fields) = stat
        .rsplit_once(')')
        .expect("a command's name is in parentheses");
    ticks_us(fields)[ENDED_CHILDREN_TIMES_AT].iter().sum()
}

/// Processor time that everything on the machine has taken, in µs.
pub fn machine_us() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("Linux tells its times");
    let line = stat.lines().next().unwrap_or_default();
    let times = ticks_us(line.trim_start_matches("cpu"));
    BUSY_TIMES_AT.iter().map(|at| times[*at]).sum()
}

/// Reads every field as a time; those that are none are not looked at.
fn ticks_us(fields: &str) -> Vec<f64> {
    let ticks = fields.split_whitespace().map(str::parse::<f64>);
    ticks
        .map(|ticks| ticks.map_or(0.0, |ticks| ticks * TICK_US))
        .collect()
}

/// What a Redis was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisWork {
    /// Connections made to it, one per call.
    pub calls: f64,
    /// Commands sent to it.
    pub commands: f64,
    /// Commands it ran, those inside scripts included.
    pub executed: f64,
}

impl RedisWork {
    /// Everything since it was started.
    pub fn of(redis: &RedisServer) -> Self {
        let answer = redis.exchange(&request(&["INFO", "everything"]));
        let text = String::from_utf8_lossy(&answer);
        let mut work = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if name == "total_connections_received" {
                work.calls = value.parse().expect("a count is a number");
            } else if let Some(command) = name.strip_prefix("cmdstat_") {
                let count = value
                    .strip_prefix("calls=")
                    .and_then(|rest| rest.split(',').next());
                let count: f64 = count
                    .and_then(|count| count.parse().ok())
                    .expect("a count is a number");
                work.commands += if SENT.contains(&command) { count } else { 0.0 };
                work.executed += if command == "info" { 0.0 } else { count };
            }
        }
        work
    }

    /// What came after `earlier`, without the connection that asked, for every `requests` of a thousand.
    pub fn per_thousand(self, earlier: Self, requests: f64) -> [f64; 3] {
        let per_thousand = |count: f64| count * 1_000.0 / requests;
        [
            per_thousand(self.calls - earlier.calls - 1.0),
            per_thousand(self.commands - earlier.commands),
            per_thousand(self.executed - earlier.executed),
        ]
    }
}
