//! Batches in order, again, missing and late; look-ups; and what a restart of Redis means for them.

use tollgate_engine::contract::Script;
use tollgate_engine::contract::call::LostLeases;

use crate::on_both;
use crate::world::{SHORT_LEASE_MS, World};

on_both! {
    digests_are_those_of_redis
    a_script_that_is_not_loaded_is_named
    a_batch_sent_again_counts_once_and_grants_the_same
    a_repeated_answer_names_every_window
    a_window_that_left_the_document_is_still_answered_for
    a_missing_number_is_a_gap_and_pauses_the_chain
    a_pause_ends
    a_later_number_is_taken_after_a_restart
    an_earlier_number_is_stale
    a_look_changes_nothing
    a_key_brings_its_chain_and_first_leases_in_one_call
    another_process_pauses_hard_limits
    windows_without_a_limit_are_never_paused
    an_unready_store_counts_nothing
    odd_bytes_in_ids_change_nothing
}

fn digests_are_those_of_redis(world: &mut World) {
    for script in Script::ALL {
        let digest = world.command(&["SCRIPT", "LOAD", script.text()]);
        assert_eq!(digest, script.sha1(), "{script:?}");
    }
}

fn a_script_that_is_not_loaded_is_named(world: &mut World) {
    world.store.restart();
    assert_eq!(world.settle("a 1"), "the script is not loaded");
    world.command(&[
        "EVAL",
        Script::Settle.text(),
        "2",
        "guard",
        "pending",
        "store",
    ]);
    assert_eq!(world.settle("a 1"), "ok 1");
}

fn a_batch_sent_again_counts_once_and_grants_the_same(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 1 w4/4", "ok 1, now +4 left 16 others 0 used 0"),
        ("a 1 w4/4", "again 1, now +4 left 16 others 0 used 0"),
        ("a 2 c3 r1 w2/2", "ok 2, now +2 left 15 others 0 used 3"),
        ("b 1 u1 w1/1", "ok 1, now +1 left 13 others 2 used 4"),
        ("a 2 c3 r1 w2/2", "again 2, now +2 left 13 others 1 used 4"),
        // What a repetition says does not matter: the first counted.
        ("a 2 c9 w9/9", "again 2, now +2 left 13 others 1 used 4"),
        ("a 3", "ok 3"),
        ("a 3 w1/1", "again 3"),
    ]);
}

fn a_repeated_answer_names_every_window(world: &mut World) {
    world.publish(&["old 1 -3600..-5 limit 4", "now 1 -5..3600 limit 9"]);
    let answer = "1, old +1 left 3 others 0 used 0, now +2 left 7 others 0 used 0";
    world.check(&[
        ("a 1 w1/1@old w2/2", &format!("ok {answer}")),
        ("a 1 w1/1@old w2/2", &format!("again {answer}")),
    ]);
}

fn a_window_that_left_the_document_is_still_answered_for(world: &mut World) {
    world.publish(&["old 1 -3600..-5 limit 4", "now 1 -5..3600 limit 9"]);
    world.check(&[("a 1 w1/1@old", "ok 1, old +1 left 3 others 0 used 0")]);
    world.publish(&["now 1 -5..3600 limit 9"]);
    world.check(&[
        // The worker must learn what it holds, and that there is no more.
        ("a 1 w1/1@old", "again 1, old +1 left 0 others 0 used 0"),
        ("a 2 c1@old w1/1@old", "ok 2"),
    ]);
}

fn a_missing_number_is_a_gap_and_pauses_the_chain(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 1 w4/4", "ok 1, now +4 left 16 others 0 used 0"),
        ("a 3 c1", "gap 1 paused"),
        ("c 2 c1", "gap 0 paused"),
        ("b 1 w1/1", "ok 1 paused, now +0 left 16 others 4 used 0"),
        ("a 2 c2 w1/1", "ok 2 paused, now +0 left 16 others 0 used 2"),
        ("a 3 c1 d1", "ok 3 paused"),
    ]);
    assert_eq!(world.counter("c", "now"), "3");
}

fn a_pause_ends(world: &mut World) {
    world.lost_leases(LostLeases::Hold, SHORT_LEASE_MS);
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 2 c1", "gap 0 paused"),
        ("a 1 w1/1", "ok 1 paused, now +0 left 20 others 0 used 0"),
        ("wait 1100", ""),
        ("a 1 w1/1", "again 1, now +0 left 20 others 0 used 0"),
        ("a 2 w1/1", "ok 2, now +1 left 19 others 0 used 0"),
    ]);
}

fn a_later_number_is_taken_after_a_restart(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 7! u1 d4", "ok 7"),
        ("a 7! u1 d4", "again 7"),
        ("a 8 c1 w0/0", "ok 8, now +0 left 15 others 0 used 2"),
        ("a 10! c1", "ok 10"),
        ("a 9! c1", "stale 10"),
        ("a 12", "gap 10 paused"),
    ]);
}

fn an_earlier_number_is_stale(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 1 w4/4", "ok 1, now +4 left 16 others 0 used 0"),
        ("a 2 c1", "ok 2"),
        ("a 1 w4/4", "stale 2"),
        ("a 1 c1", "stale 2"),
        ("a 3 w0/0", "ok 3, now +0 left 16 others 0 used 1"),
    ]);
}

fn a_look_changes_nothing(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    let before = world.counters();
    world.check(&[
        ("a 0", "ok 0"),
        ("a 0 v0", "ok 0 doc 1"),
        ("a 0 c1 w4/4", "ok 0"),
        ("a 0 stranger", "unknown"),
    ]);
    assert_eq!(world.counters(), before);
    world.publish_key(1);
    world.check(&[
        ("a 0 key v0", "ok 0 doc 1 keydoc"),
        ("a 1 w1/1", "ok 1, now +1 left 19 others 0 used 0"),
        ("a 0 key", "ok 1 keydoc"),
    ]);
}

fn a_key_brings_its_chain_and_first_leases_in_one_call(world: &mut World) {
    world.check(&[("a 1 key v0 w1/9@current", "unknown")]);
    world.publish_key(1);
    // A key whose chain has no document yet: nothing to decide by.
    world.check(&[("z 1 key v0 w1/9@current", "ok 1 keydoc")]);
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        (
            "a 1 key v0 w1/9@current",
            "ok 1 doc 1 keydoc, now +2 left 18 others 0 used 0",
        ),
        (
            "a 1 key v0 w1/9@current",
            "again 1 doc 1 keydoc, now +2 left 18 others 0 used 0",
        ),
        ("a 2 c1 w0/0", "ok 2, now +0 left 18 others 0 used 1"),
        // Another key of the chain, looked up by a worker that knows the chain by now.
        ("a 1 key v0 w1/9@current", "stale 2 doc 1 keydoc"),
        ("a 1 stranger v0 w1/9@current", "unknown"),
    ]);
}

fn another_process_pauses_hard_limits(world: &mut World) {
    world.lost_leases(LostLeases::Hold, SHORT_LEASE_MS);
    world.publish(&["now 1 -3600..3600 limit 20"]);
    assert_eq!(world.enter(None), "g1 last 1 []");
    world.check(&[
        ("a 1 w4/4", "ok 1, now +4 left 16 others 0 used 0"),
        ("restart", ""),
        ("a 2 c1 w1/1", "ok 2 paused, now +0 left 16 others 0 used 1"),
        ("b 1 w1/1", "ok 1 paused, now +0 left 16 others 3 used 1"),
        ("wait 1100", ""),
    ]);
    assert_eq!(world.enter(None), "g1 last 1 []");
    world.check(&[("b 2 w1/1", "ok 2, now +1 left 15 others 3 used 1")]);
}

fn windows_without_a_limit_are_never_paused(world: &mut World) {
    world.publish(&["now 1 -3600..3600"]);
    world.check(&[
        ("restart", ""),
        (
            "a 1 u1 w1/1",
            "ok 1 paused, now +0 left all others 0 used 1",
        ),
    ]);
}

fn an_unready_store_counts_nothing(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    let store = world.names.store();
    let before = world.counters();
    world.command(&["HDEL", &store, "ready"]);
    assert_eq!(world.enter(Some(0)), "unready");
    world.check(&[("a 1 c1 w1/1", "unready"), ("a 0 stranger", "unready")]);
    assert_eq!(world.counters(), before);
    assert_eq!(world.open("g0", 0), ":0");
    world.check(&[("a 1 w1/1", "unready")]);
    // A store that workers used before it was lost: they declare what they hold before anything is granted.
    assert_eq!(world.open("g1", 5_000), ":1");
    world.check(&[("a 1 w1/1", "ok 1 paused, now +0 left 20 others 0 used 0")]);
}

fn odd_bytes_in_ids_change_nothing(world: &mut World) {
    world.chain = "sub \r\n%d.*{x}\0ü \"';,".to_owned();
    world.key_id = "key %s;,\r\n\0 ü{}".to_owned();
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.publish_key(1);
    world.check(&[
        (
            "w%;,{}ü 1 key v0 w1/9@current",
            "ok 1 doc 1 keydoc, now +5 left 15 others 0 used 0",
        ),
        (
            "w%;,{}ü 2 c1 r1 w0/0",
            "ok 2, now +0 left 16 others 0 used 1",
        ),
        ("w%;,{}ü 2", "again 2, now +0 left 16 others 0 used 1"),
    ]);
    let drained = world.drain();
    assert_eq!(drained.workers.get("w%;,{}ü"), Some(&2));
    assert_eq!(world.drained(&drained), ":0");
    assert_eq!(world.pending(), "[]");
}
