//! How large leases are, who gets them, and how they come back.

use tollgate_engine::contract::call::LostLeases;

use crate::on_both;
use crate::world::{SHORT_LEASE_MS, World};

on_both! {
    a_lease_is_a_share_of_the_rest_but_never_less_than_is_needed
    whole_units_are_shared_in_whole_units_and_fractions_in_fractions
    two_workers_share_exactly_the_limit
    what_is_too_little_for_any_request_is_left_until_it_is_enough_for_one
    a_window_without_a_limit_counts_and_leases_nothing
    what_was_spent_leaves_the_lease_and_what_was_returned_is_free_again
    units_without_a_lease_leave_leases_alone
    carried_windows_count_against_the_limit
    a_carried_window_gives_no_more_than_the_one_that_carries_it
    a_held_lease_stays_counted_and_settles_late
    a_returned_lease_is_granted_again_and_settles_late
    a_lease_asked_for_again_lives_on
    only_windows_near_now_grant
    a_changed_limit_holds_for_later_leases
    what_a_worker_declares_is_what_it_holds
    totals_near_the_greatest_stay_exact
}

fn a_lease_is_a_share_of_the_rest_but_never_less_than_is_needed(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        // A quarter of what is left for the only worker seen, an eighth for each of two.
        ("a 1 w0/10", "ok 1, now +5 left 15 others 0 used 0"),
        ("a 2 w0/2", "ok 2, now +2 left 13 others 0 used 0"),
        ("b 1 w0/10", "ok 1, now +1 left 12 others 7 used 0"),
        ("b 2 w4/10", "ok 2, now +4 left 8 others 7 used 0"),
        ("b 3 w0/0", "ok 3, now +0 left 8 others 7 used 0"),
        ("b 4 w20/20", "ok 4, now +8 left 0 others 7 used 0 waiting"),
        ("a 3 w0/1", "ok 3, now +0 left 0 others 13 used 0 waiting"),
        ("wait 2100", ""),
        ("a 4 w0/1", "ok 4, now +0 left 0 others 13 used 0"),
    ]);
}

fn whole_units_are_shared_in_whole_units_and_fractions_in_fractions(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 7"]);
    world.check(&[
        ("a 1 w0/5", "ok 1, now +1 left 6 others 0 used 0"),
        // An eighth of 6 is 0.75: of no use to who spends whole units.
        ("b 1 w0/5", "ok 1, now +0 left 6 others 1 used 0"),
        ("b 2 w0/0.5", "ok 2, now +0.5 left 5.5 others 1 used 0"),
        ("b 3 w0/2.5", "ok 3, now +0.687 left 4.813 others 1 used 0"),
        (
            "b 4 w0.001/0.002",
            "ok 4, now +0.002 left 4.811 others 1 used 0",
        ),
        ("b 5 c0.001 r1", "ok 5"),
        (
            "a 2 w0/0",
            "ok 2, now +0 left 5.811 others 0.188 used 0.001",
        ),
    ]);
}

fn two_workers_share_exactly_the_limit(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 3"]);
    world.check(&[
        ("a 1 w1/1", "ok 1, now +1 left 2 others 0 used 0"),
        ("b 1 w1/1", "ok 1, now +1 left 1 others 1 used 0"),
        ("a 2 c1 w1/1", "ok 2, now +1 left 0 others 1 used 1"),
        ("b 2 c1 w1/1", "ok 2, now +0 left 0 others 1 used 2 waiting"),
        ("a 3 c1 w1/1", "ok 3, now +0 left 0 others 0 used 3 waiting"),
        ("b 3 w1/1", "ok 3, now +0 left 0 others 0 used 3 waiting"),
    ]);
}

fn what_is_too_little_for_any_request_is_left_until_it_is_enough_for_one(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1 w2.5-2.5/0", "ok 1, now +2.5 left 7.5 others 0 used 0"),
        ("b 1 w4/4", "ok 1, now +4 left 3.5 others 2.5 used 0"),
        (
            "a 2 c2.5 w2-6/0",
            "ok 2, now +3.5 left 0 others 4 used 2.5 waiting",
        ),
        // Each has what is of no use to it, and takes nothing back before the other has given.
        (
            "a 3 c2 r1.5 w2.5-2.5/0",
            "ok 3, now +0 left 1.5 others 4 used 4.5 waiting",
        ),
        (
            "b 2 c2.5 r1.5 w2.5-5/0",
            "ok 2, now +3 left 0 others 0 used 7 waiting",
        ),
    ]);
}

fn a_window_without_a_limit_counts_and_leases_nothing(world: &mut World) {
    world.publish(&["now 1 -3600..3600"]);
    world.check(&[
        ("a 1 w5/50", "ok 1, now +0 left all others 0 used 0"),
        ("a 2 u7 w0/50", "ok 2, now +0 left all others 0 used 7"),
        ("b 1 u2 w1/1", "ok 1, now +0 left all others 0 used 9"),
    ]);
    assert_eq!(world.counter("o", "now"), "0");
}

fn what_was_spent_leaves_the_lease_and_what_was_returned_is_free_again(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.check(&[
        ("a 1 w8/8", "ok 1, now +8 left 12 others 0 used 0"),
        ("a 2 c3 w0/0", "ok 2, now +0 left 12 others 0 used 3"),
        ("a 3 c2 r2 w0/0", "ok 3, now +0 left 14 others 0 used 5"),
        // Never more than the worker holds, which is 1 here.
        ("a 4 r9 w0/0", "ok 4, now +0 left 15 others 0 used 5"),
        ("b 1 r9 w0/0", "ok 1, now +0 left 15 others 0 used 5"),
        ("b 2 c0 r0 u0 d0", "ok 2"),
        ("b 3 w3/3", "ok 3, now +3 left 12 others 0 used 5"),
        ("b 4 c3 r3 d0 w0/0", "ok 4, now +0 left 12 others 0 used 8"),
    ]);
}

fn units_without_a_lease_leave_leases_alone(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1 w5/5", "ok 1, now +5 left 5 others 0 used 0"),
        ("a 2 u2 w0/0", "ok 2, now +0 left 3 others 0 used 2"),
        ("b 1 w9/9", "ok 1, now +3 left 0 others 5 used 2 waiting"),
        (
            "a 3 u4 c5 w1/1",
            "ok 3, now +0 left 0 others 3 used 11 waiting",
        ),
    ]);
}

fn carried_windows_count_against_the_limit(world: &mut World) {
    world.publish(&["old 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1 w4/4@old", "ok 1, old +4 left 6 others 0 used 0"),
        ("a 2 c3@old", "ok 2"),
    ]);
    world.publish(&[
        "old 1 -3600..-5 limit 10",
        "now 2 -5..3600 limit 12 carries old",
    ]);
    world.check(&[
        ("b 1 w2/2@current", "ok 1, now +2 left 6 others 1 used 3"),
        // Units of the old window's lease are its consumption, and count in both.
        (
            "a 3 v1 c1@old w0/0",
            "ok 3 doc 2, now +0 left 6 others 2 used 4",
        ),
        ("b 2 w9/9", "ok 2, now +6 left 0 others 0 used 4"),
    ]);
    assert_eq!(world.counter("c", "old"), "4");
    assert_eq!(world.counter("c", "now"), "0");
}

fn a_carried_window_gives_no_more_than_the_one_that_carries_it(world: &mut World) {
    world.publish(&["old 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1 w4/4@old", "ok 1, old +4 left 6 others 0 used 0"),
        ("a 2 c3@old", "ok 2"),
    ]);
    world.publish(&[
        "old 1 -3600..-5 limit 10",
        "now 2 -5..3600 limit 5 carries old",
        "next 3 3600..7200 limit 1 carries old now",
    ]);
    world.check(&[
        ("b 1 w2/2", "ok 1, now +1 left 0 others 1 used 3 waiting"),
        // A worker that has not read of the change yet; what has not begun does not bind.
        (
            "a 3 v1 w2/2@old",
            "ok 3 doc 2, old +0 left 0 others 0 used 3",
        ),
        ("a 4 r1@old", "ok 4"),
        ("a 5 w2/2@old", "ok 5, old +1 left 0 others 0 used 3"),
    ]);
}

fn a_held_lease_stays_counted_and_settles_late(world: &mut World) {
    world.lost_leases(LostLeases::Hold, SHORT_LEASE_MS);
    world.publish(&["now 1 -3600..3600 limit 5"]);
    world.check(&[
        ("dead 1 w5/5", "ok 1, now +5 left 0 others 0 used 0"),
        ("wait 1100", ""),
        ("b 1 w1/1", "ok 1, now +0 left 0 others 5 used 0 waiting"),
        ("dead 2 c3 r2", "ok 2"),
        ("b 2 w1/1", "ok 2, now +1 left 1 others 0 used 3 waiting"),
    ]);
}

fn a_returned_lease_is_granted_again_and_settles_late(world: &mut World) {
    world.lost_leases(LostLeases::Return, SHORT_LEASE_MS);
    world.publish(&["now 1 -3600..3600 limit 5"]);
    world.check(&[
        ("dead 1 w5/5", "ok 1, now +5 left 0 others 0 used 0"),
        ("b 1 w1/1", "ok 1, now +0 left 0 others 5 used 0 waiting"),
        ("wait 1100", ""),
        ("b 2 w4/4", "ok 2, now +4 left 1 others 0 used 0 waiting"),
        // Used units are consumption however late; what is returned late is returned already.
        (
            "dead 2 c3 r2 w0/0",
            "ok 2, now +0 left 0 others 4 used 3 waiting",
        ),
        ("b 3 c4 w0/0", "ok 3, now +0 left 0 others 0 used 7 waiting"),
    ]);
}

fn a_lease_asked_for_again_lives_on(world: &mut World) {
    world.lost_leases(LostLeases::Return, SHORT_LEASE_MS);
    world.publish(&["now 1 -3600..3600 limit 5"]);
    world.check(&[
        ("a 1 w1/1", "ok 1, now +1 left 4 others 0 used 0"),
        ("wait 600", ""),
        ("a 2 w1/1", "ok 2, now +1 left 3 others 0 used 0"),
        ("wait 600", ""),
        ("b 1 w0/0", "ok 1, now +0 left 3 others 2 used 0"),
        ("wait 600", ""),
        ("b 2 w0/0", "ok 2, now +0 left 5 others 0 used 0"),
    ]);
}

fn only_windows_near_now_grant(world: &mut World) {
    world.publish(&[
        "past 1 -7200..-61 limit 9",
        "ended 1 -3600..-40 limit 9",
        "now 1 -40..4 limit 9",
        "soon 1 4..90 limit 9",
        "later 1 90..3600 limit 9",
    ]);
    world.check(&[
        ("a 1 w1/1@past", "ok 1, past +0 left 9 others 0 used 0"),
        ("a 2 w1/1@ended", "ok 2, ended +1 left 8 others 0 used 0"),
        ("a 3 w1/1@current", "ok 3, now +1 left 8 others 0 used 0"),
        ("a 4 w1/1@soon", "ok 4, soon +1 left 8 others 0 used 0"),
        ("a 5 w1/1@later", "ok 5, later +0 left 9 others 0 used 0"),
        ("a 6 w1/1@1/api/5 c1@past", "ok 6"),
        ("a 7 w1/1@past", "ok 7, past +0 left 8 others 0 used 1"),
    ]);
    // Business time is the machine's plus the sandbox's offset.
    let store = world.names.store();
    world.command(&["HSET", &store, "offset", "90000"]);
    world.check(&[
        ("a 8 w1/1@current", "ok 8, later +1 left 8 others 0 used 0"),
        ("a 9 w1/1@ended", "ok 9, ended +0 left 8 others 0 used 0"),
    ]);
}

fn a_changed_limit_holds_for_later_leases(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[("a 1 w6/6", "ok 1, now +6 left 4 others 0 used 0")]);
    world.publish(&["now 1 -3600..3600 limit 4"]);
    world.check(&[
        (
            "b 1 v1 w1/1",
            "ok 1 doc 2, now +0 left 0 others 6 used 0 waiting",
        ),
        ("a 2 c5 r1", "ok 2"),
        ("b 2 w1/1", "ok 2, now +0 left 0 others 0 used 5 waiting"),
    ]);
    world.publish(&["now 1 -3600..3600 limit 7"]);
    world.check(&[("b 3 w1/9", "ok 3, now +1 left 1 others 0 used 5 waiting")]);
    world.publish(&["now 1 -3600..3600"]);
    world.check(&[("b 4 w1/9", "ok 4, now +0 left all others 0 used 5 waiting")]);
}

fn what_a_worker_declares_is_what_it_holds(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 10"]);
    world.check(&[
        ("a 1! d4 w0/0", "ok 1, now +0 left 6 others 0 used 0"),
        ("a 2 d4 w0/0", "ok 2, now +0 left 6 others 0 used 0"),
        ("a 3 c3 d2 w1/1", "ok 3, now +1 left 4 others 0 used 3"),
        ("a 4 d0 w0/0", "ok 4, now +0 left 7 others 0 used 3"),
        // More than the limit, when others were granted what Redis had forgotten.
        ("b 1! d8 w1/1", "ok 1, now +0 left 0 others 0 used 3"),
    ]);
}

fn totals_near_the_greatest_stay_exact(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 9000000000000"]);
    world.check(&[
        (
            "a 1 w8999999999990.001/8999999999990.001",
            "ok 1, now +8999999999990.001 left 9.999 others 0 used 0",
        ),
        (
            "a 2 c8999999999990 w0/0",
            "ok 2, now +0 left 9.999 others 0 used 8999999999990",
        ),
        (
            "b 1 w9.999/9.999",
            "ok 1, now +9.999 left 0 others 0.001 used 8999999999990",
        ),
        (
            "b 2 c9.999 w0/0",
            "ok 2, now +0 left 0 others 0.001 used 8999999999999.999",
        ),
        (
            "a 3 c0.001 w0/0",
            "ok 3, now +0 left 0 others 0 used 9000000000000",
        ),
        (
            "a 3 c0.001 w0/0",
            "again 3, now +0 left 0 others 0 used 9000000000000",
        ),
    ]);
}
