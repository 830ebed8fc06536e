//! Where keys are found, what the upstream sees of them, and that nobody else says who calls (E10).

use serde_json::json;
use tollgate_engine::contract::Entitlement;
use tollgate_tests::envoy::Normalisation;

use super::{METER, PLENTY, Scene, seen};
use crate::customer;
use crate::world::alone;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_in_every_source_and_hidden_from_the_upstream() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let key = &scene.customer.key;
    let bearer = format!("authorization: Bearer {key}");
    let shouted = format!("Authorization:   bEARER   {key}");
    let header = format!("X-Api-Key: {key}");
    let table: &[(&str, &[&str], &str)] = &[
        ("/a?x=1", &[&bearer], "/a?x=1"),
        ("/a", &[&shouted], "/a"),
        ("/a", &[&header], "/a"),
        (&format!("/a?api_key={key}"), &[], "/a"),
        (&format!("/a?x=1&api_key={key}&y=%2F"), &[], "/a?x=1&y=%2F"),
        // Another spelling of the parameter's name names it all the same.
        (&format!("/a?api%5Fkey={key}"), &[], "/a"),
        // The first source counts, and no source tells the upstream.
        ("/a?api_key=other", &[&bearer, "x-api-key: other"], "/a"),
        // A scheme that is none of ours is left to the upstream.
        ("/a", &[&header, "authorization: Basic abc"], "/a"),
    ];
    for (target, headers, path) in table {
        let answer = scene.get_with(target, headers).await;
        assert_eq!(answer.status, 200, "{target} {headers:?}: {answer}");
        assert!(!answer.body.contains(key.as_str()), "{answer}");
        let saw = answer.json();
        assert_eq!(saw["path"], *path, "{answer}");
        assert_eq!(seen(&saw, "x-api-key"), None, "{answer}");
        let basic = headers.iter().any(|line| line.contains("Basic"));
        assert_eq!(
            seen(&saw, "authorization"),
            basic.then_some("Basic abc"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_source_that_holds_no_key_is_not_passed_over() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let header = format!("x-api-key: {}", scene.customer.key);
    let answer = scene
        .get_with("/", &["authorization: Bearer nonsense", &header])
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "key_malformed"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_who_calls() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let named = scene.world.stranger();
    let access = customer::access(&named.chain, &[(METER, PLENTY)]);
    scene.world.write_access(&named, &access);
    let mut document = customer::key_document(&named);
    document.subject = Some("team, \"blue\"".to_owned());
    scene.world.write_key(&named, &document);

    let answer = scene.get("/", &scene.customer).await;
    assert_eq!(
        seen(&answer.json(), "x-tollgate-identity"),
        Some("customer=cus_of_sub_1, subscription=sub_1, plan=plan, key=key_of_sub_1"),
    );
    let answer = scene.get("/", &named).await;
    let identity = seen(&answer.json(), "x-tollgate-identity")
        .unwrap()
        .to_owned();
    assert!(
        identity.ends_with(r#"key=key_of_sub_2, subject="team, \"blue\"""#),
        "{identity}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_may_be_a_header_each() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| {
        options.policy["responses"] = json!({"identity": "separate"});
    })
    .await;
    let saw = scene.get("/", &scene.customer).await.json();
    for (header, value) in [
        ("x-tollgate-customer", "cus_of_sub_1"),
        ("x-tollgate-subscription", "sub_1"),
        ("x-tollgate-plan", "plan"),
        ("x-tollgate-key", "key_of_sub_1"),
    ] {
        assert_eq!(seen(&saw, header), Some(value), "{saw}");
    }
    assert_eq!(seen(&saw, "x-tollgate-identity"), None, "{saw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_what_the_plan_says_to_it() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let told = scene.world.stranger();
    let mut access = customer::access(&told.chain, &[(METER, PLENTY)]);
    let entitlements = &mut access.terms[0].entitlements;
    let models = json!({"models": ["small", "gro\u{df}"], "tokens": 4096});
    let limits = Entitlement::Static { config: models };
    entitlements.insert("limits".to_owned(), limits);
    entitlements.insert("chat".to_owned(), Entitlement::Boolean);
    scene.world.write_access(&told, &access);
    scene.world.write_key(&told, &customer::key_document(&told));

    let header = "x-tollgate-entitlements";
    let forged = "x-tollgate-entitlements: {\"limits\":1}";
    let key = format!("x-api-key: {}", told.key);
    let saw = scene.get_with("/", &[&key, forged]).await.json();
    assert_eq!(
        seen(&saw, header),
        Some(r#"{"limits":{"models":["small","gro\u00df"],"tokens":4096}}"#)
    );
    let saw = scene.get("/", &scene.customer).await.json();
    assert_eq!(seen(&saw, header), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_tollgate_may_say_is_removed_on_every_rule() {
    let _alone = alone().await;
    for normalisation in [Normalisation::Reference, Normalisation::None] {
        let scene = Scene::set_with(|options| options.normalisation = normalisation).await;
        let key = format!("x-api-key: {}", scene.customer.key);
        let forged = [
            &key,
            "x-tollgate-identity: customer=cus_other",
            "X-Tollgate-Identity: customer=cus_another",
            "x-tollgate-plan: pro",
            "x-tollgate-anything: 1",
            "x_tollgate_identity: customer=cus_other",
            "x-tollgate_plan: pro",
            "x-tollgates: mine",
        ];
        for target in ["/", "/healthz"] {
            let answer = scene.get_with(target, &forged).await;
            assert_eq!(answer.status, 200, "{answer}");
            let saw = answer.json();
            let headers = saw["headers"].as_object().unwrap();
            let ours: Vec<_> = headers
                .keys()
                .filter(|name| name.contains("tollgate"))
                .collect();
            let expected: &[&str] = match target {
                "/" => &["x-tollgate-identity", "x-tollgates"],
                _ => &["x-tollgates"],
            };
            assert_eq!(ours, expected, "{normalisation:?} {target}: {answer}");
            assert!(!answer.body.contains("cus_other"), "{answer}");
            assert!(!answer.body.contains("cus_another"), "{answer}");
            assert!(!answer.body.contains(&scene.customer.key), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_pass_without_a_key_where_they_may() {
    let _alone = alone().await;
    let preflight = [
        "origin: https://example.com",
        "access-control-request-method: GET",
    ];
    for (allowed, expected) in [(true, 200), (false, 401)] {
        let scene = Scene::set_with(|options| {
            options.policy["auth"] = json!({"allowPreflight": allowed});
        })
        .await;
        let options = async |headers: &[&str]| {
            let mut request = scene.client.request(reqwest::Method::OPTIONS, "/");
            for line in headers {
                let (name, value) = line.split_once(": ").unwrap();
                request = request.header(name, value);
            }
            tollgate_tests::http::send(request).await.unwrap().status
        };
        assert_eq!(options(&preflight).await, expected);
        assert_eq!(options(&preflight[..1]).await, 401);
        assert_eq!(scene.get_with("/", &preflight).await.status, 401);
    }
}
