use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn day(day: i64) -> BusinessInstant {
    BusinessInstant::from_unix_ms((100 + day) * 86_400_000)
}

fn stretch(charge: Charge, from: i64, to: Option<i64>) -> Stretch {
    Stretch {
        start: day(from),
        end: to.map(day),
        charge,
    }
}

fn standing(
    status: PaymentStatus,
    due_since: Option<i64>,
    first_payment: FirstPayment,
) -> Standing {
    Standing {
        status,
        due_since: due_since.map(day),
        first_payment,
    }
}

const TERMS: Terms = Terms {
    grace: Duration::from_secs(3 * 86_400),
    before_first_payment: BeforeFirstPayment::Closed,
    payment_method: PaymentMethod::OnFile,
};

/// From which day to which access is closed, and why.
fn closed(
    standing: &Standing,
    terms: &Terms,
    stretches: &[Stretch],
    now: i64,
) -> Option<(i64, Option<i64>, BlockCode)> {
    let day_of = |at: BusinessInstant| at.unix_ms() / 86_400_000 - 100;
    let block = block(standing, terms, stretches, day(now))?;
    Some((day_of(block.from), block.until.map(day_of), block.code))
}

#[test]
fn who_has_paid_before_has_grace() {
    use BlockCode::{PaymentOverdue, PaymentUncollectible};
    use PaymentStatus::{Failed, NotRequired, Paid, Pending, Uncollectible};
    let paid_plan = [stretch(Charge::Fee, 0, None)];
    for (status, due, expected) in [
        (Paid, None, None),
        (NotRequired, None, None),
        (Pending, None, None),
        (Pending, Some(30), Some((33, None, PaymentOverdue))),
        (Failed, Some(30), Some((33, None, PaymentOverdue))),
        (
            Uncollectible,
            Some(30),
            Some((0, None, PaymentUncollectible)),
        ),
    ] {
        let standing = standing(status, due, FirstPayment::Made);
        // The answer does not depend on the time it is asked for.
        for now in [0, 31, 40] {
            assert_eq!(
                closed(&standing, &TERMS, &paid_plan, now),
                expected,
                "{status:?}"
            );
        }
    }
    let at_once = Terms {
        grace: Duration::ZERO,
        ..TERMS
    };
    let failed = standing(Failed, Some(30), FirstPayment::Made);
    assert_eq!(
        closed(&failed, &at_once, &paid_plan, 30),
        Some((30, None, PaymentOverdue))
    );
}

#[test]
fn before_the_first_payment_there_is_no_access() {
    use BlockCode::{PaymentOverdue, PaymentRequired, PaymentUncollectible};
    use Charge::{Fee, FeeAfterTrial, Nothing, Usage};
    use PaymentMethod::{Missing, OnFile};
    use PaymentStatus::{Failed, NotRequired, Paid, Pending, Uncollectible};
    let fee = vec![stretch(Fee, 0, None)];
    let trial = vec![
        stretch(Nothing, 0, Some(14)),
        stretch(FeeAfterTrial, 14, None),
    ];
    let usage = vec![stretch(Usage, 0, None)];
    let required = |from| Some((from, None, PaymentRequired));
    for (stretches, method, status, due, expected) in [
        // Before there is an invoice, the same holds as before it is paid.
        (&fee, OnFile, NotRequired, None, required(0)),
        (&fee, OnFile, Pending, None, required(0)),
        (&fee, OnFile, Failed, Some(1), required(1)),
        (&fee, OnFile, Paid, None, None),
        (
            &fee,
            OnFile,
            Uncollectible,
            Some(1),
            Some((0, None, PaymentUncollectible)),
        ),
        // The end of a trial waits for no payment that can be taken, but for any other.
        (&trial, OnFile, NotRequired, None, None),
        (&trial, OnFile, Pending, None, None),
        (&trial, OnFile, Failed, Some(15), required(15)),
        (&trial, Missing, NotRequired, None, required(14)),
        (&trial, Missing, Pending, None, required(14)),
        // What was used is charged afterwards.
        (&usage, OnFile, NotRequired, None, None),
        (&usage, OnFile, Pending, None, None),
        (&usage, OnFile, Failed, Some(31), required(31)),
        (&usage, Missing, NotRequired, None, None),
        (&usage, Missing, Pending, None, required(0)),
    ] {
        let terms = Terms {
            payment_method: method,
            ..TERMS
        };
        let open = standing(status, due, FirstPayment::ToCome);
        let case = format!("{stretches:?} {method:?} {status:?}");
        assert_eq!(closed(&open, &terms, stretches, 0), expected, "{case}");
        let lenient = Terms {
            before_first_payment: BeforeFirstPayment::Grace,
            ..terms
        };
        let expected = match status {
            Uncollectible => expected,
            _ => due.map(|due| (due + 3, None, PaymentOverdue)),
        };
        assert_eq!(closed(&open, &lenient, stretches, 0), expected, "{case}");
    }
}

#[test]
fn free_plans_and_trials_are_never_blocked() {
    use Charge::{Fee, FeeAfterTrial, Nothing};
    let failed = standing(PaymentStatus::Failed, Some(10), FirstPayment::Made);
    let given_up = standing(PaymentStatus::Uncollectible, Some(10), FirstPayment::Made);
    let free = [stretch(Nothing, 0, None)];
    assert_eq!(closed(&failed, &TERMS, &free, 20), None);
    assert_eq!(closed(&given_up, &TERMS, &free, 20), None);
    // From a paid plan to a free one, and back to a paid one after a trial.
    let there_and_back = [
        stretch(Fee, 0, Some(30)),
        stretch(Nothing, 30, Some(60)),
        stretch(FeeAfterTrial, 60, None),
    ];
    let overdue = |from, until| Some((from, until, BlockCode::PaymentOverdue));
    assert_eq!(
        closed(&failed, &TERMS, &there_and_back, 20),
        overdue(13, Some(30))
    );
    assert_eq!(
        closed(&failed, &TERMS, &there_and_back, 30),
        overdue(60, None)
    );
}

#[test]
fn the_customers_days_come_before_the_plans_and_those_before_the_configured() {
    let metadata = |entries: Value| -> Metadata { serde_json::from_value(entries).unwrap() };
    let none = Metadata::default();
    for (customer, plan, expected) in [
        (json!({}), json!({}), 5),
        (json!({}), json!({"maxPaymentOverdueDays": 0}), 0),
        (json!({}), json!({"zuplo_max_payment_overdue_days": "7"}), 7),
        (
            json!({"maxPaymentOverdueDays": 9}),
            json!({"maxPaymentOverdueDays": 7}),
            9,
        ),
        (
            json!({"maxPaymentOverdueDays": "soon"}),
            json!({"maxPaymentOverdueDays": 7}),
            7,
        ),
        (
            json!({"maxPaymentOverdueDays": -1}),
            json!({"maxPaymentOverdueDays": 1.5}),
            5,
        ),
        (json!({"maxPaymentOverdueDays": 366}), json!({}), 5),
    ] {
        let days =
            grace(&metadata(customer.clone()), &metadata(plan.clone()), 5).as_secs() / 86_400;
        assert_eq!(days, expected, "{customer} {plan}");
    }
    assert_eq!(grace(&none, &none, 3), Duration::from_secs(3 * 86_400));
}

fn any_stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let charge = prop_oneof![
        Just(Charge::Nothing),
        Just(Charge::Usage),
        Just(Charge::Fee),
        Just(Charge::FeeAfterTrial)
    ];
    (
        proptest::collection::vec((charge, 1..40_i64, 0..5_i64), 1..6),
        any::<bool>(),
    )
        .prop_map(|(parts, ends)| {
            let mut at = 0;
            let mut stretches: Vec<_> = parts
                .into_iter()
                .map(|(charge, length, gap)| {
                    at += length + gap;
                    stretch(charge, at - length, Some(at))
                })
                .collect();
            if let Some(last) = stretches.last_mut().filter(|_| !ends) {
                last.end = None;
            }
            stretches
        })
}

fn any_standing() -> impl Strategy<Value = Standing> {
    use PaymentStatus::{Failed, NotRequired, Paid, Pending, Uncollectible};
    let status = prop::sample::select(vec![Paid, NotRequired, Pending, Failed, Uncollectible]);
    let first = prop_oneof![Just(FirstPayment::ToCome), Just(FirstPayment::Made)];
    (status, proptest::option::of(0..100_i64), first)
        .prop_map(|(status, due, first)| standing(status, due, first))
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let before = prop_oneof![
        Just(BeforeFirstPayment::Closed),
        Just(BeforeFirstPayment::Grace)
    ];
    let method = prop_oneof![Just(PaymentMethod::OnFile), Just(PaymentMethod::Missing)];
    (0..20_u64, before, method).prop_map(|(days, before_first_payment, payment_method)| Terms {
        grace: DAY * u32::try_from(days).unwrap(),
        before_first_payment,
        payment_method,
    })
}

fn at(stretches: &[Stretch], now: BusinessInstant) -> Option<&Stretch> {
    stretches
        .iter()
        .find(|stretch| stretch.start <= now && stretch.end.is_none_or(|end| now < end))
}

proptest! {
    #[test]
    fn what_is_free_is_open(standing in any_standing(), terms in any_terms(), stretches in any_stretches(), now in 0..200_i64) {
        let now = day(now);
        let block = block(&standing, &terms, &stretches, now);
        if at(&stretches, now).is_some_and(|stretch| stretch.charge == Charge::Nothing) {
            prop_assert!(block.is_none_or(|block| !block.holds(now)));
        }
    }

    #[test]
    fn more_grace_never_closes_earlier(standing in any_standing(), terms in any_terms(), stretches in any_stretches(), now in 0..200_i64) {
        let longer = Terms { grace: terms.grace + DAY, ..terms };
        let holds = |terms| block(&standing, terms, &stretches, day(now)).is_some_and(|block| block.holds(day(now)));
        prop_assert!(holds(&terms) || !holds(&longer));
    }

    #[test]
    fn a_payment_opens_and_only_time_and_failure_close(standing in any_standing(), terms in any_terms(), stretches in any_stretches(), now in 0..200_i64) {
        let paid = Standing { status: PaymentStatus::Paid, ..standing };
        prop_assert_eq!(block(&paid, &terms, &stretches, day(now)), None);
        // What was said before holds when its time has come: nobody need write again until a free plan begins.
        let before = block(&standing, &terms, &stretches, day(now));
        for later in now..200 {
            let said = before.is_some_and(|block| block.from <= day(later));
            let until = before.and_then(|block| block.until);
            if until.is_some_and(|until| until <= day(later)) {
                break;
            }
            if at(&stretches, day(later)).is_some_and(|stretch| stretch.charge != Charge::Nothing) {
                let then = block(&standing, &terms, &stretches, day(later));
                prop_assert_eq!(said, then.is_some_and(|block| block.holds(day(later))));
            }
        }
    }
}

#[test]
fn the_same_for_the_filter() {
    let block = Block {
        from: day(3),
        until: None,
        code: BlockCode::PaymentOverdue,
    };
    assert_eq!(block.contract().from_ms, day(3).unix_ms());
    assert!(!block.holds(day(2)) && block.holds(day(3)));
}

/// Figures of Zuplo's documentation: the customer's days, else the plan's, else the configured ones.
#[test]
fn days_of_grace_are_those_that_zuplo_documents() {
    let zuplo: Value =
        serde_json::from_str(include_str!("../../../tests/cases/zuplo.json")).unwrap();
    let billing: Value =
        serde_json::from_str(include_str!("../../../tests/cases/billing.json")).unwrap();
    let metadata = |days: &Value| -> Metadata {
        let days = match days {
            Value::Number(days) => json!(days.to_string()),
            other => other.clone(),
        };
        let metadata = match days.is_null() {
            true => json!({}),
            false => json!({"zuplo_max_payment_overdue_days": days}),
        };
        serde_json::from_value(metadata).unwrap()
    };
    let mut checked = 0;
    for case in zuplo["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["kind"] == "grace_days")
    {
        let bucket = case["bucket"].as_u64().unwrap().try_into().unwrap();
        let (customer, plan) = (
            metadata(&case["customer_metadata"]),
            metadata(&case["plan_metadata"]),
        );
        let days = grace(&customer, &plan, bucket).as_secs() / 86_400;
        assert_eq!(days, case["expected_days"], "{case}");
        checked += 1;
    }
    let is_grace = |it: &&Value| it["category"] == "grace.resolution";
    for case in billing["cases"].as_array().unwrap().iter().filter(is_grace) {
        let bucket = case["inputs"]["bucket"]
            .as_u64()
            .unwrap()
            .try_into()
            .unwrap();
        let days = grace(
            &metadata(&Value::Null),
            &metadata(&case["inputs"]["plan"]),
            bucket,
        );
        assert_eq!(
            days.as_secs() / 86_400,
            case["expected"]["grace_days"],
            "{case}"
        );
        checked += 1;
    }
    assert_eq!(checked, 3);
}
