//! The doctor finds nothing in a sound database, and each fault that is planted.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate::config::Environment;
use tollgate::doctor;
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::store::request;

use crate::both_databases;
use crate::shop::{act, issue, text};
use crate::till::{PAYS, Till, sell};
use crate::world::{TestDatabase, World, config};

/// Two customers' lives: periods, usage beyond what is included, late usage, an upgrade with its credit, keys, events.
async fn lived(database: TestDatabase) -> Till {
    let till = Till::open(database).await;
    let first = till.check_out("acme", "starter", PAYS).await;
    let other = till.check_out("other", "pro", PAYS).await;
    till.settle().await;
    for subscription in [&first, &other] {
        issue(&till.world, subscription).await;
    }
    till.consume(&first, text(&first["activeFrom"]), 4_000)
        .await;
    till.consume(&other, text(&other["activeFrom"]), 60_000)
        .await;
    till.go_to("01-15T00:00:00").await;
    let second = act(&till.world, &first, "change", &json!({"plan": "pro"}))
        .await
        .expect(200);
    till.go_to("01-15T00:00:10").await;
    till.settle().await;
    till.consume(&second, text(&second["activeFrom"]), 51_000)
        .await;
    till.go_to("02-01T00:03:00").await;
    till.settle().await;
    till.consume(&other, text(&other["activeFrom"]), 700).await;
    till.go_to("03-02T00:03:00").await;
    till.settle().await;
    let event = json!({"source": "/jobs", "id": "1", "type": "calls", "subject": other["id"]});
    till.world.post("/v1/events", &event).await.expect(200);
    claim_keys(&till).await;
    note_events(&till).await;
    till
}

/// Each customer has claimed the key of the Checkout.
async fn claim_keys(till: &Till) {
    let claimed = "UPDATE checkout_sessions SET key_id = (SELECT MIN(api_keys.id) FROM api_keys
        JOIN subscriptions ON subscriptions.chain_id = api_keys.chain_id
        WHERE subscriptions.id = checkout_sessions.subscription_id)";
    till.execute(claimed.to_owned()).await;
}

/// Stripe has told of every invoice that it is paid.
async fn note_events(till: &Till) {
    let told = "INSERT INTO stripe_events (id, stripe_id, type, object_id, payload, status, attempts, next_attempt_ms,
            happened_at_ms, received_at_ms, handled_at_ms)
        SELECT 'evt_' || id, 'evt_' || id, 'invoice.paid', stripe_id, '{\"livemode\":false}', 'handled', 1, 0, 0, 0, 0
        FROM invoices WHERE status = 'paid'";
    till.execute(told.to_owned()).await;
}

/// Faults by the code under which they are found.
const FAULTS: &[(&str, &str)] = &[
    ("periods_overlap", "UPDATE invoice_lines SET period_end_ms = period_end_ms + 1 WHERE kind = 'fee'"),
    ("periods_gap", "UPDATE invoice_lines SET period_end_ms = period_end_ms - 1 WHERE kind = 'fee'"),
    ("periods_gap", "DELETE FROM invoice_lines WHERE kind = 'fee' AND period_start_ms = 1769904000000"),
    ("windows_overlap", "UPDATE rated_windows SET end_ms = end_ms + 1"),
    ("windows_gap", "UPDATE rated_windows SET end_ms = end_ms - 1"),
    ("claim_without_token", "UPDATE jobs SET token = 0"),
    ("committed_without_claim", "UPDATE jobs SET token = token - 1"),
    ("committed_without_claim", "UPDATE jobs SET owner = 'wrk_00000000000000000000000000'"),
    ("slices_differ", "UPDATE rated_windows SET amount = amount + 1 WHERE corrections > 0"),
    ("window_is_not_its_counters", "UPDATE usage_windows SET units = units + 1 WHERE units > 0"),
    ("counters_without_window", "UPDATE usage_counters SET start_ms = start_ms + 1"),
    ("events_are_not_their_counters", "UPDATE usage_readings SET units = units + 1"),
    ("events_are_nobodys", "DELETE FROM usage_events"),
    ("rated_beyond_usage", "UPDATE usage_windows SET rated = units + 1 WHERE rated IS NOT NULL"),
    ("rated_twice_or_never", "INSERT INTO rated_windows SELECT chain_id, epoch, meter, start_ms, 'again', end_ms, carried,
        units, amount, corrections FROM rated_windows"),
    ("rated_twice_or_never", "DELETE FROM rated_windows"),
    ("rated_units_differ", "UPDATE rated_windows SET units = units + 1"),
    ("rated_amount_not_billed", "UPDATE rated_windows SET amount = amount + 1"),
    ("rated_amount_not_billed", "UPDATE invoice_lines SET amount = amount + 1, total = total + 1 WHERE kind = 'late'"),
    ("window_of_nobody", "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trimmed)
        SELECT id, 99, 'calls', 0, 5, 0 FROM chains"),
    ("window_never_rated", "UPDATE usage_windows SET rated = NULL"),
    ("boundary_billed_twice", "INSERT INTO invoices SELECT 'inv_' || id, customer_id, chain_id, subscription_id, plan_version,
        kind, boundary_ms, 'fees', status, currency, total, step, attempt, failure, NULL, number, hosted_url, attempts,
        due_since_ms, created_at_ms, finalized_at_ms, paid_at_ms FROM invoices"),
    ("fee_charged_twice", "INSERT INTO invoice_lines SELECT identity || '/1', invoice_id, position, kind, subscription_id,
        rate_card, description, period_start_ms, period_end_ms, quantity, unit_amount, amount, credit, total, discount
        FROM invoice_lines WHERE kind = 'fee'"),
    ("made_twice_in_stripe", "INSERT INTO stripe_requests (idempotency_key, round, path, form, first_sent_ms, status)
        SELECT id || ':create:2', 1, '/v1/invoices', '', 0, 200 FROM invoices"),
    ("lines_do_not_sum", "UPDATE invoices SET total = total + 1"),
    ("line_does_not_sum", "UPDATE invoice_lines SET amount = amount + 1"),
    ("total_is_negative", "UPDATE invoices SET total = -total"),
    ("invoice_without_lines", "UPDATE invoice_lines SET invoice_id = (SELECT MIN(id) FROM invoices)"),
    ("line_credit_differs", "UPDATE invoice_lines SET credit = credit + 1, total = total - 1"),
    ("credit_beyond_payment", "UPDATE credits SET amount = 2901"),
    ("credit_beyond_payment", "UPDATE invoices SET status = 'open', paid_at_ms = NULL"),
    ("credit_overspent", "UPDATE credits SET amount = amount - 1"),
    ("credit_of_no_fee", "UPDATE credits SET source = (SELECT MIN(identity) FROM invoice_lines WHERE kind <> 'fee')"),
    ("credit_in_another_currency", "UPDATE credits SET currency = 'EUR'"),
    ("changes_cheaper_than_a_fee", "UPDATE invoice_lines SET total = 0 WHERE kind = 'fee'"),
    ("state_without_its_instant", "UPDATE invoices SET paid_at_ms = NULL"),
    ("state_without_its_instant", "UPDATE invoices SET status = 'failed'"),
    ("older_than_what_was_told", "UPDATE invoices SET status = 'open', paid_at_ms = NULL"),
    ("event_given_up", "UPDATE stripe_events SET status = 'dead', failure = 'none'"),
    ("subscriptions_overlap", "UPDATE subscriptions SET active_to_ms = NULL"),
    ("first_charged_twice", "UPDATE invoices SET kind = 'first'"),
    ("checkout_without_subscription", "UPDATE checkout_sessions SET subscription_id = NULL"),
    ("checkout_without_subscription", "UPDATE checkout_sessions SET status = 'open'"),
    ("checkout_completed_twice", "INSERT INTO checkout_attempts (id, checkout_id, token_hash, holder, completed, created_at_ms)
        SELECT id || '2', checkout_id, token_hash || '2', holder, 1, 0 FROM checkout_attempts WHERE completed = 1"),
    ("key_of_another_chain", "UPDATE checkout_sessions SET key_id = (SELECT MIN(id) FROM api_keys)"),
    ("subscription_of_another_customer", "UPDATE subscriptions SET customer_id = (SELECT MIN(id) FROM customers)"),
    ("invoice_of_another_customer", "UPDATE invoices SET customer_id = (SELECT MIN(id) FROM customers)"),
    ("credit_of_another_customer", "UPDATE credits SET customer_id = (SELECT MAX(id) FROM customers)"),
    ("checkout_of_another_customer", "UPDATE checkout_sessions SET customer_id = (SELECT MIN(id) FROM customers)"),
    ("usage_by_another_key", "UPDATE usage_counters SET api_key = (SELECT MIN(id) FROM api_keys)"),
    ("event_of_another_mode", "UPDATE stripe_events SET payload = '{\"livemode\":true}'"),
    ("time_of_a_sandbox", "INSERT INTO sandbox_clock (id, lead_ms, stepped_ms) VALUES (1, 1, 0)"),
];

both_databases! {
    async fn each_fault_is_found(database: TestDatabase) {
        let till = lived(database).await;
        till.assert_sound().await;
        let planted: BTreeSet<_> = FAULTS.iter().map(|(code, _)| *code).collect();
        assert_eq!(planted, doctor::codes().collect());
        for (code, fault) in FAULTS {
            let mut tx = till.world.app.database.begin_write().await.unwrap();
            let done = sqlx::query(*fault).execute(&mut *tx).await.unwrap();
            assert!(done.rows_affected() > 0, "{fault}");
            let found = doctor::examine_database(&mut tx, Environment::Test).await.unwrap();
            let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
            assert!(codes.contains(code), "{code} is not in {codes:?} after {fault}");
            // Rolled back: the next fault is alone again.
        }
        till.assert_sound().await;
    }
}

both_databases! {
    async fn what_another_one_will_bill_is_no_fault(database: TestDatabase) {
        let till = Till::open(database).await;
        let meter = json!([{"type": "usage_based", "featureKey": "calls", "billingCadence": "P1M",
            "price": {"type": "unit", "amount": "0.01"},
            "entitlementTemplate": {"type": "metered", "isSoftLimit": true}}]);
        for plan in ["payg", "same"] {
            sell(&till.world, plan, meter.clone()).await;
        }
        let same = till.check_out("acme", "same", PAYS).await;
        till.go_to("01-10T00:00:00").await;
        // Its first window is what is left of January, its first boundary the 10th of February.
        let now = json!({"plan": "payg", "timing": "immediate"});
        let payg = act(&till.world, &same, "change", &now).await.expect(200);
        till.go_to("01-10T00:00:10").await;
        till.settle().await;
        till.consume(&payg, "2026-01-10T00:00:00Z", 500).await;
        let later = json!({"plan": "free", "timing": "next_billing_cycle"});
        act(&till.world, &payg, "change", &later).await.expect(200);
        till.go_to("02-10T00:03:00").await;
        // As it is when its end was passed over, and who took over was not billed yet.
        let id = text(&payg["id"]);
        till.execute(format!(
            "UPDATE billing_schedules SET billed_ms = boundary_ms, boundary_ms = NULL, due_ms = NULL, drained_ms = NULL
             WHERE subscription_id = '{id}'"
        )).await;
        till.assert_sound().await;
        till.settle().await;
        till.assert_sound().await;
        let invoices = till.invoices().await;
        assert_eq!(invoices.last().unwrap()["total"], "5.00");
    }
}

#[tokio::test]
async fn a_redis_that_may_drop_data_is_found() {
    let world = World::new(TestDatabase::sqlite()).await;
    let redis = RedisServer::start(RedisOptions::default());
    let url = format!("redis://{}", redis.address());
    let config = config(&world.database, &[("REDIS_URL", &url)]);
    let examine = async || doctor::examine(&world.app.database, &config).await.unwrap();
    assert_eq!(examine().await.findings, []);
    let lossy = request(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert_eq!(redis.exchange(&lossy), b"+OK\r\n");
    let found: Vec<Value> = examine()
        .await
        .findings
        .iter()
        .map(|it| json!([it.code, it.detail]))
        .collect();
    assert_eq!(
        found,
        [json!(["may_drop_data", "is allkeys-lru, not noeviction"])]
    );
}
