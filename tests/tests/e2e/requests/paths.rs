//! Spellings of paths: none reaches the upstream under another rule than its own.

use tollgate_tests::envoy::Normalisation;

use serde_json::json;

use super::Scene;
use crate::world::alone;

const REFUSED: [&str; 18] = [
    "//v1/chat",
    "/v1//chat",
    "/v1/./chat",
    "/healthz/../v1/chat",
    "/healthz/..;/v1/chat",
    "/v1/%2e%2e/v1/chat",
    "/v1/%2E/chat",
    "/v1%2Fchat",
    "/v1%2fchat",
    "/v1%5Cchat",
    "/v1\\chat",
    "/v1/chat%00",
    "/v1/chat%0d%0a",
    "/v1/chat%7F",
    "/v1/chat%",
    "/v1/chat%zz",
    "/healthz;",
    "/healthz;x/../v1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_normal_is_refused() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| options.normalisation = Normalisation::None).await;
    let key = format!("x-api-key: {}", scene.customer.key);
    for target in REFUSED {
        let answer = scene.get_with(target, &[&key]).await;
        let (status, code) = (answer.status, answer.code());
        assert_eq!(
            (status, code.as_str()),
            (400, "path_not_normal"),
            "{target}: {answer}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(scene.world.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_makes_a_path_public() {
    let _alone = alone().await;
    for normalisation in [Normalisation::Reference, Normalisation::None] {
        let scene = Scene::set_with(|options| options.normalisation = normalisation).await;
        let others = [
            "/healthz/x",
            "/HEALTHZ",
            "/healthzz",
            "/health%7A/x",
            "/healthz/..",
            "/",
        ];
        for target in REFUSED.iter().chain(&others) {
            let answer = scene.get_with(target, &[]).await;
            assert!(matches!(answer.status, 400 | 401), "{target}: {answer}");
        }
        assert_eq!(scene.world.upstream.requests(), 0);
        for target in ["/healthz", "/healthz/", "/h%65althz", "/healthz?/../x"] {
            let answer = scene.get_with(target, &[]).await;
            assert_eq!(answer.status, 200, "{target}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_as_given_are_refused_by_nobody() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| {
        options.normalisation = Normalisation::None;
        options.policy["paths"] = json!("asGiven");
    })
    .await;
    let key = format!("x-api-key: {}", scene.customer.key);
    for target in ["/v1//chat", "/v1%2Fchat", "/v1/../chat"] {
        let answer = scene.get_with(target, &[&key]).await;
        assert_eq!(answer.status, 200, "{target}: {answer}");
    }
}
