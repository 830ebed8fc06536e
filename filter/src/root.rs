//! The root context of a VM: configuration, time, and the worker's calls to Redis.

use std::fmt::Write;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use tollgate_engine::admission::{
    CallFailure, CallResult, Ending, Now, RequestId, Verdict, Worker,
};
use tollgate_engine::limits::{COMPANY_MAX_MS, LEAVE_MAX_MS, TICK_MAX_MS};
use tollgate_engine::policy::{Policy, Redis};

use crate::host::{self, CallEnd, ContextId, LogLevel, Map, WakeUp};
use crate::http::Http;
use crate::report::Report;
use crate::shared::{Clock, Shared};
use crate::verdict::{self, Carried};

/// Time between two ticks while a request waits for something no call under way will bring, in milliseconds.
const TICK_WAITING_MS: u64 = 10;

/// The root context; nothing runs before a good configuration.
#[derive(Debug, Default)]
pub struct Root {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Rc<Shared>,
    report: Report,
    tick_ms: u64,
    /// What the log was told of the line to Redis.
    failure: Option<CallFailure>,
    /// Until when the last usage is settled, once the configuration is replaced; monotonic ms.
    leaves_until_ms: Option<u64>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body_size: usize, _: usize) {
        let end = host::end_of_call(headers, body_size);
        if let Some(running) = &mut self.running {
            running.take_answer(&end);
        }
    }

    fn on_done(&mut self) -> bool {
        self.running.as_mut().is_none_or(Running::leave)
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match Running::configure(size) {
            Ok(running) => {
                self.running = Some(running);
                true
            }
            Err(mistakes) => {
                for mistake in mistakes.lines() {
                    host::log(LogLevel::Error, &format!("configuration: {mistake}"));
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(running) = &mut self.running {
            running.tick();
        }
    }

    fn on_queue_ready(&mut self, _: u32) {
        if let Some(running) = &mut self.running {
            running.shared.root_is_awake();
            running.act(running.shared.clock.read());
        }
    }

    // Without a type, the SDK panics on the first request.
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    /// None without a good configuration: Envoy routes no request to such a root, and would answer it with an error.
    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        let shared = Rc::clone(&self.running.as_ref()?.shared);
        Some(Box::new(Http::new(context_id, shared)))
    }
}

impl Running {
    fn configure(size: usize) -> Result<Self, String> {
        let broken = |refused: host::Refused| format!("the host refused: {refused}");
        let document = host::configuration(size).map_err(broken)?;
        let document = str::from_utf8(&document).map_err(|_| "$: is not UTF-8".to_owned())?;
        let policy = Policy::parse(document).map_err(|mistakes| mistakes.to_string())?;
        let password = password(&policy.redis)?;
        let id = hex(&host::random_bytes::<16>().map_err(broken)?);
        let secret = u128::from_le_bytes(host::random_bytes().map_err(broken)?);
        let wake_up = WakeUp::register(&format!("tollgate {id}")).map_err(broken)?;
        let tick_ms = TICK_MAX_MS;
        host::set_tick_period(tick_ms).map_err(broken)?;
        let clock = Clock::start().map_err(broken)?;
        host::log(
            LogLevel::Info,
            &format!("worker {id} asks Redis at {}", policy.redis.cluster),
        );
        let report = Report::new(clock.latest());
        let worker = Worker::new(Rc::new(policy), id, secret, password);
        Ok(Self {
            shared: Rc::new(Shared::new(worker, clock, wake_up)),
            report,
            tick_ms,
            failure: None,
            leaves_until_ms: None,
        })
    }

    fn tick(&mut self) {
        let now = self.shared.clock.set();
        self.act(now);
        self.report.export_if_due(&self.shared, now);
        if let Some(until_ms) = self.leaves_until_ms
            && (self.shared.with_worker(|worker| worker.has_left()) || now.monotonic_ms >= until_ms)
        {
            self.leaves_until_ms = None;
            self.report.export(&self.shared, now);
            // Whatever it answers, nothing is left to do.
            let _ = host::done();
        }
    }

    /// Decides what can be decided and asks what is to be asked.
    fn act(&mut self, now: Now) {
        let decided = self.shared.with_worker(|worker| worker.tick(now));
        self.carry_out(decided);
        self.release(now);
        self.call(now);
        self.adapt_tick(now);
    }

    fn call(&mut self, now: Now) {
        let Some(bytes) = self.shared.with_worker(|worker| worker.next_call(now)) else {
            return;
        };
        self.report.note_call(&self.shared);
        let redis = &self.shared.policy.redis;
        match host::dispatch(&redis.cluster, &bytes, redis.timeout_ms) {
            Ok(()) => self.shared.call_begins(),
            Err(refused) => {
                if self.failure.is_none() {
                    let cluster = &redis.cluster;
                    host::log(
                        LogLevel::Error,
                        &format!("no call to the cluster {cluster}: {refused}"),
                    );
                }
                self.answer(CallResult::Failed(CallFailure::Refused), now);
            }
        }
    }

    fn take_answer(&mut self, end: &CallEnd) {
        self.shared.call_ends();
        let now = self.shared.clock.read();
        let result = match end {
            CallEnd::Answered(bytes) => CallResult::Answer(bytes),
            CallEnd::Unreachable(_) => CallResult::Failed(CallFailure::Refused),
            CallEnd::Lost => CallResult::Failed(CallFailure::NoAnswer),
        };
        self.answer(result, now);
        // Not in this callback: Envoy would give the next call the connection that is just being closed.
        self.shared.wake_root();
    }

    fn answer(&mut self, result: CallResult<'_>, now: Now) {
        let decided = self.shared.with_worker(|worker| worker.answer(result, now));
        self.carry_out(decided);
        self.release(now);
        self.log_change();
    }

    /// Lets responses go on that waited for Redis.
    fn release(&self, now: Now) {
        for request in self.shared.with_worker(|worker| worker.take_told(now)) {
            self.shared.release(request);
            // One whose client is gone is gone, too.
            let _ = host::on_behalf_of(ContextId(request), || {
                if let Err(refused) = host::resume_response() {
                    let text = format!("a response could not go on: {refused}");
                    host::log(LogLevel::Error, &text);
                }
            });
        }
    }

    /// Tells the log when Redis goes away, for what reason, and when it is back.
    fn log_change(&mut self) {
        let (failure, message) = self.shared.with_worker(|worker| {
            let failure = worker.last_failure().filter(|_| !worker.store_is_up());
            failure.map_or((None, String::new()), |(failure, message)| {
                (Some(failure), message.to_owned())
            })
        });
        if failure == self.failure {
            return;
        }
        self.failure = failure;
        match failure {
            None => host::log(LogLevel::Info, "Redis answers again"),
            Some(failure) => host::log(
                LogLevel::Warn,
                &format!("Redis is away: {} {message}", failure.as_str()),
            ),
        }
    }

    /// Carries out what was decided of requests that waited.
    fn carry_out(&self, decided: Vec<(RequestId, Verdict)>) {
        for (request, verdict) in decided {
            let mut verdict = Some(verdict);
            let _ = host::on_behalf_of(ContextId(request), || {
                if let Some(verdict) = verdict.take() {
                    self.carry_out_one(request, verdict);
                }
            });
            // The request is gone.
            if let Some(Verdict::Admit(ticket)) = verdict {
                let now = self.shared.clock.latest();
                self.shared
                    .with_worker(|worker| worker.finish(&ticket, Ending::Died, now));
            }
        }
    }

    fn carry_out_one(&self, request: RequestId, verdict: Verdict) {
        let headers = host::headers(Map::Request).unwrap_or_default();
        let headers = headers.pairs();
        match verdict::carry_out(&self.shared, verdict, &headers) {
            Carried::Goes(ticket) => {
                if let Some(ticket) = ticket {
                    self.shared.keep_ticket(request, ticket);
                }
                if let Err(refused) = host::resume_request() {
                    host::log(
                        LogLevel::Error,
                        &format!("a request could not go on: {refused}"),
                    );
                }
            }
            Carried::Answered | Carried::Waits => {}
        }
    }

    /// Ticks faster while requests wait for something else than the answer to a call.
    fn adapt_tick(&mut self, now: Now) {
        let (waits, awaits_company) = self
            .shared
            .with_worker(|worker| (worker.has_waiting(), worker.awaits_company(now)));
        let tick_ms = match (waits, self.shared.is_calling()) {
            (false, _) => TICK_MAX_MS,
            // What has begun to wait for company will most likely do so again.
            (true, true) => self.tick_ms,
            (true, false) if awaits_company => COMPANY_MAX_MS,
            (true, false) => TICK_WAITING_MS,
        };
        if tick_ms == self.tick_ms {
            return;
        }
        self.tick_ms = tick_ms;
        // A timer that runs would end first; from 0 it starts anew. One that cannot be set ticks as before.
        let _ = host::set_tick_period(0).and_then(|()| host::set_tick_period(tick_ms));
    }

    /// Begins to settle all that is left; whether there is nothing.
    fn leave(&mut self) -> bool {
        let now = self.shared.clock.set();
        self.shared.with_worker(|worker| worker.leave());
        if self.shared.with_worker(|worker| worker.has_left()) {
            return true;
        }
        self.leaves_until_ms = Some(now.monotonic_ms + LEAVE_MAX_MS);
        self.act(now);
        false
    }
}

/// The password of Redis, from the variable the configuration names.
fn password(redis: &Redis) -> Result<Option<String>, String> {
    let Some(name) = &redis.password_env else {
        return Ok(None);
    };
    let password = host::environment_variable(name)
        .map_err(|refused| format!("redis.passwordEnv: cannot be read: {refused}"))?
        .filter(|password| !password.is_empty());
    if password.is_none() && redis.username.is_some() {
        return Err(format!(
            "redis.username: needs a password, and the variable {name} is not there; the VM's configuration must let it through"
        ));
    }
    Ok(password)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
