//! Figures of Zuplo's documentation: where subscriptions are in their life, and which changes are upgrades.

use serde_json::Value;

use super::offer::{Direction, direction};
use super::testing::{self, instant};
use super::{Access, Status};
use crate::catalog::plans::{Plan, PlanKey};

fn cases(kind: &str) -> Vec<Value> {
    let figures: Value =
        serde_json::from_str(include_str!("../../tests/cases/zuplo.json")).unwrap();
    let cases = figures["cases"].as_array().unwrap().iter();
    let cases: Vec<_> = cases.filter(|case| case["kind"] == kind).cloned().collect();
    assert!(!cases.is_empty());
    cases
}

#[test]
fn statuses_are_those_that_zuplo_documents() {
    for case in cases("lifecycle_status") {
        let at = |name: &str| case[name].as_str().map(instant);
        let plan = testing::plan(vec![testing::phase(None, &[])]);
        let mut chain = testing::chain().then(at("active_from").unwrap(), &plan);
        let subscription = &mut chain.members[0].subscription;
        subscription.active_to = at("active_to");
        let now = at("now").unwrap();
        let status = subscription.status(now);
        let expected = match case["expected"].as_str().unwrap() {
            "active" => Status::Active,
            "inactive" => Status::Inactive,
            "canceled" => Status::Canceled,
            "scheduled" => Status::Scheduled,
            other => panic!("{other}"),
        };
        assert_eq!(status, expected, "{case}");
        let has_access = Access::of(status, None, now) == Access::Granted;
        assert_eq!(has_access, case["api_access"] == true, "{case}");
    }
}

#[test]
fn the_order_of_plans_says_which_change_is_an_upgrade() {
    for case in cases("plan_change_direction") {
        let key = |value: &Value| value.as_str().unwrap().parse::<PlanKey>().unwrap();
        let order: Vec<_> = case["plan_order"]
            .as_array()
            .unwrap()
            .iter()
            .map(key)
            .collect();
        let plan = |name: &str| Plan {
            key: key(&case[name]),
            ..(*testing::plan(Vec::new())).clone()
        };
        let expected = match case["expected"].as_str().unwrap() {
            "upgrade" => Direction::Upgrade,
            "downgrade" => Direction::Downgrade,
            other => panic!("{other}"),
        };
        assert_eq!(
            direction(&order, &plan("from_plan"), &plan("to_plan")),
            expected,
            "{case}"
        );
    }
}
