//! The load: wrk with one thread, each connection with one request at a time.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;
use tollgate_tests::process::repository;

/// What wrk saw of one stretch of load.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Answered requests.
    pub requests: f64,
    /// Answered requests per second.
    pub rps: f64,
    /// Median latency in µs.
    pub p50_us: f64,
    /// 99th percentile of the latency in µs.
    pub p99_us: f64,
}

/// The keys that requests come with, each as often.
#[derive(Debug)]
pub struct Keys(NamedTempFile);

impl Keys {
    /// These.
    ///
    /// # Panics
    /// When they cannot be written to a temporary file, from which wrk reads them.
    pub fn new<'k>(keys: impl Iterator<Item = &'k str>) -> Self {
        let file = NamedTempFile::new().expect("a temporary file can be made");
        let lines: Vec<_> = keys.collect();
        fs::write(file.path(), lines.join("\n")).expect("a file can be written");
        Self(file)
    }
}

/// Puts load on `url` with API keys.
///
/// # Panics
/// When a request fails, or is answered with a status of 400 or more.
pub async fn put(url: &str, keys: &Keys, connections: u32, seconds: u32) -> Seen {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(repository().join("tests/src/bin/bench/wrk.lua"))
        .arg(format!("{url}/v1/items"))
        .arg("--")
        .arg(keys.0.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = command.output().await.expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let seen: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("wrk says: {text}"));
    let figure = |name: &str| seen[name].as_f64().expect("wrk.lua prints it");
    assert!(
        figure("requests") > 0.0 && figure("failed") == 0.0,
        "not every request of wrk was answered with success: {text}"
    );
    Seen {
        requests: figure("requests"),
        rps: figure("requests") / (figure("duration_us") / 1e6),
        p50_us: figure("p50_us"),
        p99_us: figure("p99_us"),
    }
}
