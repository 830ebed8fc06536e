//! What is packed comes back, and what is not whole does not.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Pack, leading_text, pack, unpack};
use crate::limits::TOTAL_MAX_MILLI;

fn comes_back<T: Pack + PartialEq + std::fmt::Debug>(value: &T) -> usize {
    let bytes = pack(value, "sub_1");
    assert_eq!(unpack::<T>(&bytes, "sub_1").as_ref(), Some(value));
    for end in 0..bytes.len() {
        assert_eq!(
            unpack::<T>(&bytes[..end], "sub_1"),
            None,
            "{value:?} of {end} bytes"
        );
    }
    bytes.len()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn numbers_take_as_many_bytes_as_they_need() {
    for (number, bytes) in [
        (0, 1),
        (127, 1),
        (128, 2),
        (TOTAL_MAX_MILLI, 8),
        (u64::MAX, 10),
    ] {
        assert_eq!(comes_back(&number), bytes, "{number}");
    }
    for (number, bytes) in [(0, 1), (-64, 1), (64, 2), (i64::MIN, 10), (i64::MAX, 10)] {
        assert_eq!(comes_back::<i64>(&number), bytes, "{number}");
    }
    comes_back(&(u32::MAX, true));
    comes_back(&vec![Some(1_u64), None]);
    assert_eq!(unpack::<u32>(&pack(&u64::MAX, ""), ""), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_text_that_was_there_before_takes_one_byte() {
    let text = |text: &str| -> Rc<str> { text.into() };
    assert_eq!(comes_back(&text("sub_1")), 1);
    assert_eq!(comes_back(&vec![text("calls"), text("calls")]), 1 + 7 + 1);
    // However many there are.
    let many: Vec<String> = (0..1_000).map(|number| (number / 2).to_string()).collect();
    comes_back(&many);
    let config = serde_json::json!({"models": ["a", "b"], "most": 1.5});
    comes_back(&BTreeMap::from([("config".to_owned(), config)]));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_was_shared_is_shared_again() {
    let text: Rc<str> = "calls".into();
    let bytes = pack(&vec![Rc::clone(&text), text], "");
    let texts: Vec<Rc<str>> = unpack(&bytes, "").unwrap();
    assert!(Rc::ptr_eq(&texts[0], &texts[1]));
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_leading_text_is_read_alone() {
    let bytes = pack(&("sub_2".to_owned(), 7_u64), "");
    assert_eq!(leading_text(&bytes), Some("sub_2"));
    assert_eq!(leading_text(&bytes[..4]), None);
}
