//! Who may call what.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tollgate::admin::bootstrap;

use crate::both_databases;
use crate::world::{ADMIN_KEY, TestDatabase, World};

both_databases! {
    async fn a_key_opens_what_its_scopes_say(database: TestDatabase) {
        let world = World::new(database).await;
        let issued = world.issue_admin_key(&["read"]).await;
        assert_eq!(issued["secretAlreadyShown"], false);
        let reader = world.with_key(issued["secret"].as_str().unwrap());
        reader.get("/v1/admin-keys").await.expect(200);
        let document = json!({"name": "x", "scopes": ["read"]});
        reader.post("/v1/admin-keys", &document).await.problem(403, "scope_missing");
    }

    async fn a_request_without_a_valid_key_is_refused(database: TestDatabase) {
        let world = World::new(database).await;
        let bare = Request::builder().uri("/v1/admin-keys").body(Body::empty()).unwrap();
        let answer = world.send(bare).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        answer.problem(401, "admin_key_missing");
        for wrong in ["", "tga_", "x", &ADMIN_KEY[1..], &ADMIN_KEY.to_lowercase(), "tga_' OR 1=1 --"] {
            if wrong != ADMIN_KEY {
                world.with_key(wrong).get("/v1/admin-keys").await.problem(401, "admin_key_unknown");
            }
        }
        let basic = world.request(Method::GET, "/v1/admin-keys");
        let mut basic = basic.body(Body::empty()).unwrap();
        let value = format!("Basic {ADMIN_KEY}").parse().unwrap();
        basic.headers_mut().insert("authorization", value);
        world.send(basic).await.problem(401, "admin_key_unknown");
    }

    async fn a_revoked_or_expired_key_is_refused_at_once(database: TestDatabase) {
        let world = World::new(database).await;
        let issued = world.issue_admin_key(&["read", "setup"]).await;
        let holder = world.with_key(issued["secret"].as_str().unwrap());
        let path = format!("/v1/admin-keys/{}/revoke", issued["id"].as_str().unwrap());
        let revoked = holder.post(&path, &json!({})).await.expect(200);
        assert_eq!(revoked["revokedAt"], "2026-01-01T00:00:00Z");
        holder.get("/v1/admin-keys").await.problem(401, "admin_key_revoked");
        world.clock.advance_machine(Duration::from_secs(60));
        let again = world.post(&path, &json!({})).await.expect(200);
        assert_eq!(again["revokedAt"], "2026-01-01T00:00:00Z");

        let document = json!({"name": "x", "scopes": ["read"], "expiresAt": "2026-01-01T01:00:00Z"});
        let issued = world.post("/v1/admin-keys", &document).await.expect(201);
        let holder = world.with_key(issued["secret"].as_str().unwrap());
        world.clock.advance_machine(Duration::from_secs(3_539));
        holder.get("/v1/admin-keys").await.expect(200);
        world.clock.advance_machine(Duration::from_secs(1));
        holder.get("/v1/admin-keys").await.problem(401, "admin_key_expired");
    }

    async fn a_key_gives_away_only_what_it_has(database: TestDatabase) {
        let world = World::new(database).await;
        let issued = world.issue_admin_key(&["setup", "catalog"]).await;
        let holder = world.with_key(issued["secret"].as_str().unwrap());
        holder.issue_admin_key(&["catalog"]).await;
        let document = json!({"name": "x", "scopes": ["catalog", "billing"]});
        holder.post("/v1/admin-keys", &document).await.problem(403, "scope_not_held");
        assert_eq!(world.list("/v1/admin-keys", 50).await.len(), 3);
    }

    async fn secrets_are_stored_as_hashes_only(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({"name": "x", "scopes": ["read"]});
        let issued = world.post_with_key("/v1/admin-keys", "once", &document).await.expect(201);
        let secret = issued["secret"].as_str().unwrap();
        let mut reader = world.app.database.read().await.unwrap();
        for sql in [
            "SELECT name || secret_hash || scopes FROM admin_keys",
            "SELECT body || fingerprint FROM idempotency_keys",
        ] {
            let rows: Vec<String> =
                sqlx::query_scalar(sql).fetch_all(&mut *reader).await.unwrap();
            assert!(!rows.is_empty());
            assert!(rows.iter().all(|row| !row.contains(secret) && !row.contains(ADMIN_KEY)));
        }
    }

    async fn the_first_key_follows_the_environment(database: TestDatabase) {
        let world = World::new(database).await;
        let other = "tga_another_0123456789abcdefghijklmnopqrst";
        bootstrap::ensure_first_key(&world.app, Some(other)).await.unwrap();
        world.get("/v1/admin-keys").await.problem(401, "admin_key_revoked");
        let holder = world.with_key(other);
        assert_eq!(holder.list("/v1/admin-keys", 50).await.len(), 2);
        // What was revoked stays so, whatever the environment says.
        bootstrap::ensure_first_key(&world.app, Some(ADMIN_KEY)).await.unwrap();
        world.get("/v1/admin-keys").await.problem(401, "admin_key_revoked");
        holder.get("/v1/admin-keys").await.expect(200);
        let weak = bootstrap::ensure_first_key(&world.app, Some("tga_admin")).await;
        assert!(weak.unwrap_err().to_string().contains("TOLLGATE_ADMIN_KEY"));
    }

    async fn too_many_requests_of_one_key_are_refused(database: TestDatabase) {
        let settings = [
            ("TOLLGATE_SERVER_REQUESTS_PER_SECOND", "1"),
            ("TOLLGATE_SERVER_REQUESTS_BURST", "3"),
        ];
        let world = World::with(database, &settings).await;
        let issued = world.issue_admin_key(&["read"]).await;
        for _ in 0..2 {
            world.get("/v1/admin-keys").await.expect(200);
        }
        let refused = world.get("/v1/admin-keys").await;
        assert_eq!(refused.headers["retry-after"], "1");
        refused.problem(429, "too_many_requests");
        let other = world.with_key(issued["secret"].as_str().unwrap());
        other.get("/v1/admin-keys").await.expect(200);
        world.clock.advance_machine(Duration::from_secs(1));
        world.get("/v1/admin-keys").await.expect(200);
    }

    async fn guessing_is_slowed_down_and_locks_no_one_else_out(database: TestDatabase) {
        let settings = [("TOLLGATE_SERVER_FAILED_AUTHENTICATIONS_PER_MINUTE", "2")];
        let world = World::with(database, &settings).await;
        let guesser = world.with_key("tga_wrong_0123456789abcdefghijklmnopqrstuv");
        for _ in 0..2 {
            guesser.get("/v1/admin-keys").await.problem(401, "admin_key_unknown");
        }
        let refused = guesser.get("/v1/admin-keys").await;
        assert_eq!(refused.headers["retry-after"], "30");
        refused.problem(429, "too_many_requests");
        world.get("/v1/admin-keys").await.expect(200);
    }

    async fn a_wrong_document_is_refused_with_every_mistake(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({
            "scopes": ["read", "everything"], "expiresAt": "2025-12-31T23:59:59Z", "colour": 1,
        });
        let mistakes = world.post("/v1/admin-keys", &document).await.mistakes();
        let expected = [
            ("unknown_field", "$.colour"),
            ("invalid_name", "$.name"),
            ("expiry_in_the_past", "$.expiresAt"),
            ("unknown_scope", "$.scopes[1]"),
        ];
        assert_eq!(mistakes, expected.map(|(code, path)| (code.to_owned(), path.to_owned())));
    }

    async fn the_last_use_is_noted(database: TestDatabase) {
        let world = World::new(database).await;
        world.get("/v1/admin-keys").await.expect(200);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let keys = world.list("/v1/admin-keys", 50).await;
            if keys[0]["lastUsedAt"] == "2026-01-01T00:00:00Z" {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{keys:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn without_one_chosen_the_first_key_goes_to_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;

    let database = TestDatabase::sqlite();
    let config = crate::world::config(&database, &[]);
    let clock = tollgate::clock::Clock::system();
    let app = tollgate::app::App::build(config, clock).await.unwrap();
    bootstrap::ensure_first_key(&app, None).await.unwrap();
    let file = database.folder.path().join("admin.key");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let router = tollgate::router::router(&app, &[tollgate::app::Role::Api]);
    let admin_key = secret.trim_end().to_owned();
    let world = World {
        clock: app.clock.clone(),
        app,
        database,
        router,
        admin_key,
    };
    assert_eq!(world.list("/v1/admin-keys", 50).await.len(), 1);
    // A later start makes no second one.
    bootstrap::ensure_first_key(&world.app, None).await.unwrap();
    assert_eq!(world.list("/v1/admin-keys", 50).await.len(), 1);
}
