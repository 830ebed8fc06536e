//! Checks exchanges against Stripe's published contract, which is not part of this repository.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::control::lines;
use crate::process::repository;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conformance {
    /// Every exchange keeps to the contract; what the checker says at its end.
    Kept(String),
    /// There is no contract to check against; where it was looked for.
    NoContract(String),
}

impl fmt::Display for Conformance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(said) => formatter.write_str(said),
            Self::NoContract(place) => write!(
                formatter,
                "nothing was checked against Stripe's contract, which is not at {place} (STRIPE_OPENAPI)"
            ),
        }
    }
}

/// Checks exchanges as they were recorded. The contract is `STRIPE_OPENAPI`, or `../shared/stripe/openapi.json` beside
/// the repository, with its checker `conformance.py` next to it.
///
/// # Panics
/// When an exchange breaks the contract, with every way in which it does.
#[must_use]
pub fn check(exchanges: &[Value]) -> Conformance {
    let beside = || repository().join("../shared/stripe/openapi.json");
    let contract = std::env::var_os("STRIPE_OPENAPI").map_or_else(beside, PathBuf::from);
    let checker = contract.with_file_name("conformance.py");
    if !contract.is_file() || !checker.is_file() {
        let place = contract.display().to_string();
        eprintln!(
            "Stripe's contract is not at {place} (STRIPE_OPENAPI): nothing was checked against it"
        );
        return Conformance::NoContract(place);
    }
    let recorded = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(recorded.path(), lines(exchanges)).expect("a temporary file can be written");
    let output = Command::new("python3")
        .arg(checker)
        .arg("--spec")
        .arg(contract)
        .arg("--responses")
        .arg("--jsonl")
        .arg(recorded.path())
        .output()
        .expect("python3 runs");
    let (said, end) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "the contract is broken:\n{said}{end}"
    );
    Conformance::Kept(end.trim().to_owned())
}
