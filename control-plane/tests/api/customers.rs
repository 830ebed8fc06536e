//! Customers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::pairs;
use crate::world::{TestDatabase, World};

const PATH: &str = "/v1/customers";

both_databases! {
    async fn a_customer_is_made_found_and_edited(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({"key": "acme:1", "name": "Acme", "email": "bills@acme.example",
            "metadata": {"max_payment_overdue_days": 5}});
        let made = world.post(PATH, &document).await.expect(201);
        assert!(made["id"].as_str().unwrap().starts_with("cus_"));
        for (field, value) in document.as_object().unwrap() {
            assert_eq!(&made[field], value);
        }
        for name in ["acme:1", made["id"].as_str().unwrap()] {
            assert_eq!(world.get(&format!("{PATH}/{name}")).await.expect(200), made);
        }
        world.clock.advance_business(Duration::from_secs(3_600));
        // What was read can be sent back; what is left out is gone.
        let mut document = made.clone();
        document["name"] = json!("Acme Ltd");
        document.as_object_mut().unwrap().remove("email");
        let edited = world.put(&format!("{PATH}/acme:1"), &document).await.expect(200);
        assert_eq!((&edited["name"], &edited["email"]), (&json!("Acme Ltd"), &Value::Null));
        assert_eq!((&edited["id"], &edited["createdAt"]), (&made["id"], &made["createdAt"]));
        assert_eq!(edited["updatedAt"], "2026-01-01T01:00:00Z");
        assert_eq!(world.get(&format!("{PATH}/acme:1")).await.expect(200), edited);
        world.get(&format!("{PATH}/acme")).await.problem(404, "customer_not_found");
        let unknown = world.put(&format!("{PATH}/acme"), &document).await;
        unknown.problem(404, "customer_not_found");
    }

    async fn a_key_belongs_to_one_customer(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({"key": "a", "name": "A"});
        world.post(PATH, &document).await.expect(201);
        world.post(PATH, &document).await.problem(409, "customer_key_taken");
        let other = world.post(PATH, &json!({"key": "b", "name": "B"})).await.expect(201);
        world.put(&format!("{PATH}/b"), &document).await.problem(409, "customer_key_taken");
        assert_eq!(world.get(&format!("{PATH}/b")).await.expect(200), other);
        // Any number may have none.
        for _ in 0..2 {
            world.post(PATH, &json!({"name": "nameless"})).await.expect(201);
        }
    }

    async fn many_who_make_a_customer_at_once_make_one(database: TestDatabase) {
        let world = World::new(database).await;
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move {
                    world.post(PATH, &json!({"key": "a", "name": "A"})).await.status.as_u16()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 15][..]));
    }

    async fn customers_are_found_by_key_and_address(database: TestDatabase) {
        let world = World::new(database).await;
        for (key, email) in [("a", "x@example.com"), ("b", "x@example.com"), ("c", "y@example.com")] {
            let document = json!({"key": key, "name": key, "email": email});
            world.post(PATH, &document).await.expect(201);
        }
        let keys = async |query: &str| -> Vec<String> {
            let page = world.get(&format!("{PATH}?{query}")).await.expect(200);
            let items = page["items"].as_array().unwrap().clone();
            let mut keys: Vec<_> =
                items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys("email=x@example.com").await, ["a", "b"]);
        assert_eq!(keys("key=c").await, ["c"]);
        assert_eq!(keys("key=c&email=x@example.com").await, Vec::<String>::new());
        assert_eq!(keys("").await, ["a", "b", "c"]);
        world.get(&format!("{PATH}?name=a")).await.problem(400, "invalid_query");
    }

    async fn a_wrong_customer_is_refused_with_every_mistake(database: TestDatabase) {
        let world = World::new(database).await;
        let document = json!({"key": "cus_1", "email": "nobody", "metadata": {"a": []}, "vat": 1});
        assert_eq!(world.post(PATH, &document).await.mistakes(), pairs([
            ("unknown_field", "$.vat"),
            ("resource_name_empty", "$.name"),
            ("invalid_metadata", "$.metadata.a"),
            ("invalid_key", "$.key"),
            ("invalid_email", "$.email"),
        ]));
        let long = "k".repeat(257);
        for key in ["", "a b", "a/b", "ä", "tab\t", &long] {
            let document = json!({"key": key, "name": "A"});
            let mistakes = world.post(PATH, &document).await.mistakes();
            assert_eq!(mistakes, pairs([("invalid_key", "$.key")]), "{key}");
        }
        for email in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b c"] {
            let document = json!({"email": email, "name": "A"});
            let mistakes = world.post(PATH, &document).await.mistakes();
            assert_eq!(mistakes, pairs([("invalid_email", "$.email")]), "{email}");
        }
    }
}
