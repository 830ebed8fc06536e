use super::*;
use crate::subscriptions::testing;

#[test]
fn fees_compare_by_month_and_only_what_recurs_in_advance_counts() {
    use PaymentTerm::{InAdvance, InArrears};
    let mut phase = testing::phase(None, &[]);
    for (key, cadence, amount, term) in [
        ("monthly", Some("P1M"), "10", InAdvance),
        ("yearly", Some("P1Y"), "120", InAdvance),
        ("setup", None, "500", InAdvance),
        ("later", Some("P1M"), "7", InArrears),
    ] {
        phase
            .rate_cards
            .push(testing::flat(key, cadence, amount, term));
    }
    assert_eq!(phase.fee_per_month(), Decimal::from(20));
    assert!(phase.charges_in_advance());
    let mut weekly = testing::flat("weekly", Some("P1W"), "7", InAdvance);
    phase.rate_cards = vec![weekly.clone()];
    assert_eq!(phase.fee_per_month().round_dp(4).to_string(), "30.4369");
    for (percent, fee) in [(50, "15.2184"), (100, "0")] {
        let Some(Price::Flat(price)) = &mut weekly.price else {
            panic!()
        };
        price.discount = Percentage::new(Decimal::from(percent)).unwrap();
        phase.rate_cards = vec![weekly.clone()];
        assert_eq!(phase.fee_per_month().round_dp(4).to_string(), fee);
    }
    assert!(!phase.charges_in_advance());
}

#[test]
fn only_tiers_that_come_first_and_are_free_end_elsewhere() {
    let tiers = |first| {
        let tiers = [
            (first, "", "0"),
            ("20", "", "1"),
            ("30", "", "0"),
            ("", "", "2"),
        ];
        Rate::Graduated(testing::tiers(&tiers))
    };
    let price = UsagePrice {
        free: Units::ONE.saturating_mul(7),
        ..testing::usage(tiers("10"))
    };
    let cut = UsagePrice {
        free: Units::ONE,
        ..testing::usage(tiers("1"))
    };
    assert_eq!(price.with_free_units(|_| Units::ONE), cut);
}

#[test]
fn a_plan_needs_a_payment_method_when_it_charges_unless_it_says_otherwise() {
    let mut phase = testing::phase(None, &[("calls", "P1M")]);
    assert!(!testing::plan(vec![phase.clone()]).needs_payment_method());
    let free = testing::flat("base", Some("P1M"), "0", PaymentTerm::InAdvance);
    phase.rate_cards.push(free);
    assert!(!testing::plan(vec![phase.clone()]).needs_payment_method());
    let fee = testing::flat("fee", Some("P1M"), "1", PaymentTerm::InArrears);
    phase.rate_cards.push(fee);
    let plan = testing::plan(vec![phase]);
    assert!(plan.needs_payment_method());
    let mut plan = (*plan).clone();
    plan.payment_method_required = Some(false);
    assert!(!plan.needs_payment_method());
}

#[test]
fn ends_of_tiers_rise() {
    let price = TierPrice {
        flat: None,
        unit: Some(Decimal::ONE),
    };
    let tiers = |ends: &[u64]| {
        let ends = ends.iter().map(|end| Units::from_milli(*end).unwrap());
        Tiers::new(ends.map(|end| (end, price)).collect(), price)
    };
    assert!(tiers(&[]).is_some() && tiers(&[1, 2]).is_some());
    for ends in [&[0][..], &[2, 1], &[2, 2]] {
        assert_eq!(tiers(ends), None);
    }
}

#[test]
fn a_price_is_zero_when_nothing_can_be_charged() {
    let paid = testing::usage(Rate::Unit {
        amount: Decimal::ONE,
    });
    assert!(!paid.is_zero());
    let rate = Rate::Unit {
        amount: Decimal::ZERO,
    };
    let free = UsagePrice {
        rate,
        ..paid.clone()
    };
    let given = UsagePrice {
        discount: Percentage::new(Decimal::ONE_HUNDRED).unwrap(),
        ..paid.clone()
    };
    let limited = UsagePrice {
        maximum: Some(Decimal::ZERO),
        ..paid
    };
    for price in [free, given, limited] {
        assert!(price.is_zero());
        let minimum = Decimal::ONE;
        assert!(!UsagePrice { minimum, ..price }.is_zero());
    }
}
