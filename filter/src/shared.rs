//! What a root context and its requests share.
//!
//! A borrow of the worker lasts for one call of the engine and makes no host call, so that nothing Envoy does can meet
//! a worker that is borrowed already.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tollgate_engine::admission::{Now, RequestId, Ticket, Worker};
use tollgate_engine::fields::RateLimit;
use tollgate_engine::policy::Policy;

use crate::host::{self, Refused, WakeUp};

/// One worker, for its root context and every request.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub policy: Rc<Policy>,
    /// The time.
    pub clock: Clock,
    /// Room for what a response says of limits.
    pub limits: RefCell<RateLimit>,
    worker: RefCell<Worker>,
    /// Of requests that were admitted after they had waited; their own contexts fetch them.
    tickets: RefCell<HashMap<RequestId, Ticket>>,
    /// Requests whose responses wait until Redis has counted what they told.
    held: RefCell<HashSet<RequestId>>,
    wake_up: WakeUp,
    is_woken: Cell<bool>,
    is_calling: Cell<bool>,
}

impl Shared {
    /// A worker whose root context hears `wake_up`.
    pub fn new(worker: Worker, clock: Clock, wake_up: WakeUp) -> Self {
        Self {
            policy: Rc::clone(worker.policy()),
            clock,
            limits: RefCell::default(),
            worker: RefCell::new(worker),
            tickets: RefCell::default(),
            held: RefCell::default(),
            wake_up,
            is_woken: Cell::new(false),
            is_calling: Cell::new(false),
        }
    }

    /// One call of the engine; `act` makes no host call.
    pub fn with_worker<R>(&self, act: impl FnOnce(&mut Worker) -> R) -> R {
        act(&mut self.worker.borrow_mut())
    }

    /// Keeps the ticket of a request that waited until its context asks for it.
    pub fn keep_ticket(&self, request: RequestId, ticket: Ticket) {
        self.tickets.borrow_mut().insert(request, ticket);
    }

    /// The ticket that was kept for a request.
    pub fn take_ticket(&self, request: RequestId) -> Option<Ticket> {
        self.tickets.borrow_mut().remove(&request)
    }

    /// Has a response wait until [`Shared::release`].
    pub fn hold(&self, request: RequestId) {
        self.held.borrow_mut().insert(request);
    }

    /// Notes that a response need not wait any more.
    pub fn release(&self, request: RequestId) {
        self.held.borrow_mut().remove(&request);
    }

    /// Whether a response waits.
    pub fn is_held(&self, request: RequestId) -> bool {
        self.held.borrow().contains(&request)
    }

    /// Has the root context send a call after the callback under way, unless an answer will have it do so anyway.
    pub fn wake_root(&self) {
        if !self.is_calling.get() && !self.is_woken.replace(true) {
            // Without the queue the next tick does the same, later.
            let _ = self.wake_up.ring();
        }
    }

    /// The same, where a request that came or went may have made a call worth while.
    pub fn wake_root_if_wanted(&self, now: Now) {
        if !self.is_calling.get() && self.with_worker(|worker| worker.wants_call(now)) {
            self.wake_root();
        }
    }

    /// Notes that the root context is awake.
    pub fn root_is_awake(&self) {
        self.wake_up.hear();
        self.is_woken.set(false);
    }

    /// Notes that a call is under way.
    pub fn call_begins(&self) {
        self.is_calling.set(true);
    }

    /// Notes that no call is under way.
    pub fn call_ends(&self) {
        self.is_calling.set(false);
    }

    /// Whether a call is under way.
    pub const fn is_calling(&self) -> bool {
        self.is_calling.get()
    }
}

/// The host's clocks. A request reads only the monotonic one: the other's distance from it changes with each tick.
#[derive(Debug)]
pub struct Clock {
    latest: Cell<Now>,
}

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Result<Self, Refused> {
        let latest = Cell::new(Now {
            monotonic_ms: host::monotonic_ms()?,
            unix_ms: host::unix_ms()?,
        });
        Ok(Self { latest })
    }

    /// Reads both clocks; a clock that cannot be read stands still.
    pub fn set(&self) -> Now {
        let latest = self.latest.get();
        let now = Now {
            monotonic_ms: host::monotonic_ms().unwrap_or(latest.monotonic_ms),
            unix_ms: host::unix_ms().unwrap_or(latest.unix_ms),
        };
        self.latest.set(now);
        now
    }

    /// Reads the monotonic clock.
    pub fn read(&self) -> Now {
        let latest = self.latest.get();
        let monotonic_ms = host::monotonic_ms().unwrap_or(latest.monotonic_ms);
        let passed_ms = monotonic_ms.saturating_sub(latest.monotonic_ms);
        let now = Now {
            monotonic_ms,
            unix_ms: latest.unix_ms + i64::try_from(passed_ms).unwrap_or(0),
        };
        self.latest.set(now);
        now
    }

    /// The time as last read, which is at most a tick ago.
    pub const fn latest(&self) -> Now {
        self.latest.get()
    }
}
