//! Wrong clocks: programs that read another time of day than the machine's.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{on_path, program};

/// What makes clocks wrong: a library of ours that a program loads before all others.
#[derive(Debug)]
pub struct WrongClock(TempDir);

impl WrongClock {
    /// Compiles it.
    ///
    /// # Panics
    /// When the C compiler, which Rust links with, is not there.
    #[must_use]
    pub fn build() -> Self {
        let clock = Self(TempDir::new().expect("a temporary folder can be made"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clock.c");
        let compiled = Command::new(program("CC", on_path("cc")))
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(source)
            .status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc failed");
        clock
    }

    /// Variables under which a program's clock is so many seconds ahead, which may be below zero; how long things take
    /// stays the same.
    #[must_use]
    pub fn ahead(&self, seconds: i64) -> [(String, String); 2] {
        [
            (
                "LD_PRELOAD".to_owned(),
                self.library().display().to_string(),
            ),
            ("CLOCK_AHEAD_SECONDS".to_owned(), seconds.to_string()),
        ]
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }
}
