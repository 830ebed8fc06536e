//! A PostgreSQL server of this test run's own, which ends with it however it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor};

/// Starts a server in a new folder, says so, and ends it when its input does: with the test run.
/// The locale is one whose order of texts differs from that of bytes.
const SCRIPT: &str = r#"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
initdb -D "$folder/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 \
    --locale-provider=icu --icu-locale=en-US --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
postgres -D "$folder/data" -k "$folder" -p "$1" -c listen_addresses=127.0.0.1 \
    -c fsync=off -c max_connections=400 >"$folder/log" 2>&1 &
server=$!
until pg_isready -q -h 127.0.0.1 -p "$1"; do
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.05
done
echo ready
cat >/dev/null
kill -INT "$server"
wait "$server" || true
"#;

struct Server {
    port: u16,
    /// Ends when its input does, which it has with this process at the latest.
    _script: Child,
}

static SERVER: LazyLock<Option<Server>> = LazyLock::new(start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database, or `None` where PostgreSQL is not installed.
pub async fn new_database() -> Option<String> {
    let server = SERVER.as_ref()?;
    let url = |name: &str| format!("postgres://postgres@127.0.0.1:{}/{name}", server.port);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
    let mut connection = sqlx::PgConnection::connect(&url("postgres")).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(sqlx::raw_sql(create)).await.unwrap();
    Some(url(&name))
}

fn start() -> Option<Server> {
    let Some(binaries) = binaries() else {
        let wanted = std::env::var("TOLLGATE_TEST_POSTGRES").unwrap_or_default();
        assert_ne!(
            wanted, "required",
            "initdb is not in PATH nor in /usr/lib/postgresql"
        );
        // Straight to the descriptor: the test harness hides what passing tests print.
        let line = "\nNOT TESTED ON POSTGRESQL: install the package postgresql\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let mut command = if is_root() {
        // PostgreSQL refuses to run as root.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "env", &format!("PATH={path}"), "sh"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.env("PATH", path);
        command
    };
    let mut child = command
        .args(["-c", SCRIPT, "sh", &port.to_string()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(
        line, "ready\n",
        "PostgreSQL is installed and does not start"
    );
    Some(Server {
        port,
        _script: child,
    })
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    // The installed versions first: a link in PATH may stand alone, without pg_isready beside it.
    installed
        .map(|version| version.path().join("bin"))
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}
