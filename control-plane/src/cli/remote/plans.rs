//! `tollgate plans`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::shown::Shown;
use super::{Failure, read_json};

const COLUMNS: &[&str] = &[
    "id",
    "key",
    "version",
    "status",
    "name",
    "currency",
    "billingCadence",
];
const INVITES: &[&str] = &["id", "plan", "email", "createdAt", "revokedAt"];

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists versions, the newest first.
    List {
        /// Only versions of this plan.
        #[arg(long)]
        key: Option<String>,
        /// Only versions that are `draft`, `active` or `archived`.
        #[arg(long)]
        status: Option<String>,
    },
    /// Shows a version by its id, or by a plan's key the one that is sold.
    Show {
        /// Id or key.
        plan: String,
    },
    /// Makes a plan: the draft of its first version.
    Create {
        /// Its JSON; `-` for standard input.
        file: PathBuf,
    },
    /// Publishes a draft.
    Publish {
        /// Id or key.
        plan: String,
    },
    /// Has a plan no longer sold.
    Archive {
        /// Id or key.
        plan: String,
    },
    /// Invites an e-mail address to a private plan.
    Invite {
        /// Key.
        plan: String,
        /// Whose customer may subscribe.
        email: String,
    },
    /// Lists invites, the newest first.
    Invites {
        /// Only invites to this plan.
        #[arg(long)]
        plan: Option<String>,
    },
    /// Revokes an invite.
    RevokeInvite {
        /// Id.
        invite: String,
    },
}

pub(super) async fn run(client: &Client, command: Command) -> Result<Shown, Failure> {
    let nothing = json!({});
    let answer = match command {
        Command::List { key, status } => {
            let filters = [("key", key), ("status", status)];
            client.list(&["plans"], &given(&filters)).await?
        }
        Command::Show { plan } => client.get(&["plans", &plan], &[]).await?,
        Command::Create { file } => client.post(&["plans"], &read_json(&file)?).await?,
        Command::Publish { plan } => client.post(&["plans", &plan, "publish"], &nothing).await?,
        Command::Archive { plan } => client.post(&["plans", &plan, "archive"], &nothing).await?,
        Command::Invite { plan, email } => {
            let document = json!({"plan": plan, "email": email});
            let invite = client.post(&["plan-invites"], &document).await?;
            return Ok(Shown::new(invite, INVITES));
        }
        Command::Invites { plan } => {
            let invites = client
                .list(&["plan-invites"], &given(&[("plan", plan)]))
                .await?;
            return Ok(Shown::new(invites, INVITES));
        }
        Command::RevokeInvite { invite } => {
            let path = ["plan-invites", &invite, "revoke"];
            return Ok(Shown::new(client.post(&path, &nothing).await?, INVITES));
        }
    };
    Ok(Shown::new(answer, COLUMNS))
}

/// The parts of a query that have values.
pub(super) fn given<'a>(filters: &'a [(&'a str, Option<String>)]) -> Vec<(&'a str, &'a str)> {
    let given = filters.iter();
    given
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect()
}
