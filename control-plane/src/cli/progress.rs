//! A bar that grows while something long goes on.

use std::io::{IsTerminal, Write};

const WIDTH: u64 = 30;

/// A bar on standard output, where that is a terminal.
#[derive(Debug)]
pub(super) struct Bar {
    what: &'static str,
    shown: Option<u64>,
    is_terminal: bool,
}

impl Bar {
    /// A bar that counts `what`.
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            is_terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Shows that so many of so many are done.
    pub(super) fn show(&mut self, done: u64, of: u64) {
        let filled = (done * WIDTH).checked_div(of).unwrap_or(WIDTH).min(WIDTH);
        if !self.is_terminal || of == 0 {
            return;
        }
        self.shown = Some(done);
        let bar: String = (0..WIDTH)
            .map(|at| if at < filled { '█' } else { '░' })
            .collect();
        let what = self.what;
        // A terminal that is gone needs no bar.
        let _ = write!(std::io::stdout(), "\r{bar} {done} of {of} {what}\x1b[K");
        let _ = std::io::stdout().flush();
    }

    /// Takes the bar away, for what comes after it.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stdout(), "\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
    }
}
