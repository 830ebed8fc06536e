//! How requests end whose response is gRPC: by a status that comes last.

use super::ending::Outcome;
use super::{Ending, Now, Rest, Ticket, Worker};
use crate::cost::Reading;
use crate::grpc::GrpcStatus;

impl Worker {
    /// Takes in the headers of the gRPC response to an admitted request. Nothing is settled: the ticket is to be handed
    /// back by [`Worker::finish_grpc`], and what the response tells until then shown to [`Ticket::reading`].
    pub fn respond_grpc<'h>(
        &self,
        ticket: &mut Ticket,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])> + Clone,
        rest: Rest,
    ) {
        if let Some(open) = ticket.open.as_mut() {
            let reading = Reading::begin(&open.told, headers.clone());
            let reading = open.reading.insert(reading);
            match rest {
                Rest::Follows => {}
                Rest::None => reading.read_trailers_among(headers),
            }
        }
    }

    /// Takes back the ticket of an admitted request whose response was gRPC; a stream that was broken off before its
    /// status has [`GrpcStatus::CANCELLED`].
    pub fn finish_grpc(&mut self, ticket: &mut Ticket, status: GrpcStatus, now: Now) {
        self.company.come_back(ticket.claimed);
        if !self.is_metered(ticket, Ending::Grpc(status)) {
            self.settle(ticket, now, |_| Outcome::Released);
            // What it told is of no use, and nobody waits for it.
            ticket.open = None;
            return;
        }
        self.tally.note_metered(ticket.rule);
        self.settle_certain(ticket, now);
        if let Some(open) = &ticket.open
            && let Some(reading) = &open.reading
        {
            self.finish_told(ticket, open, reading, now);
        }
    }
}
