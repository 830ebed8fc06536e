//! Removes what is kept only for a time.

use std::time::Duration;

use super::{Claim, Job};
use crate::app::App;
use crate::idempotency;
use crate::payments::{Stripe, webhooks};

/// Rows removed by one transaction, so that none holds up other writers.
const ROWS_PER_TRANSACTION: i64 = 500;

/// The job that removes expired rows.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    app: App,
}

impl Housekeeping {
    /// The job, on the application's database.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }
}

impl Job for Housekeeping {
    fn name(&self) -> &'static str {
        "housekeeping"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(600)
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        loop {
            let now = self.app.clock.machine_now();
            let mut tx = self.app.database.begin_write().await?;
            let removed = [
                idempotency::remove_expired(&mut tx, now, ROWS_PER_TRANSACTION).await?,
                Stripe::remove_answered(&mut tx, now, ROWS_PER_TRANSACTION).await?,
                webhooks::remove_handled(&mut tx, now, ROWS_PER_TRANSACTION).await?,
            ];
            claim.commit(tx).await?;
            if removed
                .iter()
                .all(|rows| *rows < ROWS_PER_TRANSACTION.unsigned_abs())
            {
                return Ok(());
            }
        }
    }
}
