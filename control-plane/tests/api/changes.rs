//! Changes of subscriptions: upgrades, downgrades, and what they do to windows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::both_databases;
use crate::shop::{self, act, change, subscribe, text};
use crate::subscriptions::{access, state, status, window, window_of, world};
use crate::world::TestDatabase;

const DAY: Duration = Duration::from_secs(86_400);

both_databases! {
    async fn an_upgrade_is_immediate_and_keeps_the_window(database: TestDatabase) {
        let world = world(database).await;
        let old = subscribe(&world, "tiny").await;
        world.clock.advance_business(10 * DAY);
        let new = change(&world, &old, "free").await;
        assert_eq!((&new["chain"], &new["epoch"]), (&old["id"], &json!(2)));
        assert_eq!(new["activeFrom"], "2026-01-11T00:00:00Z");
        assert_eq!(status(&world, &old).await, "inactive");
        assert_eq!(access(&world, &old).await, "subscription_ended");
        let expected = window_of("2026-01-11", "2026-02-01", "1000");
        assert_eq!(window(&world, &new).await, expected);
        assert_eq!(window(&world, &old).await, window_of("2026-01-01", "2026-01-11", "20"));
        // Later windows have the boundaries of before, not of the change.
        world.clock.advance_business(25 * DAY);
        assert_eq!(window(&world, &new).await, window_of("2026-02-01", "2026-03-01", "1000"));
    }

    async fn a_downgrade_comes_with_the_next_cycle(database: TestDatabase) {
        let world = world(database).await;
        let old = subscribe(&world, "free").await;
        world.clock.advance_business(10 * DAY);
        let new = change(&world, &old, "tiny").await;
        assert_eq!((&new["status"], &new["activeFrom"]), (&json!("scheduled"), &json!("2026-02-01T00:00:00Z")));
        assert_eq!(state(&world, &old).await[..2], [json!("canceled"), json!("2026-02-01T00:00:00Z")]);
        assert_eq!(window(&world, &old).await[2], "1000");
        world.clock.advance_business(21 * DAY);
        assert_eq!(status(&world, &old).await, "inactive");
        assert_eq!(status(&world, &new).await, "active");
        assert_eq!(window(&world, &new).await, window_of("2026-02-01", "2026-03-01", "20"));
    }

    async fn timing_says_otherwise(database: TestDatabase) {
        let world = world(database).await;
        let first = subscribe(&world, "free").await;
        let now = json!({"plan": "tiny", "timing": "immediate"});
        let second = act(&world, &first, "change", &now).await.expect(200);
        assert_eq!(second["status"], "active");
        let later = json!({"plan": "big", "timing": "next_billing_cycle"});
        let third = act(&world, &second, "change", &later).await.expect(200);
        assert_eq!(third["activeFrom"], "2026-02-01T00:00:00Z");
        let then = json!({"plan": "big", "timing": "2026-01-20T00:00:00Z"});
        let fourth = act(&world, &second, "change", &then).await.expect(200);
        assert_eq!(fourth["activeFrom"], "2026-01-20T00:00:00Z");
        // The change that was to come before is dropped.
        assert_eq!(status(&world, &third).await, "inactive");
        world.clock.advance_business(40 * DAY);
        assert_eq!(status(&world, &third).await, "inactive");
        assert_eq!(status(&world, &fourth).await, "active");
    }

    async fn plans_outside_the_order_and_other_versions_are_upgrades(database: TestDatabase) {
        let world = world(database).await;
        let mut current = subscribe(&world, "big").await;
        let big = world.get("/v1/plans/big").await.expect(200);
        let draft = world.put(&format!("/v1/plans/{}", text(&big["id"])), &big).await.expect(200);
        shop::publish(&world, &draft).await;
        shop::sell(&world, "other", &[(None, 1)]).await;
        for plan in ["big", "other", "tiny"] {
            current = change(&world, &current, plan).await;
            assert_eq!(current["status"], "active", "{plan}");
        }
    }

    async fn what_cannot_be_changed_is_refused(database: TestDatabase) {
        let world = world(database).await;
        let current = subscribe(&world, "free").await;
        act(&world, &current, "change", &json!({"plan": "free"})).await.problem(409, "plan_unchanged");
        shop::sell_with(&world, "euro", &[(None, 5)], &json!({"currency": "EUR"})).await;
        act(&world, &current, "change", &json!({"plan": "euro"})).await
            .problem(409, "currency_differs");
        let end = json!({"timing": "2026-01-10T00:00:00Z"});
        act(&world, &current, "cancel", &end).await.expect(200);
        let after = json!({"plan": "big", "timing": "2026-01-11T00:00:00Z"});
        act(&world, &current, "change", &after).await.problem(409, "timing_after_end");
        world.clock.advance_business(9 * DAY);
        act(&world, &current, "change", &json!({"plan": "big"})).await
            .problem(409, "subscription_not_active");
    }

    async fn a_change_goes_on_past_a_cancelation(database: TestDatabase) {
        let world = world(database).await;
        let old = subscribe(&world, "tiny").await;
        act(&world, &old, "cancel", &json!({"timing": "2026-01-10T00:00:00Z"})).await.expect(200);
        let new = change(&world, &old, "free").await;
        world.clock.advance_business(40 * DAY);
        assert_eq!(status(&world, &new).await, "active");
    }

    async fn a_window_allows_so_many_changes(database: TestDatabase) {
        let world = world(database).await;
        let mut current = subscribe(&world, "tiny").await;
        for n in 0..100 {
            world.clock.advance_business(Duration::from_secs(60));
            let plan = ["free", "big"][n % 2];
            let document = json!({"plan": plan, "timing": "immediate"});
            current = act(&world, &current, "change", &document).await.expect(200);
        }
        world.clock.advance_business(Duration::from_secs(60));
        let once_more = json!({"plan": "tiny", "timing": "immediate"});
        act(&world, &current, "change", &once_more).await.problem(409, "too_many_changes");
        assert_eq!(status(&world, &current).await, "active");
        world.clock.advance_business(31 * DAY);
        act(&world, &current, "change", &once_more).await.expect(200);
    }

    async fn a_downgrade_is_taken_back_with_the_end_it_brings(database: TestDatabase) {
        let world = world(database).await;
        let current = subscribe(&world, "free").await;
        let next = change(&world, &current, "tiny").await;
        act(&world, &current, "unschedule-cancelation", &json!({})).await.expect(200);
        assert_eq!(state(&world, &current).await[..2], [json!("active"), Value::Null]);
        assert_eq!(status(&world, &next).await, "inactive");
        let next = change(&world, &current, "tiny").await;
        act(&world, &current, "cancel", &json!({})).await.expect(200);
        assert_eq!(status(&world, &next).await, "inactive");
        world.clock.advance_business(60 * DAY);
        assert_eq!(status(&world, &next).await, "inactive");
    }

    async fn a_downgrade_in_a_trial_comes_at_its_end(database: TestDatabase) {
        let world = world(database).await;
        shop::sell(&world, "trial", &[(Some("P2W"), 5), (None, 50)]).await;
        shop::order(&world, &["tiny", "trial"]).await;
        let trial = subscribe(&world, "trial").await;
        let next = change(&world, &trial, "tiny").await;
        assert_eq!(next["activeFrom"], "2026-01-15T00:00:00Z");
    }
}
