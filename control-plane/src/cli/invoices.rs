//! `tollgate invoice`: bills what is due, and shows what would be billed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::progress::Bar;
use crate::app::App;
use crate::clock::{BusinessInstant, Clock};
use crate::config::Config;
use crate::http::document::Mistakes;
use crate::invoicing::preview::{self, Preview, PreviewDocument, PreviewedInvoice};
use crate::invoicing::run::{self, Event, Mode, Summary};
use crate::telemetry;

/// Exit status for input that is wrong.
const BAD_INPUT: u8 = 2;

/// What to do with invoices.
#[derive(Debug, Subcommand)]
pub enum InvoiceCommand {
    /// Bills everything that is due; beside a server, twice, or in two processes, each once.
    Run(Run),
    /// Shows what a customer or a subscription would be billed; nothing is written.
    Preview(Previewed),
}

/// How to bill.
#[derive(Debug, Args)]
pub struct Run {
    /// Bills what is due until then; until now when left out.
    #[arg(long, value_name = "INSTANT")]
    as_of: Option<Timestamp>,
    /// Shows what would be billed, and writes nothing; the instant may then be to come.
    #[arg(long)]
    dry_run: bool,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// What to look ahead to.
#[derive(Debug, Args)]
pub struct Previewed {
    /// The customer's id or key.
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "subscription",
        conflicts_with = "subscription"
    )]
    customer: Option<String>,
    /// The subscription's id or key.
    #[arg(long, value_name = "ID")]
    subscription: Option<String>,
    /// Everything due until then; the next invoice of each subscription when left out.
    #[arg(long, value_name = "INSTANT")]
    as_of: Option<Timestamp>,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// Does what the command says.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn execute(config: Config, command: InvoiceCommand) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(&config.telemetry)?;
    let app = App::build(config, Clock::system()).await?;
    let status = match command {
        InvoiceCommand::Run(run) => bill(&app, &run).await,
        InvoiceCommand::Preview(wanted) => preview(&app, wanted).await,
    };
    app.database.close().await;
    status
}

async fn bill(app: &App, wanted: &Run) -> anyhow::Result<ExitCode> {
    let now = app.clock.business_now();
    let as_of = wanted.as_of.map_or(now, BusinessInstant::from);
    let mode = match wanted.dry_run {
        true => Mode::DryRun,
        false => Mode::Bill,
    };
    if mode == Mode::Bill && now < as_of {
        eprintln!("tollgate: {as_of} is to come: only --dry-run looks ahead");
        return Ok(ExitCode::from(BAD_INPUT));
    }
    let mut output = Output::new(wanted.json, mode);
    let summary = run::run(app, as_of, mode, &mut |event| output.tell(event)).await?;
    output.end(&summary)?;
    match summary.failed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// What a run prints: invoices that would be made as they come, and the summary.
struct Output {
    json: bool,
    mode: Mode,
    bar: Bar,
    previewed: usize,
}

impl Output {
    fn new(json: bool, mode: Mode) -> Self {
        Self {
            json,
            mode,
            bar: Bar::new("subscriptions"),
            previewed: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Progress { done, of } if !self.json => self.bar.show(done, of),
            Event::Progress { .. } => {}
            Event::Previewed(invoice) => {
                self.bar.clear();
                match (self.json, self.previewed) {
                    (true, 0) => print!("{{\"previews\":[{}", json!(invoice)),
                    (true, _) => print!(",{}", json!(invoice)),
                    (false, 0) => println!("{}\n{}", heading(), row(&invoice)),
                    (false, _) => println!("{}", row(&invoice)),
                }
                self.previewed += 1;
            }
        }
    }

    fn end(&mut self, summary: &Summary) -> anyhow::Result<()> {
        self.bar.clear();
        if !self.json {
            print!("{}", table(summary));
            return Ok(());
        }
        let text = serde_json::to_string(summary)?;
        match (self.mode, self.previewed) {
            (Mode::Bill, _) => println!("{text}"),
            (Mode::DryRun, 0) => println!("{{\"previews\":[],{}", &text[1..]),
            (Mode::DryRun, _) => println!("],{}", &text[1..]),
        }
        Ok(())
    }
}

fn heading() -> String {
    let (boundary, subscription) = ("BOUNDARY", "SUBSCRIPTION");
    format!(
        "{boundary:20}  {subscription:30}  {:9}  {:8}  {:>14}",
        "KIND", "CURRENCY", "TOTAL"
    )
}

fn row(invoice: &PreviewedInvoice) -> String {
    format!(
        "{:20}  {:30}  {:9}  {:8}  {:>14}",
        invoice.boundary.to_string(),
        invoice.subscription.to_string(),
        invoice.kind.name(),
        invoice.currency,
        invoice.total.to_string(),
    )
}

fn table(summary: &Summary) -> String {
    let mut table = format!(
        "{:9}  {:8}  {:>10}  {:>18}\n",
        "KIND", "CURRENCY", "INVOICES", "TOTAL"
    );
    for total in &summary.totals {
        table += &format!(
            "{:9}  {:8}  {:>10}  {:>18}\n",
            total.kind.name(),
            total.currency,
            total.invoices,
            total.total.to_string()
        );
    }
    let (as_of, invoices, waiting) = (summary.as_of, summary.invoices, summary.waiting);
    let made = match summary.dry_run {
        true => "would be made",
        false => "made",
    };
    table += &format!("as of {as_of}: {invoices} invoices {made}, {waiting} wait for usage");
    for failed in &summary.failed {
        table += &format!("\nfailed: {failed}");
    }
    table + "\n"
}

async fn preview(app: &App, wanted: Previewed) -> anyhow::Result<ExitCode> {
    let document = PreviewDocument {
        customer: wanted.customer,
        subscription: wanted.subscription,
        as_of: wanted.as_of.map(|at| at.to_string()),
    };
    let mut mistakes = Mistakes::default();
    let checked = document.wanted(&mut mistakes);
    mistakes.finish()?;
    let Some(checked) = checked else {
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let mut reader = app.database.read().await?;
    let found = match preview::preview(app, &mut reader, checked).await {
        Ok(found) => found,
        Err(error) => {
            eprintln!("tollgate: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    drop(reader);
    match wanted.json {
        true => println!("{}", serde_json::to_string(&found)?),
        false => print!("{}", shown(&found)),
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(found: &Preview) -> String {
    let mut text = String::new();
    for invoice in &found.invoices {
        let (kind, boundary, subscription) =
            (invoice.kind.name(), invoice.boundary, invoice.subscription);
        text += &format!("{kind} of {subscription} at {boundary}\n");
        for line in &invoice.lines {
            text += &format!(
                "  {:60}  {:>14}  {:>14}\n",
                line.description,
                line.quantity,
                line.total.to_string()
            );
        }
        text += &format!(
            "  {:60}  {:>14}  {:>14}\n",
            "total",
            invoice.currency,
            invoice.total.to_string()
        );
    }
    if text.is_empty() {
        text += "nothing is due\n";
    }
    text
}
