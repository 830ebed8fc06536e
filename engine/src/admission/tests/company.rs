//! How long claims wait for more of them.

use crate::admission::company::Company;
use crate::limits::COMPANY_MAX_MS;

const NOW_MS: u64 = 5_000;

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn claims_wait_for_as_many_as_the_last_answer_let_go_and_not_yet_finished() {
    let mut company = Company::default();
    assert!(!company.is_awaited(1, NOW_MS));
    company.begin(NOW_MS);
    let rounds = [(); 4].map(|()| company.leave());
    assert!(company.is_awaited(3, NOW_MS));
    assert!(!company.is_awaited(4, NOW_MS));
    company.come_back(Some(rounds[0]));
    company.come_back(None);
    assert!(company.is_awaited(2, NOW_MS));
    assert!(!company.is_awaited(3, NOW_MS));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn who_stays_away_holds_nobody_up_for_long() {
    let mut company = Company::default();
    company.begin(NOW_MS);
    company.leave();
    company.leave();
    assert!(company.is_awaited(1, NOW_MS + COMPANY_MAX_MS));
    assert!(!company.is_awaited(1, NOW_MS + COMPANY_MAX_MS + 1));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn an_answer_forgets_those_of_the_ones_before() {
    let mut company = Company::default();
    company.begin(NOW_MS);
    let slow = company.leave();
    company.begin(NOW_MS);
    company.leave();
    company.leave();
    company.come_back(Some(slow));
    assert!(company.is_awaited(1, NOW_MS));
    assert!(!company.is_awaited(2, NOW_MS));
}
