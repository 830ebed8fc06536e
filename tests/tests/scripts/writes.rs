//! What a batch writes: all of it or nothing, however large it is, and no more often than anybody needs.

use tollgate_engine::contract::call::{BatchHeader, Entry, Funding, Order, Subject};

use crate::drain::SILENCE_MS;
use crate::notation::{HOUR, shown, single};
use crate::on_both;
use crate::world::World;

on_both! {
    a_worker_that_settles_often_is_not_taken_for_gone
    a_batch_may_be_of_thousands_of_keys
    what_is_spent_leaves_no_field_behind
}

/// More than Lua hands over to a command at once.
const KEYS: usize = 9_000;

fn a_worker_that_settles_often_is_not_taken_for_gone(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[(
        "a 1 x6*1",
        "ok 1 counted [6], now +0 left 14 others 6 used 6",
    )]);
    let often = SILENCE_MS / 5;
    for number in 2..12 {
        assert_eq!(world.drain().counters.len(), 0);
        let sign = format!("a {number} k6");
        let counted = format!("ok {number}");
        world.check(&[(&format!("wait {often}"), ""), (&sign, &counted)]);
    }
    // Redis knows when it was there last, but for a second.
    let (seen, now) = (world.names.seen(world.tag, &world.chain), world.time_ms());
    let last: i64 = world
        .command(&["ZSCORE", &seen, "a"])
        .parse()
        .expect("the worker is seen");
    assert!((now - 1_000..=now).contains(&last), "{last} at {now}");
}

/// A minute would be long on a real Redis.
#[test]
fn a_worker_that_settled_within_a_second_and_a_minute_shares_leases() {
    let mut world = World::on_model();
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 1", "ok 1"),
        ("wait 900", ""),
        ("a 2", "ok 2"),
        ("wait 58100", ""),
        // An eighth for each of two.
        ("b 1 w0/10", "ok 1, now +2 left 18 others 0 used 0"),
        ("wait 2000", ""),
        ("b 2 w0/10", "ok 2, now +4 left 14 others 0 used 0"),
    ]);
}

fn a_batch_may_be_of_thousands_of_keys(world: &mut World) {
    world.publish(&["now 1 -3600..3600"]);
    let (window, tag, chain) = (world.window("now"), world.tag, world.chain.clone());
    let keys: Vec<_> = (0..KEYS).map(|key| format!("key_{key}")).collect();
    let header = BatchHeader {
        worker: "a",
        sequence: 1,
        version: world.version,
        order: Order::Next,
    };
    let entries = keys.iter().map(|key| Entry::Consumed {
        window: &window,
        hour: HOUR,
        key,
        milli: 1_000,
        funding: Funding::Unleased,
    });
    let mut request = Vec::new();
    let subject = Subject::Chain { tag, chain: &chain };
    world
        .writer
        .settle(&mut request, &subject, &header, entries);
    let answer = world.store.exchange(&request);
    assert!(shown(&single(&answer)).starts_with("[ok :1 "));
    let (usage, consumed) = (world.names.usage(tag, &chain), format!("c/{window}"));
    let dirty = format!("{}dirty:{chain}", world.names.tagged(tag));
    let total = format!("{KEYS}000");
    assert_eq!(world.command(&["HGET", &usage, &consumed]), total);
    // An hour of each key, and the window's counter and generation.
    assert_eq!(world.command(&["HLEN", &usage]), format!(":{}", KEYS + 2));
    assert_eq!(world.command(&["SCARD", &dirty]), format!(":{KEYS}"));
}

fn what_is_spent_leaves_no_field_behind(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        (
            "a 1 x2*3 w4/4",
            "ok 1 counted [2], now +0 left 14 others 6 used 6, now +4 left 10 others 6 used 6",
        ),
        ("a 2 f3 g3 c1 r3", "ok 2"),
    ]);
    let kinds: Vec<_> = world.counters().into_keys().collect();
    let kinds: Vec<_> = kinds.iter().map(|field| &field[..2]).collect();
    assert_eq!(kinds, ["c/", "h/", "n/"]);
}

#[test]
fn without_memory_a_batch_counts_not_at_all() {
    let mut world = World::on_redis();
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[(
        "a 1 x2*3 w4/4",
        "ok 1 counted [2], now +0 left 14 others 6 used 6, now +4 left 10 others 6 used 6",
    )]);
    let (before, workers) = (
        world.counters(),
        world.names.workers(world.tag, &world.chain),
    );
    let record = world.command(&["HGET", &workers, "a"]);
    // One that only removes, one of a worker that was just seen, and one of a worker that was not.
    for batch in ["a 2 g6 r4", "a 2 f3 g3 c1 r3 x1*1", "b 1 u1"] {
        world.command(&["CONFIG", "SET", "maxmemory", "1"]);
        let refused = world.settle(batch);
        world.command(&["CONFIG", "SET", "maxmemory", "0"]);
        assert!(refused.contains("OOM"), "{refused}");
        assert_eq!(world.counters(), before);
        assert_eq!(world.command(&["HGET", &workers, "a"]), record);
    }
    world.check(&[("a 2 f3 g3 c1 r3", "ok 2")]);
}
