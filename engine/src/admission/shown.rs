//! What the access log can say of a request, for whoever wants it.

use std::fmt::Write;

use super::{Ending, Now, Ticket, Worker};
use crate::units::Units;

impl Worker {
    /// What an admitted request was metered with, such as `api_requests=1 tokens=150`; empty when it was not. It has
    /// ended so, and told what it will.
    #[must_use]
    pub fn units_of(&self, ticket: &Ticket, ending: Ending) -> String {
        let open = ticket.open.as_ref();
        let reading = open.and_then(|open| open.reading.as_ref());
        // What a response tells is read only once it is known to be metered, but of gRPC that comes last.
        let is_metered = match ending {
            Ending::Grpc(_) => self.is_metered(ticket, ending),
            Ending::Status(_) | Ending::Died => {
                reading.is_some() || self.is_metered(ticket, ending)
            }
        };
        let mut text = String::new();
        let Some(demand) = self.demand(ticket.rule).filter(|_| is_metered) else {
            return text;
        };
        for (place, cost) in demand.meters.iter().enumerate() {
            let mut told = reading.iter().flat_map(|reading| reading.costs());
            let milli = told.find(|told| told.place == place);
            let milli = milli.map_or_else(|| cost.units.milli(), |told| told.milli);
            let units = Units::from_milli(milli).unwrap_or(Units::MAX);
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{}={units}", cost.meter);
        }
        text
    }

    /// `sub_…` of the key that a request carries, if the worker knows it: the last one that holds or held.
    pub fn subscription_of<N, V>(
        &mut self,
        headers: &[(N, V)],
        path: &[u8],
        now: Now,
    ) -> Option<String>
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let text = self.policy.credential(headers, path).ok()?;
        let (hash, _) = self.policy.identify(text).ok()?;
        let chain = self.keys.find(&hash)?;
        let document = self.chains.get(chain)?.last_document()?;
        let now_ms = self.business_ms(now);
        let begun = |from_ms: i64| from_ms <= now_ms;
        let terms = &document.terms;
        let term = terms.iter().rev().find(|term| begun(term.from_ms));
        let term = term.or_else(|| terms.first())?;
        Some(term.subscription.clone())
    }
}
