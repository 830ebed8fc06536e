//! The plans that are sold in every sequence.

use serde_json::json;

use super::reckoning::{PLANS, Plan};
use super::steps::SETTINGS;
use crate::bank::give_card;
use crate::catalog::metered_feature;
use crate::shop;
use crate::till::sell_with;
use crate::world::{TestDatabase, World};

/// Sells the plans in an empty database, to a customer with a card.
pub async fn make_template(database: TestDatabase) {
    let world = World::with(database, &SETTINGS).await;
    metered_feature(&world, "calls").await;
    for plan in PLANS {
        sell(&world, plan).await;
    }
    shop::order(&world, &PLANS.map(|plan| plan.key)).await;
    shop::customer(&world, "acme").await;
    give_card(&world).await;
    world.app.database.close().await;
}

async fn sell(world: &World, plan: Plan) {
    let template =
        json!({"type": "metered", "issueAfterReset": plan.quota, "isSoftLimit": plan.unit > 0});
    let template = match plan.quota {
        0 => json!({"type": "metered", "isSoftLimit": true}),
        _ => template,
    };
    let mut calls = json!({"type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
        "entitlementTemplate": template});
    let unit = format!("0.{:04}", plan.unit);
    if plan.unit > 0 {
        let beyond = json!({"unitPrice": {"amount": unit}});
        let tiers = match plan.quota {
            0 => json!([beyond]),
            _ => {
                json!([{"upToAmount": plan.quota.to_string(), "unitPrice": {"amount": "0"}}, beyond])
            }
        };
        calls["type"] = json!("usage_based");
        calls["price"] = json!({"type": "tiered", "mode": "graduated", "tiers": tiers});
    }
    let mut cards = vec![calls.clone()];
    if plan.fee > 0 {
        let fee = format!("{}.{:02}", plan.fee / 100, plan.fee % 100);
        cards.push(
            json!({"type": "flat_fee", "key": "base", "billingCadence": "P1M",
            "price": {"type": "flat", "amount": fee}}),
        );
    }
    let mut phases = vec![json!({"key": "main", "name": "Main", "rateCards": cards})];
    if plan.trial_days > 0 {
        let trial =
            json!({"key": "trial", "name": "Trial", "duration": "P2W", "rateCards": [calls]});
        phases.insert(0, trial);
    }
    sell_with(world, plan.key, json!({ "phases": phases })).await;
}
