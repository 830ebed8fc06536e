//! Private plans, and who may subscribe to them.

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::{self, act, subscribe, text, try_subscribe};
use crate::subscriptions::world;
use crate::world::{TestDatabase, World};

async fn invite(world: &World, plan: &str, email: &str) -> Value {
    let document = json!({"plan": plan, "email": email});
    world.post("/v1/plan-invites", &document).await.expect(201)
}

async fn set_email(world: &World, email: &str) {
    let document = json!({"key": "acme", "name": "acme", "email": email});
    world.put("/v1/customers/acme", &document).await.expect(200);
}

both_databases! {
    async fn a_private_plan_is_for_who_was_invited(database: TestDatabase) {
        let world = world(database).await;
        for (key, metadata) in [
            ("inner", json!({"private": true})),
            ("zuplo", json!({"zuplo_private_plan": "true"})),
            ("open", json!({"private": false, "zuplo_private_plan": "no"})),
        ] {
            shop::sell_with(&world, key, &[(None, 5)], &json!({"metadata": metadata})).await;
        }
        for plan in ["inner", "zuplo"] {
            try_subscribe(&world, plan).await.problem(409, "plan_invite_required");
            let checkout = json!({"customer": "acme", "plan": plan});
            world.post("/v1/checkout-sessions", &checkout).await.problem(409, "plan_invite_required");
        }
        invite(&world, "inner", "Ann@Example.com").await;
        try_subscribe(&world, "inner").await.problem(409, "plan_invite_required");
        set_email(&world, "bob@example.com").await;
        try_subscribe(&world, "inner").await.problem(409, "plan_invite_required");
        set_email(&world, "ANN@example.com").await;
        try_subscribe(&world, "zuplo").await.problem(409, "plan_invite_required");
        let made = subscribe(&world, "inner").await;
        act(&world, &made, "change", &json!({"plan": "zuplo"})).await.problem(409, "plan_invite_required");
        let estimate = act(&world, &made, "change/estimate-credit", &json!({"plan": "zuplo"})).await;
        estimate.problem(409, "plan_invite_required");
        invite(&world, "zuplo", "ann@example.com").await;
        let changed = shop::change(&world, &made, "zuplo").await;
        shop::change(&world, &changed, "open").await;
    }

    async fn invites_are_made_listed_and_revoked(database: TestDatabase) {
        let world = world(database).await;
        shop::sell_with(&world, "inner", &[(None, 5)], &json!({"metadata": {"private": true}})).await;
        let first = invite(&world, "inner", "ann@example.com").await;
        let again = json!({"plan": "inner", "email": "ANN@example.com"});
        world.post("/v1/plan-invites", &again).await.problem(409, "plan_invite_exists");
        let second = invite(&world, "free", "bob@example.com").await;
        assert_eq!(world.list("/v1/plan-invites", 1).await, [second.clone(), first.clone()]);
        for (query, expected) in [
            ("plan=free", json!([second])),
            ("email=Ann@example.com", json!([first])),
            ("plan=free&email=ann@example.com", json!([])),
        ] {
            let page = world.get(&format!("/v1/plan-invites?{query}")).await.expect(200);
            assert_eq!(page["items"], expected, "{query}");
        }
        set_email(&world, "ann@example.com").await;
        let path = format!("/v1/plan-invites/{}", text(&first["id"]));
        assert_eq!(world.get(&path).await.expect(200), first);
        let revoked = world.post(&format!("{path}/revoke"), &json!({})).await.expect(200);
        assert_eq!(revoked["revokedAt"], "2026-01-01T00:00:00Z");
        assert_eq!(world.post(&format!("{path}/revoke"), &json!({})).await.expect(200), revoked);
        try_subscribe(&world, "inner").await.problem(409, "plan_invite_required");
        invite(&world, "inner", "ann@example.com").await;
        subscribe(&world, "inner").await;
        let wrong = json!({"plan": "nothing", "email": "ann@example.com"});
        assert_eq!(world.post("/v1/plan-invites", &wrong).await.mistakes(), pairs([("plan_not_found", "$.plan")]));
        let wrong = json!({"plan": "", "email": "ann"});
        assert_eq!(world.post("/v1/plan-invites", &wrong).await.mistakes(),
            pairs([("invalid_email", "$.email"), ("resource_key_empty", "$.plan")]));
        world.get("/v1/plan-invites/pinv_1").await.problem(404, "plan_invite_not_found");
    }
}
