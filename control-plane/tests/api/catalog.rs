//! Meters and features.

use serde_json::{Value, json};

use crate::both_databases;
use crate::world::{TestDatabase, World};

/// A meter with its feature.
pub async fn metered_feature(world: &World, slug: &str) {
    world
        .post("/v1/meters", &json!({"slug": slug, "name": slug}))
        .await
        .expect(201);
    let feature = json!({"key": slug, "name": slug, "meterSlug": slug});
    world.post("/v1/features", &feature).await.expect(201);
}

/// A feature without a meter.
pub async fn static_feature(world: &World, key: &str) {
    world
        .post("/v1/features", &json!({"key": key, "name": key}))
        .await
        .expect(201);
}

pub fn pairs<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected
        .map(|(code, path)| (code.to_owned(), path.to_owned()))
        .into()
}

both_databases! {
    async fn a_meter_is_made_found_and_archived(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({
            "slug": "api_requests", "name": "API requests", "eventType": "requests",
            "aggregation": "SUM", "valueProperty": "$.total",
        });
        let made = world.post("/v1/meters", &document).await.expect(201);
        for (field, value) in document.as_object().unwrap() {
            assert_eq!(&made[field], value);
        }
        assert_eq!(made["createdAt"], "2026-01-01T00:00:00Z");
        assert_eq!(made["archivedAt"], Value::Null);
        for name in ["api_requests", made["id"].as_str().unwrap()] {
            assert_eq!(world.get(&format!("/v1/meters/{name}")).await.expect(200), made);
        }
        assert_eq!(world.list("/v1/meters", 1).await, [made]);
        let archived = world.post("/v1/meters/api_requests/archive", &json!({})).await.expect(200);
        assert_eq!(archived["archivedAt"], "2026-01-01T00:00:00Z");
        assert_eq!(world.get("/v1/meters/api_requests").await.expect(200), archived);
        // Its usage stays under the slug, which therefore stays taken.
        world.post("/v1/meters", &document).await.problem(409, "meter_slug_taken");
        world.get("/v1/meters/unknown").await.problem(404, "meter_not_found");
    }

    async fn a_meter_needs_a_slug_and_sums(database: TestDatabase) {
        let world = World::new(database).await;
        let made = world.post("/v1/meters", &json!({"slug": "t", "name": "T"})).await.expect(201);
        assert_eq!((&made["eventType"], &made["aggregation"]), (&json!("t"), &json!("SUM")));
        let long = "x".repeat(65);
        for slug in ["Api", "a-b", "a b", "ä", "a.b", &long] {
            let document = json!({"slug": slug, "name": "x"});
            let mistakes = world.post("/v1/meters", &document).await.mistakes();
            assert_eq!(mistakes, pairs([("invalid_key", "$.slug")]), "{slug}");
        }
        let document = json!({"aggregation": "MEAN", "colour": 1, "groupBy": {}});
        let mistakes = world.post("/v1/meters", &document).await.mistakes();
        assert_eq!(mistakes, pairs([
            ("unknown_field", "$.colour"),
            ("resource_key_empty", "$.slug"),
            ("resource_name_empty", "$.name"),
            ("aggregation_unknown", "$.aggregation"),
        ]));
        for (aggregation, property, expected) in [
            ("SUM", Some("tokens"), Some("invalid_value_property")),
            ("SUM", Some("$.tokens"), None),
            ("COUNT", Some("$.tokens"), Some("value_property_not_used")),
            ("COUNT", None, None),
            ("MAX", None, Some("value_property_missing")),
            ("LATEST", Some("$..tokens"), Some("invalid_value_property")),
            ("UNIQUE_COUNT", Some("$['user'].id"), None),
        ] {
            let slug = format!("{}_{}", aggregation.to_lowercase(), expected.is_some());
            let document = json!({"slug": slug, "name": "x", "aggregation": aggregation, "valueProperty": property});
            let answer = world.post("/v1/meters", &document).await;
            match expected {
                Some(code) => assert_eq!(answer.mistakes(), pairs([(code, "$.valueProperty")])),
                None => drop(answer.expect(201)),
            }
        }
    }

    async fn a_metered_features_key_is_its_meters_slug(database: TestDatabase) {
        let world = World::new(database).await;
        metered_feature(&world, "tokens").await;
        let document = json!({"key": "calls", "name": "Calls", "meterSlug": "tokens"});
        let mistakes = world.post("/v1/features", &document).await.mistakes();
        assert_eq!(mistakes, pairs([("feature_key_meter_slug_mismatch", "$.meterSlug")]));
        let document = json!({"key": "calls", "name": "Calls", "meterSlug": "calls"});
        let mistakes = world.post("/v1/features", &document).await.mistakes();
        assert_eq!(mistakes, pairs([("meter_not_found", "$.meterSlug")]));
        let document = json!({"key": "tokens", "name": "Tokens"});
        world.post("/v1/features", &document).await.problem(409, "feature_key_taken");
    }

    async fn a_feature_is_archived_and_its_key_used_again(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({"key": "chat", "name": "Chat", "metadata": {"tier": 1, "x": "y"}});
        let first = world.post("/v1/features", &document).await.expect(201);
        assert_eq!(first["metadata"], document["metadata"]);
        let archived = world.post("/v1/features/chat/archive", &json!({})).await.expect(200);
        assert_eq!(archived["archivedAt"], "2026-01-01T00:00:00Z");
        let again = world.post("/v1/features", &document).await.expect(201);
        assert_ne!(again["id"], first["id"]);
        assert_eq!(world.get("/v1/features/chat").await.expect(200), again);
        let path = format!("/v1/features/{}", first["id"].as_str().unwrap());
        assert_eq!(world.get(&path).await.expect(200), archived);
        assert_eq!(world.list("/v1/features", 1).await.len(), 2);
        world.get("/v1/features/nothing").await.problem(404, "feature_not_found");
    }

    async fn a_meter_in_use_is_not_archived(database: TestDatabase) {
        let world = World::new(database).await;
        metered_feature(&world, "tokens").await;
        let archive = "/v1/meters/tokens/archive";
        world.post(archive, &json!({})).await.problem(409, "meter_in_use");
        world.post("/v1/features/tokens/archive", &json!({})).await.expect(200);
        world.post(archive, &json!({})).await.expect(200);
        let document = json!({"key": "tokens", "name": "Tokens", "meterSlug": "tokens"});
        let mistakes = world.post("/v1/features", &document).await.mistakes();
        assert_eq!(mistakes, pairs([("meter_archived", "$.meterSlug")]));
    }

    async fn metadata_is_plain_and_bounded(database: TestDatabase) {
        let world = World::new(database).await;
        let long = "x".repeat(501);
        let document = json!({"key": "a", "name": "A",
            "metadata": {"list": [1], "long": long, "none": null, "ok": true}});
        let mistakes = world.post("/v1/features", &document).await.mistakes();
        assert_eq!(mistakes, pairs([
            ("invalid_metadata", "$.metadata.list"),
            ("invalid_metadata", "$.metadata.long"),
            ("invalid_metadata", "$.metadata.none"),
        ]));
        let many: serde_json::Map<_, _> = (0..51).map(|n| (n.to_string(), json!(n))).collect();
        let document = json!({"key": "a", "name": "A", "metadata": many});
        let mistakes = world.post("/v1/features", &document).await.mistakes();
        assert_eq!(mistakes, pairs([("invalid_metadata", "$.metadata")]));
    }
}
