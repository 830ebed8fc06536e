//! Workers' calls, and the way to Redis and back.

use tollgate_engine::admission::{CallFailure, CallResult};

use crate::world::{Event, Exchange, TICK_MS, World};

/// The time-out of the workers' calls.
const CALL_TIMEOUT_MS: u64 = 250;

impl World {
    pub fn tick(&mut self, place: usize) {
        let now = self.now();
        // A worker with many chains packs those not used lately; what it knows of them must not suffer.
        if self.requests.is_multiple_of(2) {
            self.places[place].worker.pack();
        }
        for (request, verdict) in self.places[place].worker.tick(now) {
            self.take(place, request, verdict);
        }
        self.call_if_due(place);
        self.at(TICK_MS, Event::Tick(place));
    }

    pub fn call_if_due(&mut self, place: usize) {
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

    pub fn execute(&mut self, exchange: Exchange) {
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

    pub fn answer(
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
}
