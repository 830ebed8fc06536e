//! Keys that an API had before: they go on working, by their hashes alone.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_engine::api_key::KeyHash;
use tollgate_tests::envoy::Envoy;
use tollgate_tests::http::{Answer, Connections, HttpClient};
use tollgate_tests::wait;

use crate::customer::Quota;
use crate::shop::{Shop, text};
use crate::world::alone;

const OLD: &str = "sk-their-old-key/with=odd+characters";
const OTHER: &str = "another";

async fn get(client: &HttpClient, key: &str) -> Answer {
    client.get_with_key("/", key).await.unwrap()
}

async fn lookups(envoy: &Envoy) -> u64 {
    let stats = envoy.stats("tollgate.key_lookups").await;
    stats.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_before_works_is_rolled_and_revoked() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000)).await;
    let subscriber = shop.subscribe("plan").await;
    let mut options = shop.options();
    options.concurrency = 1;
    options.policy["auth"] = json!({"foreignKeys": true});
    let envoy = Envoy::start(options).await;
    let client = envoy.client(Connections::Kept);
    assert_eq!(get(&client, OLD).await.code(), "key_unknown");

    let hashes = [OLD, OTHER].map(|key| KeyHash::of(key).to_string());
    let keys = hashes.clone().map(
        |hash| json!({"hash": hash, "subscription": subscriber.subscription, "subject": "old"}),
    );
    let imported = shop
        .control_plane
        .post("/v1/keys/import", &json!({"keys": keys}))
        .await;
    wait::until("the imported key", async || match get(&client, OLD).await {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer),
    })
    .await;
    let answer = get(&client, OLD).await;
    let identity = answer.json()["headers"]["x-tollgate-identity"].to_string();
    let id = text(&imported["items"][0]["id"]);
    assert!(
        identity.contains(&format!("key={id}, subject=old")),
        "{identity}"
    );
    assert!(!answer.body.contains(OLD), "{answer}");

    // What is not of our form is looked up, what is ours with a mistake in it is not.
    assert_eq!(get(&client, "never seen").await.code(), "key_unknown");
    let malformed = format!("{}x", subscriber.key());
    assert_eq!(get(&client, &malformed).await.code(), "key_malformed");
    assert_eq!(get(&client, subscriber.key()).await.status, 200);

    let roll = format!("/v1/keys/{id}/roll");
    let rolled = shop.control_plane.post(&roll, &json!({})).await;
    refused_within_a_second(&client, OLD, "key_expired").await;
    assert_eq!(get(&client, text(&rolled["secret"])).await.status, 200);

    assert_eq!(get(&client, OTHER).await.status, 200);
    let other = text(&imported["items"][1]["id"]);
    let revoke = format!("/v1/keys/{other}/revoke");
    shop.control_plane.post(&revoke, &json!({})).await;
    refused_within_a_second(&client, OTHER, "key_revoked").await;
}

async fn refused_within_a_second(client: &HttpClient, key: &str, code: &str) {
    let begun = Instant::now();
    wait::until("the refusal", async || match get(client, key).await {
        answer if answer.code() == code => Ok(()),
        answer => Err(answer),
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_key_of_before_takes_two_looks_and_a_warm_chain_one() {
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(1_000)).await;
    let subscriber = shop.subscribe("plan").await;
    let keys = [OLD, OTHER].map(|key| {
        json!({"hash": KeyHash::of(key).to_string(), "subscription": subscriber.subscription})
    });
    let document = json!({"keys": keys});
    shop.control_plane.post("/v1/keys/import", &document).await;
    let mut options = shop.options();
    options.concurrency = 1;
    options.policy["auth"] = json!({"foreignKeys": true});
    let envoy = Envoy::start(options).await;
    let client = envoy.client(Connections::Kept);
    for (key, expected) in [(OLD, 2), (OLD, 2), (OTHER, 3)] {
        assert_eq!(get(&client, key).await.status, 200);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(lookups(&envoy).await, expected, "{key}");
    }
}
