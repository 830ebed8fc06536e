//! `tollgate customers`.

use clap::Subcommand;
use serde_json::json;

use super::Failure;
use super::client::Client;
use super::plans::given;
use super::shown::Shown;

const COLUMNS: &[&str] = &["id", "key", "name", "email", "createdAt"];

/// What to do with customers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists customers, the newest first.
    List {
        /// Only the one with this key.
        #[arg(long)]
        key: Option<String>,
        /// Only those with this e-mail address.
        #[arg(long)]
        email: Option<String>,
    },
    /// Shows a customer.
    Show {
        /// Id or key.
        customer: String,
    },
    /// Makes a customer.
    Create {
        /// What people call it.
        name: String,
        /// Your own name for it.
        #[arg(long)]
        key: Option<String>,
        /// Where it gets mail.
        #[arg(long)]
        email: Option<String>,
    },
}

pub(super) async fn run(client: &Client, command: Command) -> Result<Shown, Failure> {
    let answer = match command {
        Command::List { key, email } => {
            let filters = [("key", key), ("email", email)];
            client.list(&["customers"], &given(&filters)).await?
        }
        Command::Show { customer } => client.get(&["customers", &customer], &[]).await?,
        Command::Create { name, key, email } => {
            let document = json!({"name": name, "key": key, "email": email});
            client.post(&["customers"], &document).await?
        }
    };
    Ok(Shown::new(answer, COLUMNS))
}
