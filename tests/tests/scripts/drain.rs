//! How counters reach the ledger, once, whatever happens between reading and acknowledging them.

use std::collections::BTreeMap;

use tollgate_engine::contract::{CounterField, Script};
use tollgate_engine::resp::Reply;

use crate::notation::{HOUR, single};
use crate::on_both;
use crate::world::{GENERATION, World};

on_both! {
    what_changed_is_read_until_the_ledger_holds_it
    growth_between_reading_and_acknowledging_is_read_again
    an_acknowledgement_of_another_generation_counts_for_nothing
    a_closed_window_is_removed_once_the_ledger_holds_it
    late_usage_counts_under_a_later_generation
    a_removal_sent_again_takes_no_late_usage
    an_acknowledgement_sent_again_takes_no_late_usage
    a_removal_of_another_generation_does_nothing
    an_open_or_carried_window_is_not_removed
    a_rebuilt_store_goes_on_from_the_ledger
    workers_unseen_for_a_day_are_forgotten
}

/// What the drain reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    pub generation: String,
    /// Worker → last sequence number.
    pub workers: BTreeMap<String, u64>,
    /// Field → late generation and milli-units.
    pub counters: BTreeMap<String, (String, String)>,
}

const DAY_MS: u64 = 24 * 3_600_000;
/// After how long in these tests a silent worker's claims are recorded for it.
pub const SILENCE_MS: u64 = 1_500;

impl World {
    pub fn drain(&mut self) -> Drained {
        self.drain_with_age(DAY_MS)
    }

    fn drain_with_age(&mut self, age_ms: u64) -> Drained {
        let (prefix, chain) = (self.names.tagged(self.tag), self.chain.clone());
        let store = self.names.store();
        let answer = self.run(
            Script::Drain,
            &[&store],
            &[
                &prefix,
                &chain,
                &age_ms.to_string(),
                &SILENCE_MS.to_string(),
            ],
        );
        let reply = single(&answer);
        let parts = reply.as_array().expect("a drain answers an array");
        let text = |reply: &Reply<'_>| {
            String::from_utf8_lossy(reply.as_bulk().unwrap_or_default()).into_owned()
        };
        Drained {
            generation: text(&parts[0]),
            workers: parts[1]
                .as_array()
                .unwrap()
                .chunks_exact(2)
                .map(|pair| (text(&pair[0]), text(&pair[1]).parse().unwrap()))
                .collect(),
            counters: parts[2]
                .as_array()
                .unwrap()
                .chunks_exact(3)
                .map(|three| (text(&three[0]), (text(&three[1]), text(&three[2]))))
                .collect(),
        }
    }

    pub fn drained(&mut self, drained: &Drained) -> String {
        let (prefix, chain) = (self.names.tagged(self.tag), self.chain.clone());
        let keys = [self.names.store(), self.names.pending()];
        let mut arguments = vec![drained.generation.as_str(), &prefix, &chain];
        for (field, (late, milli)) in &drained.counters {
            arguments.extend([field.as_str(), late, milli]);
        }
        self.script(Script::Drained, &[&keys[0], &keys[1]], &arguments)
    }

    /// Removes a window of which the ledger holds these counters.
    pub fn trim(&mut self, window: &str, late: &str, held: &Drained) -> String {
        let (prefix, chain) = (self.names.tagged(self.tag), self.chain.clone());
        let (store, window) = (self.names.store(), self.window(window));
        let mut arguments = vec![held.generation.as_str(), &prefix, &chain, &window, late];
        for (field, (_, milli)) in &held.counters {
            arguments.extend([field.as_str(), milli]);
        }
        self.script(Script::Trim, &[&store], &arguments)
    }

    pub fn pending(&mut self) -> String {
        let pending = self.names.pending();
        self.command(&["SMEMBERS", &pending])
    }

    fn hour(&self, window: &str) -> String {
        let window = self.window(window).parse().unwrap();
        CounterField::Hour(window, HOUR, self.key_id.clone()).to_string()
    }

    /// Late generation and milli-units of the only hour of a window.
    fn drained_hour(&mut self, window: &str) -> Option<(String, String)> {
        let field = self.hour(window);
        self.drain().counters.get(&field).cloned()
    }
}

fn hour(late: &str, milli: &str) -> Option<(String, String)> {
    Some((late.to_owned(), milli.to_owned()))
}

fn what_changed_is_read_until_the_ledger_holds_it(world: &mut World) {
    world.publish(&["old 1 -3600..-5", "now 1 -5..3600"]);
    assert_eq!(world.pending(), "[]");
    world.check(&[
        ("a 1 u1.5 u2@old", "ok 1"),
        ("b 1 u1 w1/1", "ok 1, now +0 left all others 0 used 2.5"),
    ]);
    let pending = format!("[{} {}]", world.names.tagged(world.tag), world.chain);
    assert_eq!(world.pending(), pending);
    let drained = world.drain();
    assert_eq!(drained, world.drain());
    assert_eq!(drained.generation, GENERATION);
    assert_eq!(
        drained.workers,
        BTreeMap::from([("a".into(), 1), ("b".into(), 1)])
    );
    assert_eq!(drained.counters.len(), 2);
    assert_eq!(drained.counters[&world.hour("now")].1, "2500");
    assert_eq!(drained.counters[&world.hour("old")].1, "2000");
    assert_eq!(world.pending(), pending);
    assert_eq!(world.drained(&drained), ":0");
    assert_eq!(world.pending(), "[]");
    assert_eq!(world.drain().counters, BTreeMap::new());
    world.check(&[("a 2 u1", "ok 2")]);
    assert_eq!(world.pending(), pending);
    assert_eq!(world.drained_hour("now"), hour("0", "3500"));
    assert_eq!(world.drained_hour("old"), None);
}

fn growth_between_reading_and_acknowledging_is_read_again(world: &mut World) {
    world.publish(&["now 1 -3600..3600"]);
    world.check(&[("a 1 u1", "ok 1")]);
    let drained = world.drain();
    world.check(&[("a 2 u1", "ok 2")]);
    assert_eq!(world.drained(&drained), ":1");
    assert_eq!(world.drained_hour("now"), hour("0", "2000"));
    let drained = world.drain();
    assert_eq!(world.drained(&drained), ":0");
    assert_eq!(world.drained(&drained), ":0");
}

fn an_acknowledgement_of_another_generation_counts_for_nothing(world: &mut World) {
    world.publish(&["now 1 -3600..3600"]);
    world.check(&[("a 1 u1", "ok 1")]);
    let mut drained = world.drain();
    drained.generation = "g0".to_owned();
    assert_eq!(world.drained(&drained), ":1");
    assert_eq!(world.drained_hour("now"), hour("0", "1000"));
}

fn a_closed_window_is_removed_once_the_ledger_holds_it(world: &mut World) {
    world.publish(&["old 1 -3600..-100 limit 9", "now 1 -100..3600 limit 9"]);
    world.check(&[(
        "a 1 u1@old u1 d2@old w1/1",
        "ok 1, now +1 left 7 others 0 used 1",
    )]);
    let drained = world.drain();
    assert_eq!(world.drained(&drained), ":0");
    world.check(&[("a 2 u1@old", "ok 2")]);
    assert_eq!(world.trim("old", "0", &drained), ":0");
    let drained = world.drain();
    assert_eq!(world.trim("old", "0", &drained), ":1");
    let old = world.window("old");
    let left: Vec<_> = world
        .counters()
        .into_keys()
        .filter(|field| field.contains(&old))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(world.counters()["late"], 1);
    assert_eq!(world.counter("c", "now"), "1");
    assert_eq!(world.drain().counters, BTreeMap::new());
    assert_eq!(world.drained(&drained), ":0");
    assert_eq!(world.pending(), "[]");
    // Nothing is there any more: nothing to raise.
    assert_eq!(world.trim("old", "0", &drained), ":1");
    assert_eq!(world.counters()["late"], 1);
}

fn late_usage_counts_under_a_later_generation(world: &mut World) {
    world.publish(&["old 1 -3600..-100 limit 9", "now 1 -100..3600 limit 9"]);
    world.check(&[("a 1 u1@old u1", "ok 1")]);
    let drained = world.drain();
    assert_eq!(world.trim("old", "0", &drained), ":1");
    world.check(&[("a 2 u3@old u1", "ok 2"), ("a 3 u3@old", "ok 3")]);
    assert_eq!(world.drained_hour("old"), hour("1", "6000"));
    // The other window goes on under its own.
    assert_eq!(world.drained_hour("now"), hour("0", "2000"));
    let drained = world.drain();
    assert_eq!(world.trim("old", "1", &drained), ":1");
    world.check(&[("a 4 u1@old", "ok 4")]);
    assert_eq!(world.drained_hour("old"), hour("2", "1000"));
}

fn a_removal_sent_again_takes_no_late_usage(world: &mut World) {
    world.publish(&["old 1 -3600..-100 limit 9"]);
    world.check(&[("a 1 u5@old", "ok 1")]);
    let drained = world.drain();
    assert_eq!(world.trim("old", "0", &drained), ":1");
    world.check(&[("a 2 u3@old", "ok 2")]);
    assert_eq!(world.trim("old", "0", &drained), ":0");
    assert_eq!(world.drained_hour("old"), hour("1", "3000"));
}

fn an_acknowledgement_sent_again_takes_no_late_usage(world: &mut World) {
    world.publish(&["old 1 -3600..-100 limit 9"]);
    world.check(&[("a 1 u5@old", "ok 1")]);
    let drained = world.drain();
    assert_eq!(world.drained(&drained), ":0");
    assert_eq!(world.trim("old", "0", &drained), ":1");
    // As much as before, but not the same units.
    world.check(&[("a 2 u5@old", "ok 2")]);
    assert_eq!(world.drained(&drained), ":1");
    assert_eq!(world.drained_hour("old"), hour("1", "5000"));
}

fn a_removal_of_another_generation_does_nothing(world: &mut World) {
    world.publish(&["old 1 -3600..-100 limit 9"]);
    world.check(&[("a 1 u5@old", "ok 1")]);
    let mut drained = world.drain();
    drained.generation = "g0".to_owned();
    assert_eq!(world.trim("old", "0", &drained), ":0");
    assert_eq!(world.counter("c", "old"), "5");
}

fn an_open_or_carried_window_is_not_removed(world: &mut World) {
    world.publish(&[
        "old 1 -3600..-100 limit 9",
        "now 2 -100..-50 limit 9 carries old",
    ]);
    world.check(&[("a 1 u5@old u1", "ok 1")]);
    let drained = world.drain();
    assert_eq!(world.trim("now", "0", &drained), ":0");
    assert_eq!(world.trim("old", "0", &drained), ":0");
    world.check(&[("a 2 w0/0", "ok 2, now +0 left 3 others 0 used 6")]);
    let store = world.names.store();
    world.command(&["HSET", &store, "offset", "12000"]);
    assert_eq!(world.trim("old", "0", &drained), ":1");
    assert_eq!(world.trim("now", "0", &drained), ":1");
}

fn a_rebuilt_store_goes_on_from_the_ledger(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 9"]);
    world.check(&[
        ("a 1 w4/4", "ok 1, now +4 left 5 others 0 used 0"),
        ("a 2 c2", "ok 2"),
    ]);
    let drained = world.drain();
    // Redis loses everything; the control plane writes back what the ledger holds.
    world.command(&["FLUSHALL"]);
    world.check(&[("a 3 c1", "unready")]);
    let (store, tag, chain) = (world.names.store(), world.tag, world.chain.clone());
    let (usage, workers) = (
        world.names.usage(tag, &chain),
        world.names.workers(tag, &chain),
    );
    let window = world.window("now").parse().unwrap();
    world.command(&["HSET", &store, "generation", "g2"]);
    let document = world.document(2, &["now 1 -3600..3600 limit 9"]);
    world.publish_document(&document);
    let base = CounterField::Base(window).to_string();
    world.command(&["HSET", &usage, &base, "2000"]);
    let now = world.time_ms();
    let seen = world.names.seen(tag, &chain);
    for (worker, last) in &drained.workers {
        let record = format!("{last},{now},");
        world.command(&["HSET", &workers, worker, &record]);
        world.command(&["ZADD", &seen, &now.to_string(), worker]);
    }
    assert_eq!(world.open("g2", 60_000), ":1");
    world.check(&[
        // The ledger holds it already.
        ("a 2 v2 c2", "again 2 paused"),
        (
            "a 3 v2 c1 d1 w1/1",
            "ok 3 paused, now +0 left 5 others 0 used 3",
        ),
    ]);
    let drained = world.drain();
    assert_eq!(drained.generation, "g2");
    assert_eq!(drained.counters[&world.hour("now")].1, "1000");
}

fn workers_unseen_for_a_day_are_forgotten(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 9"]);
    world.check(&[
        ("a 1 w2/2", "ok 1, now +2 left 7 others 0 used 0"),
        ("wait 600", ""),
        ("b 1", "ok 1"),
    ]);
    let drained = world.drain_with_age(300);
    assert_eq!(drained.workers, BTreeMap::from([("b".into(), 1)]));
    world.check(&[
        // Its lease stays counted, and its numbers begin again.
        ("b 2 w0/0", "ok 2, now +0 left 7 others 2 used 0"),
        ("a 2 c1", "gap 0 paused"),
        ("a 2! c1", "ok 2 paused"),
    ]);
}
