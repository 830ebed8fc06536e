//! A Redis in memory that runs the real scripts: deterministic, with a clock that the test sets, and fast enough
//! for simulations of many workers over thousands of seeds.
//!
//! It knows the commands that the scripts and the tests use and refuses any other.

mod answer;
mod commands;
mod data;
mod lua;

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use sha1::{Digest, Sha1};
use tollgate_engine::resp::{Replies, Reply};

pub use answer::Answer;
pub use data::{Hash, Keys, Scores, Stream, StreamId, Value};

use commands::Node;
use lua::Scripts;

/// A Redis in memory.
pub struct Model {
    node: Rc<RefCell<Node>>,
    scripts: Scripts,
    /// Digests of the scripts the running process knows.
    loaded: BTreeSet<String>,
    seed: u64,
    starts: u64,
}

/// All data at one instant.
#[derive(Clone, Debug)]
pub struct Snapshot(Keys);

impl Model {
    /// An empty Redis at `time_ms` (unix); the seed decides its replication ids.
    #[must_use]
    pub fn new(seed: u64, time_ms: u64) -> Self {
        let node = Rc::new(RefCell::new(Node {
            keys: Keys::default(),
            time_us: time_ms * 1_000,
            replication_id: String::new(),
        }));
        let scripts = Scripts::new(&node).expect("Lua starts with libraries of its own");
        let mut model = Self {
            node,
            scripts,
            loaded: BTreeSet::new(),
            seed,
            starts: 0,
        };
        model.restart();
        model
    }

    /// Answers a request of pipelined commands, as much of it as arrived whole.
    pub fn execute(&mut self, request: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for command in Replies::new(request) {
            let Ok(command) = command else { break };
            match words(&command) {
                Some(words) => self.command(&words).write(&mut out),
                None => Answer::Error("ERR Protocol error".to_owned()).write(&mut out),
            }
        }
        out
    }

    /// Runs one command, given as its words.
    pub fn command(&mut self, words: &[&[u8]]) -> Answer {
        let Some((name, arguments)) = words.split_first() else {
            return Answer::Error("ERR Protocol error".to_owned());
        };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"AUTH", [_] | [_, _]) => Answer::ok(),
            (b"SCRIPT", [what, text]) if what.eq_ignore_ascii_case(b"LOAD") => self
                .load(text)
                .map_or_else(|error| error, |digest| Answer::Bulk(digest.into_bytes())),
            (b"EVAL", [text, count, rest @ ..]) => match self.load(text) {
                Ok(digest) => self.evaluate(&digest, count, rest),
                Err(error) => error,
            },
            (b"EVALSHA", [digest, count, rest @ ..]) => {
                self.evaluate(&String::from_utf8_lossy(digest), count, rest)
            }
            _ => commands::run(&mut self.node.borrow_mut(), words),
        }
    }

    /// Sets Redis's clock (unix ms).
    pub fn set_time_ms(&mut self, time_ms: u64) {
        self.node.borrow_mut().time_us = time_ms * 1_000;
    }

    /// Redis's clock (unix ms).
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.node.borrow().time_us / 1_000
    }

    /// The process starts again with the data it has: another replication id, no script loaded.
    pub fn restart(&mut self) {
        self.starts += 1;
        let name = format!("{}/{}", self.seed, self.starts);
        self.node.borrow_mut().replication_id = lua::hex(&Sha1::digest(name.as_bytes()));
        self.loaded.clear();
    }

    /// All data as it is now; cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.node.borrow().keys.clone())
    }

    /// Puts back the data of a snapshot and nothing else: with [`Model::restart`], the loss of the last seconds.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.node.borrow_mut().keys = snapshot.0.clone();
    }

    /// Removes all data.
    pub fn flush(&mut self) {
        self.node.borrow_mut().keys.clear();
    }

    /// The data, to look at.
    #[must_use]
    pub fn keys(&self) -> Ref<'_, Keys> {
        Ref::map(self.node.borrow(), |node| &node.keys)
    }

    fn load(&mut self, text: &[u8]) -> Result<String, Answer> {
        let digest = self
            .scripts
            .load(text)
            .map_err(|error| Answer::Error(format!("ERR Error compiling script: {error}")))?;
        self.loaded.insert(digest.clone());
        Ok(digest)
    }

    fn evaluate(&self, digest: &str, count: &[u8], words: &[&[u8]]) -> Answer {
        let count = str::from_utf8(count)
            .ok()
            .and_then(|text| text.parse().ok());
        let Some((keys, arguments)) = count.and_then(|count| words.split_at_checked(count)) else {
            return Answer::Error(
                "ERR Number of keys can't be greater than number of args".to_owned(),
            );
        };
        if !self.loaded.contains(digest) {
            return Answer::Error("NOSCRIPT No matching script. Please use EVAL.".to_owned());
        }
        self.scripts.run(digest, keys, arguments)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(formatter)
    }
}

fn words<'a>(command: &Reply<'a>) -> Option<Vec<&'a [u8]>> {
    command.as_array()?.iter().map(Reply::as_bulk).collect()
}
