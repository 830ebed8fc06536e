//! The Lua scripts, each with the SHA-1 by which Redis knows it once it is loaded.

use std::fmt::Write;

use sha1::{Digest, Sha1};

/// A script and its name in Redis's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Opens a worker's call: the node's identity, the time, the change log.
    Enter,
    /// One batch of one worker for one chain of subscriptions.
    Settle,
    /// Units of one rate limit for one worker.
    Rate,
    /// The document of an imported key.
    Key,
    /// Writes one document and logs the change.
    Publish,
    /// Begins another life of a store.
    Close,
    /// Writes what the ledger holds of one chain.
    Restore,
    /// Marks a store ready.
    Open,
    /// Reads what changed in one chain.
    Drain,
    /// Takes what the ledger holds off the list of changes.
    Drained,
    /// Removes a closed window.
    Trim,
    /// Writes what the ledger holds of one window beside what the store counted.
    Base,
}

impl Script {
    /// Every script, for whoever loads them.
    pub const ALL: [Self; 12] = [
        Self::Enter,
        Self::Settle,
        Self::Rate,
        Self::Key,
        Self::Publish,
        Self::Close,
        Self::Restore,
        Self::Open,
        Self::Drain,
        Self::Drained,
        Self::Trim,
        Self::Base,
    ];

    /// The Lua text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Enter => include_str!("enter.lua"),
            Self::Settle => include_str!("settle.lua"),
            Self::Rate => include_str!("rate.lua"),
            Self::Key => include_str!("key.lua"),
            Self::Publish => include_str!("publish.lua"),
            Self::Close => include_str!("close.lua"),
            Self::Restore => include_str!("restore.lua"),
            Self::Open => include_str!("open.lua"),
            Self::Drain => include_str!("drain.lua"),
            Self::Drained => include_str!("drained.lua"),
            Self::Trim => include_str!("trim.lua"),
            Self::Base => include_str!("base.lua"),
        }
    }

    /// The SHA-1 of the text in hex, as `EVALSHA` takes it.
    #[must_use]
    pub fn sha1(self) -> String {
        let mut hex = String::with_capacity(40);
        for byte in Sha1::digest(self.text().as_bytes()) {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}
