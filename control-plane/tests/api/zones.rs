//! Time zones: boundaries that are local dates, from the profile or the customer, fixed at the start.

use serde_json::json;

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::{act, look, text};
use crate::subscriptions::{window, window_of, world};
use crate::till::Till;
use crate::world::TestDatabase;

const PROFILE: &str = "/v1/billing/profile";

fn day(start: &str, end: &str) -> [String; 3] {
    window_of(start, end, "1000")
}

both_databases! {
    async fn boundaries_are_dates_of_the_zone_that_holds_when_a_subscription_starts(database: TestDatabase) {
        let world = world(database).await;
        assert_eq!(world.get(PROFILE).await.expect(200), json!({"timeZone": "UTC"}));
        let berlin = json!({"timeZone": "Europe/Berlin"});
        assert_eq!(world.put(PROFILE, &berlin).await.expect(200), berlin);
        assert_eq!(world.get(PROFILE).await.expect(200), berlin);
        // Since January 1 in Berlin, by the anchor.
        let document = json!({"customer": "acme", "plan": "free", "billingAnchor": "2025-12-31T23:00:00Z"});
        let made = world.post("/v1/subscriptions", &document).await.expect(201);
        assert_eq!(made["timeZone"], "Europe/Berlin");
        let bounds = async || window(&world, &made).await;
        assert_eq!(bounds().await, day("2026-01-01T00:00:00Z", "2026-01-31T23:00:00Z"));
        // What has begun keeps its zone; the clocks change on March 29.
        world.put(PROFILE, &json!({})).await.expect(200);
        world.clock.advance_business(std::time::Duration::from_secs(95 * 86_400));
        assert_eq!(bounds().await, day("2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z"));
        assert_eq!(look(&world, &made, "").await["timeZone"], "Europe/Berlin");
    }

    async fn a_customer_has_a_zone_of_its_own(database: TestDatabase) {
        let world = world(database).await;
        let document = |zone: &str| json!({"key": "acme", "name": "Acme", "timeZone": zone});
        let refused = world.put("/v1/customers/acme", &document("Mars")).await;
        assert_eq!(refused.mistakes(), pairs([("invalid_time_zone", "$.timeZone")]));
        let refused = world.put(PROFILE, &json!({"timeZone": "+01:00"})).await;
        assert_eq!(refused.mistakes(), pairs([("invalid_time_zone", "$.timeZone")]));
        let shown = world.put("/v1/customers/acme", &document("asia/kolkata")).await.expect(200);
        assert_eq!(shown["timeZone"], "Asia/Kolkata");
        let made = world.post("/v1/subscriptions", &json!({"customer": "acme", "plan": "tiny"})).await;
        let made = made.expect(201);
        assert_eq!(made["timeZone"], "Asia/Kolkata");
        // A change that keeps the boundaries keeps the zone, another takes the zone of its time.
        world.put("/v1/customers/acme", &document("UTC")).await.expect(200);
        let kept = json!({"plan": "free", "billingAnchor": "keep"});
        let kept = act(&world, &made, "change", &kept).await.expect(200);
        assert_eq!(kept["timeZone"], "Asia/Kolkata");
        let changed = act(&world, &kept, "change", &json!({"plan": "big"})).await.expect(200);
        assert_eq!(changed["timeZone"], "UTC");
    }

    async fn invoices_follow_the_zone(database: TestDatabase) {
        let till = Till::open(database).await;
        till.world.put(PROFILE, &json!({"timeZone": "America/New_York"})).await.expect(200);
        till.check_out("acme", "starter", crate::till::PAYS).await;
        // From 19:00 on December 31 in New York.
        for (at, count) in [("02-01T00:00:00", 2), ("03-01T00:00:00", 3), ("03-31T22:59:59", 3)] {
            till.go_to(at).await;
            till.bill().await;
            assert_eq!(till.invoices().await.len(), count, "{at}");
        }
        till.go_to("03-31T23:00:00").await;
        till.bill().await;
        let periods: Vec<_> = till.invoices().await.iter()
            .map(|it| text(&it["lines"][0]["periodStart"]).to_owned())
            .collect();
        let expected = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z",
            "2026-03-31T23:00:00Z"];
        assert_eq!(periods, expected);
        till.assert_sound().await;
    }
}
