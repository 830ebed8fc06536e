//! Commands that ask a running control plane, as programs do: over the API, with an admin key.

mod client;
mod customers;
mod keys;
mod plans;
mod shown;
mod subscriptions;
mod usage;

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use clap::{Args, Subcommand};

use client::Client;

/// Which control plane, and how to show what it answers.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Where the control plane is.
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// An admin key of it; better given in the environment, where other users do not see it.
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_ADMIN_KEY",
        hide_env_values = true
    )]
    admin_key: Option<String>,
    /// Prints what it answers as JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// Lists, makes and publishes plans, and invites to private ones.
    Plans(Asked<plans::Command>),
    /// Lists and makes customers.
    Customers(Asked<customers::Command>),
    /// Lists, begins, changes and ends subscriptions.
    Subscriptions(Asked<subscriptions::Command>),
    /// Lists, issues, revokes and imports API keys.
    Keys(Asked<keys::Command>),
    /// Shows what was used.
    Usage(usage::Arguments),
}

/// What to ask of whom.
#[derive(Args, Debug)]
pub struct Asked<C: Subcommand> {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: C,
}

/// Why a command ended without what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was asked is wrong.
    BadInput(String),
    /// It could not be done.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(why) | Self::Failed(why) => formatter.write_str(why),
        }
    }
}

impl Remote {
    fn target(&self) -> &Target {
        match self {
            Self::Plans(asked) => &asked.target,
            Self::Customers(asked) => &asked.target,
            Self::Subscriptions(asked) => &asked.target,
            Self::Keys(asked) => &asked.target,
            Self::Usage(arguments) => &arguments.target,
        }
    }
}

/// Asks, and gives what to print.
///
/// # Errors
/// When the input is wrong or it cannot be done.
pub async fn run(command: Remote) -> Result<String, Failure> {
    let target = command.target().clone();
    let client = Client::new(&target)?;
    let shown = match command {
        Remote::Plans(asked) => plans::run(&client, asked.command).await?,
        Remote::Customers(asked) => customers::run(&client, asked.command).await?,
        Remote::Subscriptions(asked) => subscriptions::run(&client, asked.command).await?,
        Remote::Keys(asked) => keys::run(&client, asked.command).await?,
        Remote::Usage(arguments) => usage::run(&client, &arguments).await?,
    };
    Ok(match target.json {
        true => shown.json(),
        false => shown.table(),
    })
}

/// The JSON of a file; `-` is what comes from the terminal or a pipe.
fn read_json(path: &Path) -> Result<serde_json::Value, Failure> {
    let name = path.display();
    let text = match path.as_os_str() == "-" {
        false => std::fs::read_to_string(path),
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
    };
    let text = text.map_err(|error| Failure::BadInput(format!("cannot read {name}: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::BadInput(format!("{name} is no JSON: {error}")))
}
