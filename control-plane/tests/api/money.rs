//! What must hold of money after any sequence of changes.

use serde_json::{Value, json};

use crate::both_databases;
use crate::shop::{self, act, text};
use crate::till::{PAYS, Till, fee, sell};
use crate::world::TestDatabase;

const PLANS: [&str; 3] = ["starter", "pro", "large"];
const STEPS: usize = 16;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

async fn live_through(seed: u64, database: TestDatabase) {
    let mut numbers = Numbers(seed);
    let till = Till::open(database).await;
    sell(&till.world, "large", json!([fee("490.00")])).await;
    shop::order(&till.world, &["free", "starter", "pro", "large"]).await;
    let mut current = till.check_out("acme", PLANS[0], PAYS).await;
    till.settle().await;
    let mut day = 1;
    for step in 0..STEPS {
        day += numbers.below(12);
        let (month, date) = (1 + day / 28, 1 + day % 28);
        till.go_to(&format!("{month:02}-{date:02}T06:{step:02}:00"))
            .await;
        till.settle().await;
        let start = text(&current["activeFrom"]).to_owned();
        till.consume(&current, &start, numbers.below(4_000)).await;
        let plan = PLANS[usize::try_from(numbers.below(3)).unwrap()];
        if numbers.below(6) == 0 {
            current = leave_and_come_back(&till, &current, plan).await;
            continue;
        }
        let anchor = (numbers.below(3) == 0).then_some("keep");
        let document = json!({"plan": plan, "timing": "immediate", "billingAnchor": anchor});
        let estimated = act(&till.world, &current, "change/estimate-credit", &document).await;
        let changed = act(&till.world, &current, "change", &document).await;
        if changed.status != 200 {
            assert_eq!(estimated.status, changed.status);
            continue;
        }
        let (estimated, before) = (estimated.expect(200), till.invoices().await.len());
        current = changed.expect(200);
        till.go_to(&format!("{month:02}-{date:02}T06:{step:02}:10"))
            .await;
        till.settle().await;
        let all = till.invoices().await;
        assert_eq!(all.len(), before + 1);
        assert_eq!(all[before]["total"], estimated["total"], "seed {seed}");
    }
    check(&till).await;
    till.assert_sound().await;
}

/// Cancels at once, which gives nothing back, and subscribes again.
async fn leave_and_come_back(till: &Till, current: &Value, plan: &str) -> Value {
    act(&till.world, current, "cancel", &json!({}))
        .await
        .expect(200);
    till.settle().await;
    let document = json!({"customer": "acme", "plan": plan});
    let made = till
        .world
        .post("/v1/subscriptions", &document)
        .await
        .expect(201);
    till.settle().await;
    made
}

/// B6, and B4 in the database.
async fn check(till: &Till) {
    let paid = "SELECT CAST(SUM(total) AS BIGINT) FROM invoices WHERE status = 'paid'";
    let greatest = "SELECT MAX(amount) FROM invoice_lines WHERE kind = 'fee'";
    assert!(till.number(greatest).await <= till.number(paid).await);
    let open = "SELECT COUNT(*) FROM invoices WHERE status <> 'paid'";
    assert_eq!(till.number(open).await, 0);
    let too_much = "SELECT COUNT(*) FROM invoice_lines WHERE amount <
        (SELECT COALESCE(SUM(credits.amount), 0) FROM credits WHERE source = identity)";
    assert_eq!(till.number(too_much).await, 0);
    let overspent = "SELECT COUNT(*) FROM credits WHERE amount <
        (SELECT COALESCE(SUM(paid.amount), 0) FROM credit_applications paid WHERE credit_id = id)";
    assert_eq!(till.number(overspent).await, 0);
    let sums = "SELECT COUNT(*) FROM invoices WHERE total < 0 OR total <>
        (SELECT SUM(invoice_lines.total) FROM invoice_lines WHERE invoice_id = invoices.id)";
    assert_eq!(till.number(sums).await, 0);
    let lines = "SELECT COUNT(*) FROM invoice_lines WHERE total < 0 OR total <> amount - credit OR credit <>
        (SELECT COALESCE(SUM(paid.amount), 0) FROM credit_applications paid WHERE paid.line = identity)";
    assert_eq!(till.number(lines).await, 0);
    let theirs: i64 = till
        .stripe
        .charges()
        .iter()
        .map(|charge| charge.amount)
        .sum();
    assert_eq!(theirs, till.number(paid).await);
    till.assert_sound().await;
    let ids: Vec<Value> = till.invoices().await;
    assert_eq!(ids.len(), till.stripe.objects("invoice").len());
}

both_databases! {
    async fn no_sequence_of_changes_gives_more_back_than_was_paid(database: TestDatabase) {
        let seed = u64::from(database.url.starts_with("sqlite"));
        live_through(seed, database).await;
    }
}
