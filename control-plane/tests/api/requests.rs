//! What holds for every request, whatever its route.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, header};
use axum::routing::get;
use serde_json::json;
use tollgate::error::Error;
use tollgate::router;

use crate::both_databases;
use crate::world::{TestDatabase, World};

async fn world() -> World {
    World::new(TestDatabase::sqlite()).await
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let world = world().await;
    world.get("/nowhere").await.problem(404, "not_found");
    world.get("/v1/nowhere").await.problem(404, "not_found");
    let answer = world.put("/v1/admin-keys", &json!({})).await;
    assert!(answer.headers.contains_key("allow"));
    answer.problem(405, "method_not_allowed");
    world
        .get("/v1/admin-keys?limit=0")
        .await
        .problem(400, "invalid_limit");
    world
        .get("/v1/admin-keys?limit=201")
        .await
        .problem(400, "invalid_limit");
    world
        .get("/v1/admin-keys?limit=ten")
        .await
        .problem(400, "invalid_query");
    world
        .get("/v1/admin-keys?colour=red")
        .await
        .problem(400, "invalid_query");
    world
        .get("/v1/admin-keys?cursor=cus_1")
        .await
        .problem(400, "invalid_cursor");
    let unknown = world.post("/v1/admin-keys/adm_1/revoke", &json!({})).await;
    unknown.problem(404, "admin_key_not_found");
}

#[tokio::test]
async fn bodies_and_headers_have_limits_and_a_type() {
    let world = world().await;
    let post = |body: String| {
        let request = world.request(Method::POST, "/v1/admin-keys");
        request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
    world.send(post(long)).await.problem(413, "body_too_large");
    world
        .send(post("{".to_owned()))
        .await
        .problem(400, "invalid_document");
    let mut text = post("{}".to_owned());
    text.headers_mut()
        .insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    world
        .send(text)
        .await
        .problem(415, "unsupported_media_type");
    let mut many = post("{}".to_owned());
    many.headers_mut()
        .insert("x-long", "y".repeat(16 * 1024).parse().unwrap());
    world.send(many).await.problem(431, "headers_too_large");
}

#[tokio::test]
async fn a_request_has_an_id_its_own_or_a_new_one() {
    let world = world().await;
    let send = async |id: &str| {
        let request = world
            .request(Method::GET, "/nowhere")
            .header("x-request-id", id);
        world.send(request.body(Body::empty()).unwrap()).await
    };
    let answer = send("trace-1.a:b").await;
    assert_eq!(answer.headers["x-request-id"], "trace-1.a:b");
    assert_eq!(answer.body["requestId"], "trace-1.a:b");
    for wrong in ["", "a b", "<script>", &"x".repeat(129)] {
        let answer = send(wrong).await;
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.starts_with("req_"), "{id}");
        assert_eq!(answer.body["requestId"], *id);
    }
}

#[tokio::test]
async fn a_5xx_says_nothing_of_the_inside() {
    let world = World::with(
        TestDatabase::sqlite(),
        &[("TOLLGATE_SERVER_REQUEST_TIMEOUT_SECONDS", "1")],
    )
    .await;
    let routes = Router::new()
        .route("/panic", get(async || -> () { panic!("hunter2") }))
        .route(
            "/bug",
            get(async || Error::internal(anyhow::anyhow!("hunter2"))),
        )
        .route(
            "/slow",
            get(async || tokio::time::sleep(Duration::from_secs(60)).await),
        );
    let world = World {
        router: router::surround(&world.app, routes),
        ..world
    };
    for (path, status, code) in [
        ("/panic", 500, "internal"),
        ("/bug", 500, "internal"),
        ("/slow", 504, "timeout"),
    ] {
        let answer = world.get(path).await;
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        answer.problem(status, code);
    }
}

#[tokio::test]
async fn other_origins_get_nothing_unless_configured() {
    let preflight = async |world: &World| {
        let request = world.request(Method::OPTIONS, "/v1/admin-keys");
        let request = request
            .header("origin", "https://admin.example.com")
            .header("access-control-request-method", "GET");
        world.send(request.body(Body::empty()).unwrap()).await
    };
    let off = preflight(&world().await).await;
    assert!(
        !off.headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
    let settings = [("TOLLGATE_SERVER_CORS_ORIGINS", "https://admin.example.com")];
    let on = preflight(&World::with(TestDatabase::sqlite(), &settings).await).await;
    assert_eq!(
        on.headers["access-control-allow-origin"],
        "https://admin.example.com"
    );
}

both_databases! {
    async fn a_list_shows_each_item_once_while_others_are_added(database: TestDatabase) {
        let world = World::new(database).await;
        let mut expected = Vec::new();
        for _ in 0..25 {
            world.clock.advance_machine(Duration::from_millis(1));
            let issued = world.issue_admin_key(&["read"]).await;
            expected.push(issued["id"].as_str().unwrap().to_owned());
        }
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/admin-keys?limit=4{cursor}");
            let page = world.get(&path).await.expect(200);
            for item in page["items"].as_array().unwrap() {
                seen.push(item["id"].as_str().unwrap().to_owned());
            }
            world.clock.advance_machine(Duration::from_millis(1));
            world.issue_admin_key(&["read"]).await;
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        // The newest first, without those added meanwhile; the first key was there before.
        assert_eq!(seen.len(), 26);
        seen.pop();
        seen.reverse();
        assert_eq!(seen, expected);
    }
}
