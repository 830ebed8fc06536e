//! Invoices, assembled: what is due becomes lines, and lines become an invoice.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tollgate_engine::units::Units;

use super::calendar::Interval;
use super::charges::{self, FlatCharge, UsageCharge};
use super::pricing::{self, Cycle, LineId, Rating};
use super::windows::{self, Rated};
use super::{
    Invoice, InvoiceKind, InvoiceStatus, Line, LineKind, Part, Step, credits, late, standing, store,
};
use crate::app::App;
use crate::catalog::currency::Currency;
use crate::catalog::plans::RateCard;
use crate::clock::BusinessInstant;
use crate::database::{Connection, Write};
use crate::error::{Error, Result};
use crate::ids::InvoiceId;
use crate::money::Minor;
use crate::outbox::{self, Topic};
use crate::payments::grace::FirstPayment;
use crate::subscriptions::schedule::Term;
use crate::subscriptions::{Member, Subscription};
use crate::{publisher, usage};

/// Invoices to bring to Stripe.
pub(super) const INVOICE: Topic = Topic::new("invoice");

/// The word that an invoice is to be brought to Stripe.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ToPush {
    pub(super) invoice: InvoiceId,
}

/// A boundary at which something is to be billed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion<'a> {
    /// The subscription that begins, goes on or ends.
    pub(super) member: &'a Member,
    /// The one whose arrears are due: the same, or the one it took over from.
    pub(super) leaving: Option<&'a Member>,
    pub(super) boundary: BusinessInstant,
    pub(super) part: Part,
    pub(super) kind: InvoiceKind,
}

/// What an invoice is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) subscription: &'a Subscription,
    pub(super) currency: Currency,
    pub(super) kind: InvoiceKind,
    pub(super) boundary: BusinessInstant,
    pub(super) part: Part,
}

/// What is to be on an invoice, and what is rated with it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) lines: Vec<Line>,
    /// Windows that are rated for the first time.
    rated: Vec<Rated>,
    /// Windows that are rated again.
    pub(super) corrected: Vec<Rated>,
}

/// Bills a boundary: gives the invoice, if anything is due.
pub(super) async fn assemble(
    app: &App,
    tx: &mut Write,
    occasion: &Occasion<'_>,
) -> Result<Option<Invoice>> {
    let Occasion {
        member, boundary, ..
    } = *occasion;
    let mut draft = Draft::default();
    if occasion.part != Part::Arrears {
        let left = occasion
            .leaving
            .filter(|_| occasion.kind == InvoiceKind::Change);
        if let Some(old) = left {
            credits::issue(app, tx, old, boundary, member.subscription.id).await?;
        }
        for charge in charges::fees_from(member, boundary) {
            draft.lines.push(flat_line(member, &charge, LineKind::Fee)?);
        }
    }
    if let Some(leaving) = occasion.leaving
        && occasion.part != Part::Fees
    {
        for charge in charges::arrears_until(leaving, boundary) {
            let line = flat_line(leaving, &charge, LineKind::Arrears)?;
            draft.lines.push(line);
        }
        for charge in charges::usage_until(leaving, boundary) {
            rate(tx, leaving, &charge, &mut draft).await?;
        }
        let (customer, currency) = (member.subscription.customer, member.plan.currency);
        late::add(tx, customer, currency, &mut draft).await?;
    }
    let head = Head {
        subscription: &member.subscription,
        currency: member.plan.currency,
        kind: occasion.kind,
        boundary,
        part: occasion.part,
    };
    write(app, tx, &head, draft).await
}

/// Writes what was rated and, unless there are no lines, the invoice; then it goes to Stripe.
pub(super) async fn write(
    app: &App,
    tx: &mut Write,
    head: &Head<'_>,
    mut draft: Draft,
) -> Result<Option<Invoice>> {
    for rated in &draft.rated {
        windows::insert(tx, rated).await?;
    }
    for rated in &draft.corrected {
        windows::update(tx, rated).await?;
    }
    if draft.lines.is_empty() {
        return Ok(None);
    }
    let subscription = head.subscription;
    let lines = &mut draft.lines;
    let applications = credits::spend(tx, subscription.customer, head.currency, lines).await?;
    let machine_now = app.clock.machine_now();
    let invoice = Invoice {
        id: InvoiceId::generate(machine_now),
        customer: subscription.customer,
        chain: subscription.chain,
        subscription: subscription.id,
        plan_version: subscription.plan_version,
        kind: head.kind,
        boundary: head.boundary,
        part: head.part,
        status: InvoiceStatus::Draft,
        currency: head.currency,
        total: lines.iter().map(Line::total).sum(),
        step: Step::Create,
        attempt: 1,
        failure: None,
        stripe_id: None,
        number: None,
        hosted_url: None,
        attempts: 0,
        due_since: None,
        created_at: app.clock.business_now(),
        finalized_at: None,
        paid_at: None,
    };
    store::insert(tx, &invoice, lines).await?;
    credits::record_applications(tx, &applications).await?;
    if standing(tx, subscription.chain).await?.first_payment == FirstPayment::ToCome {
        // The first invoice closes access until it is paid.
        publisher::chain_changed(app, tx, subscription.chain).await?;
    }
    let word = ToPush {
        invoice: invoice.id,
    };
    outbox::enqueue(tx, INVOICE, &invoice.id.to_string(), &word, machine_now).await?;
    Ok(Some(invoice))
}

/// The name of a line, unique for all time; `rest` is the line's id, its part and its correction.
pub(super) fn identity(
    member: &Member,
    term: &Term<'_>,
    card: &RateCard,
    start: BusinessInstant,
    rest: &str,
) -> String {
    let Subscription {
        id, plan_version, ..
    } = &member.subscription;
    let (phase, card) = (&term.phase.key, &card.key);
    format!("{id}/{phase}/{card}/v{plan_version}/{start}/{rest}")
}

fn flat_line(member: &Member, charge: &FlatCharge<'_>, kind: LineKind) -> Result<Line> {
    let FlatCharge { term, card, .. } = charge;
    let id = match kind {
        LineKind::Fee => format!("{}/fees/0", LineId::Flat),
        LineKind::Arrears | LineKind::Late => format!("{}/arrears/0", LineId::Flat),
    };
    let currency = member.plan.currency;
    let priced = pricing::flat(charge.price, currency, charge.cycles, charge.amount);
    let priced = priced.map_err(Error::internal)?;
    Ok(Line {
        identity: identity(member, term, card, charge.period.start, &id),
        kind,
        subscription: member.subscription.id,
        rate_card: card.key.clone(),
        description: describe(member, card, priced.id),
        period: charge.period,
        quantity: priced.quantity,
        unit_amount: priced.unit_amount,
        amount: priced.amount,
        discount: priced.discount(),
        credit: Minor::ZERO,
    })
}

/// Rates windows that are over. Each is noted with what it added to the lines.
async fn rate(
    connection: &mut Connection,
    member: &Member,
    charge: &UsageCharge<'_>,
    draft: &mut Draft,
) -> Result<()> {
    let UsageCharge {
        term, card, price, ..
    } = charge;
    let (chain, currency) = (member.subscription.chain, member.plan.currency);
    let chain_name = chain.to_string();
    let mut rating = Rating::new(currency);
    for window in &charge.windows {
        let mut carried = Units::ZERO;
        for earlier in &window.carried {
            let units = usage::total(&mut *connection, &chain_name, earlier).await?;
            carried = carried.saturating_add(units);
        }
        let cycle = Cycle {
            carried,
            units: usage::total(&mut *connection, &chain_name, &window.id).await?,
            minimum: charges::minimum(price, window),
        };
        draft.rated.push(Rated {
            chain,
            window: window.id.clone(),
            rate_card: card.key.clone(),
            end: window.end,
            carried,
            units: cycle.units,
            amount: rating
                .add(&window.price(price), &cycle)
                .map_err(Error::internal)?,
            corrections: 0,
        });
    }
    let period = charge.windows.first().zip(charge.windows.last());
    let Some(period) = period.map(|(first, last)| Interval {
        start: first.start,
        end: last.end,
    }) else {
        return Ok(());
    };
    for line in rating.into_lines() {
        let id = format!("{}/arrears/0", line.id);
        draft.lines.push(Line {
            identity: identity(member, term, card, period.start, &id),
            kind: LineKind::Arrears,
            subscription: member.subscription.id,
            rate_card: card.key.clone(),
            description: describe(member, card, line.id),
            period,
            quantity: line.quantity.normalize(),
            unit_amount: line.unit_amount,
            amount: line.amount,
            discount: line.discount(),
            credit: Minor::ZERO,
        });
    }
    Ok(())
}

fn describe(member: &Member, card: &RateCard, line: LineId) -> String {
    format!("{}: {}", member.plan.name, line.describe(&card.name))
}

/// What a decimal is like for people: `10000`, `0.002`.
pub(super) fn plain(decimal: Decimal) -> String {
    decimal.normalize().to_string()
}
