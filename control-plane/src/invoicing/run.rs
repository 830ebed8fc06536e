//! Billing by hand: everything that is due, told as it goes on, and summed up.
//!
//! It may run beside a server, twice, or in two processes: each transaction bills what is due when it
//! begins, and there is one at a time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::InvoiceKind;
use super::billing::{Authority, Done, Passes, bill_late};
use super::forecast::Forecast;
use super::preview::PreviewedInvoice;
use super::schedules::{self, Place, Ripe};
use crate::app::App;
use crate::catalog::currency::Currency;
use crate::clock::BusinessInstant;
use crate::ids::SubscriptionId;
use crate::money::{Minor, Money};
use crate::usage;

/// Subscriptions looked at in one go.
const SUBSCRIPTIONS_PER_PAGE: i64 = 200;

/// What a run does with what it works out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Writes it.
    Bill,
    /// Tells it, and writes nothing.
    DryRun,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event {
    /// So many subscriptions of so many are done.
    Progress {
        /// Done.
        done: u64,
        /// Of all that something is due of.
        of: u64,
    },
    /// An invoice that would be made.
    Previewed(PreviewedInvoice),
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Boundaries until then were billed.
    pub as_of: BusinessInstant,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How many invoices there are.
    pub invoices: u64,
    /// The same by kind and currency.
    pub totals: Vec<Total>,
    /// Subscriptions of which something is due and waits for what they used to be known.
    pub waiting: u64,
    /// Subscriptions that cannot be billed; why is in the log.
    pub failed: Vec<SubscriptionId>,
}

/// Invoices of one kind in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Total {
    /// Why there are invoices.
    pub kind: InvoiceKind,
    /// Three letters of ISO 4217.
    pub currency: String,
    /// How many.
    pub invoices: u64,
    /// What is to be paid.
    pub total: Money,
}

#[derive(Debug, Default)]
struct Tally {
    totals: BTreeMap<(&'static str, String), (InvoiceKind, Currency, u64, Minor)>,
    failed: Vec<SubscriptionId>,
}

/// Bills everything due until `as_of`, or tells what that would be.
///
/// # Errors
/// When the database refuses.
pub async fn run(
    app: &App,
    as_of: BusinessInstant,
    mode: Mode,
    tell: &mut (dyn FnMut(Event) + Send),
) -> anyhow::Result<Summary> {
    let of = schedules::count_until(&mut *app.database.read().await?, as_of).await?;
    let (tally, waiting) = match mode {
        Mode::Bill => bill(app, as_of, of, tell).await?,
        Mode::DryRun => look_ahead(app, as_of, of, tell).await?,
    };
    let totals = tally.totals.into_values();
    let totals: Vec<_> = totals
        .map(|(kind, currency, invoices, total)| Total {
            kind,
            currency: currency.to_string(),
            invoices,
            total: total.of(currency),
        })
        .collect();
    Ok(Summary {
        as_of,
        dry_run: mode == Mode::DryRun,
        invoices: totals.iter().map(|total| total.invoices).sum(),
        totals,
        waiting,
        failed: tally.failed,
    })
}

async fn bill(
    app: &App,
    as_of: BusinessInstant,
    of: u64,
    tell: &mut (dyn FnMut(Event) + Send),
) -> anyhow::Result<(Tally, u64)> {
    let mut tally = Tally::default();
    let mut done = 0;
    let mut passes = Passes::new(app.clone(), Some(as_of));
    loop {
        // Who cannot be billed is told of once.
        tally.failed.clear();
        let mut round = |round: Done| {
            done = of.min(done + round.subscriptions as u64);
            tell(Event::Progress { done, of });
            tally.add(round);
        };
        if !passes.pass(Authority::Operator, &mut round).await? {
            break;
        }
    }
    let late = bill_late(app, as_of, Authority::Operator).await?;
    tally.add(Done {
        invoices: late,
        ..Done::default()
    });
    let left = schedules::count_until(&mut *app.database.read().await?, as_of).await?;
    let failed = tally.failed.len() as u64;
    Ok((tally, left.saturating_sub(failed)))
}

async fn look_ahead(
    app: &App,
    as_of: BusinessInstant,
    of: u64,
    tell: &mut (dyn FnMut(Event) + Send),
) -> anyhow::Result<(Tally, u64)> {
    let mut reader = app.database.read().await?;
    let now = app.clock.business_now();
    let ripe = match as_of <= now {
        true => Ripe {
            until: as_of,
            ..Ripe::at(now, usage::last_drain(&mut reader).await?)
        },
        false => Ripe::supposed(as_of),
    };
    let mut forecast = Forecast::new(app.clone(), ripe);
    let (mut tally, mut place, mut done) = (Tally::default(), Place::start(), 0);
    loop {
        let page = schedules::due(&mut reader, &ripe, &place, SUBSCRIPTIONS_PER_PAGE).await?;
        let Some(last) = page.last() else { break };
        place = Place::of(last);
        done = of.min(done + page.len() as u64);
        let (drafts, failed) = forecast.of(&mut reader, page).await?;
        tally.failed.extend(failed);
        for draft in drafts {
            tally.count(draft.head.kind, draft.head.currency, draft.total());
            tell(Event::Previewed(PreviewedInvoice::of(draft)));
        }
        tell(Event::Progress { done, of });
    }
    for draft in forecast.late(&mut reader, as_of, None).await? {
        tally.count(draft.head.kind, draft.head.currency, draft.total());
        tell(Event::Previewed(PreviewedInvoice::of(draft)));
    }
    Ok((tally, of.saturating_sub(done)))
}

impl Tally {
    fn add(&mut self, done: Done) {
        self.failed.extend(done.failed);
        for invoice in done.invoices {
            self.count(invoice.kind, invoice.currency, invoice.total);
        }
    }

    fn count(&mut self, kind: InvoiceKind, currency: Currency, total: Minor) {
        let known = self
            .totals
            .entry((kind.name(), currency.to_string()))
            .or_insert((kind, currency, 0, Minor::ZERO));
        known.2 += 1;
        known.3 += total;
    }
}
