//! Measures what the filter costs, and what billing takes; `scripts/bench` builds it and what it measures.

mod backend;
mod billing;
mod customer;
mod edge;
mod extras;
mod load;
mod long;
mod processors;
mod report;
mod rows;
mod work;

use std::env;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::edge::Stretch;
use crate::report::Report;

const USAGE: &str = "usage: scripts/bench edge|billing [--json] [--check] [--long]
  --json   print the figures as one JSON object, and the table to standard error
  --check  fail when anything is slower than it may be
  --long   edge: measure two minutes over a network of devices, too; takes root's rights";

#[derive(Clone, Copy, Debug)]
enum Subject {
    Edge,
    Billing,
}

#[derive(Debug)]
struct Options {
    subject: Subject,
    json: bool,
    check: bool,
    stretch: Stretch,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let subject = match arguments.next()?.as_str() {
            "edge" => Subject::Edge,
            "billing" => Subject::Billing,
            _ => return None,
        };
        let mut options = Self {
            subject,
            json: false,
            check: false,
            stretch: Stretch::Usual,
        };
        for argument in arguments {
            match argument.as_str() {
                "--json" => options.json = true,
                "--check" => options.check = true,
                "--long" => options.stretch = Stretch::Long,
                _ => return None,
            }
        }
        Some(options)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // What stands at the other end of the network of devices.
    if let [_, first, socket] = env::args().collect::<Vec<_>>().as_slice()
        && first == "relay"
    {
        long::relay(Path::new(socket));
        return ExitCode::SUCCESS;
    }
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // Whichever is not waited for to its end is dropped, and every server with it.
    match options.subject {
        Subject::Edge => {
            let results = tokio::select! {
                biased;
                () = told_to_stop() => return ExitCode::FAILURE,
                results = edge::measure(options.stretch) => results,
            };
            let report = Report::new(results);
            show(&options, &report, &report.json(), report.holds())
        }
        Subject::Billing => {
            let report = billing::measure();
            show(&options, &report, &report.json(), report.holds())
        }
    }
}

/// Prints a report, and says whether it is as it must be.
fn show(options: &Options, report: &dyn Display, json: &str, holds: bool) -> ExitCode {
    if options.json {
        eprintln!("{report}");
        println!("{json}");
    } else {
        print!("{report}");
    }
    match options.check && !holds {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
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
