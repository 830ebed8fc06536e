//! A real Envoy with the filter, configured by the reference `envoy/envoy.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Connections, HttpClient};
use crate::process::{Process, free_port, near_test, on_path, program, repository};
use crate::wait;

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
    /// How many workers it has.
    pub concurrency: u32,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
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
            concurrency: 2,
            environment: Vec::new(),
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
        let configuration = adapt(&reference(), &options, port, admin_port);
        fs::write(folder.path().join("envoy.yaml"), configuration).expect("a file can be written");
        Self {
            process: spawn(&options, folder.path()),
            options,
            folder,
            port,
            admin: HttpClient::new(format!("http://127.0.0.1:{admin_port}"), Connections::Kept),
        }
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
        format!("http://127.0.0.1:{}", self.port)
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
    let mut command = Command::new(program("ENVOY", on_path("envoy")));
    command
        .arg("--config-path")
        .arg(folder.join("envoy.yaml"))
        .args(["--concurrency", &options.concurrency.to_string()])
        // Hot restart would leave shared memory behind, and two Envoys would need to be told apart.
        .arg("--disable-hot-restart")
        // A log that is shown when a test fails tells of the filter and of what went wrong.
        .args([
            "--log-level",
            "warning",
            "--component-log-level",
            "wasm:info",
        ])
        .envs(options.environment.iter().cloned());
    Process::start("envoy", &mut command, &folder.join("log"))
}

fn reference() -> String {
    let path = repository().join("envoy/envoy.yaml");
    fs::read_to_string(path).expect("the reference configuration can be read")
}

/// The filter's configuration in the reference.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn reference_policy() -> Value {
    let text = reference();
    let (_, policy, _) = split_policy(&text);
    serde_json::from_str(policy).expect("the reference configuration of the filter is JSON")
}

/// The reference with a test's own addresses, ports, module and configuration of the filter.
fn adapt(reference: &str, options: &EnvoyOptions, port: u16, admin_port: u16) -> String {
    let (before, _, after) = split_policy(reference);
    let mut text = format!("{before}{}\n{after}", options.policy);
    let address =
        |address: SocketAddr| format!("address: {}, port_value: {}", address.ip(), address.port());
    let listener = SocketAddr::from(([127, 0, 0, 1], port));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin_port));
    for (from, to) in [
        ("address: 0.0.0.0, port_value: 10000", address(listener)),
        ("address: 127.0.0.1, port_value: 9901", address(admin)),
        (
            "address: 127.0.0.1, port_value: 8080",
            address(options.upstream),
        ),
        (
            "address: 127.0.0.1, port_value: 6379",
            address(options.redis),
        ),
    ] {
        text = replace_once(&text, from, &to);
    }
    text = match &options.module {
        Module::Tollgate => with_module(&text, &filter_module()),
        Module::Other(path) => with_module(&text, path),
        Module::None => without(&text, "- name: tollgate\n", "- name: envoy.filters.http.r"),
    };
    text = match options.normalisation {
        Normalisation::Reference => text,
        Normalisation::None => without(&text, "normalize_path:", "# A refusal's"),
    };
    match options.access_log {
        AccessLog::Reference => text,
        AccessLog::None => without(&text, "access_log:\n", "route_config:\n"),
    }
}

fn with_module(text: &str, path: &Path) -> String {
    let reference = "/etc/tollgate/tollgate_filter.wasm";
    replace_once(text, reference, &path.display().to_string())
}

fn replace_once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in envoy/envoy.yaml");
    text.replace(from, to)
}

/// The text without what begins with `from` and ends before the next `to`.
fn without(text: &str, from: &str, to: &str) -> String {
    let cut = text.split_once(from).and_then(|(before, rest)| {
        let end = rest.find(to)?;
        Some(format!("{before}{}", &rest[end..]))
    });
    cut.unwrap_or_else(|| panic!("{from} and then {to} in envoy/envoy.yaml"))
}

/// What stands before the filter's configuration, that itself, and what stands after it.
fn split_policy(text: &str) -> (&str, &str, &str) {
    let start = text.find("value: |\n").map(|at| at + "value: |\n".len());
    let start = start.expect("the filter's configuration is a block of text");
    let end = text[start..].find("\n          - name: ");
    let end = start + end.expect("another filter follows") + 1;
    let indent = text[start..].len() - text[start..].trim_start().len();
    (
        &text[..start + indent],
        &text[start + indent..end],
        &text[end..],
    )
}

/// The path of the filter's module.
///
/// # Panics
/// When it is not there, naming the script that builds it.
#[must_use]
pub fn filter_module() -> PathBuf {
    program("TOLLGATE_FILTER", near_test("tollgate_filter.wasm"))
}
