//! Invoices, assembled: what is due becomes lines, and lines become an invoice.

use rust_decimal::Decimal;
use tollgate_engine::units::Units;

use super::books::Books;
use super::charges::{self, FlatCharge, UsageCharge};
use super::credits::{self, Application, Credit};
use super::pricing::{self, Cycle, LineId, Rating};
use super::windows::Rated;
use super::{Invoice, InvoiceKind, Line, LineKind, Part, issuing, late};
use crate::app::App;
use crate::calendar::Interval;
use crate::catalog::currency::Currency;
use crate::catalog::plans::RateCard;
use crate::clock::BusinessInstant;
use crate::database::Write;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};
use crate::money::Minor;
use crate::subscriptions::schedule::Term;
use crate::subscriptions::{Member, Subscription};
use crate::usage::Span;

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

/// An occasion with the windows that are over then.
#[derive(Debug)]
pub(super) struct Work<'a> {
    occasion: Occasion<'a>,
    usage: Vec<UsageCharge<'a>>,
}

/// What an invoice is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) customer: CustomerId,
    pub(super) chain: SubscriptionId,
    pub(super) subscription: SubscriptionId,
    pub(super) plan_version: u32,
    pub(super) currency: Currency,
    pub(super) kind: InvoiceKind,
    pub(super) boundary: BusinessInstant,
    pub(super) part: Part,
}

/// What is to be on an invoice, and what is noted with it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) lines: Vec<Line>,
    /// What was given back.
    pub(super) issued: Vec<Credit>,
    /// What credits pay of the lines.
    pub(super) applications: Vec<Application>,
    /// Windows that are rated for the first time.
    pub(super) rated: Vec<Rated>,
    /// Windows that are rated again.
    pub(super) corrected: Vec<Rated>,
}

impl<'a> Occasion<'a> {
    /// What there is to do.
    pub(super) fn prepare(self) -> Work<'a> {
        let leaving = self.leaving.filter(|_| self.part != Part::Fees);
        Work {
            occasion: self,
            usage: leaving.map_or_else(Vec::new, |leaving| {
                charges::usage_until(leaving, self.boundary)
            }),
        }
    }
}

impl<'a> Work<'a> {
    pub(super) fn customer(&self) -> CustomerId {
        self.occasion.member.subscription.customer
    }

    /// How many windows are rated.
    pub(super) fn windows(&self) -> usize {
        self.usage.iter().map(|charge| charge.windows.len()).sum()
    }

    /// The subscription that is cut, of which something may be given back.
    pub(super) fn cut(&self) -> Option<(&'a Member, BusinessInstant)> {
        let Occasion { kind, part, .. } = self.occasion;
        let is_cut = kind == InvoiceKind::Change && part != Part::Arrears;
        let old = self.occasion.leaving.filter(|_| is_cut)?;
        Some((old, self.occasion.boundary))
    }

    /// The windows whose units decide what is due.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.usage.iter().flat_map(|charge| {
            let chain = charge.term.subscription.chain;
            let own = charge.windows.first().zip(charge.windows.last());
            let own = own.map(|(first, last)| Span {
                to: last.end,
                ..Span::of(chain, &first.id)
            });
            let carried = charge.windows.iter().flat_map(|window| &window.carried);
            own.into_iter()
                .chain(carried.map(move |window| Span::of(chain, window)))
        })
    }
}

impl Head {
    pub(super) fn new(
        member: &Member,
        kind: InvoiceKind,
        boundary: BusinessInstant,
        part: Part,
    ) -> Self {
        let subscription = &member.subscription;
        Self {
            customer: subscription.customer,
            chain: subscription.chain,
            subscription: subscription.id,
            plan_version: subscription.plan_version,
            currency: member.plan.currency,
            kind,
            boundary,
            part,
        }
    }
}

impl Draft {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            lines: Vec::new(),
            issued: Vec::new(),
            applications: Vec::new(),
            rated: Vec::new(),
            corrected: Vec::new(),
        }
    }

    /// What is to be paid.
    pub(super) fn total(&self) -> Minor {
        self.lines.iter().map(Line::total).sum()
    }
}

/// Bills a boundary: gives the invoice, if anything is due.
pub(super) async fn assemble(
    app: &App,
    tx: &mut Write,
    occasion: Occasion<'_>,
) -> Result<Option<Invoice>> {
    let work = occasion.prepare();
    let mut books = Books::default();
    books.learn(tx, &[&work]).await?;
    let draft = draft(app, &mut books, &work)?;
    Ok(issuing::write(app, tx, vec![draft]).await?.pop())
}

/// What a boundary comes to, by books that have learned of it.
pub(super) fn draft(app: &App, books: &mut Books, work: &Work<'_>) -> Result<Draft> {
    let Occasion {
        member,
        boundary,
        part,
        kind,
        ..
    } = work.occasion;
    let mut draft = Draft::new(Head::new(member, kind, boundary, part));
    if let Some((old, at)) = work.cut() {
        draft.issued = credits::owed(app, books, old, at, member.subscription.id)?;
        for credit in &draft.issued {
            books.add_credit(credit);
        }
    }
    if part != Part::Arrears {
        for charge in charges::fees_from(member, boundary) {
            draft.lines.push(flat_line(member, &charge, LineKind::Fee)?);
        }
    }
    if let Some(leaving) = work.occasion.leaving
        && part != Part::Fees
    {
        for charge in charges::arrears_until(leaving, boundary) {
            let line = flat_line(leaving, &charge, LineKind::Arrears)?;
            draft.lines.push(line);
        }
        for charge in &work.usage {
            rate(books, leaving, charge, &mut draft)?;
        }
        late::add(app, books, &mut draft)?;
    }
    let Head {
        customer, currency, ..
    } = draft.head;
    draft.applications = books.spend(customer, currency, &mut draft.lines);
    Ok(draft)
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
fn rate(books: &Books, member: &Member, charge: &UsageCharge<'_>, draft: &mut Draft) -> Result<()> {
    let UsageCharge {
        term, card, price, ..
    } = charge;
    let (chain, currency) = (member.subscription.chain, member.plan.currency);
    let mut rating = Rating::new(currency);
    for window in &charge.windows {
        let mut carried = Units::ZERO;
        for earlier in &window.carried {
            carried = carried.saturating_add(books.units(chain, earlier));
        }
        let cycle = Cycle {
            carried,
            units: books.units(chain, &window.id),
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
