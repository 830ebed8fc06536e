//! How admitted requests end, and how the worker itself does.

use std::rc::Rc;

use smallvec::SmallVec;

use super::verdict::Open;
use super::{Now, Ticket, Worker, seconds};
use crate::cost::{Cost, Reading};
use crate::fields::MeterState;
use crate::grpc::GrpcStatus;
use crate::lease::LeaseRules;
use crate::units::Units;

/// What became of an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A response with this status.
    Status(u16),
    /// A response of gRPC with this one.
    Grpc(GrpcStatus),
    /// The stream died before its status.
    Died,
}

/// What comes after a response's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A body, trailers, or both.
    Follows,
    /// Nothing.
    None,
}

/// Whether a request is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is; the ticket is of no more use.
    Whole,
    /// The rest of the response tells what it costs: it is to be shown to [`Ticket::reading`], and the ticket handed
    /// back by [`Worker::finish`] when it has ended, however.
    Begun,
}

/// What becomes of what a request holds of one meter.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Consumed,
    Released,
    Told(u64),
    Unchanged,
}

impl Worker {
    /// Takes in the headers of the response to an admitted request. All but the costs that it has still to tell is
    /// settled.
    pub fn respond<'h>(
        &mut self,
        ticket: &mut Ticket,
        ending: Ending,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        rest: Rest,
        now: Now,
    ) -> Settled {
        if ticket.open.is_none() {
            self.finish(ticket, ending, now);
            return Settled::Whole;
        }
        if !self.is_metered(ticket, ending) {
            self.finish(ticket, ending, now);
            // Whatever it tells is of no use, and nobody waits for it.
            ticket.open = None;
            return Settled::Whole;
        }
        self.tally.note_metered(ticket.rule);
        self.settle_certain(ticket, now);
        let Some(open) = ticket.open.as_mut() else {
            return Settled::Whole;
        };
        let reading = open.reading.insert(Reading::begin(&open.told, headers));
        if rest == Rest::Follows && reading.outlasts_headers() {
            return Settled::Begun;
        }
        self.finish(ticket, ending, now);
        Settled::Whole
    }

    /// Takes back the ticket of an admitted request. A response that told costs counts as far as it was seen, whatever
    /// it ended with.
    pub fn finish(&mut self, ticket: &Ticket, ending: Ending, now: Now) {
        self.company.come_back(ticket.claimed);
        if let Some(open) = &ticket.open
            && let Some(reading) = &open.reading
        {
            self.finish_told(ticket, open, reading, now);
            return;
        }
        let outcome = if self.is_metered(ticket, ending) {
            self.tally.note_metered(ticket.rule);
            Outcome::Consumed
        } else {
            Outcome::Released
        };
        self.settle(ticket, now, |_| outcome);
    }

    /// Settles what a metered response costs but for what it has still to tell.
    pub(super) fn settle_certain(&mut self, ticket: &Ticket, now: Now) {
        let told = ticket.open.as_ref().map(|open| Rc::clone(&open.told));
        let is_told = |place| {
            let mut meters = told.iter().flat_map(|told| &told.meters);
            meters.any(|meter| meter.place == place)
        };
        self.settle(ticket, now, |place| match is_told(place) {
            true => Outcome::Unchanged,
            false => Outcome::Consumed,
        });
    }

    pub(super) fn is_metered(&self, ticket: &Ticket, ending: Ending) -> bool {
        match (ending, self.demand(ticket.rule)) {
            // An upgrade is metered when it is accepted.
            (Ending::Status(101), Some(_)) => true,
            (Ending::Status(status), Some(demand)) => demand.metered_statuses.contains(status),
            (Ending::Grpc(status), Some(demand)) => demand.metered_grpc_statuses.contains(status),
            (Ending::Died | Ending::Status(_) | Ending::Grpc(_), _) => false,
        }
    }

    pub(super) fn finish_told(
        &mut self,
        ticket: &Ticket,
        open: &Open,
        reading: &Reading,
        now: Now,
    ) {
        if !reading.is_complete() {
            self.stats.costs_untold += 1;
        }
        let costs: SmallVec<[Cost; 2]> = reading.costs().collect();
        for cost in &costs {
            self.tally.note_told(ticket.rule, *cost);
        }
        if !self.link.is_up() {
            self.note_offline(ticket, open, &costs);
        }
        self.settle(ticket, now, |place| {
            let cost = costs.iter().find(|cost| cost.place == place);
            cost.map_or(Outcome::Unchanged, |cost| Outcome::Told(cost.milli))
        });
    }

    /// Counts what costs turned out to be beyond what was held while Redis is away.
    fn note_offline(&mut self, ticket: &Ticket, open: &Open, costs: &[Cost]) {
        let chain = self.chains.get(ticket.chain);
        self.keys.find(&open.hash);
        let mut known = self.keys.found(&open.hash);
        let outage = self.link.outage();
        for cost in costs {
            let Some((number, reservation)) = ticket.spent.get(cost.place) else {
                continue;
            };
            let beyond = cost.milli.saturating_sub(reservation.milli);
            self.stats.offline_milli += beyond;
            let Some(known) = &mut known else {
                continue;
            };
            let mut offline = known.offline(outage);
            let window = chain.as_ref().and_then(|chain| chain.window(*number));
            match window.and_then(|window| window.limit) {
                Some(_) => offline.hard += beyond,
                None => offline.soft += beyond,
            }
            known.spent_offline(offline);
        }
    }

    pub(super) fn settle(&mut self, ticket: &Ticket, now: Now, outcome: impl Fn(usize) -> Outcome) {
        let now_ms = now.monotonic_ms;
        let Some(chain) = self.chains.get(ticket.chain) else {
            return;
        };
        let mut unsent = false;
        for (place, (number, reservation)) in ticket.spent.iter().enumerate() {
            let Some(window) = chain.window_mut(*number) else {
                continue;
            };
            let outcome = outcome(place);
            if ticket.is_claimed() {
                let milli = match outcome {
                    Outcome::Consumed => reservation.milli,
                    Outcome::Released => 0,
                    Outcome::Told(milli) => milli,
                    Outcome::Unchanged => continue,
                };
                window.close_claim(*reservation, milli, (ticket.hour, &ticket.key));
                unsent |= window.has_unsent();
                continue;
            }
            match outcome {
                Outcome::Consumed => window.consume(*reservation, ticket.hour, &ticket.key),
                Outcome::Released => window.release(*reservation, now_ms, &self.rules),
                Outcome::Told(milli) => {
                    let usage = (ticket.hour, &ticket.key);
                    window.consume_told(*reservation, milli, usage, now_ms, &self.rules);
                }
                Outcome::Unchanged => {}
            }
            unsent |= window.has_unsent();
        }
        if unsent {
            chain.note_usage(now_ms);
        }
        self.chains.schedule(ticket.chain, &self.rules);
    }

    /// The state of each meter an admitted request touched that has a number to show, for the client.
    pub fn meter_states<'a>(
        &'a mut self,
        ticket: &'a Ticket,
        now: Now,
    ) -> impl Iterator<Item = MeterState<'a>> {
        let business_ms = self.business_ms(now);
        let chain = self.chains.get(ticket.chain).map(|chain| &*chain);
        let windows = ticket
            .spent
            .iter()
            .filter_map(move |(number, _)| chain?.window(*number));
        windows.filter_map(move |window| {
            Some(MeterState {
                meter: &window.meter,
                limit: Units::from_milli(window.limit.or(window.included)?)?,
                remaining: Units::from_milli(window.remaining()?)?,
                window_seconds: seconds(window.end_ms.saturating_sub(window.start_ms)),
                resets_in_seconds: seconds(window.end_ms.saturating_sub(business_ms)),
            })
        })
    }

    /// Begins to settle everything and to give all leases back, for a worker that gets no more requests.
    pub fn leave(&mut self) {
        self.rules = LeaseRules {
            ttl_ms: 0,
            flush_interval_ms: 0,
            max_unsettled_ms: 0,
            ..self.rules
        };
        self.chains.schedule_all(&self.rules);
    }

    /// Whether everything is settled for so long that Redis cannot lose it any more.
    pub fn has_left(&mut self) -> bool {
        let store = self.store_number;
        let answered_ms = self.link.last_good_ms();
        self.chains.are_idle_after(|chain| {
            if let Some(answered_ms) = answered_ms {
                chain.forget(answered_ms, store);
            }
        })
    }
}
