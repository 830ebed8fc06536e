//! A whole worker between any requests, any times and any answers of Redis.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use tollgate_engine::admission::{
    CallFailure, CallResult, Ending, Head, Now, RequestId, Rest, Settled, Ticket, Verdict, Worker,
};
use tollgate_engine::api_key::{self, Environment};
use tollgate_engine::fields::RateLimit;
use tollgate_engine::policy::Policy;

use crate::harness::{Random, each_seed};
use crate::redis::{self, NOW_MS};

/// Workers, unless the harness is told to go on for longer.
const LIVES: u64 = 2_000;
/// What happens in the life of one.
const STEPS: usize = 60;

/// A worker, the requests it let in and the time.
struct Bench {
    worker: Worker,
    random: Random,
    /// Percent of what Redis says that is as it should be.
    sane: usize,
    tickets: Vec<Ticket>,
    requests: RequestId,
    monotonic_ms: u64,
    unix_ms: i64,
}

#[test]
fn no_answer_of_redis_breaks_a_worker() {
    each_seed("worker", LIVES, |seed| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Bench::new(seed).run())) {
            eprintln!("worker: seed {seed} panicked");
            resume_unwind(panic);
        }
    });
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (lost, hard) = (*random.pick(&["hold", "return"]), *random.pick(&["0", "5"]));
        let mode = *random.pick(&["leased", "exact"]);
        let configuration = format!(
            r#"{{"environment": "test", "redis": {{"cluster": "redis", "prefix": "tg:"}},
                "metering": {{"mode": "{mode}", "lostLeases": "{lost}", "waitForUnitsMs": 50}}, "onUnavailable": {{"offlineHardUnits": {hard}}},
                "rules": [{{"match": {{"path": "/told"}}, "meters": {{"api_requests": 0}}, "reserve": {{"api_requests": 2}},
                           "upstreamMeters": ["api_requests"]}},
                          {{"match": {{"pathPrefix": "/"}}, "meters": {{"api_requests": 1.5}}}}]}}"#
        );
        let policy = Policy::parse(&configuration).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Self {
            worker: Worker::new(Rc::new(policy), "worker".to_owned(), 7, None),
            sane: *random.pick(&[50, 90, 98]),
            random,
            tickets: Vec::new(),
            requests: 0,
            monotonic_ms: 1_000,
            unix_ms: NOW_MS,
        }
    }

    const fn now(&self) -> Now {
        Now {
            monotonic_ms: self.monotonic_ms,
            unix_ms: self.unix_ms,
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.below(10) {
                0..4 => self.request(),
                4..7 => self.call(),
                7 => self.finish(),
                8 => self.tick(),
                _ => self.pass(),
            }
            let (keys, chains) = self.worker.cached();
            assert!(
                keys <= 3 && chains <= 3 * STEPS,
                "{keys} keys, {chains} chains"
            );
        }
        self.worker.leave();
        self.call();
        self.worker.has_left();
    }

    fn pass(&mut self) {
        let milliseconds =
            *self
                .random
                .pick(&[1, 50, 400, 1_000, 20_000, 3_600_000, 24 * 3_600_000]);
        self.monotonic_ms += milliseconds;
        self.unix_ms += i64::try_from(milliseconds).unwrap();
        if self.random.chance(5) {
            // Clocks are set.
            self.unix_ms += *self
                .random
                .pick(&[-86_400_000, 3_600_000, 400 * 86_400_000]);
        }
    }

    fn request(&mut self) {
        let secret = format!("{:0>26}", self.random.below(3));
        let key = api_key::compose(Environment::Test, "Ab3z".parse().unwrap(), &secret).unwrap();
        let headers = [("x-api-key", key.as_bytes())];
        let path = *self.random.pick(&[&b"/told"[..], b"/x", b"//"]);
        let head = Head {
            method: b"GET",
            path,
            headers: &headers,
        };
        self.requests += 1;
        let now = self.now();
        let verdict = self.worker.admit(self.requests, &head, now);
        self.take(verdict);
        if self.random.chance(5) {
            self.worker.abandon(self.requests);
        }
    }

    fn take(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Admit(ticket) => {
                let mut line = RateLimit::default();
                line.write(self.worker.meter_states(&ticket, self.now()));
                self.tickets.push(ticket);
            }
            Verdict::Refuse(refusal) => {
                let answer = self
                    .worker
                    .policy()
                    .responses
                    .answer(&refusal.problem().at(b"/x"));
                assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok());
            }
            Verdict::Pass | Verdict::PassUnknown | Verdict::Wait => {}
        }
    }

    fn call(&mut self) {
        let now = self.now();
        let Some(call) = self.worker.next_call(now) else {
            return;
        };
        self.monotonic_ms += 1;
        let answer = redis::answer(&call, &mut self.random, self.sane);
        let result = if self.random.chance(95) {
            CallResult::Answer(&answer)
        } else {
            CallResult::Failed(*self.random.pick(&CallFailure::ALL))
        };
        let now = self.now();
        for (_, verdict) in self.worker.answer(result, now) {
            self.take(verdict);
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        for (_, verdict) in self.worker.tick(now) {
            self.take(verdict);
        }
        let _ = self.worker.settle_lag_ms(now);
        self.worker.take_tally();
    }

    fn finish(&mut self) {
        let now = self.now();
        while let Some(mut ticket) = self.tickets.pop() {
            let told = *self.random.pick(&[
                "api_requests=3",
                "api_requests+=1e9",
                "api_requests=999999999999",
                "x",
            ]);
            let headers = [(&b"x-tollgate-meters"[..], told.as_bytes())];
            let ending =
                *self
                    .random
                    .pick(&[Ending::Status(200), Ending::Status(500), Ending::Died]);
            let rest = *self.random.pick(&[Rest::None, Rest::Follows]);
            let settled = self
                .worker
                .respond(&mut ticket, ending, headers.into_iter(), rest, now);
            if settled == Settled::Begun {
                self.worker.finish(&ticket, Ending::Died, now);
            }
        }
    }
}
