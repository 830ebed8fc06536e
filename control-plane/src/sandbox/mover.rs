//! The job that moves the clock.

use std::time::Duration;

use tokio::time::sleep;

use super::{FOLLOW, POLL, Position, agenda, store};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::config::Environment;
use crate::jobs::{Claim, Job};

/// Moves the clock of a sandbox to where it is wished.
#[derive(Clone, Debug)]
pub struct Mover {
    app: App,
}

impl Mover {
    /// The job, in a sandbox.
    #[must_use]
    pub fn new(app: App) -> Option<Self> {
        (app.config.environment == Environment::Sandbox).then_some(Self { app })
    }

    async fn position(&self) -> anyhow::Result<Position> {
        Ok(store::position(&mut *self.app.database.read().await?).await?)
    }

    /// Waits until the time that was moved is to begin, then does one step when nothing is due any more.
    async fn step(
        &self,
        claim: &Claim,
        position: Position,
        target: BusinessInstant,
    ) -> anyhow::Result<()> {
        let clock = &self.app.clock;
        // Another process may have moved it before.
        clock.advance_to_lead_ms(position.lead_ms);
        let agenda = {
            let mut reader = self.app.database.read().await?;
            agenda::read(&self.app, &mut reader, position).await?
        };
        if !agenda.pending.is_empty() {
            if !agenda.is_drained && position.stepped <= clock.machine_now() {
                self.app.drain_wanted.notify_one();
            }
            sleep(POLL).await;
            return Ok(());
        }
        let now = clock.business_now();
        let next = agenda.next.map_or(target, |next| next.min(target)).max(now);
        let stepped = Position {
            lead_ms: position.lead_ms + (next.unix_ms() - now.unix_ms()),
            target: (now < target).then_some(target),
            stepped: clock.machine_now(),
        };
        let mut tx = self.app.database.begin_write().await?;
        // Whoever wished for it may have given up meanwhile.
        if store::position(&mut tx).await? != position {
            return Ok(());
        }
        store::set_position(&mut tx, stepped).await?;
        claim.commit(tx).await?;
        clock.advance_to_lead_ms(stepped.lead_ms);
        Ok(())
    }
}

impl Job for Mover {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn interval(&self) -> Duration {
        FOLLOW
    }

    async fn run(&self, claim: &Claim) -> anyhow::Result<()> {
        loop {
            let position = self.position().await?;
            let Some(target) = position.target else {
                return Ok(());
            };
            self.step(claim, position, target).await?;
        }
    }
}
