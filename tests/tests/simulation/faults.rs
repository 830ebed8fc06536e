//! What goes wrong: workers die, Redis comes back older or empty, the subscription moves.

use std::collections::{BTreeSet, VecDeque};

use tollgate_engine::admission::RequestId;

use crate::world::{CLAIM_MOST, Event, MILLI, World};

/// Requests of rules that count before.
#[derive(Default)]
pub struct Claimed {
    pub waiting: BTreeSet<RequestId>,
    pub open: BTreeSet<RequestId>,
    pub in_vain: VecDeque<(u64, u64)>,
}

impl World {
    pub fn kill(&mut self) {
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
        let claimed = dead.claimed;
        let open = claimed
            .open
            .iter()
            .map(|request| dead.open[request].milli());
        let in_vain = claimed
            .in_vain
            .iter()
            .filter(|(at_ms, _)| *at_ms >= since_ms);
        self.truth.may_be_extra += open.sum::<u64>()
            + CLAIM_MOST * claimed.waiting.len() as u64
            + in_vain.map(|(_, milli)| milli).sum::<u64>();
        let unsettled = dead.metered.iter().filter(|(at_ms, _)| *at_ms >= since_ms);
        self.truth.may_be_lost += unsettled.map(|(_, milli)| milli).sum::<u64>();
    }

    pub fn restart(&mut self) {
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

    pub fn lose(&mut self) {
        self.every(self.scenario.faults.losses_per_minute, Event::Lose);
        if self.is_healed || !self.redis_is_up {
            return;
        }
        self.redis.flush();
        self.stop_redis();
    }

    pub fn stop_redis(&mut self) {
        self.snapshots.clear();
        self.redis.restart();
        self.process += 1;
        self.redis_is_up = false;
        let away_ms = self.random.within(10, 1_500);
        self.at(away_ms, Event::RedisIsBack);
    }

    pub fn change(&mut self) {
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
}
