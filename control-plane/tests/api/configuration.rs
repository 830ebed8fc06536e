//! What holds for all plans and subscriptions.

use serde_json::json;

use crate::both_databases;
use crate::catalog::pairs;
use crate::plans::draft;
use crate::world::{TestDatabase, World};

const PATH: &str = "/v1/configuration";

both_databases! {
    async fn the_configuration_has_defaults_and_is_replaced_whole(database: TestDatabase) {
        let world = World::new(database).await;
        let defaults = json!({"planOrder": [], "maxPaymentOverdueDays": 3,
            "multipleSubscriptionsEnabled": false, "graceOnFirstPayment": false});
        assert_eq!(world.get(PATH).await.expect(200), defaults);
        draft(&world, "free").await;
        draft(&world, "pro").await;
        let document = json!({"planOrder": ["free", "pro"], "maxPaymentOverdueDays": 0,
            "multipleSubscriptionsEnabled": true, "graceOnFirstPayment": true});
        assert_eq!(world.put(PATH, &document).await.expect(200), document);
        assert_eq!(world.get(PATH).await.expect(200), document);
        assert_eq!(world.put(PATH, &json!({})).await.expect(200), defaults);
        assert_eq!(world.get(PATH).await.expect(200), defaults);
    }

    async fn a_wrong_configuration_is_refused(database: TestDatabase) {
        let world = World::new(database).await;
        draft(&world, "free").await;
        let document = json!({"planOrder": ["free", "free", "F"], "maxPaymentOverdueDays": 366,
            "grace": 1});
        assert_eq!(world.put(PATH, &document).await.mistakes(), pairs([
            ("unknown_field", "$.grace"),
            ("invalid_days", "$.maxPaymentOverdueDays"),
            ("plan_order_duplicated_key", "$.planOrder[1]"),
            ("invalid_key", "$.planOrder[2]"),
        ]));
        let document = json!({"planOrder": ["gone", "free", "lost"]});
        assert_eq!(world.put(PATH, &document).await.mistakes(), pairs([
            ("plan_not_found", "$.planOrder[0]"),
            ("plan_not_found", "$.planOrder[2]"),
        ]));
        let document = json!({"maxPaymentOverdueDays": -1});
        let expected = pairs([("invalid_type", "$.maxPaymentOverdueDays")]);
        assert_eq!(world.put(PATH, &document).await.mistakes(), expected);
    }
}
