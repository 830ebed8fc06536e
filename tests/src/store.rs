//! One interface to the model and to a real Redis, so that the same steps run on both.

use std::thread;
use std::time::Duration;

use tollgate_engine::resp::Command;

use crate::model::Model;
use crate::redis::RedisServer;

/// A Redis that a test talks to in bytes.
pub trait Store {
    /// Sends a request of pipelined commands and answers everything that comes back.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8>;

    /// Lets time pass.
    fn pass_ms(&mut self, milliseconds: u64);

    /// The process ends and starts again with its data.
    fn restart(&mut self);
}

impl Store for Model {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.execute(request)
    }

    fn pass_ms(&mut self, milliseconds: u64) {
        self.set_time_ms(self.time_ms() + milliseconds);
    }

    fn restart(&mut self) {
        Self::restart(self);
    }
}

impl Store for RedisServer {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        Self::exchange(self, request)
    }

    fn pass_ms(&mut self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds));
    }

    fn restart(&mut self) {
        Self::restart(self);
    }
}

/// A request of one command, given as its words.
#[must_use]
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some((name, arguments)) = words.split_first() {
        let name = String::from_utf8_lossy(name.as_ref());
        Command::append(&mut out, &name, |command| {
            for word in arguments {
                command.word(word);
            }
        });
    }
    out
}
