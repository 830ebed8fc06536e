use super::*;
use crate::calendar::Interval;
use crate::catalog::currency::Currency;
use crate::clock::{BusinessInstant, MachineInstant};
use crate::ids::{CustomerId, SubscriptionId};
use crate::invoicing::{LineKind, Part};

fn invoice() -> Invoice {
    let then = MachineInstant::from_unix_ms(0);
    let subscription = SubscriptionId::generate(then);
    Invoice {
        id: InvoiceId::generate(then),
        customer: CustomerId::generate(then),
        chain: subscription,
        subscription,
        plan_version: 1,
        kind: InvoiceKind::Recurring,
        boundary: BusinessInstant::from_unix_ms(0),
        part: Part::All,
        status: InvoiceStatus::Draft,
        currency: "USD".parse::<Currency>().unwrap(),
        total: Minor::ZERO,
        step: Step::Create,
        attempt: 2,
        failure: None,
        stripe_id: None,
        number: None,
        hosted_url: None,
        attempts: 0,
        due_since: None,
        created_at: BusinessInstant::from_unix_ms(0),
        finalized_at: None,
        paid_at: None,
    }
}

fn line(invoice: &Invoice, number: i64, card: &str, amount: i64) -> Line {
    Line {
        identity: format!("{card}/{number}"),
        kind: LineKind::Arrears,
        subscription: invoice.subscription,
        rate_card: card.parse().unwrap(),
        description: card.to_owned(),
        period: Interval {
            start: BusinessInstant::from_unix_ms(number),
            end: BusinessInstant::from_unix_ms(number + 1),
        },
        quantity: number.into(),
        unit_amount: Some("0.5".parse().unwrap()),
        amount: Minor::new(amount),
        discount: Minor::ZERO,
        credit: Minor::ZERO,
    }
}

fn amounts(lines: &[NewStripeLine]) -> Vec<i64> {
    lines.iter().map(|line| line.amount).collect()
}

#[test]
fn keys_name_invoice_step_and_attempt() {
    let invoice = invoice();
    assert_eq!(key(&invoice, "pay"), format!("{}:pay:2", invoice.id));
}

#[test]
fn a_line_says_what_it_was_made_of() {
    let invoice = invoice();
    let mut line = line(&invoice, 10, "calls", 500);
    line.credit = Minor::new(120);
    let [sent] = &stripe_lines(&invoice, vec![line])[..] else {
        panic!()
    };
    assert_eq!(sent.amount, 380);
    assert_eq!(sent.description, "calls (10 × 0.5), less 1.20 credit");
    let facts = [("amount", "5.00"), ("credit", "1.20")];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent.metadata, facts);
}

#[test]
fn a_line_of_more_than_8_digits_is_split() {
    let invoice = invoice();
    let sent = |amount| {
        let lines = vec![line(&invoice, 1, "calls", amount)];
        amounts(&stripe_lines(&invoice, lines))
    };
    assert_eq!(sent(0), [0]);
    assert_eq!(sent(99_999_999), [99_999_999]);
    assert_eq!(sent(100_000_000), [99_999_999, 1]);
    assert_eq!(sent(299_999_997), [99_999_999; 3]);
}

#[test]
fn more_lines_than_stripe_takes_come_together_by_rate_card() {
    let invoice = invoice();
    let lines = |count: i64| -> Vec<Line> {
        let card = |number: i64| if number % 2 == 0 { "calls" } else { "tokens" };
        let lines = (0..count).map(|number| line(&invoice, number, card(number), 1));
        lines.collect()
    };
    assert_eq!(stripe_lines(&invoice, lines(250)).len(), 250);
    let sent = stripe_lines(&invoice, lines(251));
    assert_eq!(amounts(&sent), [126, 125]);
    assert_eq!(sent[0].period.1, BusinessInstant::from_unix_ms(251));
}
