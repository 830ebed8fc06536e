//! An upstream that answers byte by byte as a test says, which no HTTP library would let it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A part of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The same bytes so many times.
    Repeated(Vec<u8>, usize),
    /// Nothing for a while.
    Pause(Duration),
}

impl Piece {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// A running upstream; every connection is for one request, and closed after the last piece.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<Vec<Piece>>,
    heads: Mutex<Vec<String>>,
    is_stopped: AtomicBool,
}

impl Scripted {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &shared)
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with these header lines and this body from now on.
    pub fn answer(&self, headers: &[&str], body: &str) {
        let head = head(headers, &format!("content-length: {}", body.len()));
        self.perform(vec![Piece::text(&head), Piece::text(body)]);
    }

    /// Answers with these header lines and a body of these pieces, whose length nobody is told, from now on.
    pub fn stream(&self, headers: &[&str], body: Vec<Piece>) {
        let head = head(headers, "x-unknown: length");
        self.perform([vec![Piece::text(&head)], body].concat());
    }

    /// Answers with these bytes from now on.
    pub fn perform(&self, script: Vec<Piece>) {
        *locked(&self.shared.script) = script;
    }

    /// Heads of the requests so far, in lower case.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        locked(&self.shared.heads).clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn head(headers: &[&str], last: &str) -> String {
    let mut head = "HTTP/1.1 200 OK\r\nconnection: close\r\n".to_owned();
    for line in headers.iter().chain(&[last]) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        // A client that is gone by now is no concern of ours.
        let _ = stream.map(|stream| thread::spawn(move || act(stream, &shared)));
    }
}

fn act(mut stream: TcpStream, shared: &Shared) {
    let mut head = String::new();
    let mut lines = BufReader::new(&stream);
    while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).is_ok_and(|size| size > 0) {}
    locked(&shared.heads).push(head.to_lowercase());
    let script = locked(&shared.script).clone();
    for piece in script {
        let written = match piece {
            Piece::Bytes(bytes) => stream.write_all(&bytes),
            Piece::Repeated(bytes, times) => (0..times).try_for_each(|_| stream.write_all(&bytes)),
            Piece::Pause(duration) => {
                thread::sleep(duration);
                Ok(())
            }
        };
        if written.is_err() {
            return;
        }
    }
}
