//! The command line of Tollgate's control plane.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tollgate::app::{App, Role, Server};
use tollgate::calendar::{Boundaries, Period, Zone};
use tollgate::cli::invoices::{self, InvoiceCommand};
use tollgate::cli::remote::{self, Failure, Remote};
use tollgate::clock::{BusinessInstant, Clock};
use tollgate::config::{self, Config, ConfigError};
use tollgate::database::Database;
use tollgate::invoicing::quote::{Lines, quote_lines};
use tollgate::{doctor, telemetry};

/// Exit status for input that is wrong, as clap uses it too.
const BAD_INPUT: u8 = 2;
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Turns an API behind Envoy or Istio into a paid product: the control plane.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings that differ from the defaults; `check-config --defaults` prints those.
    #[arg(long, global = true, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers the API and does the work in the background.
    Serve {
        /// What this process does.
        #[arg(long, value_delimiter = ',', default_values_t = [Role::Api, Role::Jobs], value_enum)]
        roles: Vec<Role>,
    },
    /// Brings the database's schema up to date.
    Migrate,
    /// Checks the configuration and names the first mistake.
    CheckConfig {
        /// Prints every setting with its default and its meaning instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Looks for what must not be in the database and in Redis; exit status 1 when anything is.
    Doctor {
        /// Prints one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Bills what is due, and shows what would be billed.
    #[command(subcommand)]
    Invoice(InvoiceCommand),
    /// Prices rate cards without a server: one JSON object a line from standard input, one a line to standard output, in
    /// order; exit status 2 when a line is wrong.
    Quote,
    /// Prints the boundaries between the periods of a cadence, one instant a line, from the anchor on.
    Periods {
        /// The first boundary, such as 2026-01-31T15:00:00Z.
        #[arg(long, value_name = "INSTANT")]
        anchor: BusinessInstant,
        /// How far each is from the one before, as an ISO 8601 duration such as P1M.
        #[arg(long, value_name = "DURATION")]
        cadence: Period,
        /// How many to print.
        #[arg(long)]
        count: u32,
        /// The zone whose dates they are, such as Europe/Berlin.
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: Zone,
    },
    /// Commands that ask a running control plane.
    #[command(flatten)]
    Remote(Remote),
    /// Asks a running control plane whether it is ready.
    Healthcheck {
        /// Its address; the configured one when left out.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failed = match run(arguments).await {
        Ok(status) => return status,
        Err(failed) => failed,
    };
    eprintln!("tollgate: {failed:#}");
    match failed.is::<ConfigError>() {
        true => ExitCode::from(BAD_INPUT),
        false => ExitCode::FAILURE,
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let load = || Config::load(arguments.config.as_deref(), std::env::vars());
    match arguments.command {
        Command::Serve { roles } => serve(load()?, &roles).await?,
        Command::Remote(command) => return Ok(ask(command).await),
        Command::Migrate => migrate(&load()?).await?,
        Command::Doctor { json } => return doctor(&load()?, json).await,
        Command::Invoice(command) => return invoices::execute(load()?, command).await,
        Command::CheckConfig { defaults: true } => {
            print!("{}", config::DEFAULTS);
        }
        Command::CheckConfig { defaults: false } => {
            load()?;
            println!("the configuration is valid");
        }
        Command::Quote => return quote(),
        Command::Periods {
            anchor,
            cadence,
            count,
            time_zone,
        } => {
            let boundaries = Boundaries::new(anchor, cadence, time_zone);
            let mut output = BufWriter::new(io::stdout().lock());
            for n in 0..count {
                writeln!(output, "{}", boundaries.boundary(n.into()))?;
            }
            output.flush()?;
        }
        Command::Healthcheck { url } => {
            let url = match url {
                Some(url) => url,
                None => format!("http://{}", load()?.server.listen),
            };
            healthcheck(&url).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn quote() -> anyhow::Result<ExitCode> {
    let output = BufWriter::new(io::stdout().lock());
    match quote_lines(io::stdin().lock(), output)? {
        Lines::Priced => Ok(ExitCode::SUCCESS),
        Lines::Refused => Ok(ExitCode::from(BAD_INPUT)),
    }
}

async fn ask(command: Remote) -> ExitCode {
    match remote::run(command).await {
        Ok(shown) => {
            println!("{shown}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("tollgate: {failure}");
            match failure {
                Failure::BadInput(_) => ExitCode::from(BAD_INPUT),
                Failure::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

async fn serve(config: Config, roles: &[Role]) -> anyhow::Result<()> {
    telemetry::start_logging(&config.telemetry)?;
    let first_admin_key = std::env::var("TOLLGATE_ADMIN_KEY").ok();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::build(config, Clock::system()).await?;
    let server = Server::start(app, roles, first_admin_key.as_deref()).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending");
    server.shut_down().await
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    telemetry::start_logging(&config.telemetry)?;
    let database = Database::connect(&config.database)
        .await
        .context("cannot open the database")?;
    database.migrate().await?;
    database.close().await;
    println!("the schema is up to date");
    Ok(())
}

async fn doctor(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let database = Database::connect(&config.database)
        .await
        .context("cannot open the database")?;
    let diagnosis = doctor::examine(&database, config).await?;
    database.close().await;
    if json {
        println!("{}", serde_json::to_string(&diagnosis)?);
    } else {
        print!("{diagnosis}");
    }
    match diagnosis.findings.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(HEALTHCHECK_TIMEOUT)
        .build()?;
    let answer = client
        .get(format!("{url}/readyz"))
        .send()
        .await
        .context("no answer")?;
    let ready = answer.error_for_status_ref().map(drop);
    println!("{}", answer.text().await?.trim_end());
    Ok(ready?)
}
