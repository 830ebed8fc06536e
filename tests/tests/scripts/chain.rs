//! A chain under random steps: what its workers hold and have not told yet, what Redis has counted and what the ledger
//! holds, compared with Redis's counters after every step.

use std::collections::BTreeMap;

use tollgate_engine::contract::answer::{Outcome, Receipt, Settled};

use crate::drain::Drained;
use crate::notation::single;
use crate::random::{Acknowledgement, Ask, Carry, Fate, Step, WORKERS};
use crate::world::World;

/// Units by window.
type PerWindow = BTreeMap<usize, u64>;

#[derive(Debug, Default)]
struct Worker {
    name: String,
    sequence: u64,
    version: u64,
    held: PerWindow,
    unreported: PerWindow,
    doubt: Option<Batch>,
}

#[derive(Clone, Debug)]
struct Batch {
    text: String,
    consumed: PerWindow,
    counted: bool,
}

pub struct Chain {
    world: World,
    workers: Vec<Worker>,
    started: usize,
    /// By window: seconds of start and end, limit, and what it carries.
    windows: Vec<(i64, i64, u64, Vec<usize>)>,
    offset_s: i64,
    /// What a window and those it carries held when it began, if that was above its limit.
    excess: PerWindow,
    /// What Redis has counted.
    counted: PerWindow,
    /// By window and late generation: field → milli-units.
    ledger: BTreeMap<(usize, String), BTreeMap<String, u64>>,
    last_drain: Option<Drained>,
    log: Vec<String>,
}

impl Chain {
    pub fn new(world: World) -> Self {
        let mut chain = Self {
            world,
            workers: Vec::new(),
            started: 0,
            windows: vec![(-3_600, 7_200, 20, Vec::new())],
            offset_s: 0,
            excess: PerWindow::new(),
            counted: PerWindow::new(),
            ledger: BTreeMap::new(),
            last_drain: None,
            log: Vec::new(),
        };
        chain.publish();
        for _ in 0..WORKERS {
            let worker = chain.new_worker();
            chain.workers.push(worker);
        }
        chain
    }

    fn new_worker(&mut self) -> Worker {
        self.started += 1;
        Worker {
            name: format!("worker{}", self.started),
            version: self.world.version,
            ..Worker::default()
        }
    }

    pub fn run(mut self, steps: &[Step]) -> Vec<String> {
        for step in steps {
            self.step(step);
            self.assert_invariants();
        }
        self.finish();
        self.log
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Spend(worker, units) => {
                let worker = &mut self.workers[worker.index(WORKERS)];
                if let Some((window, held)) = worker.held.iter_mut().next_back() {
                    let spent = (*held).min(*units);
                    *held -= spent;
                    *worker.unreported.entry(*window).or_default() += spent;
                }
            }
            Step::Send(worker, ask, fate) => self.send(worker.index(WORKERS), *ask, *fate),
            Step::Die(worker) => {
                self.workers[worker.index(WORKERS)] = self.new_worker();
            }
            Step::Drain(acknowledgement) => self.drain(*acknowledgement),
            Step::Trim(window) => self.trim(window.index(self.windows.len())),
            Step::Pass(seconds) => self.pass(i64::from(*seconds)),
            Step::Change(limit, carry) => self.change(*limit, *carry),
        }
    }

    fn publish(&mut self) {
        let texts: Vec<_> = self
            .windows
            .iter()
            .enumerate()
            .map(|(index, (from, to, limit, carried))| {
                let carries: String = carried.iter().map(|index| format!(" {index}")).collect();
                let carries = if carried.is_empty() {
                    String::new()
                } else {
                    format!(" carries{carries}")
                };
                format!("{index} {} {from}..{to} limit {limit}{carries}", index + 1)
            })
            .collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        self.world.publish(&texts);
    }

    fn pass(&mut self, seconds: i64) {
        self.offset_s += seconds;
        let (store, offset) = (self.world.names.store(), self.offset_s * 1_000);
        self.world
            .command(&["HSET", &store, "offset", &offset.to_string()]);
    }

    fn change(&mut self, limit: u64, carry: Carry) {
        // Windows of one meter begin at different seconds.
        self.pass(1);
        let last = self.windows.len() - 1;
        self.windows[last].1 = self.offset_s;
        let carried = match carry {
            Carry::Used => (0..=last)
                .rev()
                .take_while(|index| *index == last || self.windows[last].3.contains(index))
                .collect(),
            Carry::Nothing => Vec::new(),
        };
        self.windows
            .push((self.offset_s, self.offset_s + 7_200, limit, carried));
        self.publish();
        let total = self.total(last + 1);
        self.excess.insert(last + 1, total);
    }

    fn send(&mut self, index: usize, ask: Ask, fate: Fate) {
        if self.workers[index].doubt.is_none() {
            self.workers[index].compose(ask);
        }
        let worker = &mut self.workers[index];
        let Some(batch) = &mut worker.doubt else {
            return;
        };
        let request = self.world.batch(&batch.text);
        let times = match fate {
            Fate::Lost => 0,
            Fate::Arrives | Fate::AnswerLost => 1,
            Fate::ArrivesTwice => 2,
        };
        let mut answer = Vec::new();
        for _ in 0..times {
            answer = self.world.store.exchange(&request);
            if !batch.counted {
                batch.counted = true;
                for (window, units) in &batch.consumed {
                    *self.counted.entry(*window).or_default() += units;
                }
            }
        }
        if matches!(fate, Fate::Arrives | Fate::ArrivesTwice) {
            let reply = single(&answer);
            let Ok(Settled::Known(receipt)) = Settled::read(&reply) else {
                panic!("{reply:?}");
            };
            self.log.push(self.world.receipt(&receipt));
            self.workers[index].learn(&receipt, &self.world);
        }
    }

    fn drain(&mut self, acknowledgement: Acknowledgement) {
        let earlier = self.last_drain.take();
        let drained = self.world.drain();
        self.log.push(self.named(format!("{drained:?}")));
        for (field, (late, milli)) in &drained.counters {
            let window = field.split('/').nth(1).unwrap();
            let window: usize = window.parse().unwrap();
            let held = self.ledger.entry((window - 1, late.clone())).or_default();
            let before = held.entry(field.clone()).or_default();
            *before = (*before).max(milli.parse().unwrap());
        }
        match (acknowledgement, earlier) {
            (Acknowledgement::Arrives, _) => {
                self.world.drained(&drained);
            }
            (Acknowledgement::ArrivesAgain, Some(earlier)) => {
                self.world.drained(&earlier);
            }
            (Acknowledgement::Lost, _) | (Acknowledgement::ArrivesAgain, None) => {}
        }
        self.last_drain = Some(drained);
    }

    /// A text with the windows' names for their ids, which differ from run to run.
    fn named(&self, text: String) -> String {
        let windows = self.world.windows.iter();
        windows
            .filter(|(_, id)| !id.is_empty())
            .fold(text, |text, (name, id)| text.replace(id, name))
    }

    fn trim(&mut self, window: usize) {
        let held = self.ledger.range((window, String::new())..).next_back();
        let (late, counters) = match held {
            Some(((of, late), counters)) if *of == window => (late.clone(), counters.clone()),
            _ => return,
        };
        let held = Drained {
            generation: "g1".to_owned(),
            workers: BTreeMap::new(),
            counters: counters
                .into_iter()
                .map(|(field, milli)| (field, (late.clone(), milli.to_string())))
                .collect(),
        };
        let answer = self.world.trim(&window.to_string(), &late, &held);
        self.log.push(answer);
    }

    /// Used and leased units of a window and those it carries.
    fn total(&mut self, window: usize) -> u64 {
        let counters = self.world.counters();
        let ids = self.windows[window].3.iter().chain([&window]);
        ids.flat_map(|id| ["b", "c", "o"].map(|kind| (kind, id)))
            .filter_map(|(kind, id)| {
                counters.get(&format!("{kind}/{}", self.world.window(&id.to_string())))
            })
            .sum::<u64>()
            / 1_000
    }

    fn assert_invariants(&mut self) {
        self.world.assert_sums();
        let window = self.windows.len() - 1;
        let (total, limit) = (self.total(window), self.windows[window].2);
        let most = limit.max(self.excess.get(&window).copied().unwrap_or(0));
        assert!(total <= most, "{total} of {most} in window {window}");
        let counters = self.world.counters();
        for worker in &self.workers {
            for (window, held) in &worker.held {
                let open = self.windows[*window].1 + 60 > self.offset_s;
                let unreported = worker.unreported.get(window).copied().unwrap_or(0);
                let id = self.world.window(&window.to_string());
                let lease = counters
                    .get(&format!("l/{id}/{}", worker.name))
                    .copied()
                    .unwrap_or(0);
                assert!(
                    !open || lease >= (held + unreported) * 1_000,
                    "{} has {held} + {unreported} units, Redis knows of {lease}",
                    worker.name
                );
            }
        }
    }

    /// Everything in doubt is settled and drained: the ledger then holds what was counted.
    fn finish(&mut self) {
        let ask = Ask {
            need: 0,
            want: 0,
            returned: 0,
        };
        for index in 0..WORKERS {
            self.send(index, ask, Fate::Arrives);
            self.send(index, ask, Fate::Arrives);
        }
        self.drain(Acknowledgement::Arrives);
        assert_eq!(self.world.pending(), "[]");
        self.counted.retain(|_, units| *units > 0);
        let mut ledger = PerWindow::new();
        for ((window, _), counters) in &self.ledger {
            *ledger.entry(*window).or_default() += counters.values().sum::<u64>() / 1_000;
        }
        ledger.retain(|_, units| *units > 0);
        assert_eq!(ledger, self.counted);
    }
}

impl Worker {
    /// A batch of everything unreported, with leases of windows that are over returned.
    fn compose(&mut self, ask: Ask) {
        let consumed = std::mem::take(&mut self.unreported);
        let current = self.version as usize - 1;
        let mut returned = PerWindow::new();
        for (window, held) in &mut self.held {
            let back = if *window == current {
                ask.returned.min(*held)
            } else {
                *held
            };
            *held -= back;
            returned.insert(*window, back);
        }
        let mut text = format!("{} {} v{}", self.name, self.sequence + 1, self.version);
        for (window, units) in &consumed {
            text.push_str(&format!(" c{units}@{window}"));
        }
        for (window, units) in &returned {
            text.push_str(&format!(" r{units}@{window}"));
        }
        text.push_str(&format!(" w{}/{}@{current}", ask.need, ask.want));
        self.doubt = Some(Batch {
            text,
            consumed,
            counted: false,
        });
    }

    fn learn(&mut self, receipt: &Receipt<'_>, world: &World) {
        assert!(matches!(
            receipt.outcome,
            Outcome::Applied | Outcome::Repeated
        ));
        self.doubt = None;
        self.sequence += 1;
        assert_eq!(receipt.last, self.sequence);
        self.version = receipt.version;
        for state in &receipt.windows {
            let window = world.windows.iter().find(|(_, id)| *id == state.window);
            let window: usize = window.unwrap().0.parse().unwrap();
            *self.held.entry(window).or_default() += state.granted / 1_000;
        }
    }
}
