//! Rate limits in plans: their rules, and what of them the filter is told.

use serde_json::{Value, json};
use tollgate_engine::contract::Entitlement;

use crate::both_databases;
use crate::edge::Edge;
use crate::shop::subscribe;
use crate::world::{TestDatabase, World};

fn plan(key: &str, templates: &[Value]) -> Value {
    let cards = templates.iter().enumerate().map(|(index, template)| {
        json!({"type": "flat_fee", "featureKey": format!("rate_{index}"), "entitlementTemplate": template})
    });
    let cards: Vec<_> = cards.collect();
    let phase = json!({"key": "default", "name": "Default", "duration": null, "rateCards": cards});
    json!({"key": key, "name": key, "currency": "USD", "billingCadence": "P1M", "phases": [phase]})
}

async fn features(world: &World, count: usize) {
    for index in 0..count {
        let feature = json!({"key": format!("rate_{index}"), "name": "Rate"});
        world.post("/v1/features", &feature).await.expect(201);
    }
}

both_databases! {
    async fn each_mistake_has_its_code_and_place(database: TestDatabase) {
        let world = World::new(database).await;
        let limit = |members: Value| {
            let mut template = json!({"type": "rate_limit", "units": 100, "per": "PT1S"});
            template.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            template
        };
        let code = |rest: &str| format!("entitlement_template_rate_limit_{rest}");
        let table = [
            (json!({"type": "rate_limit", "per": "PT1S"}), code("units_required"), ""),
            (limit(json!({"units": 0})), code("invalid_units"), ".units"),
            (limit(json!({"units": "0.0001"})), "invalid_units".to_owned(), ".units"),
            (limit(json!({"units": "1000000001"})), code("invalid_units"), ".units"),
            (limit(json!({"per": "PT0.5S"})), code("invalid_per"), ".per"),
            (limit(json!({"per": "PT25H"})), code("invalid_per"), ".per"),
            (limit(json!({"per": "P1M"})), code("invalid_per"), ".per"),
            (limit(json!({"per": "1s"})), code("invalid_per"), ".per"),
            (json!({"type": "rate_limit", "units": 1}), code("invalid_per"), ".per"),
            (limit(json!({"burst": 19})), code("burst_too_small"), ".burst"),
            (limit(json!({"isSoftLimit": true})), "unknown_field".to_owned(), ".isSoftLimit"),
            (limit(json!({"config": true})), "unknown_field".to_owned(), ".config"),
            (json!({"type": "boolean", "burst": 1}), "unknown_field".to_owned(), ".burst"),
        ];
        features(&world, table.len()).await;
        let templates: Vec<_> = table.iter().map(|(template, ..)| template.clone()).collect();
        let mistakes = world.post("/v1/plans", &plan("wrong", &templates)).await.mistakes();
        let mut expected: Vec<_> = table
            .iter()
            .enumerate()
            .map(|(index, (_, code, field))| {
                (code.clone(), format!("$.phases[0].rateCards[{index}].entitlementTemplate{field}"))
            })
            .collect();
        expected.sort();
        let mut mistakes = mistakes;
        mistakes.sort();
        assert_eq!(mistakes, expected);
    }

    async fn a_document_says_what_the_plan_gives(database: TestDatabase) {
        let edge = Edge::open(database).await;
        features(&edge.world, 2).await;
        let templates = [
            json!({"type": "rate_limit", "units": 100, "per": "PT1S", "burst": 200}),
            json!({"type": "rate_limit", "units": "0.5", "per": "PT1M"}),
        ];
        let shown = edge.world.post("/v1/plans", &plan("fast", &templates)).await.expect(201);
        let template = &shown["phases"][0]["rateCards"][0]["entitlementTemplate"];
        assert_eq!((&template["units"], &template["per"]), (&json!("100"), &json!("PT1S")));
        edge.world.post("/v1/plans/fast/publish", &json!({})).await.expect(200);
        let subscription = subscribe(&edge.world, "fast").await;
        edge.publish().await;
        let document = edge.access(&edge.chain(&subscription).await).unwrap();
        let units = |text: &str| text.parse().unwrap();
        let limit = |number, per_ms, burst| Entitlement::RateLimit {
            units: units(number),
            per_ms,
            burst: units(burst),
        };
        let given = &document.terms[0].entitlements;
        assert_eq!(given["rate_0"], limit("100", 1_000, "200"));
        assert_eq!(given["rate_1"], limit("0.5", 60_000, "0.5"));
        let fields = document.fields();
        let from_ms = document.terms[0].from_ms;
        assert_eq!(fields["r/rate_0"], format!("{from_ms},,100000,1000,200000"));
    }
}
