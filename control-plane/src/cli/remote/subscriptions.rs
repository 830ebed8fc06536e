//! `tollgate subscriptions`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Failure;
use super::client::Client;
use super::plans::given;
use super::shown::Shown;

const COLUMNS: &[&str] = &[
    "id",
    "key",
    "customer",
    "plan",
    "planVersion",
    "phase",
    "status",
    "paymentStatus",
    "activeFrom",
    "activeTo",
];
const ESTIMATE: &[&str] = &["effectiveAt", "currency", "credit", "total"];

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists subscriptions, the newest first.
    List {
        /// Only those of this customer.
        #[arg(long)]
        customer: Option<String>,
        /// Only those to this plan.
        #[arg(long)]
        plan: Option<String>,
    },
    /// Shows a subscription.
    Show {
        /// Id or key.
        subscription: String,
    },
    /// Subscribes a customer to a plan.
    Create {
        /// Id or key.
        customer: String,
        /// The plan's key.
        plan: String,
        /// Your own name for it.
        #[arg(long)]
        key: Option<String>,
        /// `immediate`, `next_billing_cycle` or an instant.
        #[arg(long)]
        timing: Option<String>,
        /// The phase to start with.
        #[arg(long)]
        starting_phase: Option<String>,
        /// An instant that boundaries count from.
        #[arg(long)]
        billing_anchor: Option<String>,
    },
    /// Changes the plan of a subscription.
    Change {
        /// Id or key.
        subscription: String,
        /// The new plan's key.
        plan: String,
        /// `immediate`, `next_billing_cycle` or an instant.
        #[arg(long)]
        timing: Option<String>,
        /// Leaves the boundaries where they are.
        #[arg(long)]
        keep_anchor: bool,
        /// Only says what it would cost.
        #[arg(long)]
        estimate: bool,
    },
    /// Ends a subscription.
    Cancel {
        /// Id or key.
        subscription: String,
        /// `immediate`, `next_billing_cycle` or an instant.
        #[arg(long)]
        timing: Option<String>,
    },
    /// Takes an end that is to come back.
    Uncancel {
        /// Id or key.
        subscription: String,
    },
}

pub(super) async fn run(client: &Client, command: Command) -> Result<Shown, Failure> {
    let answer = match command {
        Command::List { customer, plan } => {
            let filters = [("customer", customer), ("plan", plan)];
            client.list(&["subscriptions"], &given(&filters)).await?
        }
        Command::Show { subscription } => {
            client.get(&["subscriptions", &subscription], &[]).await?
        }
        Command::Create {
            customer,
            plan,
            key,
            timing,
            starting_phase,
            billing_anchor,
        } => {
            let document = json!({"customer": customer, "plan": plan, "key": key, "timing": timing,
                "startingPhase": starting_phase, "billingAnchor": billing_anchor});
            client.post(&["subscriptions"], &document).await?
        }
        Command::Change {
            subscription,
            plan,
            timing,
            keep_anchor,
            estimate,
        } => {
            let anchor = keep_anchor.then_some("keep");
            let document = json!({"plan": plan, "timing": timing, "billingAnchor": anchor});
            if estimate {
                let path = ["subscriptions", &subscription, "change", "estimate-credit"];
                return Ok(Shown::new(client.post(&path, &document).await?, ESTIMATE));
            }
            act(client, &subscription, "change", &document).await?
        }
        Command::Cancel {
            subscription,
            timing,
        } => act(client, &subscription, "cancel", &json!({"timing": timing})).await?,
        Command::Uncancel { subscription } => {
            act(client, &subscription, "unschedule-cancelation", &json!({})).await?
        }
    };
    Ok(Shown::new(answer, COLUMNS))
}

async fn act(client: &Client, id: &str, verb: &str, document: &Value) -> Result<Value, Failure> {
    client.post(&["subscriptions", id, verb], document).await
}
