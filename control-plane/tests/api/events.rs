//! Usage that does not pass the gateway, and what meters counted.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_engine::contract::answer::Outcome::Applied;

use crate::both_databases;
use crate::catalog::pairs;
use crate::edge::Reaction::Granted;
use crate::edge::Report::{Needs, Unleased};
use crate::edge::{Edge, Worker};
use crate::ledger::{ledger, pair, subscribed};
use crate::shop::{self, act, issue, look, subscribe, text};
use crate::subscriptions::world;
use crate::till::{PAYS, Till};
use crate::world::{Answer, TestDatabase, World};

const DAY: Duration = Duration::from_secs(86_400);

fn event(id: &str, kind: &str, subject: &Value, data: Value) -> Value {
    json!({"specversion": "1.0", "source": "/worker", "id": id, "type": kind, "subject": subject,
        "data": data, "traceparent": "00-1"})
}

async fn send(world: &World, events: &Value) -> Answer {
    world.post("/v1/events", events).await
}

async fn take_in(world: &World, events: &Value) -> [u64; 2] {
    let taken = send(world, events).await.expect(200);
    ["accepted", "duplicates"].map(|field| taken[field].as_u64().unwrap())
}

/// A plan with one meter of each aggregation, and the customer `acme` subscribed to it.
async fn counted(database: TestDatabase) -> (World, Value) {
    let world = world(database).await;
    let mut cards = Vec::new();
    for (slug, aggregation) in [
        ("total", "SUM"),
        ("number", "COUNT"),
        ("most", "MAX"),
        ("last", "LATEST"),
        ("users", "UNIQUE_COUNT"),
    ] {
        let mut meter =
            json!({"slug": slug, "name": slug, "eventType": "job", "aggregation": aggregation});
        match aggregation {
            "COUNT" => {}
            "UNIQUE_COUNT" => meter["valueProperty"] = json!("$.user"),
            _ => meter["valueProperty"] = json!("$.cost['units']"),
        }
        world.post("/v1/meters", &meter).await.expect(201);
        let feature = json!({"key": slug, "name": slug, "meterSlug": slug});
        world.post("/v1/features", &feature).await.expect(201);
        cards.push(
            json!({"type": "flat_fee", "featureKey": slug, "billingCadence": "P1M", "price": null,
            "entitlementTemplate": {"type": "metered", "issueAfterReset": 1_000}}),
        );
    }
    let phases = json!([{"key": "main", "name": "Main", "duration": null, "rateCards": cards}]);
    shop::sell_with(&world, "jobs", &[], &json!({"phases": phases})).await;
    let subscription = subscribe(&world, "jobs").await;
    (world, subscription)
}

fn job(id: &str, units: &str, user: &str) -> Value {
    event(
        id,
        "job",
        &json!("acme"),
        json!({"cost": {"units": units}, "user": user}),
    )
}

/// What each meter of a subscription has counted.
async fn used(world: &World, subscription: &Value) -> Vec<String> {
    let usage = look(world, subscription, "/usage").await;
    let meters = usage["meters"].as_array().unwrap().iter();
    meters
        .map(|meter| text(&meter["used"]).to_owned())
        .collect()
}

async fn query(world: &World, meter: &str, query: &str) -> Vec<(String, String, Value)> {
    let path = format!("/v1/meters/{meter}/query?{query}");
    let shown = world.get(&path).await.expect(200);
    let rows = shown["data"].as_array().unwrap().iter();
    rows.map(|row| {
        let start = text(&row["windowStart"])[5..13].to_owned();
        (
            start,
            text(&row["value"]).to_owned(),
            row["groupBy"].clone(),
        )
    })
    .collect()
}

both_databases! {
    async fn events_are_counted_as_their_meters_say(database: TestDatabase) {
        let (world, subscription) = counted(database).await;
        world.clock.advance_business(DAY);
        let batch = json!([job("1", "2.5", "ann"), job("2", "7", "bob")]);
        assert_eq!(take_in(&world, &batch).await, [2, 0]);
        let mut third = job("3", "4", "ann");
        third["subject"] = subscription["id"].clone();
        third["data"]["cost"]["units"] = json!(4);
        assert_eq!(take_in(&world, &third).await, [1, 0]);
        assert_eq!(used(&world, &subscription).await, ["13.5", "3", "7", "4", "2"]);
        // One that happened before the last, and came after it.
        let mut older = job("4", "9", "eve");
        older["time"] = json!("2026-01-01T06:00:00Z");
        take_in(&world, &older).await;
        assert_eq!(used(&world, &subscription).await, ["22.5", "4", "9", "4", "3"]);
        for (meter, whole, days) in [
            ("total", "22.5", ["9", "13.5"]),
            ("number", "4", ["1", "3"]),
            ("most", "9", ["9", "7"]),
            ("last", "4", ["9", "4"]),
            ("users", "3", ["1", "2"]),
        ] {
            let at = |rows: Vec<(String, String, Value)>| -> Vec<_> { rows.into_iter().map(|row| row.1).collect() };
            assert_eq!(at(query(&world, meter, "").await), [whole], "{meter}");
            assert_eq!(at(query(&world, meter, "windowSize=DAY").await), days, "{meter}");
        }
        let mut reader = world.app.database.read().await.unwrap();
        let diagnosis = tollgate::doctor::examine(&world.app.database, &world.app.config).await.unwrap();
        assert!(diagnosis.findings.is_empty(), "{diagnosis}");
        let generations: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT generation FROM usage_counters")
            .fetch_all(&mut *reader).await.unwrap();
        assert_eq!(generations, [0]);
    }

    async fn an_event_counts_once_by_its_source_and_id(database: TestDatabase) {
        let (world, subscription) = counted(database).await;
        let batch = json!([job("1", "2", "ann"), job("1", "5", "bob"), job("2", "3", "ann")]);
        assert_eq!(take_in(&world, &batch).await, [2, 1]);
        assert_eq!(take_in(&world, &batch).await, [0, 3]);
        let mut elsewhere = job("1", "1", "ann");
        elsewhere["source"] = json!("/other");
        assert_eq!(take_in(&world, &elsewhere).await, [1, 0]);
        assert_eq!(used(&world, &subscription).await, ["6", "3", "3", "1", "1"]);
        let [forth, back] = [["7", "8"], ["8", "7"]].map(|ids| json!(ids.map(|id| job(id, "1", "x"))));
        let twice = tokio::join!(send(&world, &forth), send(&world, &back));
        let accepted = |answer: Answer| answer.expect(200)["accepted"].as_u64().unwrap();
        assert_eq!(accepted(twice.0) + accepted(twice.1), 2);
        assert_eq!(used(&world, &subscription).await[0], "8");
    }

    async fn events_come_as_the_types_of_cloudevents(database: TestDatabase) {
        let (world, _) = counted(database).await;
        for (content_type, body, status) in [
            ("application/cloudevents+json; charset=utf-8", job("1", "1", "a"), 200),
            ("application/cloudevents-batch+json", json!([job("2", "1", "a")]), 200),
            ("application/json", json!([]), 200),
            ("text/plain", job("3", "1", "a"), 415),
        ] {
            let request = world.request(axum::http::Method::POST, "/v1/events")
                .header("content-type", content_type).body(body.to_string().into()).unwrap();
            world.send(request).await.expect(status);
        }
    }

    async fn nothing_is_counted_when_anything_cannot_be(database: TestDatabase) {
        let (world, subscription) = counted(database).await;
        let mut bad = job("2", "1", "a");
        bad["specversion"] = json!("0.3");
        bad["datacontenttype"] = json!("text/xml");
        bad["time"] = json!("2026-01-01T00:02:00Z");
        bad["source"] = json!("");
        let batch = json!([job("1", "1", "a"), bad, 7, {"id": 1}]);
        assert_eq!(send(&world, &batch).await.mistakes(), pairs([
            ("specversion_not_supported", "$[1].specversion"),
            ("data_not_json", "$[1].datacontenttype"),
            ("source_missing", "$[1].source"),
            ("time_in_future", "$[1].time"),
            ("invalid_type", "$[2]"),
            ("invalid_type", "$[3]"),
        ]));
        let mut early = job("6", "1", "a");
        early["time"] = json!("2025-12-31T23:59:59Z");
        let batch = json!([
            job("1", "1", "a"),
            event("2", "else", &json!("acme"), json!({})),
            event("3", "job", &json!("nobody"), json!({})),
            event("4", "job", &json!("acme"), json!({"cost": {"units": "1.0001"}, "user": ["a"]})),
            event("5", "job", &json!("acme"), json!({"user": 5})),
            early,
        ]);
        let mistakes = send(&world, &batch).await.mistakes();
        let expected = pairs([
            ("event_type_unknown", "$[1].type"),
            ("subject_not_found", "$[2].subject"),
            ("invalid_value", "$[3].data"),
            ("value_missing", "$[4].data"),
        ]);
        for mistake in expected {
            assert!(mistakes.contains(&mistake), "{mistake:?} {mistakes:?}");
        }
        assert_eq!(used(&world, &subscription).await, ["0", "0", "0", "0", "0"]);
        let mut early = job("6", "1", "a");
        early["time"] = json!("2025-12-31T23:59:59Z");
        assert_eq!(send(&world, &early).await.mistakes(), pairs([("meter_not_in_plan", "$.subject")]));
    }

    async fn whose_usage_it_is_must_be_clear(database: TestDatabase) {
        let (world, first) = counted(database).await;
        shop::configure(&world, &json!({"multipleSubscriptionsEnabled": true})).await;
        let second = subscribe(&world, "jobs").await;
        let refused = send(&world, &job("1", "1", "a")).await;
        assert_eq!(refused.mistakes(), pairs([("subject_ambiguous", "$.subject")]));
        let key = issue(&world, &second).await;
        let by_key = event("1", "job", &key["id"], json!({"cost": {"units": 3}, "user": "a"}));
        take_in(&world, &by_key).await;
        let by_id = event("2", "job", &first["id"], json!({"cost": {"units": 1}, "user": "a"}));
        take_in(&world, &by_id).await;
        assert_eq!(used(&world, &second).await[0], "3");
        assert_eq!(used(&world, &first).await[0], "1");
        let id = |of: &Value| text(&of["id"]).to_owned();
        let mut groups = query(&world, "total", "groupBy=subscription,key,customer,plan").await;
        groups.sort_by_key(|row| row.1.clone());
        assert_eq!(groups[0].2, json!({"subscription": id(&first), "key": null, "customer": first["customer"], "plan": "jobs"}));
        assert_eq!(groups[1].2["key"], key["id"]);
        let only = query(&world, "total", &format!("filterSubscription={}", id(&second))).await;
        assert_eq!(only.len(), 1);
        assert_eq!(only[0].1, "3");
    }

    async fn a_query_is_by_hours_days_and_months(database: TestDatabase) {
        let (world, _) = counted(database).await;
        world.clock.advance_business(50 * DAY);
        for (number, time) in ["01-01T00:00", "01-01T01:59", "01-02T06:00", "02-01T00:00", "02-10T00:00"]
            .into_iter()
            .enumerate()
        {
            let mut event = job(&number.to_string(), "1", "a");
            event["time"] = json!(format!("2026-{time}:00Z"));
            take_in(&world, &event).await;
        }
        let count = async |of: &str| -> Vec<(String, String)> {
            query(&world, "number", of).await.into_iter().map(|row| (row.0, row.1)).collect()
        };
        let row = |start: &str, value: &str| (start.to_owned(), value.to_owned());
        assert_eq!(count("windowSize=MONTH").await, [row("01-01T00", "3"), row("02-01T00", "2")]);
        assert_eq!(count("windowSize=DAY&to=2026-01-03T00:00:00Z").await, [row("01-01T00", "2"), row("01-02T00", "1")]);
        assert_eq!(count("windowSize=HOUR&from=2026-01-01T01:00:00Z&to=2026-01-03T00:00:00Z").await,
            [row("01-01T01", "1"), row("01-02T06", "1")]);
        assert_eq!(count("from=2026-02-01T00:00:00Z").await, [row("02-01T00", "2")]);
        for wrong in ["windowSize=WEEK", "from=2026-01-01T00:00:01Z", "to=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z", "groupBy=colour", "size=1"] {
            world.get(&format!("/v1/meters/number/query?{wrong}")).await.problem(400, "invalid_query");
        }
        world.get("/v1/meters/else/query").await.problem(404, "meter_not_found");
        world.get("/v1/meters/number/query?filterSubscription=x").await.problem(404, "subscription_not_found");
    }

    async fn what_events_count_is_billed_once_and_late_when_late(database: TestDatabase) {
        let till = Till::open(database).await;
        let subscription = till.check_out("acme", "pro", PAYS).await;
        let calls = async |id: &str, count: u64, time: &str| {
            let events: Vec<_> = (0..count)
                .map(|number| {
                    let mut event = event(&format!("{id}/{number}"), "calls", &json!("acme"), json!({}));
                    event["time"] = json!(time);
                    event
                })
                .collect();
            take_in(&till.world, &json!(events)).await
        };
        till.consume(&subscription, "2026-01-01T00:00:00Z", 49_999).await;
        till.world.clock.advance_business(DAY);
        calls("a", 501, "2026-01-01T12:00:00Z").await;
        till.go_to("02-01T00:02:00").await;
        till.bill().await;
        assert_eq!(till.invoices().await[1]["total"], "100.00");
        calls("b", 500, "2026-01-31T23:59:59Z").await;
        assert_eq!(calls("b", 500, "2026-01-31T23:59:59Z").await, [0, 500]);
        till.go_to("03-01T00:02:00").await;
        till.bill().await;
        let third = &till.invoices().await[2];
        assert_eq!((&third["total"], &third["lines"][1]["kind"]), (&json!("100.00"), &json!("late")));
        till.assert_sound().await;
    }

    async fn events_count_against_the_limit_at_the_edge(database: TestDatabase) {
        let edge = Edge::open(database).await;
        let (subscription, chain, window) = subscribed(&edge).await;
        let mut worker = Worker::new("one", &chain);
        worker.settle(&edge, &[Unleased(&window, 5)]);
        let one = |id: u64| event(&id.to_string(), "calls", &subscription["id"], json!({}));
        take_in(&edge.world, &json!([one(1), one(2), one(3)])).await;
        // The ledger has them at once, Redis once they are written.
        assert_eq!(edge.usage(&subscription).await, pair("3", "17"));
        edge.publish().await;
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 1, 11, 8));
        edge.keep().await;
        take_in(&edge.world, &json!([one(3), one(4)])).await;
        edge.publish().await;
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 1, 9, 9));
        assert_eq!(edge.usage(&subscription).await, pair("9", "11"));
        // A store that was lost has all of it again, and what comes while it is filled.
        edge.command(&["FLUSHALL"]);
        take_in(&edge.world, &json!([one(5)])).await;
        edge.keep().await;
        edge.publish().await;
        let mut worker = Worker::new("two", &chain);
        // Grants on hard limits pause there for a moment.
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 10, 10));
        assert_eq!(ledger(&edge.world, &chain.id).await, 10);
        // Units that were used under the plan before count under the next.
        edge.world.clock.advance_business(Duration::from_secs(1));
        let document = json!({"plan": "free"});
        let next = act(&edge.world, &subscription, "change", &document).await.expect(200);
        edge.publish().await;
        let mut worker = Worker::new("three", &chain);
        assert_eq!(worker.settle(&edge, &[Needs(1)]), Granted(Applied, 0, 990, 10));
        assert_eq!(text(&look(&edge.world, &next, "/usage").await["meters"][0]["carried"]), "10");
    }
}
