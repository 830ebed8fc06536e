//! The program dies at each of its writes while it bills, and two bill at once: what is then there is what an undisturbed
//! run leaves.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::both_databases;
use crate::process;
use crate::shop::act;
use crate::till::{PAYS, Till};
use crate::world::TestDatabase;

const RUN: [&str; 5] = [
    "invoice",
    "run",
    "--as-of",
    "2026-03-01T00:03:00Z",
    "--json",
];
/// Longer than an undisturbed run.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// What is written, and of which rows: the first of a run, or those of its second pass.
const WRITES: [(&str, &str); 10] = [
    ("rated_windows", "TRUE"),
    ("usage_windows", "NEW.rated IS NOT NULL"),
    ("invoices", "TRUE"),
    ("invoices", "NEW.kind = 'change'"),
    ("invoice_lines", "NEW.kind = 'late'"),
    ("credits", "TRUE"),
    ("credit_applications", "TRUE"),
    ("billing_schedules", "TRUE"),
    ("outbox", "TRUE"),
    ("invoices", "NEW.boundary_ms = 1772323200000"),
];

/// What a run leaves: whatever is not the run's own, such as ids of invoices.
const LEFT: [&str; 8] = [
    "SELECT subscription_id || ' ' || boundary_ms || ' ' || kind || ' ' || part || ' ' || status || ' ' || total FROM invoices",
    "SELECT identity || ' ' || amount || ' ' || discount || ' ' || credit || ' ' || total FROM invoice_lines",
    "SELECT chain_id || ' ' || epoch || ' ' || start_ms || ' ' || carried || ' ' || units || ' ' || amount || ' ' || corrections
     FROM rated_windows",
    "SELECT chain_id || ' ' || epoch || ' ' || start_ms || ' ' || units || ' ' || COALESCE(rated, -1) FROM usage_windows",
    "SELECT source || ' ' || cause || ' ' || amount FROM credits",
    "SELECT line || ' ' || amount FROM credit_applications",
    "SELECT subscription_id || ' ' || COALESCE(billed_ms, -1) || ' ' || COALESCE(boundary_ms, -1) FROM billing_schedules",
    "SELECT topic || ' ' || COUNT(*) FROM outbox GROUP BY topic",
];

/// A shop with everything that a run bills: two months of fees and usage, late usage, and an upgrade with its credit.
async fn lived(database: TestDatabase) -> Till {
    let till = Till::open(database).await;
    let upgraded = till.check_out("upgraded", "starter", PAYS).await;
    let pro = till.check_out("pro", "pro", PAYS).await;
    let late = till.check_out("late", "pro", PAYS).await;
    till.settle().await;
    till.consume(&late, "2026-01-01T00:00:00Z", 52_000).await;
    till.go_to("02-01T00:03:00").await;
    till.bill().await;
    till.push().await;
    till.hear().await;
    till.consume(&late, "2026-01-01T00:00:00Z", 4_000).await;
    till.consume(&pro, "2026-02-01T00:00:00Z", 60_000).await;
    till.go_to("02-15T00:00:00").await;
    let pro = json!({"plan": "pro"});
    act(&till.world, &upgraded, "change", &pro)
        .await
        .expect(200);
    till.go_to("03-01T00:03:00").await;
    // Months that were missed: this and the one before.
    let again = "UPDATE usage_drains SET began_machine_ms = began_machine_ms + 1000000";
    till.execute(again.to_owned()).await;
    till.world.app.database.close().await;
    till
}

fn start(database: &TestDatabase) -> Child {
    process::command(database)
        .args(RUN)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn connect(database: &TestDatabase) -> sqlx::AnyConnection {
    sqlx::any::install_default_drivers();
    <sqlx::AnyConnection as sqlx::Connection>::connect(&database.url)
        .await
        .unwrap()
}

async fn execute(database: &TestDatabase, sql: String) {
    let mut connection = connect(database).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

async fn left(database: &TestDatabase) -> Vec<String> {
    let mut connection = connect(database).await;
    let mut all = Vec::new();
    for sql in LEFT {
        let rows: Vec<String> = sqlx::query_scalar(sql)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        all.extend(rows);
    }
    sqlx::Connection::close(connection).await.unwrap();
    all.sort();
    all
}

/// Has whoever writes such a row be at it for ever.
fn stopper(database: &TestDatabase, table: &str, which: &str) -> (String, String) {
    if database.url.starts_with("sqlite") {
        let forever = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n > 0) SELECT COUNT(*) FROM n";
        let stop = ["INSERT", "UPDATE"].map(|act| {
            format!("CREATE TRIGGER stop_{act} BEFORE {act} ON {table} WHEN {which} BEGIN {forever}; END;")
        });
        let go = "DROP TRIGGER stop_INSERT; DROP TRIGGER stop_UPDATE;";
        return (stop.concat(), go.to_owned());
    }
    let stop = format!(
        "CREATE FUNCTION stop() RETURNS trigger AS $$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$ LANGUAGE plpgsql;
         CREATE TRIGGER stop BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({which}) EXECUTE FUNCTION stop();"
    );
    (
        stop,
        format!("DROP TRIGGER stop ON {table}; DROP FUNCTION stop();"),
    )
}

both_databases! {
    async fn what_a_run_leaves_is_the_same_wherever_it_dies(database: TestDatabase) {
        let till = lived(database).await;
        let database = &till.world.database;
        let undisturbed = database.copy();
        assert!(start(&undisturbed).wait().unwrap().success());
        let expected = left(&undisturbed).await;
        assert_ne!(left(database).await, expected);
        for (table, which) in WRITES {
            let disturbed = database.copy();
            let (stop, go) = stopper(&disturbed, table, which);
            execute(&disturbed, stop).await;
            let mut killed = start(&disturbed);
            let began = Instant::now();
            while began.elapsed() < A_WHILE {
                assert_eq!(killed.try_wait().unwrap(), None, "{table} {which} was never written");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            killed.kill().unwrap();
            killed.wait().unwrap();
            disturbed.end_others();
            execute(&disturbed, go).await;
            assert!(start(&disturbed).wait().unwrap().success());
            assert_eq!(left(&disturbed).await, expected, "{table} {which}");
        }
    }

    async fn two_runs_at_once_leave_what_one_does(database: TestDatabase) {
        let till = lived(database).await;
        let database = &till.world.database;
        let alone = database.copy();
        assert!(start(&alone).wait().unwrap().success());
        let together = database.copy();
        let mut both = [start(&together), start(&together), start(&together)];
        for run in &mut both {
            assert!(run.wait().unwrap().success());
        }
        assert_eq!(left(&together).await, left(&alone).await);
        let doctor = process::run(&together, &["doctor"]);
        assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    }
}
