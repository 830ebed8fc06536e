//! Commands that ask a running control plane.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tollgate_engine::api_key::KeyHash;

use crate::process::Process;
use crate::world::{ADMIN_KEY, TestDatabase};

/// A running control plane, asked from the command line.
struct Shell {
    database: TestDatabase,
    process: Process,
}

impl Shell {
    fn open() -> Self {
        let database = TestDatabase::sqlite();
        let process = Process::start(&database);
        Self { database, process }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command
            .current_dir(self.database.folder.path())
            .env("TOLLGATE_URL", &self.process.url)
            .env("TOLLGATE_ADMIN_KEY", ADMIN_KEY)
            .args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a command prints that must succeed.
    #[track_caller]
    fn table(&self, line: &str) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{line}: {errors}");
        assert_eq!(errors, "");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.table(&format!("{line} --json"))).unwrap()
    }

    /// What a command that must fail says, and its exit status.
    #[track_caller]
    fn failure(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        assert_eq!(output.stdout, b"", "{line}");
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }

    fn write(&self, name: &str, document: &Value) {
        let path = self.database.folder.path().join(name);
        std::fs::write(path, document.to_string()).unwrap();
    }

    /// The plan `free` with the meter `calls`, and the customer `acme`.
    async fn stock(&self) {
        let client = reqwest::Client::new();
        for (path, document) in [
            ("meters", json!({"slug": "calls", "name": "Calls"})),
            (
                "features",
                json!({"key": "calls", "name": "Calls", "meterSlug": "calls"}),
            ),
        ] {
            let url = format!("{}/v1/{path}", self.process.url);
            let sent = client.post(url).bearer_auth(ADMIN_KEY).json(&document);
            sent.send().await.unwrap().error_for_status().unwrap();
        }
        for (key, metadata) in [("free", json!({})), ("inner", json!({"private": true}))] {
            let plan = json!({"key": key, "name": key, "currency": "USD", "billingCadence": "P1M", "metadata": metadata,
                "phases": [{"key": "main", "name": "Main", "rateCards": [{
                    "type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
                    "entitlementTemplate": {"type": "metered", "issueAfterReset": 1_000}}]}]});
            self.write("plan.json", &plan);
            self.table("plans create plan.json");
            self.table(&format!("plans publish {key}"));
        }
        self.table("customers create Acme --key acme --email ann@example.com");
    }
}

fn columns(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_subscribed_from_the_command_line() {
    let shell = Shell::open();
    shell.stock().await;
    let plans = shell.table("plans list --status active");
    let plans = columns(&plans);
    assert_eq!(
        plans[0],
        [
            "ID",
            "KEY",
            "VERSION",
            "STATUS",
            "NAME",
            "CURRENCY",
            "BILLING CADENCE"
        ]
    );
    assert_eq!(
        (plans.len(), plans[1][1], plans[2][3]),
        (3, "inner", "active")
    );
    assert_eq!(shell.json("plans show free")["version"], 1);
    assert_eq!(
        shell
            .json("customers list --key acme")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (status, said) = shell.failure("subscriptions create acme free --key acme/1");
    assert_eq!((status, said.contains("$.key: ")), (2, true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_the_api_does() {
    let shell = Shell::open();
    shell.stock().await;
    let (status, said) = shell.failure("subscriptions create acme inner");
    assert_eq!(status, 1);
    assert!(said.contains("(plan_invite_required)"), "{said}");
    let invite = shell.json("plans invite inner ann@example.com");
    assert_eq!(shell.json("plans invites --plan inner"), json!([invite]));
    let made = shell.json("subscriptions create acme inner --key odd?key#1%");
    assert_eq!(made["status"], "active");
    let shown = shell.table("subscriptions show odd?key#1%");
    assert!(shown.starts_with(&format!(
        "ID              {}\nKEY             odd?key#1%\n",
        made["id"].as_str().unwrap()
    )));
    let id = made["id"].as_str().unwrap();
    let estimate = shell.json(&format!("subscriptions change {id} free --estimate"));
    assert_eq!(estimate["total"], "0.00");
    let changed = shell.json(&format!(
        "subscriptions change {id} free --timing immediate --keep-anchor"
    ));
    assert_eq!(
        (&changed["plan"], &changed["billingAnchor"]),
        (&json!("free"), &made["activeFrom"])
    );
    let id = changed["id"].as_str().unwrap();
    let issued = shell.table(&format!("keys issue {id} --name first --subject me"));
    assert!(issued.contains("\nSECRET      tg_test_"), "{issued}");
    let key = shell.json(&format!("keys list {id}"))[0]["id"].clone();
    let revoked = shell.json(&format!("keys revoke {}", key.as_str().unwrap()));
    assert!(revoked["revokedAt"].is_string());
    let usage = shell.table(&format!("usage {id}"));
    assert_eq!(columns(&usage)[1][..1], ["calls"]);
    assert_eq!(
        shell.table(&format!("usage --meter calls --window-size DAY {id}")),
        "WINDOW START  WINDOW END  VALUE  GROUP BY\n"
    );
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let canceled = shell.json(&format!("subscriptions cancel {id} --timing {end:.0}"));
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(
        shell.json(&format!("subscriptions uncancel {id}"))["status"],
        "active"
    );
    assert_eq!(
        shell
            .json("subscriptions list --customer acme")
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_before_are_imported_from_a_file() {
    let shell = Shell::open();
    shell.stock().await;
    shell.table("customers create Other --key other");
    for customer in ["acme", "other"] {
        shell.table(&format!(
            "subscriptions create {customer} free --key {customer}-api"
        ));
    }
    // More than one request takes, and than one subscription may have.
    let key = |number: usize| {
        let subscription = ["acme-api", "other-api"][number % 2];
        json!({"hash": KeyHash::of(&number.to_string()).to_string(), "subscription": subscription,
            "name": format!("key {number}"), "bypass": number == 0})
    };
    let mut keys: Vec<Value> = (0..1_100).map(key).collect();
    keys[700]["hash"] = json!("no hash");
    keys[701]["subscription"] = json!("nobody");
    shell.write("keys.json", &json!(keys));
    let (status, said) = shell.failure("keys import keys.json");
    assert_eq!(status, 2);
    assert!(said.contains("\n  $[700].hash: "), "{said}");
    assert!(
        said.ends_with("\nThe 500 keys before were imported.\n"),
        "{said}"
    );
    keys[700] = key(700);
    shell.write("keys.json", &json!(keys));
    let (_, said) = shell.failure("keys import keys.json");
    assert!(said.contains("\n  $[701].subscription: "), "{said}");
    keys[701] = key(701);
    shell.write("keys.json", &json!(keys));
    let imported = shell.json("keys import keys.json");
    let imported = imported.as_array().unwrap();
    assert_eq!(
        (imported.len(), &imported[1_099]["name"]),
        (1_100, &json!("key 1099"))
    );
    assert_eq!(imported[0]["bypass"], true);
    // Again, from a pipe: nothing changes.
    let again = shell
        .command("keys import - --json")
        .stdin(std::fs::File::open(shell.database.folder.path().join("keys.json")).unwrap())
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again.as_array().unwrap(), imported);
    let listed = shell.table("keys list acme-api");
    let listed = columns(&listed);
    assert_eq!((listed.len(), listed[1][2]), (551, "key 1098"));
    let revoked = shell.json(&format!(
        "keys revoke {}",
        imported[0]["id"].as_str().unwrap()
    ));
    assert!(revoked["revokedAt"].is_string());
    shell.write("keys.json", &json!({"keys": []}));
    let (status, said) = shell.failure("keys import keys.json");
    assert_eq!(
        (status, said.as_str()),
        (2, "tollgate: the file is no JSON array of keys\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_says_why_and_how() {
    let shell = Shell::open();
    let (status, said) = shell.failure("plans show nothing");
    assert_eq!(
        (status, said.as_str()),
        (2, "tollgate: There is no such plan. (plan_not_found)\n")
    );
    shell.write("plan.json", &json!({"key": "A", "colour": 1}));
    let (status, said) = shell.failure("plans create plan.json");
    assert_eq!(status, 2);
    for line in ["\n  $.colour: ", "\n  $.key: ", "(unknown_field)"] {
        assert!(said.contains(line), "{said}");
    }
    let (status, said) = shell.failure("plans create missing.json");
    assert_eq!(
        (
            status,
            said.starts_with("tollgate: cannot read missing.json")
        ),
        (2, true),
        "{said}"
    );
    assert_eq!(shell.failure("usage").0, 2);
    assert_eq!(shell.failure("plans list --admin-key tga_wrong").0, 1);
    assert_eq!(shell.failure("plans list --url nowhere").0, 2);
    let (status, said) = shell.failure("plans list --url http://127.0.0.1:1");
    assert_eq!(
        (status, said.contains("no answer from http://127.0.0.1:1")),
        (1, true),
        "{said}"
    );
    let output = shell
        .command("plans list")
        .env_remove("TOLLGATE_ADMIN_KEY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
