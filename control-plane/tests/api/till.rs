//! A shop that takes money, with a simulator of Stripe of its own, whose jobs run when the test says so.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, header};
use serde_json::{Value, json};
use tollgate::clock::{BusinessInstant, Clock};
use tollgate::doctor;
use tollgate::ids::WorkerId;
use tollgate::invoicing;
use tollgate::invoicing::billing::Billing;
use tollgate::invoicing::pusher::Pusher;
use tollgate::jobs::{self, Claim, Job};
use tollgate::outbox::Dispatcher;
use tollgate_tests::stripe::{StripeOptions, StripeSimulator};

use crate::catalog::metered_feature;
use crate::shop::{self, text};
use crate::world::{Answer, START, TestDatabase, World};

pub const PAYS: &str = "4242424242424242";
pub const ATTACHES_AND_FAILS: &str = "4000000000000341";
pub const DAY: Duration = Duration::from_secs(86_400);
const LEASE: Duration = Duration::from_secs(3_600);

#[derive(Clone)]
pub struct Till {
    pub world: World,
    pub stripe: Arc<StripeSimulator>,
}

impl Till {
    /// The plans `free`, `starter` (29.00, 10,000 units at most) and `pro` (99.00, 50,000 units and 0.002 for each
    /// further one), and no customers.
    pub async fn open(database: TestDatabase) -> Self {
        let stripe = StripeSimulator::start(StripeOptions {
            // So long that whoever pays at once is first, even where others keep the processor busy.
            collection_delay_ms: 250,
            ..StripeOptions::default()
        });
        let url = stripe.url();
        let settings = [
            ("STRIPE_API_KEY", stripe.key()),
            ("STRIPE_API_BASE", url.as_str()),
            ("STRIPE_WEBHOOK_SECRET", stripe.webhook_secret()),
            ("TOLLGATE_SERVER_PUBLIC_URL", "https://billing.example.com"),
        ];
        let clock = Clock::manual(START.parse().unwrap());
        let world = World::at(database, &settings, clock).await;
        metered_feature(&world, "calls").await;
        let limit = json!({"type": "metered", "issueAfterReset": 10_000});
        let calls = |template: Value| {
            json!({"type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
                "entitlementTemplate": template})
        };
        let soft = json!({"type": "metered", "issueAfterReset": 50_000, "isSoftLimit": true});
        let overage = json!({"type": "tiered", "mode": "graduated", "tiers": [
            {"upToAmount": "50000", "unitPrice": {"amount": "0"}}, {"unitPrice": {"amount": "0.002"}}]});
        sell(&world, "free", json!([calls(limit.clone())])).await;
        sell(&world, "starter", json!([fee("29.00"), calls(limit)])).await;
        let usage = json!({"type": "usage_based", "featureKey": "calls", "billingCadence": "P1M",
            "price": overage, "entitlementTemplate": soft});
        sell(&world, "pro", json!([fee("99.00"), usage])).await;
        shop::order(&world, &["free", "starter", "pro"]).await;
        Self {
            world,
            stripe: Arc::new(stripe),
        }
    }

    /// Has a new customer subscribe by a Checkout with a card, and gives the subscription.
    pub async fn check_out(&self, customer: &str, plan: &str, card: &str) -> Value {
        shop::customer(&self.world, customer).await;
        let document = json!({"plan": plan, "customer": customer});
        let made = self
            .world
            .post("/v1/checkout-sessions", &document)
            .await
            .expect(201);
        let path = format!("/portal/checkout/{}", text(&made["id"]));
        let page = self.browse(&path).await;
        let location = page.headers[header::LOCATION].to_str().unwrap();
        self.stripe.enter_card(location, card).await;
        self.browse(&format!("{path}/success")).await;
        let path = format!("/v1/checkout-sessions/{}", text(&made["id"]));
        let done = self.world.get(&path).await.expect(200);
        let path = format!("/v1/subscriptions/{}", text(&done["subscription"]));
        self.world.get(&path).await.expect(200)
    }

    /// Has a customer replace the card on Stripe's portal.
    pub async fn replace_card(&self, customer: &str, card: &str) {
        let path = format!("/v1/customers/{customer}/portal-sessions");
        let made = self.world.post(&path, &json!({})).await.expect(201);
        self.stripe.enter_card(text(&made["url"]), card).await;
    }

    /// Takes an invoice back, as an operator does in Stripe's dashboard.
    pub async fn void(&self, stripe_id: &str) {
        self.stripe.by_hand(stripe_id, "void").await;
    }

    async fn browse(&self, path: &str) -> Answer {
        let request = self.world.request(Method::GET, path);
        self.world
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await
    }

    pub async fn claim(&self, job: &str) -> Claim {
        let database = &self.world.app.database;
        jobs::free_all(database).await.unwrap();
        let now = self.world.clock.machine_now();
        Claim::take(database, job, WorkerId::generate(now), now, LEASE)
            .await
            .unwrap()
            .unwrap()
    }

    /// One run of the billing.
    pub async fn bill(&self) {
        let claim = self.claim("billing").await;
        Billing::new(self.world.app.clone())
            .run(&claim)
            .await
            .unwrap();
    }

    /// One run of what brings invoices to Stripe; what failed is tried at once the next time.
    pub async fn push(&self) {
        let claim = self.claim("invoices").await;
        let app = self.world.app.clone();
        Dispatcher::new(app.clone(), Pusher::new(app))
            .run(&claim)
            .await
            .unwrap();
        self.world.clock.advance_machine(Duration::from_secs(120));
    }

    /// Bills what is due and brings it to Stripe, then takes in what became of all invoices there.
    pub async fn settle(&self) {
        self.bill().await;
        self.push().await;
        self.hear().await;
    }

    /// Waits until Stripe has collected what it will, and takes in what became of all invoices.
    pub async fn hear(&self) {
        let collected = || {
            let invoices = self.stripe.objects("invoice");
            invoices
                .iter()
                .all(|it| it["status"] != "open" || it["attempted"] == true)
        };
        while !collected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for invoice in self.stripe.objects("invoice") {
            self.tell(text(&invoice["id"])).await;
        }
    }

    /// Takes in what Stripe says of one invoice.
    pub async fn tell(&self, stripe_id: &str) {
        let app = &self.world.app;
        let theirs = app.stripe().unwrap().get_invoice(stripe_id).await.unwrap();
        let mut tx = app.database.begin_write().await.unwrap();
        invoicing::apply(app, &mut tx, &theirs).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Notes a drain that begins now.
    pub async fn drain(&self) {
        let clock = &self.world.clock;
        let (now, mark) = (
            clock.business_now().unix_ms(),
            clock.machine_now().unix_ms(),
        );
        let sql = format!(
            "INSERT INTO usage_drains (id, began_at_ms, began_machine_ms) VALUES (1, {now}, {mark})
             ON CONFLICT (id) DO UPDATE SET began_at_ms = {now}, began_machine_ms = {mark}"
        );
        self.execute(sql).await;
    }

    /// Adds units to the window of `calls` that begins at `start` in a subscription.
    pub async fn consume(&self, subscription: &Value, start: &str, units: u64) {
        let id = text(&subscription["id"]);
        let start: BusinessInstant = start.parse::<jiff::Timestamp>().unwrap().into();
        let (start, milli) = (start.unix_ms(), units * 1_000);
        let sql = format!(
            "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trim_at_ms, trimmed)
             SELECT chain_id, epoch, 'calls', {start}, {milli}, NULL, 0 FROM subscriptions WHERE id = '{id}'
             ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE
             SET units = usage_windows.units + excluded.units"
        );
        self.execute(sql).await;
        let sql = format!(
            "INSERT INTO usage_counters
                 (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key, units)
             SELECT chain_id, epoch, 'calls', {start}, 1, 0, 0, 'key_0', {milli}
             FROM subscriptions WHERE id = '{id}'
             ON CONFLICT (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
             DO UPDATE SET units = usage_counters.units + excluded.units"
        );
        self.execute(sql).await;
    }

    /// Fails where anything is in the database that must not be.
    pub async fn assert_sound(&self) {
        let app = &self.world.app;
        let diagnosis = doctor::examine(&app.database, &app.config).await.unwrap();
        assert!(diagnosis.findings.is_empty(), "{diagnosis}");
    }

    pub async fn execute(&self, sql: String) {
        let mut tx = self.world.app.database.begin_write().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// The number in the first row of an answer.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let mut reader = self.world.app.database.read().await.unwrap();
        sqlx::query_scalar(sql)
            .fetch_one(&mut *reader)
            .await
            .unwrap()
    }

    /// Moves business time to an instant of 2026, as in `02-01T00:02:00`, and drains then.
    pub async fn go_to(&self, instant: &str) {
        let target: jiff::Timestamp = format!("2026-{instant}Z").parse().unwrap();
        let target: BusinessInstant = target.into();
        let now = self.world.clock.business_now();
        let by = u64::try_from(target.unix_ms() - now.unix_ms()).unwrap();
        self.world.clock.advance_business(Duration::from_millis(by));
        self.world.clock.advance_machine(Duration::from_secs(10));
        self.drain().await;
    }

    /// All invoices, the oldest first.
    pub async fn invoices(&self) -> Vec<Value> {
        let mut all = self.world.list("/v1/invoices", 50).await;
        all.reverse();
        all
    }

    /// Of each invoice kind, status and total, the oldest first.
    pub async fn summary(&self) -> Vec<String> {
        let invoices = self.invoices().await;
        let show = |it: &Value| {
            let (kind, status) = (text(&it["kind"]), text(&it["status"]));
            format!("{kind} {status} {}", text(&it["total"]))
        };
        invoices.iter().map(show).collect()
    }
}

/// Of each line of an invoice description, amount and credit.
pub fn lines(invoice: &Value) -> Vec<String> {
    let lines = invoice["lines"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let (what, amount) = (text(&line["description"]), text(&line["amount"]));
            format!("{what} {amount} -{}", text(&line["credit"]))
        })
        .collect()
}

pub fn fee(amount: &str) -> Value {
    json!({"type": "flat_fee", "key": "base", "billingCadence": "P1M",
        "price": {"type": "flat", "amount": amount}})
}

/// Publishes a plan of one phase.
pub async fn sell(world: &World, key: &str, cards: Value) {
    let phases = json!([{"key": "default", "name": "Default", "rateCards": cards}]);
    sell_with(world, key, json!({"phases": phases})).await;
}

/// Publishes a plan with these fields.
pub async fn sell_with(world: &World, key: &str, fields: Value) {
    let mut plan = json!({
        "key": key, "name": key, "currency": "USD", "billingCadence": "P1M",
        "proRatingConfig": {"enabled": true},
    });
    for (field, value) in fields.as_object().unwrap() {
        plan[field] = value.clone();
    }
    let draft = world.post("/v1/plans", &plan).await.expect(201);
    shop::publish(world, &draft).await;
}
