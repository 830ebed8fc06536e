//! What must hold after each step, and what the model says of it.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate::doctor;

use super::reckoning::{self, Plan, Stretch};
use super::steps::Run;
use crate::shop::text;

/// A subscription as the database has it.
#[derive(Debug, sqlx::FromRow)]
struct Subscription {
    id: String,
    plan_key: String,
    starting_phase: i64,
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

impl Run {
    pub async fn rows<T>(&self, sql: &'static str) -> Vec<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::any::AnyRow> + Send + Unpin,
    {
        let mut reader = self.world.app.database.read().await.unwrap();
        sqlx::query_as(sql).fetch_all(&mut *reader).await.unwrap()
    }

    pub async fn plan_of(&self, id: &str) -> Plan {
        let all: Vec<(String, String)> = self.rows("SELECT id, plan_key FROM subscriptions").await;
        let found = all.iter().find(|(other, _)| other == id).unwrap();
        reckoning::plan(&found.1)
    }

    /// By subscription and window: the units that were rated, whose amount must be what the model says.
    pub async fn rated(&self) -> BTreeMap<(String, i64), i64> {
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
    pub async fn check(&mut self) {
        let app = &self.world.app;
        let mut reader = app.database.read().await.unwrap();
        let found = doctor::examine_database(&mut reader, app.config.environment).await;
        drop(reader);
        assert_eq!(found.unwrap(), [], "the doctor's findings");
        let subscriptions: Vec<Subscription> = self
            .rows(
                "SELECT s.id, s.plan_key, s.starting_phase, s.active_from_ms, s.active_to_ms, s.waits_for_payment, b.billed_ms,
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
        let plan = match subscription.starting_phase {
            0 => plan,
            // Who has had the trial begins after it.
            _ => Plan {
                trial_days: 0,
                ..plan
            },
        };
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
pub fn summary(invoice: &Value) -> String {
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
