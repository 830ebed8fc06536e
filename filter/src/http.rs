//! One request: its headers to the engine, the engine's verdict to Envoy, the response back to the engine.

use std::mem;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use tollgate_engine::admission::{Ending, Head, RequestId, Rest, Settled, Ticket};
use tollgate_engine::cost::{BodyUse, METERS};
use tollgate_engine::fields::{RATE_LIMIT, RATE_LIMIT_POLICY};
use tollgate_engine::grpc::{self, GrpcStatus};
use tollgate_engine::limits::SCAN_PIECE_MAX_BYTES;

use crate::host::{self, Headers, Map};
use crate::log;
use crate::shared::Shared;
use crate::tail::{Come, Tail};
use crate::verdict::{self, Carried};

/// One request.
#[derive(Debug)]
pub struct Http {
    id: RequestId,
    shared: Rc<Shared>,
    stage: Stage,
}

/// How far a request has come.
#[derive(Debug)]
enum Stage {
    /// Nothing is known of it, or it was answered here, or its response is through.
    Idle,
    /// The root context decides it, and keeps its ticket.
    Waiting,
    /// It is with the upstream.
    Upstream(Option<Ticket>),
    /// Its response streams by and tells what it costs.
    Answered(Ticket, Tail),
    /// Its response is gRPC, whose status comes last.
    Streaming(Ticket, Tail),
    /// What it told is on its way to Redis, and its end waits for that.
    Held,
}

impl Http {
    /// The request of this context.
    pub const fn new(id: RequestId, shared: Rc<Shared>) -> Self {
        Self {
            id,
            shared,
            stage: Stage::Idle,
        }
    }

    /// The ticket, if the request was admitted by now; else nobody waits any more.
    fn stop_waiting(&self) -> Option<Ticket> {
        self.shared.with_worker(|worker| worker.abandon(self.id));
        self.shared.take_ticket(self.id)
    }

    /// Settles what the response's headers say, and tells the client what is left.
    fn settle(
        &self,
        ticket: &mut Ticket,
        found: &Found,
        response: &Headers,
        rest: Rest,
    ) -> Settled {
        let now = self.shared.clock.latest();
        let mut limits = self.shared.limits.borrow_mut();
        let (settled, has_limits) = self.shared.with_worker(|worker| {
            let settled = if found.is_grpc {
                worker.respond_grpc(ticket, response.iter(), rest);
                Settled::Begun
            } else {
                worker.respond(ticket, found.ending, response.iter(), rest, now)
            };
            let has_limits = self.shared.policy.responses.rate_limit_headers
                && limits.write(worker.meter_states(ticket, now));
            (settled, has_limits)
        });
        if settled == Settled::Whole {
            log::note_units(&self.shared, ticket, found.ending);
        }
        if !has_limits {
            return settled;
        }
        let put = if found.limits {
            host::set_header
        } else {
            host::add_header
        };
        // The client does without them if it must.
        let _ = put(Map::Response, RATE_LIMIT_POLICY, limits.policy.as_bytes());
        let _ = put(Map::Response, RATE_LIMIT, limits.state.as_bytes());
        settled
    }

    /// Settles a response that has told all it will, the last of it being this status if it is gRPC; whether its end
    /// may pass.
    fn end(&mut self, status: GrpcStatus) -> Action {
        let ticket = match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Answered(ticket, _) => {
                self.finish(&ticket);
                ticket
            }
            Stage::Streaming(mut ticket, _) => {
                self.finish_grpc(&mut ticket, status);
                ticket
            }
            Stage::Idle | Stage::Waiting | Stage::Upstream(_) | Stage::Held => {
                return Action::Continue;
            }
        };
        self.hold(&ticket)
    }

    fn finish_grpc(&self, ticket: &mut Ticket, status: GrpcStatus) {
        let now = self.shared.clock.read();
        self.shared
            .with_worker(|worker| worker.finish_grpc(ticket, status, now));
        log::note_units(&self.shared, ticket, Ending::Grpc(status));
    }

    /// Has what follows wait until Redis has counted what the response told, where a rule wants that.
    fn hold(&mut self, ticket: &Ticket) -> Action {
        if !ticket.is_claimed() {
            return Action::Continue;
        }
        let now = self.shared.clock.latest();
        let must_wait = self
            .shared
            .with_worker(|worker| worker.hold(self.id, ticket, now));
        if !must_wait {
            // Claims may have waited for this one's client.
            self.shared.wake_root_if_wanted(now);
            return Action::Continue;
        }
        self.shared.hold(self.id);
        self.stage = Stage::Held;
        self.shared.wake_root();
        Action::Pause
    }

    /// Whether what comes of a response that is held back may pass by now.
    fn pass_held(&mut self) -> Action {
        if self.shared.is_held(self.id) {
            return Action::Pause;
        }
        self.stage = Stage::Idle;
        Action::Continue
    }

    fn finish(&self, ticket: &Ticket) {
        let now = self.shared.clock.read();
        self.shared
            .with_worker(|worker| worker.finish(ticket, Ending::Died, now));
        log::note_units(&self.shared, ticket, Ending::Died);
    }
}

/// Shows what has come of a response's body to whoever reads it, piece by piece so that none takes much memory.
fn show_body(ticket: &mut Ticket, size: usize) {
    let Some(reading) = ticket.reading() else {
        return;
    };
    reading.count(size);
    if reading.body_use() != BodyUse::Content {
        return;
    }
    let mut at = 0;
    while at < size {
        let wanted = SCAN_PIECE_MAX_BYTES.min(size - at);
        // What cannot be read tells nothing; it still goes through.
        let piece = host::response_body(at, wanted).unwrap_or_default();
        if piece.is_empty() {
            return;
        }
        reading.read(&piece);
        at += piece.len();
    }
}

impl Context for Http {
    fn on_done(&mut self) -> bool {
        let ticket = match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => None,
            Stage::Held => {
                self.shared.release(self.id);
                None
            }
            Stage::Upstream(ticket) => ticket,
            Stage::Answered(ticket, _) => Some(ticket),
            Stage::Streaming(mut ticket, _) => {
                self.finish_grpc(&mut ticket, GrpcStatus::CANCELLED);
                None
            }
            Stage::Waiting => self.stop_waiting(),
        };
        if let Some(ticket) = ticket {
            self.finish(&ticket);
        }
        true
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        // Without headers there is neither path nor key, and the request is refused.
        let headers = host::headers(Map::Request).unwrap_or_default();
        let headers = headers.pairs();
        let head = Head {
            method: verdict::value(&headers, ":method"),
            path: verdict::value(&headers, ":path"),
            headers: &headers,
        };
        let now = self.shared.clock.read();
        let verdict = self
            .shared
            .with_worker(|worker| worker.admit(self.id, &head, now));
        match verdict::carry_out(&self.shared, verdict, &headers) {
            Carried::Goes(ticket) => {
                self.stage = Stage::Upstream(ticket);
                Action::Continue
            }
            Carried::Answered => Action::Pause,
            Carried::Waits => {
                self.stage = Stage::Waiting;
                self.shared.wake_root_if_wanted(now);
                Action::Pause
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        let ticket = match mem::replace(&mut self.stage, Stage::Idle) {
            // Our own answer.
            Stage::Idle | Stage::Answered(..) | Stage::Streaming(..) | Stage::Held => {
                return Action::Continue;
            }
            Stage::Upstream(ticket) => ticket,
            Stage::Waiting => self.stop_waiting(),
        };
        let response = host::headers(Map::Response).unwrap_or_default();
        let found = Found::among(&response);
        if found.meters {
            // A header that is not there any more is no mistake.
            let _ = host::remove_header(Map::Response, METERS.as_bytes());
        }
        if let Some(mut ticket) = ticket {
            match self.settle(&mut ticket, &found, &response, rest_of(is_end)) {
                Settled::Whole => return self.hold(&ticket),
                Settled::Begun => {
                    let tail = Tail::of(&ticket, &response);
                    if !found.is_grpc {
                        self.stage = Stage::Answered(ticket, tail);
                        return Action::Continue;
                    }
                    self.stage = Stage::Streaming(ticket, tail);
                    if is_end {
                        return self.end(found.grpc_status());
                    }
                }
            }
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        let come = match &mut self.stage {
            Stage::Idle | Stage::Waiting | Stage::Upstream(_) => return Action::Continue,
            Stage::Held => return self.pass_held(),
            Stage::Answered(ticket, tail) | Stage::Streaming(ticket, tail) => {
                show_body(ticket, size);
                tail.pass(size, rest_of(is_end))
            }
        };
        match come {
            Come::Some => Action::Continue,
            Come::All => self.end(GrpcStatus::UNKNOWN),
        }
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        let action = match &mut self.stage {
            Stage::Idle | Stage::Waiting | Stage::Upstream(_) => Action::Continue,
            Stage::Held => self.pass_held(),
            Stage::Answered(ticket, tail) | Stage::Streaming(ticket, tail) => {
                let trailers = host::headers(Map::ResponseTrailers).unwrap_or_default();
                if let Some(reading) = ticket.reading() {
                    reading.read_trailers(trailers.iter());
                }
                tail.pass_trailers();
                self.end(grpc_status(&trailers))
            }
        };
        // Whatever the rule; one that is not there is no mistake.
        let _ = host::remove_header(Map::ResponseTrailers, METERS.as_bytes());
        action
    }
}

/// What comes after this, by what Envoy says.
const fn rest_of(is_end: bool) -> Rest {
    if is_end { Rest::None } else { Rest::Follows }
}

/// What a response has of the headers that matter here.
struct Found {
    ending: Ending,
    /// That it is gRPC.
    is_grpc: bool,
    /// The status of a response that has no more than headers.
    grpc_status: Option<GrpcStatus>,
    /// The upstream's word on the cost.
    meters: bool,
    /// The upstream's own word on limits.
    limits: bool,
}

impl Found {
    fn among(response: &Headers) -> Self {
        let mut found = Self {
            ending: Ending::Died,
            is_grpc: false,
            grpc_status: None,
            meters: false,
            limits: false,
        };
        for (name, value) in response.iter() {
            if name == b":status" {
                let status = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                found.ending = status.map_or(Ending::Died, Ending::Status);
            } else if name == b"content-type" {
                found.is_grpc = grpc::is_content_type(value);
            } else if name == grpc::STATUS.as_bytes() {
                found.grpc_status = Some(GrpcStatus::read(value));
            } else if name == METERS.as_bytes() {
                found.meters = true;
            } else if name == RATE_LIMIT.as_bytes() || name == RATE_LIMIT_POLICY.as_bytes() {
                found.limits = true;
            }
        }
        // Anything else is an answer of something before the service.
        found.is_grpc &= found.ending == Ending::Status(200);
        found
    }

    fn grpc_status(&self) -> GrpcStatus {
        self.grpc_status.unwrap_or(GrpcStatus::UNKNOWN)
    }
}

/// The status among trailers.
fn grpc_status(trailers: &Headers) -> GrpcStatus {
    let status = trailers
        .iter()
        .find(|(name, _)| *name == grpc::STATUS.as_bytes());
    status.map_or(GrpcStatus::UNKNOWN, |(_, value)| GrpcStatus::read(value))
}
