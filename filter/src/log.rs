//! What a request leaves for the access log, where the configuration wants it.

use tollgate_engine::admission::{Decided, Ending, Ticket, Verdict};

use crate::host::{self, Pair};
use crate::shared::Shared;
use crate::verdict;

const DECISION: &str = "tollgate_decision";
const SUBSCRIPTION: &str = "tollgate_subscription";
const UNITS: &str = "tollgate_units";

/// Notes what was decided of the request that host calls are made for, and whose it is.
pub fn note_decision(shared: &Shared, verdict: &Verdict, headers: &[Pair<'_>]) {
    if !shared.policy.responses.access_log {
        return;
    }
    let Some(decided) = Decided::of(verdict) else {
        return;
    };
    note(DECISION, decided.as_str());
    match verdict {
        Verdict::Admit(ticket) => note(SUBSCRIPTION, ticket.subscription_id()),
        Verdict::Refuse(_) => {
            let (path, now) = (verdict::value(headers, ":path"), shared.clock.latest());
            let known = shared.with_worker(|worker| worker.subscription_of(headers, path, now));
            if let Some(subscription) = known {
                note(SUBSCRIPTION, &subscription);
            }
        }
        Verdict::Pass | Verdict::PassUnknown | Verdict::Wait => {}
    }
}

/// Notes what a request was metered with that has ended so.
pub fn note_units(shared: &Shared, ticket: &Ticket, ending: Ending) {
    if shared.policy.responses.access_log {
        let units = shared.with_worker(|worker| worker.units_of(ticket, ending));
        note(UNITS, &units);
    }
}

fn note(name: &str, value: &str) {
    // The log does without it if it must.
    let _ = host::set_property(name, value.as_bytes());
}
