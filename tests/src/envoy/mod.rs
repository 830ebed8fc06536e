//! A real Envoy with the filter, configured by the reference `envoy/envoy.yaml`.

mod configuration;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Connections, HttpClient};
use crate::process::{Process, free_port, near_test, on_path, program};
use crate::wait;

pub use configuration::reference_policy;

/// What stands between an Envoy's listener and the upstream.
#[derive(Clone, Debug)]
pub enum Module {
    /// The filter.
    Tollgate,
    /// Another Wasm module in its place.
    Other(PathBuf),
    /// Nothing.
    None,
}

/// What an Envoy writes about each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// What the reference configuration says.
    Reference,
    /// `fields`, the path, and what the filter leaves for it: decision, subscription and units.
    Fields,
    /// Nothing.
    None,
}

/// What a gateway itself does about other spellings of paths and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// What the reference configuration says.
    Reference,
    /// Nothing: whatever a client sends reaches the filter.
    None,
}

/// What an Envoy does with trailers of an upstream that speaks HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// What the reference configuration says: they are dropped.
    Reference,
    /// They are read.
    Read,
}

/// What an Envoy speaks with the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What the reference configuration says: HTTP/1.1.
    Reference,
    /// HTTP/2 without TLS.
    Http2,
}

/// What an Envoy does with requests that ask for another protocol, or for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrades {
    /// What the reference configuration says: it refuses them.
    Reference,
    /// WebSockets and tunnels to the upstream are allowed.
    Allowed,
}

/// Where an Envoy's listener is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// In the configuration it starts with.
    Fixed,
    /// In a file that it watches; see [`Envoy::reload`].
    Watched,
}

/// How an Envoy is started.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    /// The API behind it.
    pub upstream: SocketAddr,
    /// Its Redis.
    pub redis: SocketAddr,
    /// What its requests go through.
    pub module: Module,
    /// The filter's configuration.
    pub policy: Value,
    /// What it writes about each request.
    pub access_log: AccessLog,
    /// What it does before the filter sees a request.
    pub normalisation: Normalisation,
    /// What it does with trailers.
    pub trailers: Trailers,
    /// What it speaks with the upstream.
    pub protocol: Protocol,
    /// What it does with upgrades.
    pub upgrades: Upgrades,
    /// Where its listener is described.
    pub listener: Listener,
    /// How many workers it has.
    pub concurrency: u32,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// The command that starts it elsewhere, followed by its own; see [`Namespace::command`].
    ///
    /// [`Namespace::command`]: crate::namespace::Namespace::command
    pub within: Vec<String>,
}

impl EnvoyOptions {
    /// Two workers with the reference's configuration of the filter, for test keys.
    #[must_use]
    pub fn new(upstream: SocketAddr, redis: SocketAddr) -> Self {
        let mut policy = reference_policy();
        policy["environment"] = "test".into();
        policy["redis"]["prefix"] = crate::PREFIX.into();
        Self {
            upstream,
            redis,
            module: Module::Tollgate,
            policy,
            access_log: AccessLog::Reference,
            normalisation: Normalisation::Reference,
            trailers: Trailers::Reference,
            protocol: Protocol::Reference,
            upgrades: Upgrades::Reference,
            listener: Listener::Fixed,
            concurrency: 2,
            environment: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
            within: Vec::new(),
        }
    }
}

/// A running Envoy; its ports stay the same over restarts.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    options: EnvoyOptions,
    folder: TempDir,
    port: u16,
    admin_port: u16,
    admin: HttpClient,
}

impl Envoy {
    /// Starts one and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(options: EnvoyOptions) -> Self {
        let mut envoy = Self::launch(options);
        envoy.wait_until_ready().await;
        envoy
    }

    /// Starts one that ends by itself, since it refuses its configuration, and answers its log.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn start_refused(options: EnvoyOptions) -> String {
        let mut envoy = Self::launch(options);
        wait::until("Envoy to refuse its configuration", async || {
            envoy.process.ended().ok_or("it runs")
        })
        .await;
        envoy.log()
    }

    fn launch(options: EnvoyOptions) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let (port, admin_port) = (free_port(), free_port());
        configuration::write(&options, folder.path(), port, admin_port);
        Self {
            process: spawn(&options, folder.path()),
            admin: HttpClient::new(
                format!("http://{}:{admin_port}", options.address),
                Connections::Kept,
            ),
            options,
            folder,
            port,
            admin_port,
        }
    }

    /// Has a running Envoy with a watched listener take another configuration of the filter; it does so by and by.
    pub fn reload(&mut self, policy: Value) {
        self.options.policy = policy;
        configuration::write(
            &self.options,
            self.folder.path(),
            self.port,
            self.admin_port,
        );
    }

    /// The id of its process, until it starts again.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// A client of the API.
    #[must_use]
    pub fn client(&self, connections: Connections) -> HttpClient {
        HttpClient::new(self.url(), connections)
    }

    /// Where clients reach the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.options.address, self.port)
    }

    /// Where its admin port is.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.admin.base().to_owned()
    }

    /// A client of the admin port.
    #[must_use]
    pub const fn admin(&self) -> &HttpClient {
        &self.admin
    }

    /// Its version, such as `1.40.0`.
    ///
    /// # Panics
    /// When the admin port does not tell it.
    pub async fn version(&self) -> String {
        let answer = self.admin.get("/server_info").await;
        let information = answer.expect("Envoy tells its version").json();
        // `<commit>/<version>/<how it was built>`
        let version = information["version"].as_str().unwrap_or_default();
        version.split('/').nth(1).unwrap_or_default().to_owned()
    }

    /// Counters and gauges whose names match a regular expression.
    ///
    /// # Panics
    /// When the admin port does not answer.
    pub async fn stats(&self, filter: &str) -> BTreeMap<String, u64> {
        let path = format!("/stats?filter={filter}");
        let answer = self.admin.get(&path).await.expect("Envoy tells its stats");
        let lines = answer.body.lines();
        lines
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Kills it at once (`SIGKILL`).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (`SIGTERM`) and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again on the same ports, killing it first if it runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.options, self.folder.path());
        self.wait_until_ready().await;
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn wait_until_ready(&mut self) {
        let (process, admin) = (&mut self.process, &self.admin);
        wait::until("Envoy", async || {
            if let Some(status) = process.ended() {
                panic!("Envoy ended: {status}");
            }
            match admin.get("/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

fn spawn(options: &EnvoyOptions, folder: &Path) -> Process {
    let envoy = program("ENVOY", on_path("envoy"));
    let mut words = options.within.iter().map(OsString::from);
    let mut words = words.by_ref().chain([envoy.into_os_string()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .arg("--config-path")
        .arg(folder.join("envoy.yaml"))
        .args(["--concurrency", &options.concurrency.to_string()])
        // Hot restart would leave shared memory behind, and two Envoys would need to be told apart.
        .arg("--disable-hot-restart")
        // A listener that is replaced closes its connections soon, after their next response.
        .args(["--drain-time-s", "1", "--drain-strategy", "immediate"])
        // A log that is shown when a test fails tells of the filter and of what went wrong.
        .args([
            "--log-level",
            "warning",
            "--component-log-level",
            "wasm:info",
        ])
        .args(["--file-flush-interval-msec", "200"])
        .envs(options.environment.iter().cloned());
    Process::start("envoy", &mut command, &folder.join("log"))
}

/// The path of the filter's module.
///
/// # Panics
/// When it is not there, naming the script that builds it.
#[must_use]
pub fn filter_module() -> PathBuf {
    program("TOLLGATE_FILTER", near_test("tollgate_filter.wasm"))
}
