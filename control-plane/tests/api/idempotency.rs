//! A repeated POST has one effect and one answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::world::{ADMIN_KEY, TestDatabase, World};

const PATH: &str = "/v1/admin-keys";

fn document(name: &str) -> Value {
    json!({"name": name, "scopes": ["read"]})
}

async fn made(world: &World) -> usize {
    // Without the first key.
    world.list(PATH, 200).await.len() - 1
}

both_databases! {
    async fn a_repeat_gets_the_first_answer_without_its_secret(database: TestDatabase) {
        let world = World::new(database).await;
        let first = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        let repeat = world.post_with_key(PATH, "k", &document("a")).await;
        assert_eq!(repeat.headers["idempotency-replayed"], "true");
        let repeat = repeat.expect(201);
        assert_eq!(repeat["secret"], Value::Null);
        assert_eq!(repeat["secretAlreadyShown"], true);
        assert_eq!(repeat["id"], first["id"]);
        assert_eq!(made(&world).await, 1);
    }

    async fn another_body_or_path_with_the_key_is_refused(database: TestDatabase) {
        let world = World::new(database).await;
        let first = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        let other = world.post_with_key(PATH, "k", &document("b")).await;
        other.problem(422, "idempotency_key_reused");
        let second = world.post_with_key(PATH, "l", &document("b")).await.expect(201);
        let revoke = |key: &Value| format!("{PATH}/{}/revoke", key["id"].as_str().unwrap());
        world.post_with_key(&revoke(&first), "k", &json!({})).await.expect(200);
        let other = world.post_with_key(&revoke(&second), "k", &json!({})).await;
        other.problem(422, "idempotency_key_reused");
        assert_eq!(made(&world).await, 2);
    }

    async fn keys_of_other_callers_are_other_keys(database: TestDatabase) {
        let world = World::new(database).await;
        let issued = world.issue_admin_key(&["read", "setup"]).await;
        let other = world.with_key(issued["secret"].as_str().unwrap());
        let mine = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        let theirs = other.post_with_key(PATH, "k", &document("a")).await.expect(201);
        assert_ne!(mine["id"], theirs["id"]);
    }

    async fn an_answer_is_kept_for_48_hours(database: TestDatabase) {
        let world = World::new(database).await;
        let first = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        world.clock.advance_machine(Duration::from_secs(48 * 3_600 - 1));
        let repeat = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        assert_eq!(repeat["id"], first["id"]);
        world.clock.advance_machine(Duration::from_secs(1));
        let anew = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        assert_ne!(anew["id"], first["id"]);
        // The new answer took the old one's place.
        let repeat = world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        assert_eq!(repeat["id"], anew["id"]);
    }

    async fn a_refusal_is_not_stored(database: TestDatabase) {
        let world = World::new(database).await;
        world.post_with_key(PATH, "k", &json!({})).await.problem(400, "invalid_document");
        world.post_with_key(PATH, "k", &document("a")).await.expect(201);
    }

    async fn many_at_once_have_one_effect(database: TestDatabase) {
        let world = World::new(database).await;
        // A second process on the same database, which does not see the first one's memory.
        let other = World::new(world.database.clone()).await;
        let calls: Vec<_> = (0..24)
            .map(|n| {
                let world = if n % 2 == 0 { world.clone() } else { other.clone() };
                tokio::spawn(async move { world.post_with_key(PATH, "k", &document("a")).await })
            })
            .collect();
        let mut ids = std::collections::HashSet::new();
        let mut secrets = 0;
        for call in calls {
            let answer = call.await.unwrap();
            if answer.status == 409 {
                answer.problem(409, "idempotency_key_in_use");
                continue;
            }
            let body = answer.expect(201);
            ids.insert(body["id"].as_str().unwrap().to_owned());
            secrets += usize::from(body["secret"].is_string());
        }
        assert_eq!((ids.len(), secrets), (1, 1));
        assert_eq!(made(&world).await, 1);
    }

    async fn while_the_first_is_running_a_repeat_is_refused(database: TestDatabase) {
        let world = World::new(database).await;
        // Whoever writes elsewhere holds the first call up.
        let writer = world.app.database.begin_write().await.unwrap();
        let first = {
            let world = world.clone();
            tokio::spawn(async move { world.post_with_key(PATH, "k", &document("a")).await })
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while world.app.running.is_empty() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let repeat = world.post_with_key(PATH, "k", &document("a")).await;
        repeat.problem(409, "idempotency_key_in_use");
        drop(writer);
        first.await.unwrap().expect(201);
        world.post_with_key(PATH, "k", &document("a")).await.expect(201);
        assert_eq!(made(&world).await, 1);
    }

    async fn a_call_that_is_cut_off_has_no_effect_and_can_be_repeated(database: TestDatabase) {
        let world = World::new(database).await;
        for round in 0..30_u64 {
            let key = format!("k{round}");
            let cut = document("cut");
            let call = world.post_with_key(PATH, &key, &cut);
            // Cut at ever later points: before, inside and after the transaction.
            let _ = tokio::time::timeout(Duration::from_micros(round * 150), call).await;
            // A commit that was under way may still end; then this is a replay.
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            let answer = loop {
                let answer = world.post_with_key(PATH, &key, &document("cut")).await;
                if answer.status != 409 {
                    break answer;
                }
                assert!(tokio::time::Instant::now() < deadline);
            };
            answer.expect(201);
        }
        assert_eq!(made(&world).await, 30);
    }

    async fn expired_answers_are_removed(database: TestDatabase) {
        let world = World::new(database).await;
        world.post_with_key(PATH, "old", &document("a")).await.expect(201);
        world.clock.advance_machine(Duration::from_secs(24 * 3_600));
        world.post_with_key(PATH, "new", &document("a")).await.expect(201);
        world.clock.advance_machine(Duration::from_secs(24 * 3_600));
        let mut tx = world.app.database.begin_write().await.unwrap();
        let now = world.clock.machine_now();
        let removed = tollgate::idempotency::remove_expired(&mut tx, now, 10).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(removed, 1);
        let repeat = world.post_with_key(PATH, "new", &document("a")).await;
        assert!(repeat.headers.contains_key("idempotency-replayed"));
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_or_empty_is_refused() {
    let world = World::new(TestDatabase::sqlite()).await;
    for key in ["", &"k".repeat(256)] {
        let answer = world.post_with_key(PATH, key, &document("a")).await;
        answer.problem(400, "invalid_idempotency_key");
    }
    assert_eq!(world.admin_key, ADMIN_KEY);
}
