//! Gives documents further windows before those they have run out.

use std::time::Duration;

use super::chain_changed;
use crate::app::App;
use crate::jobs::{Claim, Job};
use crate::subscriptions::chain;

/// Documents renewed by one transaction.
const DOCUMENTS_PER_TRANSACTION: i64 = 50;

/// The job that renews documents.
#[derive(Clone, Debug)]
pub struct Renewal {
    app: App,
}

impl Renewal {
    /// The job, on the application's database.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }
}

impl Job for Renewal {
    fn name(&self) -> &'static str {
        "renewal"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        loop {
            let now = self.app.clock.business_now();
            // Reading first: that nothing is due costs no write.
            let due = {
                let mut reader = self.app.database.read().await?;
                chain::renewable(&mut reader, now, DOCUMENTS_PER_TRANSACTION).await?
            };
            if due.is_empty() {
                return Ok(());
            }
            let mut tx = self.app.database.begin_write().await?;
            for id in due {
                chain_changed(&self.app, &mut tx, id).await?;
            }
            claim.commit(tx).await?;
        }
    }
}
