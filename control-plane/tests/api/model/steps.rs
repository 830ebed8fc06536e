//! What happens in a sequence, and what must hold after each of its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate::ids::WorkerId;
use tollgate::invoicing::billing::Billing;
use tollgate::invoicing::run::{Event, Mode, run};
use tollgate::jobs::{self, Claim, Job};

use super::Random;
use super::checks::summary;
use super::reckoning::PLANS;
use crate::bank::{STRIPE_KEY, WEBHOOK_SECRET, say_of};
use crate::shop::{self, act, text};
use crate::world::{TestDatabase, World};

const LEASE: Duration = Duration::from_secs(86_400);
pub const SETTINGS: [(&str, &str); 2] = [
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
    pub world: World,
    random: Random,
    log: Arc<Mutex<Vec<String>>>,
    /// By subscription and start of a window: what was used of it.
    pub used: BTreeMap<(String, i64), i64>,
    /// Subscriptions that waited for their payment.
    pub waited: BTreeSet<String>,
    /// Credits that were seen, by fee and cause.
    pub credits: BTreeMap<(String, String), i64>,
}

impl Run {
    /// A sequence on a copy of the template.
    pub async fn begin(
        template: &TestDatabase,
        random: Random,
        log: Arc<Mutex<Vec<String>>>,
    ) -> Self {
        Self {
            world: World::with(template.copy(), &SETTINGS).await,
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
        self.world.clock.advance_business(Duration::from_secs(1));
        match self.random.within(0, 19) {
            0..=2 => self.subscribe_or_change().await,
            3 => self.change_later().await,
            4 => self.cancel().await,
            5 => self.unschedule().await,
            6..=8 => self.use_units().await,
            9 => self.use_late(),
            10..=11 => {
                self.hear("paid").await;
            }
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
        self.world.clock.advance_business(Duration::from_secs(1));
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
        let mut made: Vec<_> = made.map(summary).collect();
        made.sort();
        said.sort();
        self.note(format!("{seconds} s pass, {} invoices", made.len()));
        assert_eq!(made, said, "made, and said before");
    }

    /// A run that is broken off at one of its writes, and the next one.
    async fn broken_off(&mut self) {
        self.advance(31 * DAY).await;
        let table = self.random.pick(&WRITTEN);
        self.note(format!("a run is broken off when it writes {table}"));
        let (fault, mended) = breaker(&self.world.database, table);
        self.drain().await;
        self.execute(fault).await;
        let claim = self.claim().await;
        let billing = Billing::new(self.world.app.clone());
        let _ = billing.run(&claim).await;
        self.execute(mended).await;
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
}

/// What has every write to a table fail, and what ends that.
fn breaker(database: &TestDatabase, table: &str) -> (String, String) {
    if database.url.starts_with("sqlite") {
        let fault = format!(
            "CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken off'); END"
        );
        return (fault, "DROP TRIGGER broken".to_owned());
    }
    let fault = format!(
        "CREATE FUNCTION broken() RETURNS trigger AS $$ BEGIN RAISE 'broken off'; END $$ LANGUAGE plpgsql;
         CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken();"
    );
    let mended = format!("DROP TRIGGER broken ON {table}; DROP FUNCTION broken();");
    (fault, mended)
}
