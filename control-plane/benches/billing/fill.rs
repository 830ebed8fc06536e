//! A database with many subscriptions of three lines each: a fee and two meters that were used.

use axum::body::Body;
use axum::http::{Method, Request, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor};
use tollgate::admin::bootstrap;
use tollgate::app::{App, Role};
use tollgate::clock::{Clock, MachineInstant};
use tollgate::config::Config;
use tollgate::database::bulk::{self, Cell};
use tollgate::database::{Backend, Connection};
use tollgate::ids::{CustomerId, InvoiceId, SubscriptionId};
use tollgate::router;
use tower::ServiceExt;

const ADMIN_KEY: &str = "tga_bench_only_0123456789abcdefghijklmno";
/// When every subscription began; its first month is billed.
pub const START: &str = "2026-01-01T00:00:00Z";
/// Until when it is.
pub const AS_OF: &str = "2026-02-01T00:02:00Z";
pub const METERS: [&str; 2] = ["calls", "tokens"];
const ROWS_PER_TRANSACTION: usize = 5_000;

/// A database that is filled.
pub struct Filled {
    pub app: App,
    pub url: String,
    pub chains: Vec<SubscriptionId>,
}

impl Filled {
    /// Fills an empty database with so many subscriptions, whose first invoices are paid.
    pub async fn new(url: &str, subscriptions: usize) -> Self {
        let app = app(url, "redis://127.0.0.1:1").await;
        let template = sell(&app).await;
        let now = app.clock.machine_now();
        let ids =
            std::iter::repeat_with(|| (CustomerId::generate(now), SubscriptionId::generate(now)));
        let ids: Vec<_> = ids.take(subscriptions).collect();
        for page in ids.chunks(ROWS_PER_TRANSACTION) {
            write(&app, &template, page, now).await;
        }
        // Everything that was used is known.
        let drained = "INSERT INTO usage_drains (id, began_at_ms, began_machine_ms)";
        let rows = [[1.into(), i64::MAX.into(), i64::MAX.into()]];
        let mut tx = app.database.begin_write().await.unwrap();
        bulk::insert(&mut tx, drained, &rows, "").await.unwrap();
        tx.commit().await.unwrap();
        if app.database.backend() == Backend::Postgres {
            // As it does by itself within a minute.
            let mut connection = Connection::connect(url).await.unwrap();
            connection.execute(sqlx::raw_sql("ANALYZE")).await.unwrap();
        }
        Self {
            app,
            url: url.to_owned(),
            chains: ids.into_iter().map(|(_, id)| id).collect(),
        }
    }
}

/// An application on a database, where it is when every subscription begins.
pub async fn app(url: &str, redis: &str) -> App {
    let settings = [
        ("DATABASE_URL", url),
        ("REDIS_URL", redis),
        ("STRIPE_API_KEY", "sk_test_0123456789abcdefghijklmn"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdefghijklmn"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(None, settings).unwrap();
    let clock = Clock::manual(START.parse().unwrap());
    let app = App::build(config, clock).await.unwrap();
    bootstrap::ensure_first_key(&app, Some(ADMIN_KEY))
        .await
        .unwrap();
    app
}

/// Sells the plan and gives the id of its version.
async fn sell(app: &App) -> String {
    for meter in METERS {
        let document = json!({"slug": meter, "name": meter});
        post(app, "/v1/meters", &document).await;
        let document = json!({"key": meter, "name": meter, "meterSlug": meter});
        post(app, "/v1/features", &document).await;
    }
    let usage = METERS.map(|meter| {
        json!({"type": "usage_based", "featureKey": meter, "billingCadence": "P1M",
            "price": {"type": "tiered", "mode": "graduated", "tiers": [
                {"upToAmount": "1000", "unitPrice": {"amount": "0.01"}}, {"unitPrice": {"amount": "0.005"}}]},
            "entitlementTemplate": {"type": "metered", "isSoftLimit": true}})
    });
    let fee = json!({"type": "flat_fee", "key": "base", "billingCadence": "P1M",
        "price": {"type": "flat", "amount": "29.00"}});
    let cards = [fee].into_iter().chain(usage).collect::<Vec<_>>();
    let plan = json!({"key": "pro", "name": "Pro", "currency": "USD", "billingCadence": "P1M",
        "phases": [{"key": "default", "name": "Default", "rateCards": cards}]});
    let draft = post(app, "/v1/plans", &plan).await;
    let id = draft["id"].as_str().unwrap().to_owned();
    post(app, &format!("/v1/plans/{id}/publish"), &json!({})).await;
    id
}

async fn post(app: &App, path: &str, document: &Value) -> Value {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN_KEY}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(document.to_string()));
    let router = router::router(app, &[Role::Api]);
    let answer = router.oneshot(request.unwrap()).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    let body = body.unwrap();
    assert!(
        status.is_success(),
        "{path}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body).unwrap()
}

fn ms(instant: &str) -> i64 {
    instant.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Writes subscriptions, each of a customer of its own, with what they used and the invoice they began with.
async fn write(app: &App, plan: &str, ids: Ids<'_>, now: MachineInstant) {
    let mut tx = app.database.begin_write().await.unwrap();
    write_subscriptions(&mut tx, plan, ids).await;
    write_money(&mut tx, ids, now).await;
    tx.commit().await.unwrap();
}

type Ids<'a> = &'a [(CustomerId, SubscriptionId)];

/// A row for each subscription, by the ids of its customer and itself.
fn rows_of(ids: Ids<'_>, row: impl Fn(&str, &str) -> Vec<Cell>) -> Vec<Vec<Cell>> {
    let ids = ids
        .iter()
        .map(|(customer, id)| (customer.to_string(), id.to_string()));
    ids.map(|(customer, id)| row(&customer, &id)).collect()
}

async fn write_subscriptions(tx: &mut Connection, plan: &str, ids: Ids<'_>) {
    let start = ms(START);
    let customers = rows_of(ids, |customer, _| {
        vec![
            customer.into(),
            "Customer".into(),
            "{}".into(),
            start.into(),
            start.into(),
        ]
    });
    let into = "INSERT INTO customers (id, name, metadata, created_at_ms, updated_at_ms)";
    insert::<5>(tx, into, &customers).await;
    let chains = rows_of(ids, |customer, id| {
        vec![id.into(), customer.into(), "AbCd".into(), 1.into()]
    });
    let into = "INSERT INTO chains (id, customer_id, tag, version)";
    insert::<4>(tx, into, &chains).await;
    let subscriptions = rows_of(ids, |customer, id| {
        vec![
            id.into(),
            id.into(),
            1.into(),
            customer.into(),
            plan.into(),
            "pro".into(),
            1.into(),
            0.into(),
            0.into(),
            "{}".into(),
            start.into(),
            start.into(),
        ]
    });
    let into = "INSERT INTO subscriptions (id, chain_id, epoch, customer_id, plan_id, plan_key, plan_version,
        starting_phase, trial, resumed, active_from_ms, created_at_ms)";
    insert::<12>(tx, into, &subscriptions).await;
}

async fn write_money(tx: &mut Connection, ids: Ids<'_>, now: MachineInstant) {
    let (start, boundary, due) = (ms(START), ms("2026-02-01T00:00:00Z"), ms(AS_OF));
    let schedules = rows_of(ids, |_, id| {
        vec![
            id.into(),
            start.into(),
            boundary.into(),
            "all".into(),
            due.into(),
            due.into(),
        ]
    });
    let into = "INSERT INTO billing_schedules (subscription_id, billed_ms, boundary_ms, part, due_ms, drained_ms)";
    insert::<6>(tx, into, &schedules).await;
    for meter in METERS {
        let windows = rows_of(ids, |_, id| {
            vec![
                id.into(),
                1.into(),
                meter.into(),
                start.into(),
                1_234_567.into(),
                0.into(),
            ]
        });
        let into = "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trimmed)";
        insert::<6>(tx, into, &windows).await;
    }
    let invoices = rows_of(ids, |customer, id| {
        vec![
            InvoiceId::generate(now).to_string().into(),
            customer.into(),
            id.into(),
            id.into(),
            1.into(),
            "first".into(),
            start.into(),
            "all".into(),
            "paid".into(),
            "USD".into(),
            2_900.into(),
            "done".into(),
            1.into(),
            1.into(),
            start.into(),
        ]
    });
    let into = "INSERT INTO invoices (id, customer_id, chain_id, subscription_id, plan_version, kind, boundary_ms,
        part, status, currency, total, step, attempt, attempts, created_at_ms)";
    insert::<15>(tx, into, &invoices).await;
}

/// Inserts rows of so many columns.
pub async fn insert<const COLUMNS: usize>(
    connection: &mut Connection,
    into: &str,
    rows: &[Vec<Cell>],
) {
    let rows: Vec<[Cell; COLUMNS]> = rows
        .iter()
        .map(|row| row.clone().try_into().unwrap())
        .collect();
    bulk::insert(connection, into, &rows, "").await.unwrap();
}
