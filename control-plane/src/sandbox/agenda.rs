//! What is due, and when the next thing is.

use std::time::Duration;

use super::Position;
use crate::app::App;
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::Result;
use crate::payments::webhooks;
use crate::subscriptions::chain;
use crate::{invoicing, outbox, usage};

/// How long to wait until Stripe has told whether an invoice could be collected.
const COLLECTED_WITHIN: Duration = Duration::from_secs(5);

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// What is due and not done, in words.
    pub(super) pending: Vec<String>,
    /// The next instant at which something is due.
    pub(super) next: Option<BusinessInstant>,
    /// Whether the ledger holds what was used before the clock was last moved.
    pub(super) is_drained: bool,
}

impl Agenda {
    fn due(&mut self, what: &str, at: Option<BusinessInstant>, now: BusinessInstant) {
        let Some(at) = at else { return };
        if at <= now {
            self.pending.push(format!("{what} due at {at}"));
        } else {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    fn waiting(&mut self, what: &str, count: u64) {
        if count > 0 {
            self.pending.push(format!("{what} ({count})"));
        }
    }
}

/// What is due for the clock at its position.
pub(super) async fn read(
    app: &App,
    connection: &mut Connection,
    position: Position,
) -> Result<Agenda> {
    let now = app.clock.business_now();
    let mut agenda = Agenda::default();
    let renewal = chain::next_renewal(connection).await?;
    agenda.due("access documents to renew", renewal, now);
    let billing = invoicing::pending_at(connection).await?;
    agenda.due("invoices to make", billing, now);
    for (topic, count) in outbox::backlogs(connection).await? {
        agenda.waiting(&format!("outbox messages of {topic}"), count);
    }
    agenda.waiting("events of Stripe", webhooks::pending(connection).await?);
    // What is collected at once is waited for; what waits for the customer is not.
    if app.clock.machine_now() < position.stepped.after(COLLECTED_WITHIN) {
        let step_ms = position.stepped.unix_ms() + position.lead_ms;
        let since = BusinessInstant::from_unix_ms(step_ms);
        let issued = invoicing::count_issued_since(connection, since).await?;
        agenda.waiting("invoices to collect", issued);
    }
    let drained = usage::last_drain(connection).await?;
    agenda.is_drained = drained.is_some_and(|drained| drained.mark >= position.stepped);
    if !agenda.is_drained {
        agenda.pending.push("usage to read from Redis".to_owned());
    }
    Ok(agenda)
}
