//! Plans as Zuplo documents them: taken unchanged, and meaning the same.

use serde_json::{Value, json};
use tollgate::catalog::plans::find_version;

use crate::both_databases;
use crate::catalog::{metered_feature, static_feature};
use crate::shop::{publish, text};
use crate::world::{TestDatabase, World};

async fn world(database: TestDatabase) -> World {
    let world = World::new(database).await;
    metered_feature(&world, "api_calls").await;
    for feature in ["monthly_fee", "priority_support"] {
        static_feature(&world, feature).await;
    }
    world
}

fn cases() -> Vec<Value> {
    let figures: Value = serde_json::from_str(include_str!("../cases/zuplo-plans.json")).unwrap();
    figures["cases"].as_array().unwrap().clone()
}

/// Whether everything that was sent is shown.
fn contains(shown: &Value, sent: &Value) -> bool {
    match (shown, sent) {
        (Value::Object(shown), Value::Object(sent)) => sent
            .iter()
            .all(|(name, sent)| contains(shown.get(name).unwrap_or(&Value::Null), sent)),
        (Value::Array(shown), Value::Array(sent)) => {
            shown.len() == sent.len() && shown.iter().zip(sent).all(|(a, b)| contains(a, b))
        }
        // Numbers are shown as texts.
        (Value::String(shown), Value::Number(sent)) => *shown == sent.to_string(),
        (shown, sent) => shown == sent,
    }
}

both_databases! {
    async fn documented_plans_are_taken_unchanged_and_mean_the_same(database: TestDatabase) {
        let world = world(database).await;
        for case in cases() {
            let (shows, plan) = (text(&case["shows"]), &case["plan"]);
            let draft = world.post("/v1/plans", plan).await.expect(201);
            assert!(contains(&draft, plan), "{shows}: {draft}");
            publish(&world, &draft).await;
            let mut reader = world.app.database.read().await.unwrap();
            let key = text(&plan["key"]).parse().unwrap();
            let sold = find_version(&mut reader, &key, 1).await.unwrap().unwrap().plan().unwrap();
            drop(reader);
            let last = sold.phases.last().unwrap();
            let fee = last.fee_per_month().normalize().to_string();
            assert_eq!((fee.as_str(), sold.needs_payment_method()),
                (text(&case["feePerMonth"]), case["paymentMethod"] == true), "{shows}");
            let phases = plan["phases"].as_array().unwrap();
            let cards = phases.last().unwrap()["rateCards"].as_array().unwrap();
            for quote in case["quotes"].as_array().unwrap() {
                let named = |card: &&Value| [&card["key"], &card["featureKey"]].contains(&&quote["card"]);
                let document = json!({"currency": plan["currency"], "quantity": quote["quantity"],
                    "rateCard": cards.iter().find(named).unwrap()});
                let quoted = world.post("/v1/quote", &document).await.expect(200);
                assert_eq!(quoted["total"], quote["total"], "{shows}: {quote}");
            }
        }
    }
}
