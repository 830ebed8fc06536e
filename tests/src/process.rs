//! A server as a child process: logged to a file, signalled, and gone when dropped.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How much of a log is shown when a test fails, in bytes.
const SHOWN_LOG_BYTES: usize = 20_000;
/// Ports below those that systems hand out to clients, so that a server that starts again finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A running server.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log);
        let output = output.expect("the log can be written");
        let errors = output.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        Self {
            name,
            child,
            log: log.to_owned(),
        }
    }

    /// Kills it at once (`SIGKILL`).
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (`SIGTERM`), unless it has ended already, and waits until it has.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.signal(Signal::SIGTERM);
        let name = self.name;
        wait::blocking_until("the end after SIGTERM", || {
            self.ended().ok_or_else(|| format!("{name} runs"))
        })
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: process ids are small.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"))
    }

    /// Stops it where it is (`SIGSTOP`): connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Its status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let shown = &bytes[bytes.len().saturating_sub(SHOWN_LOG_BYTES)..];
        String::from_utf8_lossy(shown).into_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is ours and not waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- log of {}:\n{}\n----", self.name, self.log());
        }
    }
}

/// A program named by an environment variable, or found under `default`.
///
/// # Panics
/// When it does not exist, naming the script that provides it.
#[must_use]
pub fn program(variable: &str, default: Option<PathBuf>) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from).or(default);
    match path {
        Some(path) if path.is_file() => path,
        Some(path) => panic!(
            "{variable}: {} is not there; scripts/test provides it",
            path.display()
        ),
        None => panic!("{variable} is not set; scripts/test provides it"),
    }
}

/// A program of this name on the path.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A file of this name in the folder of the running test or one above it, where the build puts programs.
#[must_use]
pub fn near_test(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let folders = test.ancestors().skip(1).take(3);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A loopback port nobody listens on.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let size = PORTS.end - PORTS.start;
    // Test programs that run at the same time begin at different places.
    let first = (std::process::id() * 97 % u32::from(size)) as u16;
    (0..size)
        .map(|_| PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % size) % size)
        .find(|port| is_free(*port))
        .expect("a loopback port is free")
}

fn is_free(port: u16) -> bool {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => false,
        Err(error) => panic!("loopback cannot be listened on: {error}"),
    }
}
