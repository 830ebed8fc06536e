//! Codes and messages of refused plans: those that OpenMeter has, word for word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::{metered_feature, static_feature};
use crate::shop::text;
use crate::world::{TestDatabase, World};

/// Codes of what there is nothing of here: add-ons, custom currencies, unit configurations, v3 documents, and of
/// subscriptions that are edited item by item.
const ELSEWHERE: &[&str] = &[
    "plan_addon_incompatible_status",
    "plan_addon_max_quantity_must_be_set",
    "plan_addon_max_quantity_must_not_be_set",
    "plan_addon_currency_mismatch",
    "plan_addon_unknown_plan_phase_key",
    // Add-ons that replace cards of a plan.
    "rate_card_key_mismatch",
    "rate_card_price_type_mismatch",
    "rate_card_price_payment_term_mismatch",
    "rate_card_feature_id_mismatch",
    "rate_card_feature_key_mismatch",
    "rate_card_billing_cadence_mismatch",
    "rate_card_entitlement_template_type_mismatch",
    "rate_card_static_entitlement_template_not_allowed",
    "rate_card_percentage_discount_not_allowed",
    // Ids of features are another system's.
    "rate_card_feature_mismatch",
    "addon_rate_card_unit_config_mismatch",
    // Whether a version is sold is its status.
    "effective_period_from_after_to",
    "effective_period_from_not_set",
    "rate_card_currency_override_not_allowed",
    "rate_card_currency_override_redundant",
    "rate_card_currency_requires_price",
    "plan_multiple_fiat_currencies",
    "currency_not_found",
    "currency_cost_basis_not_found",
    // Every card is aligned with the plan, and so with every other.
    "rate_card_multiple_billing_cadence",
    "rate_card_billing_cadence_unaligned",
    "unit_config_requires_usage_based_price",
    "unit_config_not_representable",
    "rate_card_currency_not_representable",
    "currency_not_representable",
    "addon_key_empty",
    "addon_name_empty",
    "addon_invalid_instance_type",
    "addon_invalid_status",
    "addon_invalid_status_for_publish",
    "addon_invalid_ratecard_price_for_multi_instance",
    "addon_has_no_rate_cards",
    "resource_namespace_empty",
    "resource_id_empty",
    "deprecated_unaligned_subscription",
    // Told by the status of the answer, 409.
    "plan_invalid_status",
    "plan_has_incompatible_addon",
    "subscription_billing_period_queried_before_subscription_start",
    "only_single_subscription_allowed_per_customer_at_a_time",
    "only_single_subscription_item_allowed_at_a_time",
    "subscription_billing_anchor_is_required",
    "subscription_phase_start_after_is_negative",
    "subscription_phase_has_no_items",
    "subscription_phase_item_history_key_mismatch",
    "subscription_phase_item_key_mismatch_with_phase_key",
    "subscription_item_billing_override_is_only_allowed_for_billable_items",
    "subscription_item_active_from_override_relative_to_phase_start_is_negative",
    "subscription_item_active_to_override_relative_to_phase_start_is_negative",
    "subscription_item_history_overlap",
];

/// Sets the value at a JSON pointer, of which the last part may be new.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Array(items) => match last.parse::<usize>().unwrap() {
            index if index < items.len() => items[index] = value,
            _ => items.push(value),
        },
        parent => parent[last] = value,
    }
}

both_databases! {
    async fn refused_plans_say_why_as_others_do(database: TestDatabase) {
        let world = World::new(database).await;
        metered_feature(&world, "calls").await;
        for feature in ["chat", "gone"] {
            static_feature(&world, feature).await;
        }
        world.post("/v1/features/gone/archive", &json!({})).await.expect(200);
        let figures: Value = serde_json::from_str(include_str!("../cases/validation-codes.json")).unwrap();
        let codes = figures["codes"].as_array().unwrap();
        let mut messages: BTreeMap<_, _> =
            codes.iter().map(|it| (text(&it["code"]), text(&it["message"]))).collect();
        let mistakes: Value = serde_json::from_str(include_str!("../cases/plan-mistakes.json")).unwrap();
        for (number, mistake) in mistakes["cases"].as_array().unwrap().iter().enumerate() {
            let code = text(&mistake["code"]);
            let mut plan = json!({
                "key": format!("plan_{number}"), "name": "Plan", "currency": "USD", "billingCadence": "P1M",
                "phases": [{"key": "default", "name": "Default", "rateCards": [{
                    "type": "usage_based", "key": "calls", "featureKey": "calls", "billingCadence": "P1M",
                    "price": {"type": "unit", "amount": "1"},
                    "entitlementTemplate": {"type": "metered", "isSoftLimit": true},
                }]}],
            });
            set(&mut plan, text(&mistake["set"]), mistake["to"].clone());
            let mut answer = world.post("/v1/plans", &plan).await;
            if answer.status == 201 {
                // What can be worked on is told when it is to be sold.
                let path = format!("/v1/plans/plan_{number}/publish");
                answer = world.post(&path, &json!({})).await;
            }
            let problem = answer.problem(400, "invalid_document");
            let message = messages.remove(code).unwrap();
            let told = problem["errors"].as_array().unwrap();
            let expected = json!({"code": code, "path": mistake["path"], "detail": message});
            assert!(told.contains(&expected), "{expected} in {told:?}");
        }
        let left: Vec<_> = messages.into_keys().collect();
        let mut elsewhere = ELSEWHERE.to_vec();
        elsewhere.sort_unstable();
        assert_eq!(left, elsewhere);
    }
}
