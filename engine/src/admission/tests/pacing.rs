//! How many subscriptions are settled in a second, and which first.

use crate::admission::calls::SettleBudget;
use crate::admission::chains::{ChainRef, Chains};
use crate::contract::Window;
use crate::contract::call::LostLeases;
use crate::lease::{Chain, LeaseRules};
use crate::limits::{SETTLES_AT_ONCE_MAX, SETTLES_PER_SECOND_MAX};

const RULES: LeaseRules = LeaseRules {
    ttl_ms: 5_000,
    lost_leases: LostLeases::Hold,
    flush_interval_ms: 250,
    max_unsettled_ms: 2_000,
};

/// A chain with usage since `since_ms`.
fn used(chains: &mut Chains, number: u64, since_ms: u64) -> ChainRef {
    let id = format!("sub_{number}");
    let mut chain = Chain::new(id.as_str().into(), "Ab3z".parse().unwrap(), 0);
    let described = Window {
        start_ms: 0,
        end_ms: 86_400_000,
        included: None,
        limit: None,
        carried: Vec::new(),
    };
    let window = chain.window_for(1, "calls", &described);
    let reservation = window.spend_unleased(1_000, since_ms);
    window.consume(reservation, 0, &"key_1".into());
    chain.note_usage(since_ms);
    let reference = chains.insert(chain, since_ms);
    chains.schedule(reference, &RULES);
    reference
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_waited_longest_is_settled_first_and_what_waits_is_told() {
    let mut chains = Chains::default();
    let since_ms = [7_000, 5_000, 9_000, 5_001, 6_500];
    let made: Vec<_> = (1..).zip(since_ms).collect();
    let references: Vec<_> = made
        .iter()
        .map(|(number, since_ms)| used(&mut chains, *number, *since_ms))
        .collect();
    assert_eq!(chains.oldest_unsettled_ms(), Some(5_000));
    assert_eq!(chains.next_due(6_999, &RULES), None);
    let due: Vec<_> = std::iter::from_fn(|| chains.next_due(10_000, &RULES)).collect();
    let expected = [1, 3, 4, 0].map(|at: usize| references[at]);
    assert_eq!(due, expected);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn in_a_second_only_so_many_are_settled() {
    let mut budget = SettleBudget::default();
    let mut taken = |now_ms| (0..5_000).filter(|_| budget.take(now_ms)).count() as u64;
    assert_eq!(taken(10_000), SETTLES_AT_ONCE_MAX);
    assert_eq!(taken(10_000), 0);
    let in_a_second: u64 = (1..=20).map(|tick| taken(10_000 + tick * 50)).sum();
    assert_eq!(in_a_second, SETTLES_PER_SECOND_MAX);
    // A pause is not made up for.
    assert_eq!(taken(20_000), SETTLES_AT_ONCE_MAX);
}
