//! How admitted requests end, and how the worker itself does.

use super::{Now, Ticket, Worker, seconds};
use crate::fields::MeterState;
use crate::lease::LeaseRules;
use crate::units::Units;

/// What became of an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A response with this status.
    Status(u16),
    /// The stream died before its status.
    Died,
}

impl Worker {
    /// Takes back the ticket of an admitted request.
    pub fn finish(&mut self, ticket: &Ticket, ending: Ending, now: Now) {
        let metered = match (ending, self.demand(ticket.rule)) {
            // An upgrade is metered when it is accepted.
            (Ending::Status(101), Some(_)) => true,
            (Ending::Status(status), Some(demand)) => demand.metered_statuses.contains(status),
            (Ending::Died | Ending::Status(_), _) => false,
        };
        if metered {
            self.tally.note_metered(ticket.rule);
        }
        let Some(chain) = self.chains.get(ticket.chain) else {
            return;
        };
        let mut unsent = false;
        for (number, reservation) in &ticket.spent {
            let Some(window) = chain.window_mut(*number) else {
                continue;
            };
            if metered {
                window.consume(*reservation, ticket.hour, &ticket.key);
            } else {
                window.release(*reservation, now.monotonic_ms, &self.rules);
            }
            unsent |= window.has_unsent();
        }
        if unsent {
            chain.note_usage(now.monotonic_ms);
        }
        self.chains.schedule(ticket.chain, &self.rules);
    }

    /// The state of each meter an admitted request touched that has a number to show, for the client.
    pub fn meter_states<'a>(
        &'a self,
        ticket: &'a Ticket,
        now: Now,
    ) -> impl Iterator<Item = MeterState<'a>> {
        let business_ms = self.business_ms(now);
        let chain = self.chains.look(ticket.chain);
        let windows = ticket
            .spent
            .iter()
            .filter_map(move |(number, _)| chain?.window(*number));
        windows.filter_map(move |window| {
            Some(MeterState {
                meter: &window.meter,
                limit: Units::from_milli(window.limit.or(window.included)?)?,
                remaining: Units::from_milli(window.remaining()?)?,
                window_seconds: seconds(window.end_ms - window.start_ms),
                resets_in_seconds: seconds(window.end_ms - business_ms),
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
        self.chains.iter_mut().all(|chain| {
            if let Some(answered_ms) = answered_ms {
                chain.forget(answered_ms, store);
            }
            chain.is_idle()
        })
    }
}
