//! Accounts that add up, and batches that come back.

use std::rc::Rc;

use super::batch::Sequence;
use super::rate::SpendingRate;
use super::{Batch, LeaseRules, Window};
use crate::contract;
use crate::contract::answer::{Outcome, WindowState};
use crate::contract::call::{LostLeases, Order};
use crate::units::Units;

const RULES: LeaseRules = LeaseRules {
    ttl_ms: 5_000,
    lost_leases: LostLeases::Hold,
    flush_interval_ms: 250,
    max_unsettled_ms: 2_000,
};

fn window() -> Window {
    let described = contract::Window {
        start_ms: 0,
        end_ms: 86_400_000,
        included: Some(Units::MAX),
        limit: Some(Units::MAX),
        carried: Vec::new(),
    };
    Window::new(1, 1, "calls", &described)
}

fn grant(window: &mut Window, granted: u64, at_ms: u64) {
    let state = WindowState {
        window: "1/calls/0",
        granted,
        remaining: Some(1_000_000),
        leased_to_others: 0,
        used: 0,
        others_wait: false,
    };
    window.learn(&state, granted, at_ms, at_ms, RULES.flush_interval_ms);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_rate_forgets_what_is_a_second_old() {
    let mut rate = SpendingRate::NONE;
    rate.add(1_000, 10_900);
    assert_eq!(rate.last_second(10_950), 1_000);
    // The older second counts by the share of it that is left.
    assert_eq!(rate.last_second(11_250), 750);
    assert_eq!(rate.last_second(12_000), 0);
    rate.add(500, 20_000);
    assert_eq!(rate.last_second(20_999), 500);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_lease_nobody_spends_is_given_back_in_a_second_and_any_after_its_time() {
    let mut window = window();
    grant(&mut window, 5_000, 1_000);
    assert_eq!(window.give_back_due_ms(&RULES), Some(2_000));
    let reservation = window.reserve(1_000, 1_900, &RULES);
    assert_eq!(window.give_back_due_ms(&RULES), Some(2_900));
    window.give_back(2_899, &RULES);
    assert_eq!(window.free(), 4_000);
    window.give_back(2_900, &RULES);
    assert_eq!((window.free(), window.held()), (0, 1_000));
    // What was in flight when its lease ended goes straight back.
    window.release(reservation, 6_000, &RULES);
    let mut batch = Batch::default();
    window.drain_into(&mut batch);
    assert_eq!(batch.returned, [(Rc::clone(&window.id), 5_000)]);
    assert!(window.is_idle());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn no_worker_holds_more_than_any_counter_whatever_it_is_granted() {
    let mut window = window();
    for _ in 0..3_000 {
        grant(&mut window, crate::limits::DOUBLE_EXACT, 0);
    }
    assert_eq!(window.held(), Units::MAX.milli());
    window.reserve(1_000, 0, &RULES);
    assert_eq!(window.free(), Units::MAX.milli() - 1_000);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn with_leases_that_return_none_is_spent_after_its_time() {
    let rules = LeaseRules {
        lost_leases: LostLeases::Return,
        ..RULES
    };
    let mut window = window();
    grant(&mut window, 2_000, 1_000);
    assert!(window.can_spend(2_000, 5_999, &rules));
    assert!(!window.can_spend(1, 6_000, &rules));
    // A lease that is held may be spent late.
    assert!(window.can_spend(2_000, 6_000, &RULES));
}

fn numbers(sequence: &Sequence) -> Vec<(u64, Order)> {
    sequence
        .to_send()
        .map(|batch| (batch.number, batch.order()))
        .collect()
}

/// A sequence whose batches 1 to `counted` were counted, a second apart, and then one more is in doubt.
fn sequence(counted: u64) -> Sequence {
    let mut sequence = Sequence::from_last(0);
    for number in 1..=counted {
        sequence.push(Batch::default(), number * 1_000);
        assert!(
            sequence
                .settle(Outcome::Applied, number, &[], number * 1_000, 1)
                .is_some()
        );
    }
    sequence.push(Batch::default(), (counted + 1) * 1_000);
    sequence
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_redis_lost_is_sent_again_in_order() {
    let mut sequence = sequence(4);
    assert!(sequence.settle(Outcome::Gap, 2, &[], 5_000, 2).is_none());
    let again = [(3, Order::Next), (4, Order::Next), (5, Order::Next)];
    assert_eq!(numbers(&sequence), again);
    for number in 3..=5 {
        sequence.settle(Outcome::Applied, number, &[], 6_000, 2);
    }
    assert!(!sequence.in_doubt());
    assert_eq!(sequence.lost_batches(), 0);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_both_sides_lost_is_counted_and_does_not_stop_the_rest() {
    let mut sequence = sequence(4);
    // The same store answered more than ten seconds after batches 1 and 2.
    sequence.forget(12_500, 1);
    assert!(sequence.settle(Outcome::Gap, 0, &[], 13_000, 2).is_none());
    let again = [(3, Order::Restart), (4, Order::Next), (5, Order::Next)];
    assert_eq!(numbers(&sequence), again);
    assert_eq!(sequence.lost_batches(), 2);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn another_store_must_have_a_batch_for_ten_seconds_of_its_own() {
    let mut sequence = sequence(2);
    // Store 2 counts batch 3, so it has the earlier ones: from now on, not from when store 1 counted them.
    sequence.settle(Outcome::Applied, 3, &[], 20_000, 2);
    sequence.forget(29_999, 2);
    assert!(sequence.retains());
    sequence.forget(30_000, 2);
    assert!(sequence.is_settled());
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every unit that was ever leased is free, in flight, consumed or returned, whatever happens in what order.
        #[test]
        fn units_are_neither_made_nor_lost(steps in proptest::collection::vec((0_u8..5, 0_u64..3_000, 1_u64..900), 1..200)) {
            let mut window = window();
            let key: Rc<str> = "key_1".into();
            let (mut leased, mut consumed, mut returned) = (0, 0, 0);
            let mut open = Vec::new();
            let mut now_ms = 1_000;
            for (step, milli, pause_ms) in steps {
                now_ms += pause_ms;
                match step {
                    0 => {
                        grant(&mut window, milli, now_ms);
                        leased += milli;
                    }
                    1 if window.can_spend(milli, now_ms, &RULES) => {
                        open.push(window.reserve(milli, now_ms, &RULES));
                    }
                    2 => if let Some(reservation) = open.pop() {
                        window.consume(reservation, 1, &key);
                    },
                    3 => if let Some(reservation) = open.pop() {
                        window.release(reservation, now_ms, &RULES);
                    },
                    _ => {
                        window.give_back(now_ms, &RULES);
                        let mut batch = Batch::default();
                        window.drain_into(&mut batch);
                        consumed += batch.consumed.iter().map(|consumed| consumed.milli).sum::<u64>();
                        returned += batch.returned.iter().map(|(_, milli)| milli).sum::<u64>();
                    }
                }
                let in_flight: u64 = open.iter().map(|reservation| reservation.milli).sum();
                prop_assert_eq!(window.held(), window.free() + in_flight);
            }
            let mut batch = Batch::default();
            window.drain_into(&mut batch);
            consumed += batch.consumed.iter().map(|consumed| consumed.milli).sum::<u64>();
            returned += batch.returned.iter().map(|(_, milli)| milli).sum::<u64>();
            prop_assert_eq!(leased, window.held() + consumed + returned);
        }
    }
}
