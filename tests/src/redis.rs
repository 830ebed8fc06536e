//! A real Redis of a test's own.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process::{Process, free_port, on_path, program};
use crate::wait;

/// What a Redis keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: a restart begins empty.
    Nothing,
    /// Every write, synchronised each second.
    EverySecond,
}

/// How a Redis is started.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// What it keeps on disk.
    pub persistence: Persistence,
    /// Its users, as an ACL file.
    pub acl_file: Option<PathBuf>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            persistence: Persistence::Nothing,
            acl_file: None,
        }
    }
}

/// A Redis in a folder of its own, on a loopback port and a Unix socket that stay the same over restarts.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    options: RedisOptions,
    folder: TempDir,
    port: u16,
}

/// The files of a Redis at one instant.
#[derive(Debug)]
pub struct SavedData(TempDir);

impl RedisServer {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(options: RedisOptions) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let port = free_port();
        let process = spawn(&options, folder.path(), port);
        let mut server = Self {
            process,
            options,
            folder,
            port,
        };
        server.wait_until_ready();
        server
    }

    /// Where Envoy and the control plane reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Sends a request and answers everything that comes back, on a connection of its own, as Envoy's pool of raw TCP
    /// connections does: connect, write, half-close, read to the end.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time.
    pub fn try_exchange(&self, request: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(request)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// The same, for a Redis that must answer.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn exchange(&self, request: &[u8]) -> Vec<u8> {
        self.try_exchange(request, wait::PATIENCE)
            .expect("Redis answers")
    }

    /// Kills it (`SIGKILL`): what it was slow to write, up to two seconds of acknowledged writes, is lost. Nothing
    /// listens until [`RedisServer::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it has on disk; if it runs, it may write everything first.
    pub fn restart(&mut self) {
        self.process.terminate();
        self.process = spawn(&self.options, self.folder.path(), self.port);
        self.wait_until_ready();
    }

    /// Starts it again without any data.
    pub fn restart_empty(&mut self) {
        self.process.kill();
        remove_files(&self.data());
        self.restart();
    }

    /// Copies what it has on disk, once that is everything; with [`RedisServer::restart_from`], the loss of what came later.
    #[must_use]
    pub fn save(&self) -> SavedData {
        wait::blocking_until("Redis to write", || {
            let answer = self.exchange(b"INFO persistence\r\n");
            let text = String::from_utf8_lossy(&answer).into_owned();
            let written = text.contains("aof_buffer_length:0\r\n");
            if written { Ok(()) } else { Err(text) }
        });
        let saved = TempDir::new().expect("a temporary folder can be made");
        copy_files(&self.data(), saved.path());
        SavedData(saved)
    }

    /// Starts it again with an older state.
    pub fn restart_from(&mut self, saved: &SavedData) {
        self.process.kill();
        remove_files(&self.data());
        copy_files(saved.0.path(), &self.data());
        self.restart();
    }

    /// Stops it where it is: connections are accepted and nothing is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("appendonlydir")
    }

    fn wait_until_ready(&mut self) {
        wait::blocking_until("Redis", || {
            if let Some(status) = self.process.ended() {
                panic!("Redis ended: {status}");
            }
            let answer = self.try_exchange(b"PING\r\n", wait::PATIENCE);
            match answer.map(|answer| String::from_utf8_lossy(&answer).into_owned()) {
                // With users of its own it answers NOAUTH, which is an answer.
                Ok(text) if text.starts_with("+PONG") || text.starts_with("-NOAUTH") => Ok(()),
                Ok(text) => Err(text),
                Err(error) => Err(error.to_string()),
            }
        });
    }
}

fn spawn(options: &RedisOptions, folder: &Path, port: u16) -> Process {
    let server = program("REDIS_SERVER", on_path("redis-server"));
    let mut command = Command::new(server);
    let append_only = match options.persistence {
        Persistence::Nothing => "no",
        Persistence::EverySecond => "yes",
    };
    command
        .arg("--dir")
        .arg(folder)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .arg("--unixsocket")
        .arg(folder.join("socket"))
        .args(["--appendonly", append_only, "--appendfsync", "everysec"])
        .args(["--maxmemory-policy", "noeviction", "--loglevel", "warning"])
        .args(["--save", "", "--daemonize", "no"]);
    if let Some(acl_file) = &options.acl_file {
        command.arg("--aclfile").arg(acl_file);
    }
    Process::start("redis", &mut command, &folder.join("log"))
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("Redis keeps its data") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("a listed file has a name");
        fs::copy(&path, to.join(name)).expect("a file can be copied");
    }
}

fn remove_files(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("a folder of ours can be removed");
    }
}
