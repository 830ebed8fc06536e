//! A PostgreSQL server of a test's own, which ends with it however it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

/// Starts a server in a new folder, says so, does what its input says, and ends it when that ends: with the test run.
/// The locale is one whose order of texts differs from that of bytes.
const SCRIPT: &str = r#"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
initdb -D "$folder/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 \
    --locale-provider=icu --icu-locale=en-US --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
begin() {
    postgres -D "$folder/data" -k "$folder" -p "$1" -c listen_addresses=127.0.0.1 \
        -c fsync="$2" -c max_connections=400 >"$folder/log" 2>&1 &
    server=$!
    until pg_isready -q -h 127.0.0.1 -p "$1"; do
        kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
        sleep 0.05
    done
}
tell() {
    for process in "$server" $(cat "/proc/$server/task/$server/children"); do
        kill "$1" "$process" 2>/dev/null || true
    done
}
begin "$@"
echo done
while read -r word; do
    case "$word" in
        freeze) tell -STOP ;;
        thaw) tell -CONT ;;
        kill) tell -KILL; wait "$server" 2>/dev/null || true ;;
        start) begin "$@" ;;
    esac
    echo done
done
kill -INT "$server"
wait "$server" || true
"#;

/// Whether a server's commits survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in earnest.
    Durable,
    /// Faster, for tests.
    Lost,
}

static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresServer::start(Durability::Lost).expect("PostgreSQL is installed"));

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    binaries: PathBuf,
    port: u16,
    databases: AtomicU32,
    script: Mutex<Script>,
}

/// What runs the server. It ends when its input does, which it has with this process at the latest.
#[derive(Debug)]
struct Script {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn wait(&mut self) {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.expect("the output is text");
        assert_eq!(line, "done\n", "PostgreSQL is installed and does not run");
    }
}

impl PostgresServer {
    /// Starts one, or gives nothing where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start, or is missing where `TOLLGATE_TEST_POSTGRES` says `required`.
    #[must_use]
    pub fn start(durability: Durability) -> Option<Self> {
        let Some(binaries) = binaries() else {
            let wanted = std::env::var("TOLLGATE_TEST_POSTGRES").unwrap_or_default();
            assert_ne!(
                wanted, "required",
                "initdb is not in PATH nor in /usr/lib/postgresql"
            );
            return None;
        };
        let port = free_port();
        let fsync = match durability {
            Durability::Durable => "on",
            Durability::Lost => "off",
        };
        let mut child = shell(&binaries)
            .args(["-c", SCRIPT, "sh", &port.to_string(), fsync])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let output = child.stdout.take().expect("the output is a pipe");
        let output = BufReader::new(output);
        let mut script = Script { child, output };
        script.wait();
        Some(Self {
            binaries,
            port,
            databases: AtomicU32::new(0),
            script: Mutex::new(script),
        })
    }

    /// Stops all its processes where they are: connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.tell("freeze");
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.tell("thaw");
    }

    /// Kills all its processes.
    pub fn kill(&self) {
        self.tell("kill");
    }

    /// Starts it again after that, where it was and with what it had.
    pub fn start_again(&self) {
        self.tell("start");
    }

    fn tell(&self, word: &str) {
        let mut script = self.script.lock().expect("no test failed telling it");
        let input = script.child.stdin.as_mut().expect("the input is a pipe");
        writeln!(input, "{word}").expect("the script reads");
        script.wait();
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// When the server does not make one.
    #[must_use]
    pub fn new_database(&self) -> String {
        self.make(&[])
    }

    /// The URL of a copy of a database that nobody is connected to.
    ///
    /// # Panics
    /// When the server does not make one.
    #[must_use]
    pub fn copy_database(&self, url: &str) -> String {
        self.make(&["-T", name_of(url)])
    }

    /// Ends every connection to a database, as a server does that notices that its client is gone.
    ///
    /// # Panics
    /// When the server does not do so.
    pub fn end_connections(&self, url: &str) {
        let name = name_of(url);
        let sql = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        self.run("psql", &["-q", "-c", &sql]);
    }

    fn make(&self, arguments: &[&str]) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.run("createdb", &[arguments, &[&name]].concat());
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let port = self.port.to_string();
        let output = Command::new(self.binaries.join(program))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
            .args(arguments)
            .output()
            .expect("PostgreSQL's programs run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }
}

/// The URL of a new database of a server of this process, where `TOLLGATE_TEST_DATABASE` is `postgres`.
///
/// # Panics
/// When it is, and PostgreSQL is not installed.
#[must_use]
pub fn wanted() -> Option<String> {
    let wanted = std::env::var("TOLLGATE_TEST_DATABASE").unwrap_or_default();
    (wanted == "postgres").then(|| SERVER.new_database())
}

/// Destroys a database that was [`wanted`], whoever uses it.
///
/// # Panics
/// When the server does not do so.
pub fn destroy(url: &str) {
    SERVER.run("dropdb", &["--force", name_of(url)]);
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    address.port()
}

/// A shell that finds PostgreSQL's programs, of a user that they run for.
fn shell(binaries: &std::path::Path) -> Command {
    let rest = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{rest}", binaries.display());
    if is_root() {
        // PostgreSQL refuses to run as root.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "env", &format!("PATH={path}"), "sh"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.env("PATH", path);
        command
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout == b"0\n")
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
