//! What would be billed: worked out like what is, and never written.

use std::collections::BTreeSet;

use super::assembly::Draft;
use super::books::Books;
use super::late::{self, Ended};
use super::round::{self, Outcome};
use super::schedules::{Ripe, Schedule};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::Result;
use crate::ids::{CustomerId, SubscriptionId};

/// Most boundaries of a subscription that are looked ahead to: ten years of days.
const BOUNDARIES_MAX: usize = 3_660;

/// A look ahead. A credit, and late usage, that one invoice takes is gone for the next.
#[derive(Debug)]
pub(super) struct Forecast {
    app: App,
    ripe: Ripe,
    books: Books,
    ended: Ended,
}

impl Forecast {
    pub(super) fn new(app: App, ripe: Ripe) -> Self {
        Self {
            app,
            ripe,
            books: Books::default(),
            ended: Ended::new(),
        }
    }

    /// The invoices of these subscriptions, one boundary after another, and those that cannot be billed.
    pub(super) async fn of(
        &mut self,
        connection: &mut Connection,
        mut schedules: Vec<Schedule>,
    ) -> Result<(Vec<Draft>, Vec<SubscriptionId>)> {
        schedules.retain(|schedule| schedule.next.is_some());
        let mut all = round::load(connection, self.books.plans(), schedules).await?;
        let (mut drafts, mut failed) = (Vec::new(), Vec::new());
        for _ in 0..BOUNDARIES_MAX {
            let outcomes =
                round::bill(&self.app, connection, &mut self.books, &self.ripe, &mut all).await?;
            let mut going_on = Vec::with_capacity(all.len());
            for (outcome, billed) in outcomes.into_iter().zip(all) {
                match outcome {
                    Outcome::Waits => {}
                    Outcome::Later => going_on.push(billed),
                    Outcome::Failed(error) => {
                        let subscription = billed.schedule.subscription;
                        tracing::error!(%subscription, %error, "cannot be billed");
                        failed.push(subscription);
                    }
                    Outcome::Moved(draft) => {
                        drafts.extend(draft.map(|draft| *draft));
                        match billed.schedule.next {
                            Some(_) => going_on.push(billed),
                            None => *self.ended.entry(billed.customer()).or_default() += 1,
                        }
                    }
                }
            }
            all = going_on;
            if all.is_empty() {
                break;
            }
        }
        drafts.retain(|draft| !draft.lines.is_empty());
        Ok((drafts, failed))
    }

    /// Invoices of late usage that no other one will hold after those, of this customer or of all.
    pub(super) async fn late(
        &mut self,
        connection: &mut Connection,
        at: BusinessInstant,
        customer: Option<CustomerId>,
    ) -> Result<Vec<Draft>> {
        let due = late::due(connection, at, &self.ended).await?.into_iter();
        let due: BTreeSet<_> = due
            .filter(|due| customer.is_none_or(|customer| customer == *due))
            .collect();
        let mut drafts = late::drafts(&self.app, connection, &mut self.books, &due, at).await?;
        drafts.retain(|draft| !draft.lines.is_empty());
        Ok(drafts)
    }
}
