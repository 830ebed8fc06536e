//! Keys that an API had before: imported by their hashes, many at once, all or none.

use serde_json::{Value, json};
use tollgate_engine::api_key::KeyHash;
use tollgate_engine::contract::KeyDocument;

use crate::both_databases;
use crate::catalog::pairs;
use crate::edge::Edge;
use crate::shop::{customer, subscribe, text};
use crate::world::TestDatabase;

const PATH: &str = "/v1/keys/import";

fn hash(key: &str) -> String {
    KeyHash::of(key).to_string()
}

both_databases! {
    async fn hashes_are_imported_and_stand_where_they_say(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let subscription = subscribe(&edge.world, "free").await;
        let chain = text(&subscription["id"]);
        let keys = json!({"keys": [
            {"hash": hash("a"), "subscription": chain, "name": "server", "subject": "team 7", "bypass": true},
            {"hash": hash("b"), "subscription": chain},
        ]});
        let imported = edge.world.post(PATH, &keys).await.expect(201);
        let items = imported["items"].as_array().unwrap();
        let first = &items[0];
        assert_eq!((&first["imported"], &first["prefix"], &first["lastCharacters"]),
            (&json!(true), &Value::Null, &Value::Null));
        assert_eq!((&first["name"], &first["subject"]), (&json!("server"), &json!("team 7")));
        let path = format!("/v1/keys/{}", text(&first["id"]));
        assert_eq!(edge.world.get(&path).await.expect(200), *first);

        edge.publish().await;
        let hash = KeyHash::of("a");
        let name = edge.names.key(hash.imported_tag(), &hash);
        let document: KeyDocument = serde_json::from_str(&edge.field(&name, "doc")).unwrap();
        assert_eq!((document.chain.as_str(), document.bypass), (chain, true));
        assert_eq!(document.tag, edge.chain(&subscription).await.tag);

        // Sent again, an import that broke off goes on, and changes nothing.
        let again = edge.world.post(PATH, &keys).await.expect(201);
        assert_eq!(again, imported);
        let path = format!("/v1/subscriptions/{chain}/keys");
        assert_eq!(edge.world.list(&path, 50).await.len(), 2);

        let rolled = edge.world.post(&format!("/v1/keys/{}/roll", text(&first["id"])), &json!({})).await.expect(201);
        assert!(text(&rolled["secret"]).starts_with("tg_test_"));
        assert_eq!(rolled["imported"], false);
        let revoked = edge.world.post(&format!("/v1/keys/{}/revoke", text(&items[1]["id"])), &json!({})).await.expect(200);
        assert!(revoked["revokedAt"].is_string());
    }

    async fn every_mistake_is_told_with_its_place_and_nothing_is_imported(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let subscription = subscribe(&edge.world, "free").await;
        customer(&edge.world, "other").await;
        let other = json!({"customer": "other", "plan": "free"});
        let other = edge.world.post("/v1/subscriptions", &other).await.expect(201);
        let chain = text(&subscription["id"]);
        let taken = json!({"keys": [{"hash": hash("taken"), "subscription": other["id"]}]});
        edge.world.post(PATH, &taken).await.expect(201);

        let form = json!({"keys": [
            {"hash": "abc", "subscription": chain, "subject": " x", "colour": 1},
            {"hash": hash("a").to_uppercase(), "subscription": chain},
            {"hash": hash("a"), "subscription": chain},
            {"hash": hash("a"), "subscription": chain, "expiresAt": "2020-01-01T00:00:00Z", "name": ""},
            {"hash": hash("a"), "subscription": chain},
        ]});
        assert_eq!(edge.world.post(PATH, &form).await.mistakes(), pairs([
            ("unknown_field", "$.keys[0].colour"),
            ("invalid_hash", "$.keys[0].hash"),
            ("invalid_subject", "$.keys[0].subject"),
            ("invalid_hash", "$.keys[1].hash"),
            ("invalid_name", "$.keys[3].name"),
            ("expiry_in_the_past", "$.keys[3].expiresAt"),
            ("duplicated_key", "$.keys[3].hash"),
            ("duplicated_key", "$.keys[4].hash"),
        ]));
        let known = json!({"keys": [
            {"hash": hash("a"), "subscription": chain},
            {"hash": hash("b"), "subscription": "nobody"},
            {"hash": hash("taken"), "subscription": chain},
            {"hash": hash("c")},
        ]});
        assert_eq!(edge.world.post(PATH, &known).await.mistakes(), pairs([
            ("subscription_not_found", "$.keys[1].subscription"),
            ("key_taken", "$.keys[2].hash"),
            ("subscription_not_found", "$.keys[3].subscription"),
        ]));
        for keys in [json!([]), Value::Array(vec![known["keys"][0].clone(); 1_001])] {
            let refused = edge.world.post(PATH, &json!({"keys": keys})).await;
            assert_eq!(refused.mistakes(), pairs([("invalid_number_of_keys", "$.keys")]));
        }
        let path = format!("/v1/subscriptions/{chain}/keys");
        assert!(edge.world.list(&path, 50).await.is_empty());
    }

    async fn a_thousand_keys_come_at_once_and_no_more_for_one_subscription(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let subscription = subscribe(&edge.world, "free").await;
        let chain = text(&subscription["id"]);
        let keys: Vec<_> = (0..1_000)
            .map(|number| json!({"hash": hash(&number.to_string()), "subscription": chain}))
            .collect();
        let imported = edge.world.post(PATH, &json!({"keys": keys})).await.expect(201);
        assert_eq!(imported["items"].as_array().unwrap().len(), 1_000);
        let more = json!({"keys": [{"hash": hash("more"), "subscription": chain}]});
        let refused = edge.world.post(PATH, &more).await;
        assert_eq!(refused.mistakes(), pairs([("too_many_keys", "$.keys[0].subscription")]));
    }
}
