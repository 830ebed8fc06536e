//! What happens in a sequence, and what must hold after each of its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate::doctor;
use tollgate::ids::WorkerId;
use tollgate::invoicing::billing::Billing;
use tollgate::invoicing::run::{Event, Mode, run};
use tollgate::jobs::{self, Claim, Job};

use super::Random;
use super::reckoning::{self, PLANS, Plan, Stretch};
use crate::bank::{STRIPE_KEY, WEBHOOK_SECRET, give_card, say_of};
use crate::catalog::metered_feature;
use crate::shop::{self, act, text};
use crate::till::sell_with;
use crate::world::{TestDatabase, World};

const LEASE: Duration = Duration::from_secs(86_400);
const SETTINGS: [(&str, &str); 2] = [
    ("STRIPE_API_KEY", STRIPE_KEY),
    ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
];
const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
/// Tables that a run writes to, in which its transaction may be broken off.
const WRITTEN: [&str; 8] = [
    "invoices",
    "invoice_lines",
    "rated_windows",
    "usage_windows",
    "billing_schedules",
    "credits",
    "credit_applications",
    "outbox",
];

/// A sequence that goes on.
pub struct Run {
    world: World,
    random: Random,
    log: Arc<Mutex<Vec<String>>>,
    /// By subscription and start of a window: what was used of it.
    used: BTreeMap<(String, i64), i64>,
    /// Subscriptions that waited for their payment.
    waited: BTreeSet<String>,
    /// Credits that were seen, by fee and cause.
    credits: BTreeMap<(String, String), i64>,
}

/// A subscription as the database has it.
#[derive(Debug, sqlx::FromRow)]
struct Subscription {
    id: String,
    plan_key: String,
    active_from_ms: i64,
    active_to_ms: Option<i64>,
    waits_for_payment: i64,
    billed_ms: Option<i64>,
    /// Whether another one took over from it and that was billed.
    taken_over: i64,
}

/// A fee that was billed.
#[derive(Debug, sqlx::FromRow)]
struct Fee {
    identity: String,
    subscription_id: String,
    period_start_ms: i64,
    period_end_ms: i64,
    amount: i64,
    status: String,
}

/// Sells the plans in an empty database, to a customer with a card.
pub async fn make_template(database: TestDatabase) {
    let world = World::with(database, &SETTINGS).await;
    metered_feature(&world, "calls").await;
    for plan in PLANS {
        sell(&world, plan).await;
    }
    shop::order(&world, &PLANS.map(|plan| plan.key)).await;
    shop::customer(&world, "acme").await;
    give_card(&world).await;
    world.app.database.close().await;
}

async fn sell(world: &World, plan: Plan) {
    let template =
        json!({"type": "metered", "issueAfterReset": plan.quota, "isSoftLimit": plan.unit > 0});
    let template = match plan.quota {
        0 => json!({"type": "metered", "isSoftLimit": true}),
        _ => template,
    };
    let mut calls = json!({"type": "flat_fee", "featureKey": "calls", "billingCadence": "P1M",
        "entitlementTemplate": template});
    let unit = format!("0.{:04}", plan.unit);
    if plan.unit > 0 {
        let beyond = json!({"unitPrice": {"amount": unit}});
        let tiers = match plan.quota {
            0 => json!([beyond]),
            _ => {
                json!([{"upToAmount": plan.quota.to_string(), "unitPrice": {"amount": "0"}}, beyond])
            }
        };
        calls["type"] = json!("usage_based");
        calls["price"] = json!({"type": "tiered", "mode": "graduated", "tiers": tiers});
    }
    let mut cards = vec![calls.clone()];
    if plan.fee > 0 {
        let fee = format!("{}.{:02}", plan.fee / 100, plan.fee % 100);
        cards.push(
            json!({"type": "flat_fee", "key": "base", "billingCadence": "P1M",
            "price": {"type": "flat", "amount": fee}}),
        );
    }
    let mut phases = vec![json!({"key": "main", "name": "Main", "rateCards": cards})];
    if plan.trial_days > 0 {
        let trial =
            json!({"key": "trial", "name": "Trial", "duration": "P2W", "rateCards": [calls]});
        phases.insert(0, trial);
    }
    sell_with(world, plan.key, json!({ "phases": phases })).await;
}

impl Run {
    /// A sequence on a copy of the template.
    pub async fn begin(
        template: &TestDatabase,
        random: Random,
        log: Arc<Mutex<Vec<String>>>,
    ) -> Self {
        let database = TestDatabase::sqlite();
        let (from, to) = (template.folder.path(), database.folder.path());
        std::fs::copy(from.join("tollgate.db"), to.join("tollgate.db")).unwrap();
        Self {
            world: World::with(database, &SETTINGS).await,
            random,
            log,
            used: BTreeMap::new(),
            waited: BTreeSet::new(),
            credits: BTreeMap::new(),
        }
    }

    fn note(&self, what: String) {
        let now = self.world.clock.business_now();
        self.log.lock().unwrap().push(format!("{now} {what}"));
    }

    /// Does something, and looks whether everything holds.
    pub async fn step(&mut self) {
        match self.random.within(0, 19) {
            0..=2 => self.subscribe_or_change().await,
            3 => self.change_later().await,
            4 => self.cancel().await,
            5 => self.unschedule().await,
            6..=8 => self.use_units().await,
            9 => self.use_late(),
            10..=11 => self.hear("paid").await,
            12 => {
                let word = self.random.pick(&["failed", "uncollectible", "open"]);
                self.hear(word).await;
            }
            13 => self.take_back().await,
            14 => self.broken_off().await,
            15 => self.at_once().await,
            _ => self.pass().await,
        }
        self.write_used().await;
        self.check().await;
    }

    /// Lets everything come to its end, and looks whether everything was billed.
    pub async fn end(&mut self) {
        self.note("ends".to_owned());
        if let Some(current) = self.current().await {
            let _ = act(&self.world, &current, "cancel", &json!({})).await;
        }
        for _ in 0..3 {
            self.advance(40 * DAY).await;
            self.bill().await;
            while self.hear("paid").await {}
            self.check().await;
        }
        let rated: BTreeMap<(String, i64), i64> = self.rated().await;
        for (window, units) in &self.used {
            let plan = self.plan_of(&window.0).await;
            if plan.unit > 0 {
                assert_eq!(rated.get(window), Some(units), "rated of {window:?}");
            }
        }
    }

    async fn subscriptions(&self) -> Vec<Value> {
        self.world.list("/v1/subscriptions", 50).await
    }

    /// The subscription that goes on now.
    async fn current(&self) -> Option<Value> {
        let all = self.subscriptions().await.into_iter();
        let mut going_on = all.filter(|it| it["status"] == "active" || it["status"] == "canceled");
        going_on.next()
    }

    async fn subscribe_or_change(&mut self) {
        let plan = self.random.pick(&PLANS).key;
        let answer = match self.current().await {
            None => {
                self.note(format!("subscribes to {plan}"));
                let document = json!({"customer": "acme", "plan": plan});
                self.world.post("/v1/subscriptions", &document).await
            }
            Some(current) => {
                self.note(format!("changes to {plan} at once"));
                let document = json!({"plan": plan, "timing": "immediate"});
                act(&self.world, &current, "change", &document).await
            }
        };
        assert!(
            [200, 201, 409].contains(&answer.status.as_u16()),
            "{}",
            answer.text
        );
        // What changes at once is billed at once, as long as nothing else is used.
        if answer.status.as_u16() < 300 {
            self.world.clock.advance_business(Duration::from_secs(5));
            self.bill().await;
        }
    }

    async fn change_later(&mut self) {
        let plan = self.random.pick(&PLANS).key;
        if let Some(current) = self.current().await {
            self.note(format!("changes to {plan} with the next cycle"));
            let document = json!({"plan": plan, "timing": "next_billing_cycle"});
            let answer = act(&self.world, &current, "change", &document).await;
            assert!(
                [200, 409].contains(&answer.status.as_u16()),
                "{}",
                answer.text
            );
        }
    }

    async fn cancel(&mut self) {
        let timing = self.random.pick(&["immediate", "next_billing_cycle"]);
        if let Some(current) = self.current().await {
            self.note(format!("cancels: {timing}"));
            let answer = act(&self.world, &current, "cancel", &json!({"timing": timing})).await;
            assert!(
                [200, 409].contains(&answer.status.as_u16()),
                "{}",
                answer.text
            );
        }
    }

    async fn unschedule(&mut self) {
        if let Some(current) = self.current().await {
            self.note("takes the end back".to_owned());
            let answer = act(&self.world, &current, "unschedule-cancelation", &json!({})).await;
            assert!(
                [200, 409].contains(&answer.status.as_u16()),
                "{}",
                answer.text
            );
        }
    }

    async fn use_units(&mut self) {
        let Some(current) = self.current().await else {
            return;
        };
        let usage = shop::look(&self.world, &current, "/usage").await;
        let start: Timestamp = text(&usage["meters"][0]["windowStart"]).parse().unwrap();
        let units = self.random.pick(&[1, 333, 7_001, 20_000, 60_000]);
        self.note(format!("uses {units}"));
        let window = (text(&current["id"]).to_owned(), start.as_millisecond());
        *self.used.entry(window).or_default() += units;
    }

    /// Units of a window that may be over become known.
    fn use_late(&mut self) {
        let windows: Vec<_> = self.used.keys().cloned().collect();
        if windows.is_empty() {
            return;
        }
        let at = self.random.within(0, windows.len() as u64 - 1);
        let window = windows[usize::try_from(at).unwrap()].clone();
        let units = self.random.pick(&[1, 499, 30_000]);
        self.note(format!("{units} of {window:?} become known"));
        *self.used.get_mut(&window).unwrap() += units;
    }

    /// Writes what was used into the ledger.
    async fn write_used(&self) {
        let mut sql = String::new();
        for ((subscription, start), units) in &self.used {
            let milli = units * 1_000;
            sql += &format!(
                "INSERT INTO usage_windows (chain_id, epoch, meter, start_ms, units, trimmed)
                 SELECT chain_id, epoch, 'calls', {start}, {milli}, 0 FROM subscriptions WHERE id = '{subscription}'
                 ON CONFLICT (chain_id, epoch, meter, start_ms) DO UPDATE SET units = excluded.units;
                 INSERT INTO usage_counters
                     (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key, units)
                 SELECT chain_id, epoch, 'calls', {start}, 1, 0, 0, 'key_0', {milli}
                 FROM subscriptions WHERE id = '{subscription}'
                 ON CONFLICT (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
                 DO UPDATE SET units = excluded.units;"
            );
        }
        self.execute(sql).await;
    }

    async fn execute(&self, sql: String) {
        let mut tx = self.world.app.database.begin_write().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Stripe says something of the oldest invoice that is not settled; whether there is one.
    async fn hear(&self, word: &str) -> bool {
        let mut all = self.world.list("/v1/invoices", 50).await;
        all.reverse();
        let unsettled = |it: &&Value| it["status"] != "paid" && it["status"] != "void";
        let Some(invoice) = all.iter().find(unsettled) else {
            return false;
        };
        self.note(format!(
            "{} of {} is {word}",
            text(&invoice["kind"]),
            text(&invoice["total"])
        ));
        say_of(&self.world, invoice, word).await;
        true
    }

    async fn take_back(&self) {
        self.hear("void").await;
    }

    async fn advance(&self, seconds: u64) {
        let clock = &self.world.clock;
        clock.advance_business(Duration::from_secs(seconds));
        clock.advance_machine(Duration::from_secs(10));
    }

    /// Time passes, and what is due is billed: as a dry run said before.
    async fn pass(&mut self) {
        let seconds = self.random.pick(&[
            MINUTE,
            6 * 60 * MINUTE,
            3 * DAY,
            12 * DAY,
            31 * DAY,
            70 * DAY,
        ]);
        self.advance(seconds).await;
        self.drain().await;
        let mut said = Vec::new();
        let app = &self.world.app;
        let now = app.clock.business_now();
        let mut tell = |event| {
            if let Event::Previewed(invoice) = event {
                said.push(summary(&serde_json::to_value(&invoice).unwrap()));
            }
        };
        run(app, now, Mode::DryRun, &mut tell).await.unwrap();
        let before = self.world.list("/v1/invoices", 50).await.len();
        self.bill().await;
        let after = self.world.list("/v1/invoices", 50).await;
        let made = after.iter().take(after.len() - before).rev();
        let made: Vec<_> = made.map(summary).collect();
        self.note(format!("{seconds} s pass, {} invoices", made.len()));
        assert_eq!(made, said, "made, and said before");
    }

    /// A run that is broken off at one of its writes, and the next one.
    async fn broken_off(&mut self) {
        self.advance(31 * DAY).await;
        let table = self.random.pick(&WRITTEN);
        self.note(format!("a run is broken off when it writes {table}"));
        let fault = format!(
            "CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken off'); END"
        );
        self.drain().await;
        self.execute(fault).await;
        let claim = self.claim().await;
        let billing = Billing::new(self.world.app.clone());
        let _ = billing.run(&claim).await;
        self.execute("DROP TRIGGER broken".to_owned()).await;
        self.check().await;
        self.bill().await;
    }

    /// Two operators and the job bill at once.
    async fn at_once(&mut self) {
        self.advance(31 * DAY).await;
        self.drain().await;
        self.note("three bill at once".to_owned());
        let app = &self.world.app;
        let now = app.clock.business_now();
        let (mut one, mut other) = (|_| {}, |_| {});
        let claim = self.claim().await;
        let billing = Billing::new(app.clone());
        let (one, other, job) = tokio::join!(
            run(app, now, Mode::Bill, &mut one),
            run(app, now, Mode::Bill, &mut other),
            billing.run(&claim)
        );
        one.and(other).unwrap();
        job.unwrap();
    }

    async fn claim(&self) -> Claim {
        let (database, now) = (&self.world.app.database, self.world.clock.machine_now());
        jobs::free_all(database).await.unwrap();
        let owner = WorkerId::generate(now);
        let claim = Claim::take(database, "billing", owner, now, LEASE).await;
        claim.unwrap().unwrap()
    }

    async fn drain(&self) {
        self.write_used().await;
        let (now, mark) = (
            self.world.clock.business_now(),
            self.world.clock.machine_now(),
        );
        let (now, mark) = (now.unix_ms(), mark.unix_ms());
        let sql = format!(
            "INSERT INTO usage_drains (id, began_at_ms, began_machine_ms) VALUES (1, {now}, {mark})
             ON CONFLICT (id) DO UPDATE SET began_at_ms = {now}, began_machine_ms = {mark}"
        );
        self.execute(sql).await;
    }

    async fn bill(&mut self) {
        self.world.clock.advance_machine(Duration::from_secs(10));
        self.drain().await;
        let claim = self.claim().await;
        let billing = Billing::new(self.world.app.clone());
        billing.run(&claim).await.unwrap();
    }

    async fn rows<T>(&self, sql: &'static str) -> Vec<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::any::AnyRow> + Send + Unpin,
    {
        let mut reader = self.world.app.database.read().await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut *reader).await.unwrap()
    }

    async fn plan_of(&self, id: &str) -> Plan {
        let all: Vec<(String, String)> = self.rows("SELECT id, plan_key FROM subscriptions").await;
        let found = all.iter().find(|(other, _)| other == id).unwrap();
        reckoning::plan(&found.1)
    }

    /// By subscription and window: the units that were rated, whose amount must be what the model says.
    async fn rated(&self) -> BTreeMap<(String, i64), i64> {
        let rows: Vec<(String, String, i64, i64, i64)> = self
            .rows(
                "SELECT s.id, s.plan_key, r.start_ms, r.units, r.amount FROM rated_windows r
                 JOIN subscriptions s ON s.chain_id = r.chain_id AND s.epoch = r.epoch",
            )
            .await;
        let rated = rows.into_iter().map(|(id, plan, start, milli, amount)| {
            let expected = reckoning::plan(&plan).usage(milli / 1_000);
            assert_eq!(
                amount, expected,
                "the price of {milli} thousandths of {plan}"
            );
            ((id, start), milli / 1_000)
        });
        rated.collect()
    }

    /// Everything that must hold.
    async fn check(&mut self) {
        let app = &self.world.app;
        let mut reader = app.database.read().await.unwrap();
        let found = doctor::examine_database(&mut reader, app.config.environment).await;
        drop(reader);
        assert_eq!(found.unwrap(), [], "the doctor's findings");
        let subscriptions: Vec<Subscription> = self
            .rows(
                "SELECT s.id, s.plan_key, s.active_from_ms, s.active_to_ms, s.waits_for_payment, b.billed_ms,
                     (SELECT COUNT(*) FROM billing_schedules o WHERE o.changed_from = s.id
                          AND o.billed_ms IS NOT NULL) AS taken_over
                 FROM subscriptions s LEFT JOIN billing_schedules b ON b.subscription_id = s.id",
            )
            .await;
        let fees: Vec<Fee> = self
            .rows(
                "SELECT l.identity, l.subscription_id, l.period_start_ms, l.period_end_ms, l.amount, i.status
                 FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id
                 WHERE l.kind = 'fee' ORDER BY l.period_start_ms",
            )
            .await;
        for subscription in &subscriptions {
            if subscription.waits_for_payment == 1 {
                self.waited.insert(subscription.id.clone());
            }
            let is_of = |fee: &&Fee| fee.subscription_id == subscription.id;
            let fees: Vec<_> = fees.iter().filter(is_of).collect();
            self.check_fees(subscription, &fees);
            self.check_credits(subscription, &fees).await;
        }
        let rated = self.rated().await;
        for (window, units) in rated {
            let used = self.used.get(&window).copied().unwrap_or(0);
            assert!(
                units <= used,
                "{units} of {used} units are rated of {window:?}"
            );
        }
    }

    /// The fee of every month that began until the last boundary that was billed, once.
    fn check_fees(&self, subscription: &Subscription, fees: &[&Fee]) {
        let Subscription {
            active_from_ms: start,
            active_to_ms: end,
            ..
        } = *subscription;
        if subscription.waits_for_payment == 1 || end.is_some_and(|end| end <= start) {
            return;
        }
        let plan = reckoning::plan(&subscription.plan_key);
        let months = match (plan.fee, subscription.billed_ms) {
            (0, _) | (_, None) => Vec::new(),
            (_, Some(billed)) => plan.months(start, end, billed),
        };
        let mut charged: Vec<_> = fees
            .iter()
            .map(|fee| (fee.period_start_ms, fee.amount))
            .collect();
        // What waited was paid for from when it was wished for.
        if self.waited.contains(&subscription.id)
            && charged.first().is_some_and(|fee| fee.0 <= start)
        {
            charged[0].0 = start;
        }
        let expected: Vec<_> = months.iter().map(|month| (month.start, plan.fee)).collect();
        assert_eq!(charged, expected, "fees of {subscription:?}");
    }

    /// What was given back of fees is what was left of them, when it was given back.
    async fn check_credits(&mut self, subscription: &Subscription, fees: &[&Fee]) {
        let Some(at) = subscription.active_to_ms else {
            return;
        };
        let plan = reckoning::plan(&subscription.plan_key);
        let issued: Vec<(String, String, i64)> = self
            .rows("SELECT source, cause, amount FROM credits ORDER BY id")
            .await;
        for fee in fees {
            let month = Stretch {
                start: fee.period_start_ms,
                end: fee.period_end_ms,
            };
            let used = self.used.iter().filter(|((id, start), _)| {
                *id == subscription.id && month.start <= *start && *start < at
            });
            let consumed: i64 = used.map(|(_, units)| units).sum();
            let left = reckoning::left(fee.amount, month, at, consumed, plan.quota);
            let of_fee = issued.iter().filter(|(source, ..)| *source == fee.identity);
            let before: i64 = of_fee.clone().map(|(.., amount)| amount).sum();
            for (source, cause, amount) in of_fee {
                let seen = self
                    .credits
                    .insert((source.clone(), cause.clone()), *amount);
                if seen.is_none() {
                    assert_eq!(
                        *amount, left,
                        "given back of {fee:?}, cut at {at}, {consumed} consumed"
                    );
                }
            }
            let is_cut = month.start <= at && at < month.end && subscription.taken_over > 0;
            if is_cut && fee.status == "paid" {
                assert!(left <= before, "{left} of {fee:?} are not given back");
            }
        }
    }
}

/// Kind, boundary, total, and lines of an invoice.
fn summary(invoice: &Value) -> String {
    let lines = invoice["lines"].as_array().unwrap().iter();
    let lines: Vec<_> = lines
        .map(|line| format!("{}={}", text(&line["id"]), text(&line["total"])))
        .collect();
    let (kind, boundary) = (text(&invoice["kind"]), text(&invoice["boundary"]));
    format!(
        "{kind} {boundary} {} {}",
        text(&invoice["total"]),
        lines.join(" ")
    )
}
