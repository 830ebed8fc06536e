//! The world of one simulation: workers, a network, Redis, a control plane, and the truth that they are held against.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tollgate_engine::admission::{
    CallFailure, CallResult, Ending, Head, Now, RequestId, Ticket, Verdict, Worker,
};
use tollgate_engine::api_key::{self, ApiKey, Environment};
use tollgate_engine::contract::Names;
use tollgate_engine::policy::Policy;
use tollgate_tests::model::{Model, Snapshot};

use crate::ledger::{CHAIN, Ledger};
use crate::random::Random;
use crate::scenario::Scenario;

/// What broke, in words.
pub type Broken = String;

/// Unix time at which every simulation begins.
const ORIGIN_MS: u64 = 1_790_000_000_000;
const TICK_MS: u64 = 50;
const SNAPSHOT_MS: u64 = 100;
const DRAIN_MS: u64 = 5_000;
const WATCH_MS: u64 = 1_000;
const CALL_TIMEOUT_MS: u64 = 250;
/// When everything is healed, all usage is in Redis after this time.
const SETTLED_AFTER_MS: u64 = 9_000;
const MILLI: u64 = 1_000;

#[derive(Debug)]
enum Event {
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
struct Exchange {
    place: usize,
    life: u32,
    call: u64,
    process: u32,
    bytes: Vec<u8>,
    is_repeat: bool,
}

struct Place {
    worker: Worker,
    life: u32,
    call: Option<u64>,
    open: BTreeMap<RequestId, Ticket>,
    last_answer_ms: u64,
    metered: VecDeque<(u64, u64)>,
}

/// What really happened, in thousandths of units.
#[derive(Default)]
struct Truth {
    open: u64,
    metered: u64,
    /// Most that may be lost: what killed workers had metered and not settled.
    may_be_lost: u64,
    /// Most that may be admitted; `None` without a limit.
    most: Option<u64>,
    limit: Option<u64>,
}

/// One simulation under way.
pub struct World {
    scenario: Scenario,
    random: Random,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    redis: Model,
    redis_is_up: bool,
    process: u32,
    snapshots: VecDeque<Snapshot>,
    ledger: Ledger,
    policy: Rc<Policy>,
    key: String,
    places: Vec<Place>,
    requests: RequestId,
    lives: u32,
    calls: u64,
    truth: Truth,
    is_healed: bool,
}

impl World {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let policy = Rc::new(
            Policy::parse(
                r#"{"environment": "test",
                    "redis": {"cluster": "redis", "prefix": "tg:test:"},
                    "rules": [{"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}}]}"#,
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

    fn new_place(&mut self) -> Place {
        self.lives += 1;
        Place {
            worker: Worker::new(
                Rc::clone(&self.policy),
                format!("w{}", self.lives),
                u64::from(self.lives),
                None,
            ),
            life: self.lives,
            call: None,
            open: BTreeMap::new(),
            last_answer_ms: self.now_ms,
            metered: VecDeque::new(),
        }
    }

    fn at(&mut self, in_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now_ms + in_ms, self.order), event);
    }

    fn every(&mut self, per_minute: u64, event: Event) {
        if per_minute > 0 && !self.is_healed {
            let in_ms = self.random.within(1, 2 * 60_000 / per_minute);
            self.at(in_ms, event);
        }
    }

    const fn now(&self) -> Now {
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
        let settled_ms = traffic.for_ms + traffic.longest_ms + SETTLED_AFTER_MS;
        self.run_until(settled_ms)?;
        self.check_end()?;
        self.check_rest(settled_ms)
    }

    fn run_until(&mut self, end_ms: u64) -> Result<(), Broken> {
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

    fn step(&mut self, event: Event) {
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

    fn arrive(&mut self) {
        if self.is_healed || self.now_ms > self.scenario.traffic.for_ms {
            return;
        }
        let place = usize::try_from(self.random.within(0, self.places.len() as u64 - 1)).unwrap();
        self.requests += 1;
        let request = self.requests;
        let key = self.key.clone();
        let headers = [("x-api-key", key.as_bytes())];
        let head = Head {
            method: b"GET",
            path: b"/v1/things",
            headers: &headers,
        };
        let now = self.now();
        let verdict = self.places[place].worker.admit(request, &head, now);
        self.take(place, request, verdict);
        self.call_if_due(place);
        let gap_ms = 1_000 / self.scenario.traffic.requests_per_second;
        let in_ms = self.random.within(1, 2 * gap_ms.max(1));
        self.at(in_ms, Event::Arrive);
    }

    fn take(&mut self, place: usize, request: RequestId, verdict: Verdict) {
        match verdict {
            Verdict::Admit(ticket) => {
                self.truth.open += ticket.milli();
                let in_ms = self.random.within(0, self.scenario.traffic.longest_ms);
                let life = self.places[place].life;
                self.places[place].open.insert(request, ticket);
                self.at(in_ms, Event::Finish(place, life, request));
            }
            Verdict::Refuse(_) | Verdict::Wait => {}
            Verdict::Pass | Verdict::PassUnknown => unreachable!("no rule is public"),
        }
    }

    fn finish(&mut self, place: usize, life: u32, request: RequestId) {
        let is_metered = !self.random.chance(self.scenario.traffic.unmetered_percent);
        let now = self.now();
        let at = &mut self.places[place];
        if at.life != life {
            return;
        }
        let Some(ticket) = at.open.remove(&request) else {
            return;
        };
        self.truth.open -= ticket.milli();
        if is_metered {
            self.truth.metered += ticket.milli();
            at.metered.push_back((self.now_ms, ticket.milli()));
        }
        let ending = match (is_metered, self.random.chance(50)) {
            (true, _) => Ending::Status(200),
            (false, true) => Ending::Status(500),
            (false, false) => Ending::Died,
        };
        at.worker.finish(&ticket, ending, now);
    }

    // Workers and the network.

    fn tick(&mut self, place: usize) {
        let now = self.now();
        for (request, verdict) in self.places[place].worker.tick(now) {
            self.take(place, request, verdict);
        }
        self.call_if_due(place);
        self.at(TICK_MS, Event::Tick(place));
    }

    fn call_if_due(&mut self, place: usize) {
        let now = self.now();
        let Some(bytes) = self.places[place].worker.next_call(now) else {
            return;
        };
        self.calls += 1;
        let call = self.calls;
        self.places[place].call = Some(call);
        let life = self.places[place].life;
        let faults = self.scenario.faults.clone();
        let way_ms = self.random.within(0, faults.delay_ms);
        self.at(
            CALL_TIMEOUT_MS,
            Event::Fail(place, life, call, CallFailure::NoAnswer),
        );
        if !self.redis_is_up {
            self.at(way_ms, Event::Fail(place, life, call, CallFailure::Refused));
            return;
        }
        let exchange = |bytes, is_repeat| Exchange {
            place,
            life,
            call,
            process: self.process,
            bytes,
            is_repeat,
        };
        let first = exchange(bytes.clone(), false);
        let again = exchange(bytes, true);
        if self.is_healed || !self.random.chance(faults.lost_percent) {
            self.at(way_ms, Event::Execute(first));
        }
        if !self.is_healed && self.random.chance(faults.repeated_percent) {
            let later_ms = self.random.within(1, 3_000);
            self.at(way_ms + later_ms, Event::Execute(again));
        }
    }

    fn execute(&mut self, exchange: Exchange) {
        let Exchange {
            place,
            life,
            call,
            process,
            bytes,
            is_repeat,
        } = exchange;
        // What a dead process had in its sockets died with it.
        if process != self.process || !self.redis_is_up {
            return;
        }
        let mut answer = self.redis.execute(&bytes);
        if is_repeat {
            return;
        }
        let faults = self.scenario.faults.clone();
        let mut way_ms = self.random.within(0, faults.delay_ms);
        if !self.is_healed && self.random.chance(faults.broken_percent) {
            match self.random.within(0, 2) {
                0 => return,
                1 => {
                    let kept = self.random.within(0, answer.len() as u64);
                    answer.truncate(usize::try_from(kept).unwrap());
                }
                _ => way_ms += CALL_TIMEOUT_MS,
            }
        }
        self.at(way_ms, Event::Answer(place, life, call, answer));
    }

    fn answer(
        &mut self,
        place: usize,
        life: u32,
        call: u64,
        bytes: Option<&[u8]>,
        failure: CallFailure,
    ) {
        let now = self.now();
        let at = &mut self.places[place];
        if at.life != life || at.call != Some(call) {
            return;
        }
        at.call = None;
        let before = at.worker.stats().calls_ok;
        let result = bytes.map_or(CallResult::Failed(failure), CallResult::Answer);
        let decided = at.worker.answer(result, now);
        if at.worker.stats().calls_ok > before {
            at.last_answer_ms = self.now_ms;
        }
        for (request, verdict) in decided {
            self.take(place, request, verdict);
        }
        self.call_if_due(place);
    }

    // What goes wrong.

    fn kill(&mut self) {
        self.every(self.scenario.faults.kills_per_minute, Event::Kill);
        if self.is_healed {
            return;
        }
        let place = usize::try_from(self.random.within(0, self.places.len() as u64 - 1)).unwrap();
        let new = self.new_place();
        let dead = std::mem::replace(&mut self.places[place], new);
        for ticket in dead.open.values() {
            self.truth.open -= ticket.milli();
        }
        // Everything metered since a little before the last good answer may be unsettled.
        let since_ms = dead.last_answer_ms.saturating_sub(3_000);
        let unsettled = dead.metered.iter().filter(|(at_ms, _)| *at_ms >= since_ms);
        self.truth.may_be_lost += unsettled.map(|(_, milli)| milli).sum::<u64>();
    }

    fn restart(&mut self) {
        self.every(self.scenario.faults.restarts_per_minute, Event::Restart);
        if self.is_healed || !self.redis_is_up {
            return;
        }
        let kept = self.random.within(0, self.snapshots.len() as u64);
        if let Some(older) = usize::try_from(kept)
            .ok()
            .and_then(|kept| self.snapshots.get(kept))
        {
            self.redis.restore(older);
        }
        self.stop_redis();
    }

    fn lose(&mut self) {
        self.every(self.scenario.faults.losses_per_minute, Event::Lose);
        if self.is_healed || !self.redis_is_up {
            return;
        }
        self.redis.flush();
        self.stop_redis();
    }

    fn stop_redis(&mut self) {
        self.snapshots.clear();
        self.redis.restart();
        self.process += 1;
        self.redis_is_up = false;
        let away_ms = self.random.within(10, 1_500);
        self.at(away_ms, Event::RedisIsBack);
    }

    fn change(&mut self) {
        self.every(self.scenario.changes_per_minute, Event::Change);
        if self.is_healed || !self.redis_is_up {
            return;
        }
        let limit = self.random.pick(&[Some(3), Some(20), Some(200), None]);
        let at_ms = self.now().unix_ms;
        self.ledger.change(&mut self.redis, at_ms, limit);
        let (before, after) = (self.truth.limit, limit.map(|limit| limit * MILLI));
        self.truth.limit = after;
        self.truth.most = match (before, after, self.truth.most) {
            (Some(_), Some(after), Some(most)) => Some(most.max(after)),
            (None, _, _) | (_, None, _) | (_, _, None) => {
                // Workers learn of it within a second; those cut off learn when they are back.
                self.at(12_000, Event::LimitIsKnown);
                None
            }
        };
    }

    // Invariants.

    /// E1: reserved and metered units never exceed the limit, at any instant.
    fn check_limit(&self) -> Result<(), Broken> {
        let admitted = self.truth.metered + self.truth.open;
        match self.truth.most {
            Some(most) if admitted > most && self.scenario.holds_the_limit() => Err(format!(
                "E1: {admitted} of {most} thousandths admitted after {} ms of {:?}",
                self.now_ms, self.scenario
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn check_end(&mut self) -> Result<(), Broken> {
        self.ledger.drain(&mut self.redis, true);
        let windows = self.ledger.windows();
        let counted: u64 = windows.iter().map(|window| self.ledger.units(window)).sum();
        let metered = self.truth.metered;
        let scenario = &self.scenario;
        if counted > metered {
            return Err(format!(
                "E4: {counted} counted, {metered} metered: {scenario:?}"
            ));
        }
        let lost = metered - counted;
        if lost > self.truth.may_be_lost && scenario.loses_only_unsettled() {
            return Err(format!(
                "E3: {lost} lost of {metered} metered, {} may be: {scenario:?}",
                self.truth.may_be_lost
            ));
        }
        self.check_counters()?;
        if scenario.traffic.must_reach_the_limit
            && let Some(limit) = scenario.limit
            && metered != limit * MILLI
        {
            return Err(format!("E2: {metered} metered: {scenario:?}"));
        }
        Ok(())
    }

    /// Workers that served lately read the change log, and have nothing else to ask.
    fn check_rest(&mut self, from_ms: u64) -> Result<(), Broken> {
        let before = self.calls;
        self.run_until(from_ms + 5_000)?;
        let (calls, most) = (self.calls - before, 20 * self.places.len() as u64);
        if calls > most {
            return Err(format!(
                "{calls} calls without traffic in 5 s: {:?}",
                self.scenario
            ));
        }
        Ok(())
    }

    /// Leases add up, and none is left with a worker that lives.
    fn check_counters(&self) -> Result<(), Broken> {
        let usage = self.ledger.names.usage(self.ledger.tag, CHAIN);
        let keys = self.redis.keys();
        let hash = keys.hash(&usage);
        let mut leased = BTreeMap::<&str, i64>::new();
        for (field, value) in hash.into_iter().flatten() {
            let (field, value) = (
                str::from_utf8(field).unwrap(),
                str::from_utf8(value).unwrap(),
            );
            let value: i64 = value.parse().unwrap_or(0);
            let Some((kind, rest)) = field.split_once('/') else {
                continue;
            };
            match kind {
                "o" => *leased.entry(rest).or_default() += value,
                "l" => {
                    let (window, worker) = rest.rsplit_once('/').unwrap_or_default();
                    *leased.entry(window).or_default() -= value;
                    let lives = self
                        .places
                        .iter()
                        .any(|place| format!("w{}", place.life) == worker);
                    if lives {
                        return Err(format!("E2: {worker} keeps {value} of {window}"));
                    }
                }
                _ => {}
            }
        }
        match leased.iter().find(|(_, difference)| **difference != 0) {
            Some((window, difference)) => Err(format!("leases of {window} differ by {difference}")),
            None => Ok(()),
        }
    }
}
