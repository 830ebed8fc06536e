//! What would be billed, what is billed by hand, and what is taken back.

use std::process::Output;

use serde_json::{Value, json};
use tollgate::invoicing::run::{Event, Mode, Summary, run};

use crate::both_databases;
use crate::process;
use crate::shop::{act, change, text};
use crate::till::{ATTACHES_AND_FAILS, PAYS, Till, fee, lines, sell};
use crate::world::TestDatabase;

async fn preview(till: &Till, document: &Value) -> Vec<Value> {
    let answer = till.world.post("/v1/invoices/preview", document).await;
    let found = answer.expect(200);
    found["invoices"].as_array().unwrap().clone()
}

/// Of each invoice kind, boundary and total.
fn heads(invoices: &[Value]) -> Vec<String> {
    let show = |it: &Value| {
        let (kind, boundary) = (text(&it["kind"]), text(&it["boundary"]));
        format!("{kind} {} {}", &boundary[5..10], text(&it["total"]))
    };
    invoices.iter().map(show).collect()
}

async fn by_hand(till: &Till, mode: Mode) -> (Summary, usize) {
    let app = &till.world.app;
    let mut previewed = 0;
    let mut tell = |event| previewed += usize::from(matches!(event, Event::Previewed(_)));
    let summary = run(app, app.clock.business_now(), mode, &mut tell).await;
    (summary.unwrap(), previewed)
}

async fn void(till: &Till, invoice: &Value) -> Value {
    let path = format!("/v1/invoices/{}/void", text(&invoice["id"]));
    till.world.post(&path, &json!({})).await.expect(200)
}

fn command(till: &Till, arguments: &[&str]) -> Output {
    process::run(&till.world.database, arguments)
}

both_databases! {
    async fn a_preview_is_what_is_then_billed_and_writes_nothing(database: TestDatabase) {
        let till = Till::open(database).await;
        let pro = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        till.consume(&pro, "2026-01-01T00:00:00Z", 60_000).await;
        till.go_to("01-20T00:00:00").await;
        let of_subscription = json!({"subscription": pro["id"]});
        let next = preview(&till, &of_subscription).await;
        assert_eq!(heads(&next), ["recurring 02-01 119.00"]);
        assert_eq!(next, preview(&till, &json!({"customer": "acme"})).await);
        let until = json!({"customer": "acme", "asOf": "2026-03-15T00:00:00Z"});
        let expected = ["recurring 02-01 119.00", "recurring 03-01 99.00"];
        assert_eq!(heads(&preview(&till, &until).await), expected);
        let before = json!({"customer": "acme", "asOf": "2026-01-31T23:59:59Z"});
        assert!(preview(&till, &before).await.is_empty());
        till.go_to("02-01T00:02:00").await;
        till.bill().await;
        let made = &till.invoices().await[1];
        assert_eq!((lines(made), &made["total"]), (lines(&next[0]), &next[0]["total"]));
        assert_eq!(till.invoices().await.len(), 2);
        till.assert_sound().await;
    }

    async fn a_preview_spends_a_credit_once_and_bills_what_is_late_once(database: TestDatabase) {
        let till = Till::open(database).await;
        sell(&till.world, "small", json!([fee("5.00")])).await;
        let pro = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        till.go_to("01-16T12:00:00").await;
        let small = json!({"plan": "small", "timing": "immediate"});
        let small = act(&till.world, &pro, "change", &small).await.expect(200);
        let of_small = json!({"subscription": small["id"], "asOf": "2026-03-20T00:00:00Z"});
        let all = preview(&till, &of_small).await;
        // 49.50 is left of 99.00.
        assert_eq!(heads(&all), ["change 01-16 0.00", "recurring 02-16 0.00", "recurring 03-16 0.00"]);
        assert_eq!(lines(&all[2]), ["small: base 5.00 -5.00"]);
        assert_eq!(till.number("SELECT COUNT(*) FROM credits").await, 0);
        let far = json!({"subscription": small["id"], "asOf": "2026-11-20T00:00:00Z"});
        let all = preview(&till, &far).await;
        assert_eq!(lines(&all[9]), ["small: base 5.00 -4.50"]);
        assert_eq!(lines(&all[10]), ["small: base 5.00 -0.00"]);
        till.go_to("01-16T12:00:10").await;
        till.settle().await;
        till.consume(&pro, "2026-01-01T00:00:00Z", 51_000).await;
        let all = preview(&till, &of_small).await;
        assert_eq!(heads(&all), ["recurring 02-16 2.00", "recurring 03-16 0.00"]);
        till.assert_sound().await;
    }

    async fn a_dry_run_bills_late_usage_of_who_comes_to_an_end_in_it(database: TestDatabase) {
        let till = Till::open(database).await;
        let pro = till.check_out("acme", "pro", PAYS).await;
        till.settle().await;
        till.consume(&pro, "2026-01-01T00:00:00Z", 51_000).await;
        till.go_to("02-01T00:03:00").await;
        till.settle().await;
        till.go_to("02-10T00:00:00").await;
        let free = json!({"plan": "free", "timing": "immediate"});
        act(&till.world, &pro, "change", &free).await.expect(200);
        till.go_to("02-10T00:00:10").await;
        till.settle().await;
        // The end is passed over two minutes later: nothing is billed then, and nothing after it.
        till.consume(&pro, "2026-01-01T00:00:00Z", 9_000).await;
        let as_of = json!({"customer": "acme", "asOf": "2026-02-12T00:00:00Z"});
        assert_eq!(heads(&preview(&till, &as_of).await), ["late 02-12 18.00"]);
        till.go_to("02-12T00:00:00").await;
        let (dry, previewed) = by_hand(&till, Mode::DryRun).await;
        assert_eq!((dry.invoices, previewed), (1, 1));
        let (made, _) = by_hand(&till, Mode::Bill).await;
        assert_eq!(made.totals, dry.totals);
        assert_eq!(made.totals[0].total.to_string(), "18.00");
        till.assert_sound().await;
    }

    async fn nobody_and_nothing_is_refused(database: TestDatabase) {
        let till = Till::open(database).await;
        let mistakes = till.world.post("/v1/invoices/preview", &json!({"asOf": "soon"})).await.mistakes();
        let codes: Vec<_> = mistakes.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["customer_or_subscription", "not_an_instant"]);
        let nobody = json!({"customer": "nobody"});
        till.world.post("/v1/invoices/preview", &nobody).await.problem(404, "customer_not_found");
    }

    async fn a_run_by_hand_bills_what_is_due_once(database: TestDatabase) {
        let till = Till::open(database).await;
        for customer in ["a", "b", "c"] {
            till.check_out(customer, "starter", PAYS).await;
        }
        let waiting = till.check_out("d", "pro", PAYS).await;
        till.settle().await;
        till.go_to("02-01T00:02:00").await;
        till.execute("UPDATE usage_drains SET began_at_ms = 0".to_owned()).await;
        let (dry, previewed) = by_hand(&till, Mode::DryRun).await;
        assert_eq!((dry.invoices, previewed, dry.waiting), (3, 3, 1));
        assert_eq!(till.invoices().await.len(), 4);
        // Two at once, and the job beside them.
        let (one, other, ()) = tokio::join!(by_hand(&till, Mode::Bill), by_hand(&till, Mode::Bill), till.bill());
        assert!(one.0.invoices + other.0.invoices <= 3);
        assert_eq!((till.invoices().await.len(), one.0.waiting), (7, 1));
        till.drain().await;
        let (summary, _) = by_hand(&till, Mode::Bill).await;
        assert_eq!(summary.totals[0].total.to_string(), "99.00");
        assert_eq!((summary.waiting, summary.failed.len()), (0, 0));
        assert_eq!(by_hand(&till, Mode::Bill).await.0.invoices, 0);
        assert_eq!(heads(&preview(&till, &json!({"subscription": waiting["id"]})).await), ["recurring 03-01 99.00"]);
        till.assert_sound().await;
    }

    async fn one_that_cannot_be_billed_keeps_no_other_waiting(database: TestDatabase) {
        let till = Till::open(database).await;
        for customer in ["a", "b", "c"] {
            till.check_out(customer, "starter", PAYS).await;
        }
        till.settle().await;
        // A row that its invoice would need is there already.
        let taken = "INSERT INTO invoice_lines (identity, invoice_id, position, kind, subscription_id, rate_card,
                description, period_start_ms, period_end_ms, quantity, amount, credit, total)
             SELECT REPLACE(identity, '2026-01-01', '2026-02-01'), invoice_id, 9, 'arrears', subscription_id, rate_card,
                description, period_start_ms, period_end_ms, quantity, 0, 0, 0
             FROM invoice_lines WHERE subscription_id = (SELECT MAX(id) FROM subscriptions)";
        till.execute(taken.to_owned()).await;
        till.go_to("02-01T00:02:00").await;
        let (summary, _) = by_hand(&till, Mode::Bill).await;
        assert_eq!((summary.invoices, summary.failed.len(), summary.waiting), (2, 1, 0));
        assert_eq!(till.invoices().await.len(), 5);
    }

    async fn an_invoice_is_taken_back_wherever_it_is(database: TestDatabase) {
        let till = Till::open(database).await;
        // Before it is in Stripe.
        till.check_out("draft", "starter", PAYS).await;
        void(&till, &till.invoices().await[0]).await;
        till.push().await;
        assert_eq!(till.summary().await, ["first void 29.00"]);
        assert!(till.stripe.objects("invoice").is_empty());
        // When it is issued and was not paid.
        till.check_out("failed", "starter", ATTACHES_AND_FAILS).await;
        till.settle().await;
        assert_eq!(till.summary().await[1], "first failed 29.00");
        let failed = till.invoices().await[1].clone();
        void(&till, &failed).await;
        let path = format!("/v1/invoices/{}/retry", text(&failed["id"]));
        till.world.post(&path, &json!({})).await.problem(409, "invoice_voiding");
        till.push().await;
        assert_eq!(till.summary().await[1], "first void 29.00");
        assert_eq!(till.stripe.objects("invoice")[0]["status"], "void");
        let path = format!("/v1/invoices/{}/void", text(&failed["id"]));
        till.world.post(&path, &json!({})).await.problem(409, "invoice_settled");
        // When it is a draft in Stripe.
        till.check_out("stopped", "starter", PAYS).await;
        till.execute("UPDATE invoices SET total = 2800 WHERE status = 'draft'".to_owned()).await;
        till.push().await;
        assert_eq!(till.stripe.objects("invoice")[1]["status"], "draft");
        void(&till, &till.invoices().await[2]).await;
        till.push().await;
        assert_eq!(till.summary().await[2], "first void 28.00");
        assert_eq!(till.stripe.objects("invoice").len(), 1);
        assert!(till.stripe.charges().iter().all(|charge| !charge.paid));
        till.stripe.check_exchanges();
    }

    async fn what_is_paid_is_not_taken_back(database: TestDatabase) {
        let till = Till::open(database).await;
        till.check_out("acme", "starter", PAYS).await;
        let draft = till.invoices().await[0].clone();
        till.push().await;
        let path = format!("/v1/invoices/{}/void", text(&draft["id"]));
        till.world.post(&path, &json!({})).await.problem(409, "invoice_settled");
        assert_eq!(till.summary().await, ["first paid 29.00"]);
    }

    async fn credit_of_an_invoice_that_is_taken_back_is_left_again(database: TestDatabase) {
        let till = Till::open(database).await;
        let starter = till.check_out("acme", "starter", PAYS).await;
        till.settle().await;
        till.go_to("01-16T12:00:00").await;
        change(&till.world, &starter, "pro").await;
        till.go_to("01-16T12:00:10").await;
        till.bill().await;
        assert_eq!(till.summary().await[1], "change draft 84.50");
        void(&till, &till.invoices().await[1]).await;
        till.settle().await;
        assert_eq!(till.summary().await[1], "change void 84.50");
        till.go_to("02-16T12:02:00").await;
        till.settle().await;
        assert_eq!(till.summary().await[2..], ["recurring paid 84.50"]);
        till.assert_sound().await;
    }

    async fn the_program_shows_and_bills(database: TestDatabase) {
        let till = Till::open(database).await;
        till.check_out("acme", "starter", PAYS).await;
        let ahead = command(&till, &["invoice", "run", "--as-of", "2090-01-01T00:00:00Z"]);
        assert_eq!(ahead.status.code(), Some(2));
        // By the system's clock months have passed.
        let dry = command(&till, &["invoice", "run", "--as-of", "2026-03-02T00:00:00Z", "--dry-run", "--json"]);
        let dry: Value = serde_json::from_slice(&dry.stdout).unwrap();
        assert_eq!((&dry["invoices"], dry["previews"].as_array().unwrap().len()), (&json!(2), 2));
        let run = command(&till, &["invoice", "run", "--as-of", "2026-03-02T00:00:00Z"]);
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success() && said.contains("recurring  USD"), "{said}");
        assert!(said.contains("as of 2026-03-02T00:00:00Z: 2 invoices made, 0 wait for usage"), "{said}");
        let again = command(&till, &["invoice", "run", "--as-of", "2026-03-02T00:00:00Z", "--json"]);
        let again: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(again["invoices"], 0);
        let shown = command(&till, &["invoice", "preview", "--customer", "acme", "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(heads(shown["invoices"].as_array().unwrap()), ["recurring 04-01 29.00"]);
        assert_eq!(command(&till, &["invoice", "preview"]).status.code(), Some(2));
        assert_eq!(till.invoices().await.len(), 3);
        till.assert_sound().await;
    }
}
