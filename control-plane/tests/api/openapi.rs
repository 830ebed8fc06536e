//! The document says what the router does.

use std::collections::{BTreeSet, HashSet};

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::Value;

use crate::world::{TestDatabase, World};

async fn document() -> (World, Value) {
    // Every operation is called without a key, which is more than anyone may fail in a minute.
    let patient = [("TOLLGATE_SERVER_FAILED_AUTHENTICATIONS_PER_MINUTE", "1000")];
    let world = World::with(TestDatabase::sqlite(), &patient).await;
    let document = world.get("/openapi.json").await.expect(200);
    (world, document)
}

fn operations(document: &Value) -> Vec<(String, Method, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push((
                path.clone(),
                method.to_uppercase().parse().unwrap(),
                operation,
            ));
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_under_v1_names_a_scope_and_needs_a_key() {
    let (world, document) = document().await;
    let scopes = ["read", "catalog", "customers", "billing", "setup"];
    let (mut with_scope, mut public) = (0, BTreeSet::new());
    for (path, method, operation) in operations(&document) {
        let request = Request::builder()
            .method(method.clone())
            .uri(path.replace(['{', '}'], ""));
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        if path.starts_with("/v1/") {
            let scope = operation["security"][0]["adminKey"][0].as_str().unwrap();
            assert!(scopes.contains(&scope), "{method} {path}");
            if method == Method::GET {
                assert_eq!(scope, "read", "{path}");
            }
            answer.problem(401, "admin_key_missing");
            with_scope += 1;
        } else {
            assert_eq!(operation["security"], serde_json::json!([]), "{path}");
            assert_ne!(answer.status.as_u16(), 401);
            public.insert(path);
        }
    }
    assert!(with_scope >= 3);
    assert_eq!(
        public,
        ["/healthz", "/metrics", "/readyz"]
            .map(str::to_owned)
            .into()
    );
}

#[tokio::test]
async fn the_document_is_well_formed() {
    let (_, document) = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "two operations are called {id}");
        let verb = id.split('_').next().unwrap();
        let fits = match method {
            Method::GET => ["get", "list"].contains(&verb),
            Method::PUT => ["update", "put"].contains(&verb),
            Method::POST => !["get", "list", "update"].contains(&verb),
            _ => true,
        };
        assert!(fits, "{method} {path} is called {id}");
        assert!(operation["summary"].is_string(), "{id} has no summary");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{id}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{id}"
        );
        for response in responses.values() {
            assert!(response["description"].is_string(), "{id}");
        }
        let problem = &responses["default"]["content"]["application/problem+json"]["schema"];
        assert_eq!(problem["$ref"], "#/components/schemas/Problem");
        check_parameters(&path, &method, operation);
    }
    check_references(&document, &document);
    check_keywords(&document["components"]["schemas"]);
}

/// Every part of the path that varies is a parameter, and the other way round.
fn check_parameters(path: &str, method: &Method, operation: &Value) {
    let in_path: BTreeSet<&str> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    let parameters = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let named = |place: &str| -> BTreeSet<String> {
        let parameters = parameters
            .iter()
            .filter(|parameter| parameter["in"] == place);
        parameters
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        named("path"),
        in_path.into_iter().map(str::to_owned).collect(),
        "{path}"
    );
    let idempotent = named("header").contains("Idempotency-Key");
    assert_eq!(idempotent, method == Method::POST, "{method} {path}");
}

fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            fields
                .values()
                .for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| check_references(document, item)),
        _ => {}
    }
}

/// Schemas use the words of JSON Schema 2020-12, as OpenAPI 3.1 does: no `nullable`.
fn check_keywords(part: &Value) {
    match part {
        Value::Object(fields) => {
            assert!(
                !fields.get("nullable").is_some_and(Value::is_boolean),
                "{part}"
            );
            fields.values().for_each(check_keywords);
        }
        Value::Array(items) => items.iter().for_each(check_keywords),
        _ => {}
    }
}

#[tokio::test]
async fn the_reference_is_browsable_without_a_network() {
    let world = World::new(TestDatabase::sqlite()).await;
    let page = world.get("/docs/").await;
    assert_eq!(page.status, 200);
    for name in [
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-initializer.js",
    ] {
        assert!(page.text.contains(name), "{name}");
        let file = world.get(&format!("/docs/{name}")).await;
        assert_eq!(file.status, 200, "{name}");
        assert!(!file.text.is_empty(), "{name}");
    }
    assert!(!page.text.contains("https://"));
    let start = world.get("/docs/swagger-initializer.js").await;
    assert!(start.text.contains("/openapi.json"));
}
