//! The running process: listening, readiness, ending.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tollgate::app::{App, Role, Server};
use tollgate::clock::Clock;
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::store::request;

use crate::both_databases;
use crate::world::{ADMIN_KEY, TestDatabase, config};

async fn start(database: &TestDatabase, roles: &[Role], settings: &[(&str, &str)]) -> Server {
    let app = App::build(config(database, settings), Clock::system())
        .await
        .unwrap();
    Server::start(app, roles, Some(ADMIN_KEY)).await.unwrap()
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", server.address);
    let answer = reqwest::Client::new()
        .get(url)
        .bearer_auth(ADMIN_KEY)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null),
    )
}

/// What is not ready, with its reason.
fn missing(problem: &Value) -> Vec<(&str, &str)> {
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|error| {
            (
                error["path"].as_str().unwrap(),
                error["detail"].as_str().unwrap(),
            )
        })
        .collect()
}

both_databases! {
    async fn it_serves_and_keeps_what_it_was_told_over_a_restart(database: TestDatabase) {
        let server = start(&database, &[Role::Api, Role::Jobs], &[]).await;
        let (status, page) = get(&server, "/v1/admin-keys").await;
        assert_eq!((status, page["items"].as_array().unwrap().len()), (200, 1));
        server.shut_down().await.unwrap();
        let server = start(&database, &[Role::Api], &[]).await;
        let (_, again) = get(&server, "/v1/admin-keys").await;
        assert_eq!(again["items"][0]["id"], page["items"][0]["id"]);
        server.shut_down().await.unwrap();
    }

    async fn readiness_names_what_is_missing(database: TestDatabase) {
        let server = start(&database, &[Role::Api], &[]).await;
        let (status, problem) = get(&server, "/readyz").await;
        assert_eq!((status, &problem["code"]), (503, &json!("not_ready")));
        let away = "does not answer";
        assert_eq!(missing(&problem), [("redis", away), ("store", away)]);
        server.shut_down().await.unwrap();

        let redis = RedisServer::start(RedisOptions::default());
        let url = format!("redis://{}", redis.address());
        let settings = [("REDIS_URL", url.as_str())];
        let server = start(&database, &[Role::Api], &settings).await;
        let (_, problem) = get(&server, "/readyz").await;
        assert_eq!(missing(&problem), [("store", "is being filled")]);
        server.shut_down().await.unwrap();

        let server = start(&database, &[Role::Api, Role::Jobs], &settings).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let ready = loop {
            let (status, ready) = get(&server, "/readyz").await;
            if status == 200 {
                break ready;
            }
            assert!(tokio::time::Instant::now() < deadline, "{ready}");
        };
        assert_eq!(ready, json!({"ready": ["database", "redis", "store", "publisher"]}));
        let forgetful = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
        assert_eq!(redis.exchange(&request(&forgetful)), b"+OK\r\n");
        let (_, problem) = get(&server, "/readyz").await;
        let reason = "Redis's maxmemory-policy is allkeys-lru, not noeviction";
        assert_eq!(missing(&problem), [("store", reason)]);
        server.shut_down().await.unwrap();
    }

    async fn a_request_under_way_is_finished_before_the_end(database: TestDatabase) {
        let server = start(&database, &[Role::Api, Role::Jobs], &[]).await;
        let address = server.address;
        let app = server.app.clone();
        let writer = app.database.begin_write().await.unwrap();
        let request = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let document = json!({"name": "last", "scopes": ["read"]});
            let request = client.post(format!("http://{address}/v1/admin-keys"));
            let request = request.bearer_auth(ADMIN_KEY).header("idempotency-key", "k");
            request.json(&document).send().await.unwrap().status()
        });
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while app.running.is_empty() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let ending = tokio::spawn(server.shut_down());
        while TcpStream::connect(address).await.is_ok() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(writer);
        assert_eq!(request.await.unwrap(), 201);
        ending.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_for_jobs_answers_only_about_itself() {
    let database = TestDatabase::sqlite();
    let server = start(&database, &[Role::Jobs], &[]).await;
    assert_eq!(get(&server, "/healthz").await.0, 200);
    assert_eq!(get(&server, "/metrics").await.0, 200);
    assert_eq!(get(&server, "/v1/admin-keys").await.0, 404);
    assert_eq!(get(&server, "/openapi.json").await.0, 404);
    server.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_measured_by_route() {
    let database = TestDatabase::sqlite();
    let server = start(&database, &[Role::Api], &[]).await;
    get(&server, "/v1/admin-keys").await;
    get(&server, "/some/path/nobody/knows").await;
    let url = format!("http://{}/metrics", server.address);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = "tollgate_http_request_seconds_count{method=\"GET\",route=\"/v1/admin-keys\"";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("route=\"unmatched\""), "{text}");
    assert!(!text.contains("nobody"), "{text}");
    server.shut_down().await.unwrap();
}
