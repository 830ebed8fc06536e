//! A real control plane on a database of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};

use nix::unistd::Pid;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Connections, HttpClient, send};
use crate::postgres;
use crate::process::{Process, free_port, near_test, program};
use crate::wait;

/// The admin key of every control plane a test starts.
pub const ADMIN_KEY: &str = "tga_0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Its Redis.
    pub redis: SocketAddr,
    /// Its database; a file in its own folder when left out.
    pub database_url: Option<String>,
    /// Its first admin key.
    pub first_key: FirstKey,
    /// What is added to its environment: any setting as `TOLLGATE_<SECTION>_<NAME>`.
    pub environment: Vec<(String, String)>,
}

/// Where the first admin key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstKey {
    /// It is [`ADMIN_KEY`].
    Chosen,
    /// The control plane makes it at its first start; see [`ControlPlane::made_key`].
    Made,
}

impl ControlPlaneOptions {
    /// On SQLite, with defaults.
    #[must_use]
    pub const fn new(redis: SocketAddr) -> Self {
        Self {
            redis,
            database_url: None,
            first_key: FirstKey::Chosen,
            environment: Vec::new(),
        }
    }
}

/// A running control plane; port and database stay the same over restarts.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    options: ControlPlaneOptions,
    folder: TempDir,
    port: u16,
    client: HttpClient,
    ending: Ending,
}

/// What happens when a control plane is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Diagnosed,
    Undiagnosed,
}

impl ControlPlane {
    /// Starts one in an empty folder and waits until it answers.
    ///
    /// Its database is a file of its own unless `TOLLGATE_TEST_DATABASE` is `postgres`.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(mut options: ControlPlaneOptions) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        if options.database_url.is_none() {
            options.database_url = postgres::wanted();
        }
        let port = free_port();
        let mut control_plane = Self {
            process: spawn(&options, &folder, port),
            options,
            folder,
            port,
            client: HttpClient::new(format!("http://127.0.0.1:{port}"), Connections::Kept),
            ending: Ending::Diagnosed,
        };
        control_plane.wait_until_alive().await;
        control_plane
    }

    /// Starts another one on the same database and Redis, which leads customers to the same pages.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn replica(&self) -> Self {
        let mut options = self.options.clone();
        options.database_url = Some(database_url(&self.options, &self.folder));
        let pages = ("TOLLGATE_SERVER_PUBLIC_URL".to_owned(), self.url());
        options.environment.push(pages);
        Self::start(options).await
    }

    /// A client without credentials.
    #[must_use]
    pub const fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The admin key it made at its first start, if it made one.
    #[must_use]
    pub fn made_key(&self) -> Option<String> {
        let file = self.folder.path().join("tollgate-admin.key");
        Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Calls the API as administrator and answers whatever it says.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method, path).bearer_auth(ADMIN_KEY);
        if let Some(body) = body {
            request = request.json(body);
        }
        send(request).await.expect("the control plane answers")
    }

    /// Gets a resource.
    ///
    /// # Panics
    /// When the answer is no success.
    pub async fn get(&self, path: &str) -> Value {
        succeeded(path, &self.call(Method::GET, path, None).await)
    }

    /// Posts to a resource.
    ///
    /// # Panics
    /// When the answer is no success.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        succeeded(path, &self.call(Method::POST, path, Some(body)).await)
    }

    /// Waits until `/readyz` says that everything is ready.
    pub async fn wait_until_ready(&self) {
        self.wait_for("/readyz").await;
    }

    /// Kills it at once (`SIGKILL`).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (`SIGTERM`) and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again on the same port and database, killing it first if it runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.options, &self.folder, self.port);
        self.wait_until_alive().await;
    }

    /// What another command of the program, such as `doctor`, answers with the same settings.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command(&self.options, &self.folder, self.port);
        command.args(arguments).output().expect("the program runs")
    }

    /// Its settings, as variables of the environment.
    pub fn settings(&self) -> impl Iterator<Item = (String, String)> {
        settings(&self.options, &self.folder, self.port)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        program_file()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Keeps the doctor away at the end, for who destroys what it would look at.
    pub const fn forgo_diagnosis(&mut self) {
        self.ending = Ending::Undiagnosed;
    }

    /// What the doctor finds in what it leaves, if that is anything.
    fn diagnose(&self) -> Option<String> {
        let doctor = self.run(&["doctor"]);
        let said = [doctor.stdout, doctor.stderr].concat();
        (!doctor.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
    }

    async fn wait_until_alive(&mut self) {
        let (process, client) = (&mut self.process, &self.client);
        wait::until("the control plane", async || {
            if let Some(status) = process.ended() {
                panic!("the control plane ended: {status}");
            }
            probe(client, "/healthz").await
        })
        .await;
    }

    async fn wait_for(&self, path: &str) {
        wait::until(path, async || probe(&self.client, path).await).await;
    }
}

impl Drop for ControlPlane {
    /// At the end of every test the doctor looks at what is left.
    fn drop(&mut self) {
        if self.ending == Ending::Diagnosed
            && !std::thread::panicking()
            && let Some(found) = self.diagnose()
        {
            panic!("the doctor is not content: {found}");
        }
    }
}

async fn probe(client: &HttpClient, path: &str) -> Result<(), String> {
    match client.get(path).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(answer.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn succeeded(path: &str, answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{path}: {answer}");
    answer.json()
}

fn spawn(options: &ControlPlaneOptions, folder: &TempDir, port: u16) -> Process {
    let mut command = command(options, folder, port);
    command.arg("serve");
    Process::start("control plane", &mut command, &folder.path().join("log"))
}

fn command(options: &ControlPlaneOptions, folder: &TempDir, port: u16) -> Command {
    let mut command = Command::new(program_file());
    command
        .current_dir(folder.path())
        .env_remove("TOLLGATE_ADMIN_KEY")
        .envs(settings(options, folder, port));
    if options.first_key == FirstKey::Chosen {
        command.env("TOLLGATE_ADMIN_KEY", ADMIN_KEY);
    }
    command
}

fn program_file() -> PathBuf {
    program("TOLLGATE_BIN", near_test("tollgate"))
}

fn settings(
    options: &ControlPlaneOptions,
    folder: &TempDir,
    port: u16,
) -> impl Iterator<Item = (String, String)> {
    let own = [
        ("TOLLGATE_ENV", "test".to_owned()),
        ("TOLLGATE_SERVER_LISTEN", format!("127.0.0.1:{port}")),
        ("DATABASE_URL", database_url(options, folder)),
        ("REDIS_URL", format!("redis://{}", options.redis)),
        ("TOLLGATE_REDIS_PREFIX", crate::PREFIX.to_owned()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    // What is said later wins.
    own.into_iter().chain(options.environment.iter().cloned())
}

fn database_url(options: &ControlPlaneOptions, folder: &TempDir) -> String {
    let file = || format!("sqlite://{}", folder.path().join("tollgate.db").display());
    options.database_url.clone().unwrap_or_else(file)
}
