//! The program itself: its commands, and what a `kill -9` leaves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use crate::both_databases;
use crate::world::{ADMIN_KEY, TestDatabase, World};

pub fn command(database: &TestDatabase) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .current_dir(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("TOLLGATE_SERVER_LISTEN", "127.0.0.1:0")
        .env("TOLLGATE_ADMIN_KEY", ADMIN_KEY)
        .env("TOLLGATE_TELEMETRY_FORMAT", "json")
        // Only the kill may end the calls.
        .env("TOLLGATE_SERVER_REQUESTS_BURST", "1000000");
    command
}

pub fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    command(database).args(arguments).output().unwrap()
}

/// The running program; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    pub fn start(database: &TestDatabase) -> Self {
        Self::begin(command(database))
    }

    /// One with settings of its own.
    pub fn begin(mut command: Command) -> Self {
        let mut child = command.arg("serve").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let Some(line) = lines.next() else {
                panic!("it ended: {seen:#?}")
            };
            let line = line.unwrap();
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            seen.push(line);
            if parsed["message"] == "listening" {
                break parsed["address"].as_str().unwrap().to_owned();
            }
        };
        // Read on, so that the program never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            url: format!("http://{address}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: nothing in the program hears of it.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Makes the customer `number` with an idempotency key of its own, or fails to.
async fn make_customer(client: &Client, url: &str, number: u32) -> Result<String, reqwest::Error> {
    let answer = client
        .post(format!("{url}/v1/customers"))
        .bearer_auth(ADMIN_KEY)
        .header("idempotency-key", format!("customer-{number}"))
        .json(&json!({"name": format!("Customer {number}")}))
        .send()
        .await?
        .error_for_status()?;
    let made: Value = answer.json().await?;
    Ok(made["id"].as_str().unwrap().to_owned())
}

both_databases! {
    async fn what_was_answered_survives_a_kill_and_happens_once(database: TestDatabase) {
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let mut answered: BTreeMap<u32, String> = BTreeMap::new();
        let mut number = 0;
        for round in 0..6 {
            let process = Process::start(&database);
            let url = process.url.clone();
            // Calls that were in doubt are repeated first: `number` is where the last round ended.
            let calls = async {
                loop {
                    let id = make_customer(&client, &url, number).await?;
                    if let Some(before) = answered.insert(number, id.clone()) {
                        assert_eq!(before, id);
                    }
                    number += 1;
                }
                #[expect(unreachable_code, reason = "says what the loop may fail with")]
                Ok::<(), reqwest::Error>(())
            };
            // Cut off by the kill, at another point of a call in each round.
            let time = Duration::from_millis(150 + 37 * round);
            let (killed, ()) = tokio::join!(calls, async {
                tokio::time::sleep(time).await;
                drop(process);
            });
            assert!(killed.is_err_and(|error| error.status().is_none()));
        }
        assert!(answered.len() > 10, "{}", answered.len());

        let process = Process::start(&database);
        let last = make_customer(&client, &process.url, number).await.unwrap();
        answered.insert(number, last);
        for (number, id) in &answered {
            let repeat = make_customer(&client, &process.url, *number).await.unwrap();
            assert_eq!(repeat, *id);
        }
        assert_eq!(count_customers(&client, &process.url).await, answered.len());
    }

    async fn it_migrates_serves_and_ends_when_told(database: TestDatabase) {
        let migrated = run(&database, &["migrate"]);
        assert!(migrated.status.success(), "{migrated:?}");
        assert_eq!(migrated.stdout, b"the schema is up to date\n");
        let mut process = Process::start(&database);
        let url = process.url.clone();
        // Redis is missing, which a check of readiness must say with its status.
        let checked = run(&database, &["healthcheck", "--url", &url]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&checked.stdout).contains("Not ready: redis, store."));
        let id = process.child.id().to_string();
        // The shell's own `kill`: a small system has no program of that name.
        let told = Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().unwrap();
        assert!(told.success());
        assert!(process.child.wait().unwrap().success());
    }

    async fn the_doctor_ends_with_what_it_finds(database: TestDatabase) {
        assert!(run(&database, &["migrate"]).status.success());
        let sound = run(&database, &["doctor"]);
        assert_eq!(sound.status.code(), Some(0));
        let said = String::from_utf8(sound.stdout).unwrap();
        assert_eq!(said, "checked B1 B2 B3 B4 B5 B6 B7 B8 B9 B10: nothing found\n");
        let world = World::new(database.clone()).await;
        let fault = "INSERT INTO sandbox_clock (id, lead_ms, stepped_ms) VALUES (1, 5, 0)";
        let mut tx = world.app.database.begin_write().await.unwrap();
        sqlx::query(fault).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let found = run(&database, &["doctor"]);
        assert_eq!(found.status.code(), Some(1));
        let said = String::from_utf8(found.stdout).unwrap();
        assert!(said.starts_with("B10 time_of_a_sandbox clock: "), "{said}");
        assert!(said.ends_with("checked B1 B2 B3 B4 B5 B6 B7 B8 B9 B10: 1 violation found\n"), "{said}");
        let found = run(&database, &["doctor", "--json"]);
        assert_eq!(found.status.code(), Some(1));
        let document: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(document["checked"].as_array().unwrap().len(), 10);
        assert_eq!(document["findings"][0]["code"], "time_of_a_sandbox");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named() {
    let database = TestDatabase::sqlite();
    let world = World::new(database.clone()).await;
    let rows = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
        INSERT INTO sequences (name, value) SELECT 'a row of some length ' || n, n FROM numbers";
    let mut tx = world.app.database.begin_write().await.unwrap();
    sqlx::query(rows).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    world.app.database.close().await;
    let path = database.folder.path().join("tollgate.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // The last pages hold some of those rows.
    let end = bytes.len() - 40_000;
    bytes[end..].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let found = run(&database, &["doctor"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let said = String::from_utf8(found.stdout).unwrap();
    assert!(
        said.starts_with("Database file_is_damaged file: "),
        "{said}"
    );
    assert!(said.contains("\nchecked Database: "), "{said}");

    bytes[..16].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    for arguments in [&["doctor"][..], &["migrate"], &["serve"]] {
        let refused = run(&database, arguments);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("file is not a database"), "{said}");
    }
}

async fn count_customers(client: &Client, url: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let url = format!("{url}/v1/customers?limit=200{cursor}");
        let answer = client.get(url).bearer_auth(ADMIN_KEY).send().await.unwrap();
        let page: Value = answer.error_for_status().unwrap().json().await.unwrap();
        count += page["items"].as_array().unwrap().len();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

#[test]
fn a_configuration_is_checked_and_its_manual_printed() {
    let database = TestDatabase::sqlite();
    let checked = run(&database, &["check-config"]);
    assert_eq!(
        (checked.status.code(), &checked.stdout[..]),
        (Some(0), &b"the configuration is valid\n"[..])
    );
    let manual = run(&database, &["check-config", "--defaults"]);
    assert_eq!(
        String::from_utf8(manual.stdout).unwrap(),
        tollgate::config::DEFAULTS
    );

    let file = database.folder.path().join("my.toml");
    std::fs::write(&file, "[server]\nport = 80\n").unwrap();
    let refused = run(&database, &["--config", file.to_str().unwrap(), "serve"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        told,
        format!(
            "tollgate: {}: unknown setting server.port\n",
            file.display()
        )
    );
    assert_eq!(
        run(&database, &["serve", "--roles", "cook"]).status.code(),
        Some(2)
    );
}

#[test]
fn an_address_in_use_is_told() {
    let database = TestDatabase::sqlite();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = command(&database)
        .arg("serve")
        .env("TOLLGATE_SERVER_LISTEN", &address)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains(&format!("cannot listen on {address}"))
    );
}
