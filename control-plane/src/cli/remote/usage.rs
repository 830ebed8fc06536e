//! `tollgate usage`.

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::plans::given;
use super::shown::Shown;
use super::{Failure, Target};

const OF_SUBSCRIPTION: &[&str] = &[
    "meter",
    "windowStart",
    "windowEnd",
    "used",
    "carried",
    "included",
    "limit",
    "remaining",
];
const OF_METER: &[&str] = &["windowStart", "windowEnd", "value", "groupBy"];

/// Whose usage, or of which meter.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) target: Target,
    /// Id or key of a subscription: what it has used in its current periods.
    #[arg(required_unless_present = "meter")]
    subscription: Option<String>,
    /// A meter: what it counted, of the subscription if one is named.
    #[arg(long)]
    meter: Option<String>,
    /// First instant, a full hour.
    #[arg(long, requires = "meter")]
    from: Option<String>,
    /// First instant after it, a full hour.
    #[arg(long, requires = "meter")]
    to: Option<String>,
    /// `HOUR`, `DAY` or `MONTH`.
    #[arg(long, requires = "meter")]
    window_size: Option<String>,
    /// `subscription`, `customer`, `plan` or `key`, or several with commas between.
    #[arg(long, requires = "meter")]
    group_by: Option<String>,
}

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<Shown, Failure> {
    if let Some(meter) = &arguments.meter {
        let query = [
            ("from", arguments.from.clone()),
            ("to", arguments.to.clone()),
            ("windowSize", arguments.window_size.clone()),
            ("groupBy", arguments.group_by.clone()),
            ("filterSubscription", arguments.subscription.clone()),
        ];
        let mut answer = client
            .get(&["meters", meter, "query"], &given(&query))
            .await?;
        return Ok(Shown::new(answer["data"].take(), OF_METER));
    }
    let subscription = arguments.subscription.as_deref().unwrap_or_default();
    let mut answer: Value = client
        .get(&["subscriptions", subscription, "usage"], &[])
        .await?;
    Ok(Shown::new(answer["meters"].take(), OF_SUBSCRIPTION))
}
