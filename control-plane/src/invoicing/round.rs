//! Some subscriptions, billed together: what is due of each, worked out by one reading of the books.

use std::collections::HashMap;

use super::assembly::{self, Draft, Occasion, Work};
use super::books::Books;
use super::charges::next_boundary;
use super::schedules::{self, Due, Ripe, Schedule};
use super::{InvoiceKind, Part};
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, SubscriptionId};
use crate::subscriptions::{Loader, Member};

/// Windows rated by one transaction, but that all of one boundary are: hourly prices of a yearly plan
/// come to thousands.
const WINDOWS_PER_ROUND: usize = 10_000;

/// A subscription that is billed, with when it is billed next.
#[derive(Debug)]
pub(super) struct Billed {
    pub(super) schedule: Schedule,
    member: Member,
    /// The one it took over from, while that is to be billed.
    old: Option<Member>,
    /// When others took over from it.
    taken_over: Vec<BusinessInstant>,
}

/// What became of a subscription.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing can be billed yet.
    Waits,
    /// It was too much for this round.
    Later,
    /// Its schedule moved on; with what is billed, if anything is.
    Moved(Option<Box<Draft>>),
    /// It cannot be billed.
    Failed(Error),
}

/// What there is to do for a subscription.
enum Next<'a> {
    Nothing,
    LookAgain,
    PassOver(Part),
    Bill(Part, Work<'a>),
}

/// Reads the subscriptions of these schedules, in their order.
pub(super) async fn load(
    connection: &mut Connection,
    plans: &mut Loader,
    due: Vec<Schedule>,
) -> Result<Vec<Billed>> {
    let ids: Vec<_> = due.iter().map(|schedule| schedule.subscription).collect();
    let old = due.iter().filter_map(Schedule::leaves);
    let wanted: Vec<_> = ids.iter().copied().chain(old).collect();
    let members = plans.members(connection, &wanted).await?;
    let members: HashMap<_, _> = members
        .into_iter()
        .map(|member| (member.subscription.id, member))
        .collect();
    let mut taken_over = HashMap::<SubscriptionId, Vec<BusinessInstant>>::new();
    for (old, at, _) in schedules::taken_over(connection, &ids).await? {
        taken_over.entry(old).or_default().push(at);
    }
    let member = |id: SubscriptionId| {
        let missing = || Error::internal(anyhow::anyhow!("a schedule of no subscription {id}"));
        members.get(&id).cloned().ok_or_else(missing)
    };
    let billed = due.into_iter().map(|schedule| {
        let id = schedule.subscription;
        Ok(Billed {
            member: member(id)?,
            old: schedule.leaves().map(member).transpose()?,
            taken_over: taken_over.remove(&id).unwrap_or_default(),
            schedule,
        })
    });
    billed.collect()
}

/// Works the next boundary of each subscription out and moves its schedule past it.
pub(super) async fn bill(
    app: &App,
    connection: &mut Connection,
    books: &mut Books,
    ripe: &Ripe,
    all: &mut [Billed],
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(all.len());
    let works = next_of_each(ripe, all);
    let due: Vec<&Work<'_>> = works
        .iter()
        .filter_map(Option::as_ref)
        .filter_map(Next::work)
        .collect();
    books.learn(connection, &due).await?;
    let mut moves = Vec::with_capacity(all.len());
    for next in works {
        let Some(next) = next else {
            moves.push(None);
            outcomes.push(Outcome::Later);
            continue;
        };
        let (part, outcome) = match next {
            Next::Nothing => (None, Outcome::Waits),
            Next::LookAgain => (Some(None), Outcome::Moved(None)),
            Next::PassOver(part) => (Some(Some(part)), Outcome::Moved(None)),
            Next::Bill(part, work) => match assembly::draft(app, books, &work) {
                Ok(draft) => (Some(Some(part)), Outcome::Moved(Some(Box::new(draft)))),
                Err(error) => (None, Outcome::Failed(error)),
            },
        };
        moves.push(part);
        outcomes.push(outcome);
    }
    for (billed, part) in all.iter_mut().zip(moves) {
        if let Some(part) = part {
            billed.advance(app, part);
        }
    }
    Ok(outcomes)
}

/// What there is to do for each, as long as it is not too much.
fn next_of_each<'a>(ripe: &Ripe, all: &'a [Billed]) -> Vec<Option<Next<'a>>> {
    let mut windows = 0;
    let next = all.iter().map(|billed| {
        if windows >= WINDOWS_PER_ROUND {
            return None;
        }
        let next = billed.next(ripe);
        windows += next.work().map_or(0, Work::windows);
        Some(next)
    });
    next.collect()
}

impl<'a> Next<'a> {
    fn work(&self) -> Option<&Work<'a>> {
        match self {
            Self::Bill(_, work) => Some(work),
            Self::Nothing | Self::LookAgain | Self::PassOver(_) => None,
        }
    }
}

impl Billed {
    /// Who pays.
    pub(super) fn customer(&self) -> CustomerId {
        self.member.subscription.customer
    }

    fn next(&self, ripe: &Ripe) -> Next<'_> {
        let boundary = next_boundary(&self.member, self.schedule.billed);
        let due = self.schedule.next.as_ref();
        let Some(due) = due.filter(|due| Some(due.boundary) == boundary) else {
            // Its end was moved meanwhile.
            return Next::LookAgain;
        };
        let Some(part) = ripe.part(due) else {
            return Next::Nothing;
        };
        if self.taken_over.contains(&due.boundary) {
            return Next::PassOver(part);
        }
        let (leaving, kind) = self.leaving(due);
        let occasion = Occasion {
            member: &self.member,
            leaving,
            boundary: due.boundary,
            part,
            kind,
        };
        Next::Bill(part, occasion.prepare())
    }

    /// Whose arrears are due, and why there will be an invoice.
    fn leaving(&self, due: &Due) -> (Option<&Member>, InvoiceKind) {
        match (self.schedule.billed, &self.old) {
            (None, Some(old)) => (Some(old), InvoiceKind::Change),
            (None, None) => (None, InvoiceKind::First),
            (Some(_), _) if self.member.subscription.active_to == Some(due.boundary) => {
                (Some(&self.member), InvoiceKind::Final)
            }
            (Some(_), _) => (Some(&self.member), InvoiceKind::Recurring),
        }
    }

    /// Moves the schedule past what was billed of its boundary, or looks again where nothing was.
    fn advance(&mut self, app: &App, billed: Option<Part>) {
        let schedule = &mut self.schedule;
        match (billed, &mut schedule.next) {
            (Some(Part::Fees), Some(due)) => {
                due.part = Part::Arrears;
                return;
            }
            (Some(Part::All | Part::Arrears), Some(due)) => schedule.billed = Some(due.boundary),
            (Some(_), None) | (None, _) => {}
        }
        schedule.advance(app, &self.member);
    }
}
