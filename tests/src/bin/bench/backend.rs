//! The API behind every gateway: as little work for a request as there can be, the same for all.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
const END_OF_HEADERS: &[u8] = b"\r\n\r\n";
/// More than the headers of a request of the benchmark.
const REQUEST_MAX_BYTES: usize = 4 * 1_024;
const EVENTS_MAX: usize = 64;

/// Serves on a free loopback port until the process ends, in one thread: one for each connection would be woken for
/// each request, and take the gateway's processor.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    thread::spawn(move || serve(&listener).expect("the backend serves"));
    address
}

struct Connection {
    stream: TcpStream,
    buffer: [u8; REQUEST_MAX_BYTES],
    filled: usize,
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    watch(&epoll, listener)?;
    let mut connections = HashMap::new();
    let mut events = [EpollEvent::empty(); EVENTS_MAX];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            // A child of this process has ended.
            Err(Errno::EINTR) => continue,
            waited => waited?,
        };
        for id in events[..ready].iter().map(EpollEvent::data) {
            if id == id_of(listener) {
                let connection = Connection::accept(listener)?;
                watch(&epoll, &connection.stream)?;
                connections.insert(id_of(&connection.stream), connection);
            } else if let Some(connection) = connections.get_mut(&id)
                && !connection.answer().unwrap_or(false)
            {
                // Closing takes it off the list of what is watched.
                connections.remove(&id);
            }
        }
    }
}

fn id_of(socket: &impl AsRawFd) -> u64 {
    u64::from(socket.as_raw_fd().unsigned_abs())
}

fn watch(epoll: &Epoll, socket: &(impl AsFd + AsRawFd)) -> io::Result<()> {
    let event = EpollEvent::new(EpollFlags::EPOLLIN, id_of(socket));
    Ok(epoll.add(socket, event)?)
}

impl Connection {
    fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: [0; REQUEST_MAX_BYTES],
            filled: 0,
        })
    }

    /// Reads what has come and answers a whole request, which has no body and is the only one under way; whether the
    /// connection stays.
    fn answer(&mut self) -> io::Result<bool> {
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        if self.buffer[..self.filled].ends_with(END_OF_HEADERS) {
            self.stream.write_all(ANSWER)?;
            self.filled = 0;
        }
        Ok(read > 0)
    }
}
