//! `tollgate keys`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::shown::Shown;
use super::{Failure, read_json};
use crate::cli::progress::Bar;

const COLUMNS: &[&str] = &[
    "id",
    "chain",
    "name",
    "subject",
    "prefix",
    "lastCharacters",
    "expiresAt",
    "revokedAt",
];
const ISSUED: &[&str] = &["id", "chain", "name", "subject", "expiresAt", "secret"];
/// Keys imported by one request: so many fit into its body however long their names are.
const IMPORTED_AT_ONCE: usize = 500;

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the keys of a subscription, the newest first.
    List {
        /// Id or key of the subscription.
        subscription: String,
    },
    /// Issues a key, whose secret is shown this once.
    Issue {
        /// Id or key of the subscription.
        subscription: String,
        /// What you call it.
        #[arg(long)]
        name: Option<String>,
        /// Your own name for whoever holds it.
        #[arg(long)]
        subject: Option<String>,
        /// From when it is refused.
        #[arg(long)]
        expires_at: Option<String>,
        /// Has it metered but never refused for quota or payment.
        #[arg(long)]
        bypass: bool,
    },
    /// Revokes a key at once.
    Revoke {
        /// Id of the key.
        key: String,
    },
    /// Imports keys that requests carry already; who is interrupted runs it again.
    Import {
        /// A JSON array of `{"hash", "subscription", "name", "subject", "expiresAt", "bypass"}`, where the hash is the SHA-256
        /// of the key; `-` for standard input.
        file: PathBuf,
    },
}

pub(super) async fn run(client: &Client, command: Command) -> Result<Shown, Failure> {
    match command {
        Command::List { subscription } => {
            let keys = client
                .list(&["subscriptions", &subscription, "keys"], &[])
                .await?;
            Ok(Shown::new(keys, COLUMNS))
        }
        Command::Issue {
            subscription,
            name,
            subject,
            expires_at,
            bypass,
        } => {
            let document = json!({"name": name, "subject": subject, "expiresAt": expires_at, "bypass": bypass});
            let path = ["subscriptions", &subscription, "keys"];
            Ok(Shown::new(client.post(&path, &document).await?, ISSUED))
        }
        Command::Revoke { key } => {
            let revoked = client.post(&["keys", &key, "revoke"], &json!({})).await?;
            Ok(Shown::new(revoked, COLUMNS))
        }
        Command::Import { file } => import(client, read_json(&file)?).await,
    }
}

async fn import(client: &Client, keys: Value) -> Result<Shown, Failure> {
    let Value::Array(keys) = keys else {
        return Err(Failure::BadInput(
            "the file is no JSON array of keys".to_owned(),
        ));
    };
    let mut imported = Vec::with_capacity(keys.len());
    let mut bar = Bar::new("keys");
    for (number, part) in keys.chunks(IMPORTED_AT_ONCE).enumerate() {
        let before = number * IMPORTED_AT_ONCE;
        let document = json!({"keys": part});
        let answer = client.post_part(&["keys", "import"], &document, |path| place(path, before));
        let answer = answer.await;
        if answer.is_err() {
            bar.clear();
        }
        let mut answer = answer.map_err(|failure| failure.after(before))?;
        if let Value::Array(items) = answer["items"].take() {
            imported.extend(items);
        }
        bar.show(imported.len() as u64, keys.len() as u64);
    }
    bar.clear();
    Ok(Shown::new(Value::Array(imported), COLUMNS))
}

/// Where in the file something is that stands at a path of a part of it, before which there are so many keys.
fn place(path: &str, before: usize) -> String {
    let in_part = path.strip_prefix("$.keys[").and_then(|rest| {
        let (index, rest) = rest.split_once(']')?;
        Some((index.parse::<usize>().ok()?, rest))
    });
    match in_part {
        Some((index, rest)) => format!("$[{}]{rest}", before + index),
        None => path.to_owned(),
    }
}

impl Failure {
    /// Why the import stopped, and how far it came.
    fn after(self, imported: usize) -> Self {
        let told = |why: String| match imported {
            0 => why,
            some => format!("{why}\nThe {some} keys before were imported."),
        };
        match self {
            Self::BadInput(why) => Self::BadInput(told(why)),
            Self::Failed(why) => Self::Failed(told(why)),
        }
    }
}
