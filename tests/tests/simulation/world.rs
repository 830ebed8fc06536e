//! The world of one simulation: workers, a network, Redis, a control plane, and the truth that they are held against.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tollgate_engine::admission::{
    CallFailure, Ending, Head, Now, RequestId, Rest, Ticket, Verdict, Worker,
};
use tollgate_engine::api_key::{self, ApiKey, Environment};
use tollgate_engine::contract::Names;
use tollgate_engine::limits::CLAIM_SILENCE_MAX_MS;
use tollgate_engine::policy::Policy;
use tollgate_tests::model::{Model, Snapshot};

use crate::faults::Claimed;
use crate::ledger::Ledger;
use crate::random::Random;
use crate::scenario::Scenario;

/// What broke, in words.
pub type Broken = String;

/// Unix time at which every simulation begins.
pub const ORIGIN_MS: u64 = 1_790_000_000_000;
pub const TICK_MS: u64 = 50;
pub const SNAPSHOT_MS: u64 = 100;
pub const DRAIN_MS: u64 = 5_000;
pub const WATCH_MS: u64 = 1_000;
/// When everything is healed, all usage is in Redis after this time.
pub const SETTLED_AFTER_MS: u64 = 9_000;
pub const MILLI: u64 = 1_000;
/// Most units that a request claims, in thousandths.
pub const CLAIM_MOST: u64 = 2 * MILLI;
/// How long a killed worker's claims stay open: until the drain misses it, and then once more.
pub const CLAIMS_RECORDED_AFTER_MS: u64 = CLAIM_SILENCE_MAX_MS + 4 * DRAIN_MS;

#[derive(Debug)]
pub enum Event {
    Arrive,
    Finish(usize, u32, RequestId),
    Tick(usize),
    Execute(Exchange),
    Answer(usize, u32, u64, Vec<u8>),
    Fail(usize, u32, u64, CallFailure),
    Snapshot,
    Drain,
    Watch,
    Kill,
    Restart,
    RedisIsBack,
    Lose,
    Change,
    LimitIsKnown,
}

/// Bytes on their way to one Redis process.
#[derive(Debug)]
pub struct Exchange {
    pub place: usize,
    pub life: u32,
    pub call: u64,
    pub process: u32,
    pub bytes: Vec<u8>,
    pub is_repeat: bool,
}

pub struct Place {
    pub worker: Worker,
    pub life: u32,
    pub call: Option<u64>,
    pub open: BTreeMap<RequestId, Ticket>,
    /// Requests whose units are counted before they go on: those that wait, those that are open, and by time those that
    /// were refused or not metered; a gateway that dies leaves them counted.
    pub claimed: Claimed,
    pub last_answer_ms: u64,
    pub metered: VecDeque<(u64, u64)>,
}

/// What really happened, in thousandths of units.
#[derive(Default)]
pub struct Truth {
    pub open: u64,
    pub metered: u64,
    /// Most that may be lost: what killed workers had metered and not settled.
    pub may_be_lost: u64,
    /// Most that may be counted though it was not metered: what killed workers had claimed.
    pub may_be_extra: u64,
    /// Most that may be admitted; `None` without a limit.
    pub most: Option<u64>,
    pub limit: Option<u64>,
    pub let_through: Vec<u64>,
}

/// One simulation under way.
pub struct World {
    pub scenario: Scenario,
    pub random: Random,
    pub now_ms: u64,
    pub events: BTreeMap<(u64, u64), Event>,
    pub order: u64,
    pub redis: Model,
    pub redis_is_up: bool,
    pub process: u32,
    pub snapshots: VecDeque<Snapshot>,
    pub ledger: Ledger,
    pub policy: Rc<Policy>,
    pub key: String,
    pub places: Vec<Place>,
    pub requests: RequestId,
    pub lives: u32,
    pub calls: u64,
    pub truth: Truth,
    pub is_healed: bool,
}

impl World {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let policy = Rc::new(
            Policy::parse(
                r#"{"environment": "test",
                    "redis": {"cluster": "redis", "prefix": "tg:test:"},
                    "rules": [{"match": {"path": "/v1/told"}, "meters": {"api_requests": 0}, "upstreamMeters": ["api_requests"]},
                              {"match": {"path": "/exact/told"}, "metering": {"mode": "exact"}, "meters": {"api_requests": 0},
                               "upstreamMeters": ["api_requests"], "reserve": {"api_requests": 2}},
                              {"match": {"path": "/exact/things"}, "metering": {"mode": "exact"}, "meters": {"api_requests": 1}, "rateLimits": {"requests": 1}},
                              {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}, "rateLimits": {"requests": 1}}]}"#,
            )
            .unwrap(),
        );
        let key = api_key::compose(
            Environment::Test,
            "Ab3z".parse().unwrap(),
            "abcdefghijklmnopqrstuvwxyz",
        )
        .unwrap();
        let hash = ApiKey::parse(&key, Environment::Test).unwrap().hash();
        let start_ms = i64::try_from(ORIGIN_MS).unwrap() - 86_400_000;
        let limit = scenario.limit.map(|limit| limit * MILLI);
        let mut world = Self {
            random: Random::new(seed),
            now_ms: 0,
            events: BTreeMap::new(),
            order: 0,
            redis: Model::new(seed, ORIGIN_MS),
            redis_is_up: true,
            process: 0,
            snapshots: VecDeque::new(),
            ledger: Ledger::new(
                Names::new("tg:test:"),
                "Ab3z".parse().unwrap(),
                hash,
                start_ms,
                scenario.limit,
                scenario.rate,
            ),
            policy,
            key,
            places: Vec::new(),
            requests: 0,
            lives: 0,
            calls: 0,
            truth: Truth {
                most: limit,
                limit,
                ..Truth::default()
            },
            is_healed: false,
            scenario,
        };
        world.ledger.rebuild(&mut world.redis);
        for place in 0..world.scenario.workers {
            let new = world.new_place();
            world.places.push(new);
            world.at(TICK_MS * place as u64 / 7 + 1, Event::Tick(place));
        }
        world
    }

    pub fn new_place(&mut self) -> Place {
        self.lives += 1;
        Place {
            worker: Worker::new(
                Rc::clone(&self.policy),
                format!("w{}", self.lives),
                u128::from(self.lives),
                None,
            ),
            life: self.lives,
            call: None,
            open: BTreeMap::new(),
            claimed: Claimed::default(),
            last_answer_ms: self.now_ms,
            metered: VecDeque::new(),
        }
    }

    pub fn at(&mut self, in_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now_ms + in_ms, self.order), event);
    }

    pub fn every(&mut self, per_minute: u64, event: Event) {
        if per_minute > 0 && !self.is_healed {
            let in_ms = self.random.within(1, 2 * 60_000 / per_minute);
            self.at(in_ms, event);
        }
    }

    pub const fn now(&self) -> Now {
        Now {
            monotonic_ms: self.now_ms + 1,
            unix_ms: (ORIGIN_MS + self.now_ms) as i64,
        }
    }

    pub fn run(mut self) -> Result<(), Broken> {
        let faults = self.scenario.faults.clone();
        self.at(1, Event::Arrive);
        self.at(SNAPSHOT_MS, Event::Snapshot);
        self.at(DRAIN_MS, Event::Drain);
        self.at(WATCH_MS, Event::Watch);
        self.every(faults.kills_per_minute, Event::Kill);
        self.every(faults.restarts_per_minute, Event::Restart);
        self.every(faults.losses_per_minute, Event::Lose);
        self.every(self.scenario.changes_per_minute, Event::Change);
        let traffic = self.scenario.traffic.clone();
        self.run_until(traffic.for_ms)?;
        self.is_healed = true;
        let settled_ms = traffic.for_ms + traffic.longest_ms + self.scenario.settled_after_ms();
        self.run_until(settled_ms)?;
        self.check_end()?;
        self.check_rest(settled_ms)
    }

    pub fn run_until(&mut self, end_ms: u64) -> Result<(), Broken> {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end_ms {
                break;
            }
            let ((at_ms, _), event) = entry.remove_entry();
            self.now_ms = at_ms;
            self.redis.set_time_ms(ORIGIN_MS + at_ms);
            self.step(event);
            self.check_limit()?;
        }
        self.now_ms = end_ms;
        Ok(())
    }

    pub fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Finish(place, life, request) => self.finish(place, life, request),
            Event::Tick(place) => self.tick(place),
            Event::Execute(exchange) => self.execute(exchange),
            Event::Answer(place, life, call, bytes) => {
                self.answer(place, life, call, Some(&bytes), CallFailure::NoAnswer);
            }
            Event::Fail(place, life, call, failure) => {
                self.answer(place, life, call, None, failure)
            }
            Event::Snapshot => {
                self.snapshots.push_back(self.redis.snapshot());
                if self.snapshots.len() > 10 {
                    self.snapshots.pop_front();
                }
                self.at(SNAPSHOT_MS, Event::Snapshot);
            }
            Event::Drain => {
                if self.redis_is_up {
                    let acknowledge = !self.random.chance(20);
                    self.ledger.drain(&mut self.redis, acknowledge);
                }
                self.at(DRAIN_MS, Event::Drain);
            }
            Event::Watch => {
                if self.redis_is_up {
                    self.ledger.watch(&mut self.redis);
                }
                self.at(WATCH_MS, Event::Watch);
            }
            Event::Kill => self.kill(),
            Event::Restart => self.restart(),
            Event::RedisIsBack => self.redis_is_up = true,
            Event::Lose => self.lose(),
            Event::Change => self.change(),
            Event::LimitIsKnown => {
                let now = self.truth.metered + self.truth.open;
                self.truth.most = self.truth.limit.map(|limit| limit.max(now));
            }
        }
    }

    // Clients.

    pub fn arrive(&mut self) {
        if self.is_healed || self.now_ms > self.scenario.traffic.for_ms {
            return;
        }
        let place = usize::try_from(self.random.within(0, self.places.len() as u64 - 1)).unwrap();
        self.requests += 1;
        let request = self.requests;
        let key = self.key.clone();
        let is_exact = self.random.chance(self.scenario.traffic.exact_percent);
        let headers = [("x-api-key", key.as_bytes())];
        let head = Head {
            method: b"GET",
            path: match (self.scenario.traffic.most_told > 0, is_exact) {
                (true, false) => b"/v1/told",
                (false, false) => b"/v1/things",
                (true, true) => b"/exact/told",
                (false, true) => b"/exact/things",
            },
            headers: &headers,
        };
        let now = self.now();
        let verdict = self.places[place].worker.admit(request, &head, now);
        if is_exact {
            self.places[place].claimed.waiting.insert(request);
        }
        self.take(place, request, verdict);
        self.call_if_due(place);
        let gap_ms = 1_000 / self.scenario.traffic.requests_per_second;
        let in_ms = self.random.within(1, 2 * gap_ms.max(1));
        self.at(in_ms, Event::Arrive);
    }

    pub fn take(&mut self, place: usize, request: RequestId, verdict: Verdict) {
        match verdict {
            Verdict::Admit(ticket) => {
                self.truth.open += ticket.milli();
                self.truth.let_through.push(self.now_ms);
                let in_ms = self.random.within(0, self.scenario.traffic.longest_ms);
                let life = self.places[place].life;
                let claimed = &mut self.places[place].claimed;
                if claimed.waiting.remove(&request) {
                    if ticket.is_claimed() {
                        claimed.open.insert(request);
                    } else {
                        // Redis is away, and may have counted it all the same.
                        claimed.in_vain.push_back((self.now_ms, CLAIM_MOST));
                    }
                }
                self.places[place].open.insert(request, ticket);
                self.at(in_ms, Event::Finish(place, life, request));
            }
            Verdict::Refuse(_) => {
                let now_ms = self.now_ms;
                let claimed = &mut self.places[place].claimed;
                if claimed.waiting.remove(&request) {
                    claimed.in_vain.push_back((now_ms, CLAIM_MOST));
                }
            }
            Verdict::Wait => {}
            Verdict::Pass | Verdict::PassUnknown => unreachable!("no rule is public"),
        }
    }

    pub fn finish(&mut self, place: usize, life: u32, request: RequestId) {
        let is_metered = !self.random.chance(self.scenario.traffic.unmetered_percent);
        let now = self.now();
        let at = &mut self.places[place];
        if at.life != life {
            return;
        }
        let Some(mut ticket) = at.open.remove(&request) else {
            return;
        };
        self.truth.open -= ticket.milli();
        let is_claimed = at.claimed.open.remove(&request);
        let told = match self.scenario.traffic.most_told {
            0 => None,
            most => Some(self.random.within(0, most)),
        };
        if is_metered {
            let milli = told.map_or(ticket.milli(), |units| units * MILLI);
            self.truth.metered += milli;
            // What only the response tells may exceed the limit.
            let beyond = milli.saturating_sub(ticket.milli());
            self.truth.most = self.truth.most.map(|most| most + beyond);
            let unsettled = if is_claimed { beyond } else { milli };
            at.metered.push_back((self.now_ms, unsettled));
        }
        if is_claimed {
            at.claimed.in_vain.push_back((self.now_ms, ticket.milli()));
        }
        let ending = match (is_metered, self.random.chance(50)) {
            (true, _) => Ending::Status(200),
            (false, true) => Ending::Status(500),
            (false, false) => Ending::Died,
        };
        let word = told.map(|units| format!("api_requests={units}"));
        let headers = word
            .iter()
            .map(|word| (&b"x-tollgate-meters"[..], word.as_bytes()));
        at.worker
            .respond(&mut ticket, ending, headers, Rest::None, now);
    }
}
