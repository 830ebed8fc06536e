//! The program bills everything once, in a process of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fill::{AS_OF, Filled};

const LOOK: Duration = Duration::from_millis(20);

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Billed {
    pub invoices: u64,
    pub seconds: f64,
    /// The most memory that the process had.
    pub peak_mib: f64,
}

/// Bills every subscription of a database.
pub async fn bill(filled: &Filled) -> Billed {
    filled.app.database.close().await;
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["invoice", "run", "--json", "--as-of", AS_OF])
        .env("DATABASE_URL", &filled.url)
        .env("TOLLGATE_TELEMETRY_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_mib: f64 = 0.0;
    while child.try_wait().unwrap().is_none() {
        peak_mib = peak_mib.max(peak(&status).unwrap_or(0.0));
        tokio::time::sleep(LOOK).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let invoices = said["invoices"].as_u64().unwrap();
    assert_eq!(invoices, filled.chains.len() as u64, "{said}");
    Billed {
        invoices,
        seconds,
        peak_mib,
    }
}

impl Billed {
    pub fn per_second(&self) -> f64 {
        self.invoices as f64 / self.seconds
    }
}

fn peak(status: &str) -> Option<f64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1_024.0)
}
