//! Tables for reading and writing amounts.

use super::*;

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn decimal_text_reads_exactly() {
    let table = [
        ("0", Ok(0)),
        ("1", Ok(1_000)),
        ("0.1", Ok(100)),
        ("0.001", Ok(1)),
        ("1.500000", Ok(1_500)),
        ("007", Ok(7_000)),
        ("9000000000000", Ok(9_000_000_000_000_000)),
        ("8999999999999.999", Ok(8_999_999_999_999_999)),
        ("9000000000000.001", Err(NotUnits::TooGreat)),
        ("99999999999999999999999999", Err(NotUnits::TooGreat)),
        ("0.0001", Err(NotUnits::TooFine)),
        ("-1", Err(NotUnits::Negative)),
        ("-0", Err(NotUnits::Negative)),
        ("", Err(NotUnits::NotDecimal)),
        ("-", Err(NotUnits::NotDecimal)),
        (".", Err(NotUnits::NotDecimal)),
        (".5", Err(NotUnits::NotDecimal)),
        ("5.", Err(NotUnits::NotDecimal)),
        ("1e3", Err(NotUnits::NotDecimal)),
        ("+1", Err(NotUnits::NotDecimal)),
        (" 1", Err(NotUnits::NotDecimal)),
        ("1,5", Err(NotUnits::NotDecimal)),
        ("1.2.3", Err(NotUnits::NotDecimal)),
        ("NaN", Err(NotUnits::NotDecimal)),
        ("٣", Err(NotUnits::NotDecimal)),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse().map(Units::milli), expected, "{text}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn display_is_the_shortest_decimal() {
    let table = [
        (0, "0"),
        (1, "0.001"),
        (10, "0.01"),
        (500, "0.5"),
        (1_000, "1"),
        (1_050, "1.05"),
        (12_001, "12.001"),
        (TOTAL_MAX_MILLI, "9000000000000"),
    ];
    for (milli, expected) in table {
        assert_eq!(Units(milli).to_string(), expected);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Body {
    #[serde(with = "decimal")]
    amount: Units,
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn json_numbers_and_strings_read_alike() {
    let table = [
        ("0.1", Some(100)),
        ("\"0.1\"", Some(100)),
        ("0.3", Some(300)),
        ("1e2", Some(100_000)),
        ("2000", Some(2_000_000)),
        ("1099511627775.999", Some(1_099_511_627_775_999)),
        ("-0.5", None),
        ("-1", None),
        ("0.0005", None),
        // A double this great stands for several amounts; the string for one.
        ("8999999999999.999", None),
        ("\"8999999999999.999\"", Some(8_999_999_999_999_999)),
        ("18446744073709551615", None),
        ("1e300", None),
        ("null", None),
        ("true", None),
    ];
    for (json, expected) in table {
        let read = serde_json::from_str::<Body>(&format!("{{\"amount\":{json}}}"));
        assert_eq!(
            read.ok().map(|body| body.amount.milli()),
            expected,
            "{json}"
        );
    }
    let written = serde_json::to_string(&Body {
        amount: Units(1_500),
    })
    .unwrap();
    assert_eq!(written, r#"{"amount":"1.5"}"#);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn stored_form_is_the_integer_of_milli_units() {
    assert_eq!(serde_json::to_string(&Units::ONE).unwrap(), "1000");
    assert_eq!(serde_json::from_str::<Units>("1000").unwrap(), Units::ONE);
    assert!(serde_json::from_str::<Units>("9000000000000001").is_err());
    assert!(serde_json::from_str::<Units>("-1").is_err());
    assert!(serde_json::from_str::<Units>("1.5").is_err());
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn arithmetic_stays_within_bounds() {
    assert_eq!(Units::ONE.checked_add(Units::ONE), Units::from_milli(2_000));
    assert_eq!(Units::MAX.checked_add(Units(1)), None);
    assert_eq!(Units::MAX.saturating_add(Units::MAX), Units::MAX);
    assert_eq!(Units::ZERO.checked_sub(Units(1)), None);
    assert_eq!(Units::ZERO.saturating_sub(Units(1)), Units::ZERO);
    assert_eq!(Units(3).checked_mul(u64::MAX), None);
    assert_eq!(Units(500).checked_mul(3), Units::from_milli(1_500));
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(milli in 0..=TOTAL_MAX_MILLI) {
            let units = Units(milli);
            prop_assert_eq!(units.to_string().parse(), Ok(units));
        }

        #[test]
        fn any_json_number_is_exact_or_refused(milli in 0..=TOTAL_MAX_MILLI) {
            let number: f64 = Units(milli).to_string().parse().unwrap();
            match Units::try_from(number) {
                Ok(units) => prop_assert_eq!(units, Units(milli)),
                Err(refused) => prop_assert!(
                    refused == NotUnits::Inexact || milli >= (1 << 40) * MILLI_PER_UNIT
                ),
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Units>();
        }
    }
}
