//! API keys: issued once, kept as hashes, revoked and rolled.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate::admin::Scope;
use tollgate::app::{Role, Server};
use tollgate::clock::Clock;
use tollgate::jobs;
use tollgate_engine::api_key::{ApiKey, Environment, KeyHash};

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::{self, act, issue, subscribe, text};
use crate::world::{TestDatabase, World};

async fn subscribed(database: TestDatabase) -> (World, Value) {
    let world = World::new(database).await;
    shop::open(&world).await;
    let subscription = subscribe(&world, "free").await;
    (world, subscription)
}

async fn key(world: &World, key: &Value) -> Value {
    let path = format!("/v1/keys/{}", text(&key["id"]));
    world.get(&path).await.expect(200)
}

/// What every answer but the first shows of a key.
fn shown(issued: &Value) -> Value {
    let mut shown = issued.clone();
    shown.as_object_mut().unwrap().remove("secret");
    shown.as_object_mut().unwrap().remove("secretAlreadyShown");
    shown
}

/// Everything about keys that the database holds as text.
async fn kept(world: &World) -> String {
    let mut reader = world.app.database.read().await.unwrap();
    let mut kept = String::new();
    for texts in [
        "SELECT hash || ' ' || last_characters || ' ' || COALESCE(name, '') FROM api_keys",
        "SELECT body FROM idempotency_keys",
        "SELECT payload FROM outbox",
    ] {
        let rows: Vec<String> = sqlx::query_scalar(texts)
            .fetch_all(&mut *reader)
            .await
            .unwrap();
        kept.extend(rows);
    }
    kept
}

/// Puts copies of a key beside it, with ids and hashes that nobody knows.
async fn copy(world: &World, id: &str, copies: u32) {
    let mut tx = world.app.database.begin_write().await.unwrap();
    for copy in 0..copies {
        sqlx::query(
            "INSERT INTO api_keys (id, chain_id, hash, bypass, last_characters, version, created_at_ms)
             SELECT id || $1, chain_id, $1, bypass, last_characters, version, created_at_ms
             FROM api_keys WHERE id = $2",
        )
        .bind(copy.to_string())
        .bind(id)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
}

both_databases! {
    async fn a_key_is_shown_once_and_kept_as_a_hash(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let document = json!({"name": "server", "subject": "team 7", "bypass": true});
        let path = format!("/v1/subscriptions/{}/keys", text(&subscription["id"]));
        let issued = world.post_with_key(&path, "once", &document).await.expect(201);
        let secret = text(&issued["secret"]);
        let parsed = ApiKey::parse(secret, Environment::Test).unwrap();
        assert_eq!(text(&issued["prefix"]), format!("tg_test_{}", parsed.tag()));
        assert!(secret.ends_with(text(&issued["lastCharacters"])));
        assert_eq!(issued["secretAlreadyShown"], false);
        assert_eq!(issued["chain"], subscription["id"]);
        assert_eq!((&issued["name"], &issued["subject"]), (&json!("server"), &json!("team 7")));
        assert_eq!(key(&world, &issued).await, shown(&issued));

        let again = world.post_with_key(&path, "once", &document).await.expect(201);
        assert_eq!((&again["secret"], &again["secretAlreadyShown"]), (&Value::Null, &json!(true)));
        assert_eq!(shown(&again), shown(&issued));
        assert_eq!(world.list(&path, 1).await, [shown(&issued)]);

        let kept = kept(&world).await;
        assert!(!kept.contains(secret) && !kept.contains(&secret[12..38]));
        assert!(kept.contains(&KeyHash::of(secret).to_string()));
    }

    async fn a_wrong_document_is_refused_with_every_mistake(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let wrong = json!({
            "name": "", "subject": " x", "expiresAt": "2026-01-01T00:00:00Z", "secret": "mine",
        });
        assert_eq!(
            act(&world, &subscription, "keys", &wrong).await.mistakes(),
            pairs([
                ("unknown_field", "$.secret"),
                ("invalid_name", "$.name"),
                ("invalid_subject", "$.subject"),
                ("expiry_in_the_past", "$.expiresAt"),
            ])
        );
        for subject in ["", "snowman \u{2603}", "line\nbreak", &"x".repeat(257)] {
            let document = json!({"subject": subject});
            let refused = act(&world, &subscription, "keys", &document).await.mistakes();
            assert_eq!(refused, pairs([("invalid_subject", "$.subject")]), "{subject:?}");
        }
        let nobody = world.post("/v1/subscriptions/nobody/keys", &json!({})).await;
        nobody.problem(404, "subscription_not_found");
        world.get("/v1/keys/key_x").await.problem(404, "key_not_found");
    }

    async fn a_key_is_not_long_withheld_while_redis_is_away(database: TestDatabase) {
        let world = World::at(database, &[], Clock::system()).await;
        shop::open(&world).await;
        let subscription = subscribe(&world, "free").await;
        // Nothing answers where this Redis should be.
        let server = Server::start(world.app.clone(), &[Role::Jobs], None).await.unwrap();
        let held = async || {
            let mut reader = world.app.database.read().await.unwrap();
            jobs::is_held(&mut reader, "publish", world.clock.machine_now()).await.unwrap()
        };
        while !held().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let asked = Instant::now();
        issue(&world, &subscription).await;
        let waited = asked.elapsed();
        assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
        server.shut_down().await.unwrap();
    }

    async fn keys_belong_to_the_chain(database: TestDatabase) {
        let (world, first) = subscribed(database).await;
        let one = issue(&world, &first).await;
        let second = shop::change(&world, &first, "big").await;
        let two = issue(&world, &second).await;
        assert_eq!(one["prefix"], two["prefix"]);
        assert_ne!(one["secret"], two["secret"]);
        for subscription in [&first, &second] {
            let path = format!("/v1/subscriptions/{}/keys", text(&subscription["id"]));
            assert_eq!(world.list(&path, 1).await, [shown(&two), shown(&one)]);
        }
        act(&world, &second, "cancel", &json!({})).await.expect(200);
        act(&world, &second, "keys", &json!({})).await.problem(409, "subscription_ended");
        // Who comes back finds the keys of before.
        let third = subscribe(&world, "free").await;
        assert_eq!(issue(&world, &third).await["prefix"], one["prefix"]);
    }

    async fn a_key_is_revoked_once(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let issued = issue(&world, &subscription).await;
        let path = format!("/v1/keys/{}/revoke", text(&issued["id"]));
        let revoked = world.post(&path, &json!({})).await.expect(200);
        assert_eq!(revoked["revokedAt"], "2026-01-01T00:00:00Z");
        world.clock.advance_business(Duration::from_secs(60));
        assert_eq!(world.post(&path, &json!({})).await.expect(200), revoked);
        assert_eq!(key(&world, &issued).await, revoked);
        let roll = format!("/v1/keys/{}/roll", text(&issued["id"]));
        world.post(&roll, &json!({})).await.problem(409, "key_not_active");
    }

    async fn a_rolled_key_goes_on_for_the_overlap(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let document = json!({"name": "n", "subject": "s", "expiresAt": "2026-02-01T00:00:00Z"});
        let old = act(&world, &subscription, "keys", &document).await.expect(201);
        let path = format!("/v1/keys/{}/roll", text(&old["id"]));
        let new = world.post_with_key(&path, "r", &json!({"overlap": "PT24H"})).await.expect(201);
        assert_ne!(new["secret"], old["secret"]);
        for field in ["name", "subject", "expiresAt", "chain", "prefix"] {
            assert_eq!(new[field], old[field], "{field}");
        }
        assert_eq!(key(&world, &old).await["expiresAt"], "2026-01-02T00:00:00Z");
        let again = world.post_with_key(&path, "r", &json!({"overlap": "PT24H"})).await.expect(201);
        assert_eq!((&again["id"], &again["secret"]), (&new["id"], &Value::Null));
        // Without an overlap it ends at once, and a longer one never gives it back.
        let path = format!("/v1/keys/{}/roll", text(&new["id"]));
        world.post(&path, &json!({"overlap": "P60D"})).await.expect(201);
        assert_eq!(key(&world, &new).await["expiresAt"], "2026-02-01T00:00:00Z");
        world.post(&path, &json!({})).await.expect(201);
        assert_eq!(key(&world, &new).await["expiresAt"], "2026-01-01T00:00:00Z");
        world.post(&path, &json!({})).await.problem(409, "key_not_active");
        for overlap in ["1 day", "-PT1H", "P2Y", "", "PT"] {
            let refused = world.post(&path, &json!({"overlap": overlap})).await.mistakes();
            assert_eq!(refused, pairs([("invalid_overlap", "$.overlap")]), "{overlap}");
        }
    }

    async fn keys_are_of_the_environment(database: TestDatabase) {
        let settings = [("TOLLGATE_ENV", "production")];
        let world = World::with(database, &settings).await;
        shop::open(&world).await;
        let issued = issue(&world, &subscribe(&world, "free").await).await;
        assert!(ApiKey::parse(text(&issued["secret"]), Environment::Live).is_ok());
        assert!(text(&issued["prefix"]).starts_with("tg_live_"));
    }

    async fn a_subscription_has_so_many_keys(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let first = issue(&world, &subscription).await;
        copy(&world, text(&first["id"]), 999).await;
        act(&world, &subscription, "keys", &json!({})).await.problem(409, "too_many_keys");
        let path = format!("/v1/keys/{}/revoke", text(&first["id"]));
        world.post(&path, &json!({})).await.expect(200);
        issue(&world, &subscription).await;
    }

    async fn writing_needs_the_scope_for_customers(database: TestDatabase) {
        let (world, subscription) = subscribed(database).await;
        let others = Scope::ALL.into_iter().filter(|scope| *scope != Scope::Customers);
        let names: Vec<_> = others.map(Scope::name).collect();
        let admin = world.issue_admin_key(&names).await;
        let other = world.with_key(text(&admin["secret"]));
        for verb in ["keys", "cancel", "change", "unschedule-cancelation"] {
            act(&other, &subscription, verb, &json!({})).await.problem(403, "scope_missing");
        }
    }
}
