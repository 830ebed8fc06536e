//! Plans: drafts, rules, versions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::{metered_feature, pairs, static_feature};
use crate::world::{TestDatabase, World};

const PATH: &str = "/v1/plans";

/// A document that holds every rule, for a world with the feature `calls`.
fn document(key: &str) -> Value {
    json!({
        "key": key, "name": key, "currency": "USD", "billingCadence": "P1M",
        "phases": [{
            "key": "default", "name": "Default", "duration": null,
            "rateCards": [{
                "type": "flat_fee", "key": "calls", "name": "Calls", "featureKey": "calls",
                "billingCadence": "P1M", "price": null,
                "entitlementTemplate": {
                    "type": "metered", "issueAfterReset": 1000, "isSoftLimit": false,
                    "usagePeriod": "P1M",
                },
            }],
        }],
    })
}

/// A draft without rate cards.
pub async fn draft(world: &World, key: &str) -> Value {
    let mut plan = document(key);
    plan["phases"][0]["rateCards"] = json!([]);
    world.post(PATH, &plan).await.expect(201)
}

async fn world_with_features(database: TestDatabase) -> World {
    let world = World::new(database).await;
    metered_feature(&world, "calls").await;
    metered_feature(&world, "tokens").await;
    static_feature(&world, "chat").await;
    world
}

fn path_of(plan: &Value) -> String {
    format!("{PATH}/{}", plan["id"].as_str().unwrap())
}

async fn publish(world: &World, plan: &Value) -> Value {
    world
        .post(&format!("{}/publish", path_of(plan)), &json!({}))
        .await
        .expect(200)
}

fn change(plan: &Value, pointer: &str, value: Value) -> Value {
    let mut plan = plan.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    plan.pointer_mut(parent).unwrap()[field] = value;
    plan
}

both_databases! {
    async fn a_plan_is_drafted_published_edited_and_archived(database: TestDatabase) {
        let world = world_with_features(database).await;
        let first = world.post(PATH, &document("free")).await.expect(201);
        assert_eq!((&first["version"], &first["status"]), (&json!(1), &json!("draft")));
        assert_eq!(world.get(&path_of(&first)).await.expect(200), first);
        assert_eq!(world.get("/v1/plans/free").await.expect(200), first);
        world.post(PATH, &document("free")).await.problem(409, "plan_key_taken");

        world.clock.advance_business(Duration::from_secs(60));
        let edited = change(&first, "/name", json!("Free"));
        let edited = world.put(&path_of(&first), &edited).await.expect(200);
        assert_eq!((&edited["id"], &edited["name"]), (&first["id"], &json!("Free")));
        assert_eq!(edited["updatedAt"], "2026-01-01T00:01:00Z");

        let active = publish(&world, &first).await;
        assert_eq!((&active["status"], &active["version"]), (&json!("active"), &json!(1)));
        assert_eq!(active["publishedAt"], "2026-01-01T00:01:00Z");
        let again = world.post(&format!("{}/publish", path_of(&first)), &json!({})).await;
        again.problem(409, "plan_invalid_status");

        // An edit of what is sold is a new version, and what is sold stays as it is.
        let second = change(&active, "/name", json!("Freer"));
        let second = world.put(&path_of(&first), &second).await.expect(200);
        assert_eq!((&second["version"], &second["status"]), (&json!(2), &json!("draft")));
        assert_ne!(second["id"], first["id"]);
        assert_eq!(world.get(&path_of(&first)).await.expect(200), active);
        assert_eq!(world.get("/v1/plans/free").await.expect(200), active);
        let third = world.put(&path_of(&first), &active).await;
        third.problem(409, "plan_draft_exists");

        let second = publish(&world, &second).await;
        let first = world.get(&path_of(&first)).await.expect(200);
        assert_eq!(first["status"], "archived");
        assert_eq!(world.get("/v1/plans/free").await.expect(200), second);
        let versions = world.list("/v1/plans/free/versions", 1).await;
        assert_eq!(versions, [second.clone(), first.clone()]);

        let archive = |plan: &Value| format!("{}/archive", path_of(plan));
        world.post(&archive(&first), &json!({})).await.problem(409, "plan_invalid_status");
        let archived = world.post(&archive(&second), &json!({})).await.expect(200);
        assert_eq!(archived["status"], "archived");
        // From an archived version the plan can be taken up again.
        let third = world.put(&path_of(&first), &first).await.expect(200);
        assert_eq!((&third["version"], &third["status"]), (&json!(3), &json!("draft")));
        world.get("/v1/plans/none").await.problem(404, "plan_not_found");
    }

    async fn plans_are_listed_by_key_and_status(database: TestDatabase) {
        let world = world_with_features(database).await;
        for key in ["a", "b", "c"] {
            world.clock.advance_machine(Duration::from_millis(1));
            let plan = world.post(PATH, &document(key)).await.expect(201);
            if key != "b" {
                publish(&world, &plan).await;
            }
        }
        let keys = async |query: &str| -> Vec<String> {
            let page = world.get(&format!("{PATH}?{query}")).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys("").await, ["c", "b", "a"]);
        assert_eq!(keys("status=active").await, ["c", "a"]);
        assert_eq!(keys("status=draft").await, ["b"]);
        assert_eq!(keys("key=a").await, ["a"]);
        world.get(&format!("{PATH}?status=sold")).await.problem(400, "invalid_query");
    }

    async fn key_and_currency_are_fixed(database: TestDatabase) {
        let world = world_with_features(database).await;
        let plan = world.post(PATH, &document("free")).await.expect(201);
        let other = change(&change(&plan, "/key", json!("paid")), "/currency", json!("EUR"));
        let mistakes = world.put(&path_of(&plan), &other).await.mistakes();
        let expected = pairs([("plan_key_fixed", "$.key"), ("plan_currency_fixed", "$.currency")]);
        assert_eq!(mistakes, expected);
    }

    async fn a_draft_may_be_incomplete_and_is_published_when_it_is_not(database: TestDatabase) {
        let world = world_with_features(database).await;
        let document = json!({
            "key": "half", "name": "Half", "currency": "USD", "billingCadence": "P1M",
            "phases": [
                {"key": "trial", "name": "Trial", "duration": null, "rateCards": []},
                {"key": "flash", "name": "Flash", "duration": "PT59M", "rateCards": [
                    {"type": "usage_based", "key": "nothing", "billingCadence": "P1M"},
                    {"type": "usage_based", "featureKey": "chat", "billingCadence": null},
                    {"type": "flat_fee", "featureKey": "calls", "billingCadence": "P1W",
                     "entitlementTemplate": {"type": "metered", "usagePeriod": "-P1M"}},
                    {"type": "flat_fee", "key": "none", "billingCadence": "P5M",
                     "entitlementTemplate": {"type": "boolean"}},
                ]},
                {"key": "back", "name": "Back", "duration": "-P1M", "rateCards": [
                    {"type": "flat_fee", "featureKey": "chat", "entitlementTemplate":
                        {"type": "metered", "issueAfterReset": 1, "usagePeriod": "PT30M"}},
                    {"type": "flat_fee", "featureKey": "tokens", "entitlementTemplate":
                        {"type": "metered", "issueAfterReset": 1, "overageLimit": 1}},
                ]},
                {"key": "default", "name": "Default", "duration": "P1M", "rateCards": [
                    {"type": "flat_fee", "featureKey": "chat",
                     "entitlementTemplate": {"type": "boolean"}},
                ]},
            ],
        });
        let plan = world.post(PATH, &document).await.expect(201);
        let refused = world.post(&format!("{}/publish", path_of(&plan)), &json!({})).await;
        assert_eq!(refused.mistakes(), pairs([
            ("plan_has_non_last_phase_with_no_duration", "$.phases[0].duration"),
            ("plan_phase_has_no_rate_cards", "$.phases[0].rateCards"),
            ("plan_phase_duration_less_then_an_hour", "$.phases[1].duration"),
            ("usage_based_price_with_no_feature", "$.phases[1].rateCards[0].featureKey"),
            ("billing_cadence_invalid_value", "$.phases[1].rateCards[1].billingCadence"),
            ("usage_based_price_with_feature_and_no_meter", "$.phases[1].rateCards[1].featureKey"),
            ("plan_billing_cadence_not_compatible", "$.phases[1].rateCards[2].billingCadence"),
            ("entitlement_template_issue_after_reset_required",
                "$.phases[1].rateCards[2].entitlementTemplate"),
            ("entitlement_template_negative_usage_period",
                "$.phases[1].rateCards[2].entitlementTemplate.usagePeriod"),
            ("billing_cadence_invalid_value", "$.phases[1].rateCards[3].billingCadence"),
            ("entitlement_template_with_no_feature", "$.phases[1].rateCards[3].entitlementTemplate"),
            ("plan_phase_with_negative_duration", "$.phases[2].duration"),
            ("entitlement_template_feature_not_metered",
                "$.phases[2].rateCards[0].entitlementTemplate"),
            ("entitlement_template_usage_period_less_then_an_hour",
                "$.phases[2].rateCards[0].entitlementTemplate.usagePeriod"),
            ("overage_limit_with_hard_limit",
                "$.phases[2].rateCards[1].entitlementTemplate.overageLimit"),
            ("plan_has_last_phase_with_duration", "$.phases[3].duration"),
        ]));
        assert_eq!(world.get(&path_of(&plan)).await.expect(200), plan);

        let empty = change(&plan, "/phases", json!([]));
        world.put(&path_of(&plan), &empty).await.expect(200);
        let refused = world.post(&format!("{}/publish", path_of(&plan)), &json!({})).await;
        assert_eq!(refused.mistakes(), pairs([("plan_with_no_phases", "$.phases")]));

        let whole = change(&plan, "/phases", self::document("half")["phases"].clone());
        world.put(&path_of(&plan), &whole).await.expect(200);
        assert_eq!(publish(&world, &plan).await["status"], "active");
    }

    async fn critical_mistakes_are_refused_at_once_and_together(database: TestDatabase) {
        let world = world_with_features(database).await;
        static_feature(&world, "gone").await;
        world.post("/v1/features/gone/archive", &json!({})).await.expect(200);
        let document = json!({
            "key": "Bad Key", "currency": "usd", "billingCadence": "P1D",
            "proRatingConfig": {"mode": "some"}, "settlement": {},
            "createdAt": "2026-01-01T00:00:00Z", "alignment": {"billablesMustAlign": true},
            "phases": [
                {"key": "", "name": "", "duration": "a week", "rateCards": [
                    {"type": "free", "featureKey": "missing", "coupons": {}},
                    {"type": "flat_fee", "featureKey": "gone"},
                    {"type": "flat_fee", "key": "other", "featureKey": "chat",
                     "price": {"type": "unit", "amount": "9.99"}},
                    {"type": "flat_fee", "key": "calls", "featureKey": "calls",
                     "entitlementTemplate": {"type": "daily", "rows": 1}},
                    {"type": "flat_fee", "featureKey": "calls", "entitlementTemplate":
                        {"type": "metered", "issueAfterReset": "1.0001", "overageLimit": "-1",
                         "isSoftLimit": true, "preserveOverageAtReset": true, "config": 1}},
                    {"type": "flat_fee", "featureKey": "tokens", "entitlementTemplate":
                        {"type": "static", "config": "{not json", "isSoftLimit": true}},
                    {"type": "flat_fee"},
                ]},
                {"key": "", "name": "Again", "rateCards": [
                    {"type": "flat_fee", "featureKey": "chat", "entitlementTemplate":
                        {"type": "boolean", "config": false}}
                ]},
            ],
        });
        let cards = |rest: &str| format!("$.phases[0].rateCards{rest}");
        let template = |rest: &str| cards(&rest.replace('~', ".entitlementTemplate"));
        let mistakes = world.post(PATH, &document).await.mistakes();
        let expected = [
            ("unknown_field", cards("[0].coupons")),
            ("unknown_field", template("[3]~.rows")),
            ("unknown_field", "$.settlement".to_owned()),
            ("invalid_key", "$.key".to_owned()),
            ("resource_name_empty", "$.name".to_owned()),
            ("currency_invalid", "$.currency".to_owned()),
            ("plan_billing_cadence_invalid", "$.billingCadence".to_owned()),
            ("pro_rating_mode_unknown", "$.proRatingConfig.mode".to_owned()),
            ("resource_key_empty", "$.phases[0].key".to_owned()),
            ("resource_name_empty", "$.phases[0].name".to_owned()),
            ("invalid_duration", "$.phases[0].duration".to_owned()),
            ("rate_card_type_unknown", cards("[0].type")),
            ("rate_card_feature_not_found", cards("[0].featureKey")),
            ("rate_card_feature_archived", cards("[1].featureKey")),
            ("rate_card_only_flat_price_allowed", cards("[2].price.type")),
            ("rate_card_key_feature_key_mismatch", cards("[2].key")),
            ("entitlement_type_unknown", template("[3]~.type")),
            ("rate_card_duplicated_key", cards("[4].key")),
            ("unknown_field", template("[4]~.config")),
            ("invalid_units", template("[4]~.issueAfterReset")),
            ("invalid_units", template("[4]~.overageLimit")),
            ("preserve_overage_not_supported", template("[4]~.preserveOverageAtReset")),
            ("unknown_field", template("[5]~.isSoftLimit")),
            ("entitlement_template_invalid_json_config", template("[5]~.config")),
            ("resource_key_empty", cards("[6].key")),
            ("plan_phase_duplicated_key", "$.phases[1].key".to_owned()),
            ("resource_key_empty", "$.phases[1].key".to_owned()),
            ("entitlement_template_invalid_config",
                "$.phases[1].rateCards[0].entitlementTemplate.config".to_owned()),
        ];
        assert_eq!(mistakes, expected.map(|(code, path)| (code.to_owned(), path)));
        assert!(world.list(PATH, 50).await.is_empty());
    }

    async fn what_was_true_of_a_feature_is_checked_again_at_publication(database: TestDatabase) {
        let world = world_with_features(database).await;
        let plan = world.post(PATH, &document("free")).await.expect(201);
        world.post("/v1/features/calls/archive", &json!({})).await.expect(200);
        let refused = world.post(&format!("{}/publish", path_of(&plan)), &json!({})).await;
        let expected = pairs([("rate_card_feature_archived", "$.phases[0].rateCards[0].featureKey")]);
        assert_eq!(refused.mistakes(), expected);
        // One that is sold already keeps its features.
        metered_feature_again(&world).await;
        let plan = publish(&world, &plan).await;
        world.post("/v1/features/calls/archive", &json!({})).await.expect(200);
        assert_eq!(world.get(&path_of(&plan)).await.expect(200), plan);
        let mut reader = world.app.database.read().await.unwrap();
        let key = "free".parse().unwrap();
        let sold = tollgate::catalog::plans::find_active(&mut reader, &key).await.unwrap().unwrap();
        assert_eq!(sold.plan().unwrap().phases.len(), 1);
    }

    async fn documents_of_other_products_are_taken_as_they_are(database: TestDatabase) {
        let world = world_with_features(database).await;
        // Shapes that Zuplo's and OpenMeter's own tools write.
        let document = json!({
            "key": "trial_then_free", "name": "Trial, then free", "description": "…",
            "currency": "USD", "billingCadence": "P1M", "version": 3, "status": "active",
            "effectiveFrom": "2025-01-01T00:00:00Z", "alignment": {"billablesMustAlign": true},
            "metadata": {"zuplo_private_plan": "true"}, "paymentMethodRequired": false,
            "phases": [
                {"key": "trial", "name": "Trial", "duration": "P2W", "description": "…",
                 "metadata": {}, "rateCards": [
                    {"type": "flat_fee", "key": "calls", "name": "Calls", "featureKey": "calls",
                     "billingCadence": null, "price": null,
                     "entitlementTemplate": {"type": "metered", "issueAfterReset": "1000",
                        "issueAfterResetPriority": 1, "isSoftLimit": false,
                        "preserveOverageAtReset": false, "usagePeriod": "P2W"}},
                    {"type": "flat_fee", "key": "chat", "featureKey": "chat", "featureId": "x",
                     "billingCadence": null, "price": null,
                     "entitlementTemplate": {"type": "boolean", "config": true}},
                ]},
                {"key": "default", "name": "Default", "rateCards": [
                    {"type": "usage_based", "featureKey": "calls", "billingCadence": "P1M",
                     "entitlementTemplate": {"type": "metered", "issueAfterReset": 10000.5,
                        "isSoftLimit": true, "overageLimit": 500}},
                    {"type": "usage_based", "featureKey": "tokens", "billingCadence": "P3M",
                     "entitlementTemplate": {"type": "metered", "isSoftLimit": true}},
                    {"type": "flat_fee", "featureKey": "chat", "billingCadence": "P1D",
                     "entitlementTemplate": {"type": "static", "config": "{\"models\": [\"a\"]}"}},
                ]},
            ],
        });
        let plan = world.post(PATH, &document).await.expect(201);
        assert_eq!((&plan["version"], &plan["status"]), (&json!(1), &json!("draft")));
        let plan = publish(&world, &plan).await;
        let mut reader = world.app.database.read().await.unwrap();
        let key = "trial_then_free".parse().unwrap();
        let stored =
            tollgate::catalog::plans::find_version(&mut reader, &key, 1).await.unwrap().unwrap();
        assert_eq!(serde_json::to_value(&stored).unwrap(), plan);
        check_meaning(&stored.plan().unwrap());
    }

    async fn drafts_made_at_once_are_one(database: TestDatabase) {
        let world = world_with_features(database).await;
        let plan = world.post(PATH, &document("free")).await.expect(201);
        let active = publish(&world, &plan).await;
        let edits: Vec<_> = (0..8)
            .map(|_| {
                let (world, active) = (world.clone(), active.clone());
                tokio::spawn(async move {
                    world.put(&path_of(&active), &active).await.status.as_u16()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for edit in edits {
            statuses.push(edit.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (200, &[409; 7][..]));
    }
}

async fn metered_feature_again(world: &World) {
    let feature = json!({"key": "calls", "name": "Calls", "meterSlug": "calls"});
    world.post("/v1/features", &feature).await.expect(201);
}

/// What the document of [`documents_of_other_products_are_taken_as_they_are`] means.
fn check_meaning(plan: &tollgate::catalog::plans::Plan) {
    use tollgate::catalog::plans::{Entitlement, Limit, RateCardKind};

    let periods =
        |texts: &[&str]| -> Vec<_> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let [trial, default] = &plan.phases[..] else {
        panic!("{:?}", plan.phases)
    };
    assert_eq!(trial.duration, Some(periods(&["P2W"])[0]));
    assert_eq!(default.duration, None);
    let entitlements: Vec<_> = trial
        .rate_cards
        .iter()
        .chain(&default.rate_cards)
        .map(|card| card.feature.as_ref().unwrap().entitlement.clone().unwrap())
        .collect();
    let metered = |issue: Option<&str>, limit, period: &str| Entitlement::Metered {
        issue_after_reset: issue.map(|text| text.parse().unwrap()),
        limit,
        usage_period: period.parse().unwrap(),
    };
    let soft = |overage: Option<&str>| Limit::Soft {
        overage_limit: overage.map(|text| text.parse().unwrap()),
    };
    let expected = [
        metered(Some("1000"), Limit::Hard, "P2W"),
        Entitlement::Boolean,
        metered(Some("10000.5"), soft(Some("500")), "P1M"),
        metered(None, soft(None), "P3M"),
        Entitlement::Static {
            config: json!({"models": ["a"]}),
        },
    ];
    assert_eq!(entitlements, expected);
    let cards = &default.rate_cards;
    assert_eq!(cards[0].kind, RateCardKind::UsageBased);
    assert_eq!(
        (cards[0].key.as_str(), cards[0].name.as_str()),
        ("calls", "calls")
    );
    assert_eq!(cards[2].billing_cadence, Some(periods(&["P1D"])[0]));
}
