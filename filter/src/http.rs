//! One request: its headers to the engine, the engine's verdict to Envoy, the response back to the engine.

use std::mem;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use tollgate_engine::admission::{Ending, Head, RequestId, Ticket};
use tollgate_engine::fields::{RATE_LIMIT, RATE_LIMIT_POLICY};

use crate::host::{self, Headers, Map};
use crate::shared::Shared;
use crate::verdict::{self, Carried};

/// The upstream's word on what a request costs; it is for us, not for the client.
const METERS: &str = "x-tollgate-meters";

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

    /// Settles what the response says, and tells the client what is left.
    fn settle(&self, ticket: &Ticket, found: &Found) {
        let now = self.shared.clock.latest();
        let mut limits = self.shared.limits.borrow_mut();
        let has_limits = self.shared.with_worker(|worker| {
            worker.finish(ticket, found.ending, now);
            self.shared.policy.responses.rate_limit_headers
                && limits.write(worker.meter_states(ticket, now))
        });
        if !has_limits {
            return;
        }
        let put = if found.limits {
            host::set_header
        } else {
            host::add_header
        };
        // The client does without them if it must.
        let _ = put(Map::Response, RATE_LIMIT_POLICY, limits.policy.as_bytes());
        let _ = put(Map::Response, RATE_LIMIT, limits.state.as_bytes());
    }
}

impl Context for Http {
    fn on_done(&mut self) -> bool {
        let ticket = match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => None,
            Stage::Upstream(ticket) => ticket,
            Stage::Waiting => self.stop_waiting(),
        };
        if let Some(ticket) = ticket {
            let now = self.shared.clock.read();
            self.shared
                .with_worker(|worker| worker.finish(&ticket, Ending::Died, now));
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
                self.shared.wake_root();
                Action::Pause
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let ticket = match mem::replace(&mut self.stage, Stage::Idle) {
            // Our own answer.
            Stage::Idle => return Action::Continue,
            Stage::Upstream(ticket) => ticket,
            Stage::Waiting => self.stop_waiting(),
        };
        let response = host::headers(Map::Response).unwrap_or_default();
        let found = Found::among(&response);
        if found.meters {
            // A header that is not there any more is no mistake.
            let _ = host::remove_header(Map::Response, METERS.as_bytes());
        }
        if let Some(ticket) = ticket {
            self.settle(&ticket, &found);
        }
        Action::Continue
    }
}

/// What a response has of the headers that matter here.
struct Found {
    ending: Ending,
    /// The upstream's word on the cost.
    meters: bool,
    /// The upstream's own word on limits.
    limits: bool,
}

impl Found {
    fn among(response: &Headers) -> Self {
        let mut found = Self {
            ending: Ending::Died,
            meters: false,
            limits: false,
        };
        for (name, value) in response.iter() {
            if name == b":status" {
                let status = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                found.ending = status.map_or(Ending::Died, Ending::Status);
            } else if name == METERS.as_bytes() {
                found.meters = true;
            } else if name == RATE_LIMIT.as_bytes() || name == RATE_LIMIT_POLICY.as_bytes() {
                found.limits = true;
            }
        }
        found
    }
}
