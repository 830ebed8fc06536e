//! Measures what the filter costs; `scripts/bench` builds it and what it measures.

mod backend;
mod customer;
mod edge;
mod load;
mod processors;
mod report;
mod work;

use std::env;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::report::Report;

const USAGE: &str = "usage: scripts/bench edge [--json] [--check]
  --json   print the figures as one JSON object, and the table to standard error
  --check  fail when the filter is slower than it may be";

#[derive(Debug, Default)]
struct Options {
    json: bool,
    check: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        if arguments.next()? != "edge" {
            return None;
        }
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--json" => options.json = true,
                "--check" => options.check = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // Whichever is not waited for to its end is dropped, and every server with it.
    let results = tokio::select! {
        biased;
        () = told_to_stop() => return ExitCode::FAILURE,
        results = edge::measure() => results,
    };
    let report = Report::new(results);
    if options.json {
        eprintln!("{report}");
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    if options.check && !report.holds() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn told_to_stop() {
    let listen = |kind| signal(kind).expect("a signal can be waited for");
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
