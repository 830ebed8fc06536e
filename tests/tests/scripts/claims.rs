//! Units that are counted before their request goes on: how many, for whom, and what becomes of them.

use tollgate_engine::units::Units;

use crate::drain::SILENCE_MS;
use crate::on_both;
use crate::world::{GENERATION, World};

on_both! {
    as_many_requests_are_counted_as_the_limit_leaves
    an_answer_that_was_lost_says_the_same
    what_is_claimed_is_recorded_when_it_is_finished
    what_redis_lost_of_a_claim_is_counted_when_it_is_finished_or_kept
    what_a_silent_worker_claimed_is_recorded_for_it_once
    nothing_is_counted_within_limits_while_grants_are_paused
    a_window_with_claims_is_not_removed
}

fn as_many_requests_are_counted_as_the_limit_leaves(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        (
            "a 1 x2*3",
            "ok 1 counted [2], now +0 left 4 others 6 used 6",
        ),
        (
            "b 1 x2*3",
            "ok 1 counted [1], now +0 left 1 others 9 used 9",
        ),
        // Two claims of one batch, in their order.
        (
            "a 2 x3*1 x1*1",
            "ok 2 counted [1, 0], now +0 left 0 others 10 used 10, now +0 left 0 others 10 used 10",
        ),
        // A cost that is not known yet is not nothing; whoever is never refused is counted beyond.
        (
            "b 2 x1*0 y2*1",
            "ok 2 counted [0, 2], now +0 left 0 others 10 used 10, now +0 left 0 others 12 used 12",
        ),
        ("b 3 g1", "ok 3"),
        (
            "b 4 x1*1",
            "ok 4 counted [0], now +0 left 0 others 11 used 11",
        ),
    ]);
}

fn an_answer_that_was_lost_says_the_same(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        (
            "a 1 x4*3 w1/1",
            "ok 1 counted [3], now +0 left 1 others 9 used 9, now +1 left 0 others 9 used 9",
        ),
        (
            "a 1 x4*3 w1/1",
            "again 1 counted [3], now +0 left 0 others 9 used 9, now +1 left 0 others 9 used 9",
        ),
        (
            "a 2 x1*1",
            "ok 2 counted [0], now +0 left 0 others 9 used 9",
        ),
    ]);
}

fn what_is_claimed_is_recorded_when_it_is_finished(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        (
            "a 1 x4*1",
            "ok 1 counted [4], now +0 left 6 others 4 used 4",
        ),
        ("a 2 f1 g1", "ok 2"),
    ]);
    assert_eq!(recorded(world), "1");
    assert_eq!(world.counter("c", "now"), "3");
    assert_eq!(world.counter("p", "now"), "2");
    world.check(&[
        ("a 3 f2", "ok 3"),
        // What was given back or finished already is neither again.
        ("a 4 g2", "ok 4"),
    ]);
    assert_eq!(recorded(world), "3");
    assert_eq!(world.counter("c", "now"), "3");
}

fn what_redis_lost_of_a_claim_is_counted_when_it_is_finished_or_kept(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1 f2", "ok 1"),
        ("a 2 g2 k3", "ok 2"),
        ("a 3 k3", "ok 3"),
    ]);
    assert_eq!(recorded(world), "2");
    assert_eq!(world.counter("c", "now"), "5");
    world.check(&[("a 4 f3", "ok 4")]);
    assert_eq!(recorded(world), "5");
    assert_eq!(world.counter("c", "now"), "5");
}

fn what_a_silent_worker_claimed_is_recorded_for_it_once(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        (
            "a 1 x6*1",
            "ok 1 counted [6], now +0 left 14 others 6 used 6",
        ),
        (
            "b 1 x1*1",
            "ok 1 counted [1], now +0 left 13 others 7 used 7",
        ),
    ]);
    assert_eq!(recorded(world), "0");
    // Both are missed from now on, and one gives a sign.
    let wait = format!("wait {}", SILENCE_MS + 50);
    world.check(&[(&wait, ""), ("b 2 k1", "ok 2")]);
    assert_eq!(recorded(world), "6");
    world.check(&[("wait 100", "")]);
    // The second is missed since the last drain only.
    assert_eq!(recorded(world), "6");
    // The first was cut off only: one is metered, the rest is not, and one more turns out to cost more than it held.
    world.check(&[("a 2 f1 g5 u1", "ok 2")]);
    assert_eq!(world.counter("c", "now"), "3");
    // What was recorded for nothing pays for what comes.
    assert_eq!(recorded(world), "6");
    world.check(&[("a 3 u5", "ok 3")]);
    assert_eq!(recorded(world), "7");
    assert_eq!(world.counter("e", "now"), "0");
}

fn nothing_is_counted_within_limits_while_grants_are_paused(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 2 x1*1", "gap 0 paused"),
        (
            "b 1 x1*1",
            "ok 1 paused counted [0], now +0 left 20 others 0 used 0",
        ),
        (
            "b 2 y1*1",
            "ok 2 paused counted [1], now +0 left 19 others 1 used 1",
        ),
    ]);
}

fn a_window_with_claims_is_not_removed(world: &mut World) {
    world.publish(&["now 1 -7200..-3600 limit 20"]);
    world.check(&[(
        "a 1 y1*1",
        "ok 1 counted [1], now +0 left 19 others 1 used 1",
    )]);
    let drained = world.drain();
    assert_eq!(world.trim("now", "0", &drained), ":0");
    world.check(&[("a 2 g1", "ok 2")]);
    assert_eq!(world.trim("now", "0", &drained), ":1");
    assert_eq!(world.counter("c", "now"), "0");
}

/// What Redis has recorded after a drain, in units.
fn recorded(world: &mut World) -> String {
    let drained = world.drain();
    assert_eq!(drained.generation, GENERATION);
    world.drained(&drained);
    let counters = world.counters();
    let hours = counters.iter().filter(|(field, _)| field.starts_with("h/"));
    let milli = hours.map(|(_, milli)| milli).sum();
    Units::from_milli(milli).map_or(String::new(), |units| units.to_string())
}
