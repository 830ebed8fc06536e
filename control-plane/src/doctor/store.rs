//! What must hold, as questions to the database: each finds what breaks it, with what was found.

use super::{Check, Invariant};
use crate::database::{Connection, Failure};

/// Every question that one statement answers. The first column is what it is about.
pub(super) const CHECKS: [Check; 36] = [
    Check {
        invariant: Invariant::B2,
        code: "events_are_not_their_counters",
        says: "units of the events of a window, and what they count in the ledger",
        sql: "SELECT chain || ' ' || window_id, CAST(told AS TEXT) || ', ' || CAST(counted AS TEXT) FROM (
                  SELECT r.chain_id AS chain, SUM(r.units) AS told,
                      CAST(r.epoch AS TEXT) || '/' || r.meter || '/' || CAST(r.start_ms AS TEXT) AS window_id,
                      COALESCE((SELECT SUM(c.units) FROM usage_counters c
                          WHERE c.chain_id = r.chain_id AND c.epoch = r.epoch AND c.meter = r.meter
                              AND c.start_ms = r.start_ms AND c.generation = 0), 0) AS counted
                  FROM usage_readings r JOIN meters m ON m.slug = r.meter AND m.aggregation IN ('SUM', 'COUNT')
                  GROUP BY r.chain_id, r.epoch, r.meter, r.start_ms) windows
              WHERE told <> counted",
    },
    Check {
        invariant: Invariant::B2,
        code: "events_are_nobodys",
        says: "the meter of an event that was not taken in, or that no window has",
        sql: "SELECT r.source || ' ' || r.event_id, r.meter FROM usage_readings r
              WHERE NOT EXISTS (SELECT 1 FROM usage_events e
                      WHERE e.source = r.source AND e.event_id = r.event_id)
                  OR NOT EXISTS (SELECT 1 FROM usage_windows w WHERE w.chain_id = r.chain_id
                      AND w.epoch = r.epoch AND w.meter = r.meter AND w.start_ms = r.start_ms)",
    },
    Check {
        invariant: Invariant::B9,
        code: "claim_without_token",
        says: "the token by which a job is held, which grows with each holder",
        sql: "SELECT name, CAST(token AS TEXT) FROM jobs WHERE token < 1",
    },
    Check {
        invariant: Invariant::B9,
        code: "committed_without_claim",
        says: "token and owner of the claim that committed last, and of the last that was given",
        sql: "SELECT name, CAST(committed_token AS TEXT) || ' ' || COALESCE(committed_by, 'nobody') || ', '
                  || CAST(token AS TEXT) || ' ' || owner
              FROM jobs WHERE committed_token > token
                  OR (committed_token = token AND (committed_by IS NULL OR committed_by <> owner))",
    },
    Check {
        invariant: Invariant::B2,
        code: "window_is_not_its_counters",
        says: "units of a window, and the sum of its counters",
        sql: "SELECT chain || ' ' || window_id, CAST(units AS TEXT) || ', ' || CAST(counted AS TEXT) FROM (
                  SELECT w.chain_id AS chain, w.units AS units,
                      CAST(w.epoch AS TEXT) || '/' || w.meter || '/' || CAST(w.start_ms AS TEXT) AS window_id,
                      COALESCE((SELECT SUM(c.units) FROM usage_counters c
                          WHERE c.chain_id = w.chain_id AND c.epoch = w.epoch AND c.meter = w.meter
                              AND c.start_ms = w.start_ms), 0) AS counted
                  FROM usage_windows w) windows
              WHERE units <> counted",
    },
    Check {
        invariant: Invariant::B2,
        code: "counters_without_window",
        says: "counters of no window",
        sql: "SELECT DISTINCT c.chain_id, CAST(c.epoch AS TEXT) || '/' || c.meter || '/' || CAST(c.start_ms AS TEXT)
              FROM usage_counters c WHERE NOT EXISTS (SELECT 1 FROM usage_windows w
                  WHERE w.chain_id = c.chain_id AND w.epoch = c.epoch AND w.meter = c.meter
                      AND w.start_ms = c.start_ms)",
    },
    Check {
        invariant: Invariant::B2,
        code: "rated_beyond_usage",
        says: "units that were rated, and those that were used",
        sql: "SELECT chain_id, CAST(rated AS TEXT) || ', ' || CAST(units AS TEXT)
              FROM usage_windows WHERE rated > units",
    },
    Check {
        invariant: Invariant::B2,
        code: "rated_twice_or_never",
        says: "a window is in so many rated quantities as the ledger has rated",
        sql: "SELECT w.chain_id || ' ' || CAST(w.epoch AS TEXT) || '/' || w.meter || '/' || CAST(w.start_ms AS TEXT),
                  CAST(COUNT(r.rate_card) AS TEXT)
              FROM usage_windows w LEFT JOIN rated_windows r ON r.chain_id = w.chain_id AND r.epoch = w.epoch
                  AND r.meter = w.meter AND r.start_ms = w.start_ms
              WHERE w.rated IS NOT NULL
              GROUP BY w.chain_id, w.epoch, w.meter, w.start_ms HAVING COUNT(r.rate_card) <> 1",
    },
    Check {
        invariant: Invariant::B2,
        code: "rated_units_differ",
        says: "units of a rated quantity, and what the ledger has as rated",
        sql: "SELECT r.chain_id || ' ' || CAST(r.epoch AS TEXT) || '/' || r.meter || '/' || CAST(r.start_ms AS TEXT),
                  CAST(r.units AS TEXT) || ', ' || COALESCE(CAST(w.rated AS TEXT), 'none')
              FROM rated_windows r LEFT JOIN usage_windows w ON r.chain_id = w.chain_id AND r.epoch = w.epoch
                  AND r.meter = w.meter AND r.start_ms = w.start_ms
              WHERE w.rated IS NULL OR w.rated <> r.units",
    },
    Check {
        invariant: Invariant::B2,
        code: "rated_amount_not_billed",
        says: "what usage of a rate card was rated at, and what its lines come to",
        sql: "SELECT subscription || ' ' || rate_card, CAST(rated AS TEXT) || ', ' || CAST(billed AS TEXT) FROM (
                  SELECT s.id AS subscription, r.rate_card AS rate_card, SUM(r.amount) AS rated,
                      COALESCE((SELECT SUM(l.amount - l.discount - COALESCE((SELECT SUM(c.amount) FROM credits c
                          WHERE c.source = l.identity AND l.kind = 'late'), 0))
                          FROM invoice_lines l WHERE l.subscription_id = s.id
                          AND l.rate_card = r.rate_card AND l.kind IN ('arrears', 'late')), 0) AS billed
                  FROM rated_windows r JOIN subscriptions s ON s.chain_id = r.chain_id AND s.epoch = r.epoch
                  GROUP BY s.id, r.rate_card) cards
              WHERE rated <> billed",
    },
    Check {
        invariant: Invariant::B3,
        code: "boundary_billed_twice",
        says: "another invoice of the same boundary",
        sql: "SELECT a.id, b.id FROM invoices a JOIN invoices b ON a.subscription_id = b.subscription_id
                  AND a.boundary_ms = b.boundary_ms AND a.id < b.id
              WHERE a.kind <> 'late' AND b.kind <> 'late'
                  AND (a.part = b.part OR a.part = 'all' OR b.part = 'all')",
    },
    Check {
        invariant: Invariant::B3,
        code: "fee_charged_twice",
        says: "lines for the same period of a fee",
        sql: "SELECT subscription_id || ' ' || rate_card, CAST(COUNT(*) AS TEXT) FROM invoice_lines
              WHERE kind = 'fee' GROUP BY subscription_id, rate_card, period_start_ms HAVING COUNT(*) > 1",
    },
    Check {
        invariant: Invariant::B3,
        code: "made_twice_in_stripe",
        says: "invoices that Stripe made of one",
        sql: "SELECT SUBSTR(idempotency_key, 1, 30), CAST(COUNT(*) AS TEXT) FROM stripe_requests
              WHERE idempotency_key LIKE 'inv!_%:create:%' ESCAPE '!' AND status = 200
              GROUP BY SUBSTR(idempotency_key, 1, 30) HAVING COUNT(*) > 1",
    },
    Check {
        invariant: Invariant::B4,
        code: "lines_do_not_sum",
        says: "the total of an invoice, and the sum of its lines",
        sql: "SELECT id, CAST(total AS TEXT) || ', ' || CAST(lines AS TEXT) FROM (
                  SELECT i.id AS id, i.total AS total, COALESCE((SELECT SUM(l.total) FROM invoice_lines l
                      WHERE l.invoice_id = i.id), 0) AS lines FROM invoices i) invoices
              WHERE total <> lines",
    },
    Check {
        invariant: Invariant::B4,
        code: "line_does_not_sum",
        says: "amount, discount, credit and total of a line",
        sql: "SELECT identity, CAST(amount AS TEXT) || ', ' || CAST(discount AS TEXT) || ', ' || CAST(credit AS TEXT)
                  || ', ' || CAST(total AS TEXT)
              FROM invoice_lines WHERE total <> amount - discount - credit OR total < 0 OR amount < 0 OR discount < 0
                  OR credit < 0",
    },
    Check {
        invariant: Invariant::B4,
        code: "total_is_negative",
        says: "the total of an invoice",
        sql: "SELECT id, CAST(total AS TEXT) FROM invoices WHERE total < 0",
    },
    Check {
        invariant: Invariant::B4,
        code: "invoice_without_lines",
        says: "the total of an invoice without lines",
        sql: "SELECT id, CAST(total AS TEXT) FROM invoices i
              WHERE NOT EXISTS (SELECT 1 FROM invoice_lines l WHERE l.invoice_id = i.id)",
    },
    Check {
        invariant: Invariant::B4,
        code: "line_credit_differs",
        says: "the credit of a line, and what was applied to it",
        sql: "SELECT identity, CAST(credit AS TEXT) || ', ' || CAST(applied AS TEXT) FROM (
                  SELECT l.identity AS identity, l.credit AS credit, COALESCE((SELECT SUM(a.amount)
                      FROM credit_applications a WHERE a.line = l.identity), 0) AS applied
                  FROM invoice_lines l) lines
              WHERE credit <> applied",
    },
    Check {
        invariant: Invariant::B6,
        code: "credit_beyond_payment",
        says: "what was given back of a fee, and what was paid for it",
        sql: "SELECT source, CAST(issued AS TEXT) || ', ' || CAST(paid AS TEXT) FROM (
                  SELECT c.source AS source, SUM(c.amount) AS issued,
                      MAX(CASE WHEN i.status = 'paid' THEN l.amount - l.discount ELSE 0 END) AS paid
                  FROM credits c JOIN invoice_lines l ON l.identity = c.source
                      JOIN invoices i ON i.id = l.invoice_id WHERE l.kind = 'fee' GROUP BY c.source) credits
              WHERE issued > paid",
    },
    Check {
        invariant: Invariant::B6,
        code: "credit_overspent",
        says: "a credit, and what was applied of it",
        sql: "SELECT id, CAST(amount AS TEXT) || ', ' || CAST(applied AS TEXT) FROM (
                  SELECT c.id AS id, c.amount AS amount, COALESCE((SELECT SUM(a.amount)
                      FROM credit_applications a JOIN invoice_lines l ON l.identity = a.line
                      JOIN invoices i ON i.id = l.invoice_id
                      WHERE a.credit_id = c.id AND i.status <> 'void'), 0) AS applied
                  FROM credits c) credits
              WHERE applied > amount OR amount <= 0",
    },
    Check {
        invariant: Invariant::B6,
        code: "credit_of_no_fee",
        says: "the kind of a line that was given back",
        sql: "SELECT c.id, l.kind FROM credits c JOIN invoice_lines l ON l.identity = c.source
              WHERE l.kind NOT IN ('fee', 'late')",
    },
    Check {
        invariant: Invariant::B6,
        code: "credit_in_another_currency",
        says: "the currency of a credit, and of the line it paid",
        sql: "SELECT c.id, c.currency || ', ' || i.currency FROM credits c
                  JOIN credit_applications a ON a.credit_id = c.id JOIN invoice_lines l ON l.identity = a.line
                  JOIN invoices i ON i.id = l.invoice_id WHERE c.currency <> i.currency",
    },
    Check {
        invariant: Invariant::B6,
        code: "changes_cheaper_than_a_fee",
        says: "what a customer's fees came to, and the greatest of them",
        sql: "SELECT customer, CAST(charged AS TEXT) || ', ' || CAST(greatest AS TEXT) FROM (
                  SELECT i.customer_id || ' ' || i.currency AS customer, SUM(l.total) AS charged,
                      MAX(l.amount - l.discount) AS greatest
                  FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id
                  WHERE l.kind = 'fee' AND i.status <> 'void' GROUP BY i.customer_id, i.currency) customers
              WHERE charged < greatest",
    },
    Check {
        invariant: Invariant::B7,
        code: "state_without_its_instant",
        says: "the status of an invoice that lacks the instant it began, or has that of another",
        sql: "SELECT id, status FROM invoices
              WHERE (status = 'paid') <> (paid_at_ms IS NOT NULL)
                  OR (status IN ('failed', 'uncollectible') AND due_since_ms IS NULL)
                  OR (status IN ('open', 'failed', 'uncollectible') AND finalized_at_ms IS NULL)
                  OR (status = 'draft' AND finalized_at_ms IS NOT NULL)",
    },
    Check {
        invariant: Invariant::B7,
        code: "older_than_what_was_told",
        says: "the status of an invoice of which Stripe told that it is paid or void",
        sql: "SELECT i.id, i.status FROM invoices i JOIN stripe_events e ON e.object_id = i.stripe_id
              WHERE e.status = 'handled' AND (e.type = 'invoice.paid' AND i.status <> 'paid'
                  OR e.type = 'invoice.voided' AND i.status <> 'void')",
    },
    Check {
        invariant: Invariant::B7,
        code: "event_given_up",
        says: "why an event could not be handled",
        sql: "SELECT id, COALESCE(failure, type) FROM stripe_events WHERE status = 'dead'",
    },
    Check {
        invariant: Invariant::B8,
        code: "subscriptions_overlap",
        says: "the subscription that begins before this one of its chain ends",
        sql: "SELECT a.id, b.id FROM subscriptions a JOIN subscriptions b ON a.chain_id = b.chain_id
                  AND a.epoch < b.epoch
              WHERE a.waits_for_payment = 0 AND b.waits_for_payment = 0
                  AND (a.active_to_ms IS NULL OR a.active_to_ms > a.active_from_ms)
                  AND (b.active_to_ms IS NULL OR b.active_to_ms > b.active_from_ms)
                  AND (a.active_to_ms IS NULL OR a.active_to_ms > b.active_from_ms)",
    },
    Check {
        invariant: Invariant::B8,
        code: "first_charged_twice",
        says: "first invoices of a subscription",
        sql: "SELECT subscription_id, CAST(COUNT(*) AS TEXT) FROM invoices
              WHERE kind = 'first' AND status <> 'void' GROUP BY subscription_id HAVING COUNT(*) > 1",
    },
    Check {
        invariant: Invariant::B8,
        code: "checkout_without_subscription",
        says: "the state of a Checkout that made no subscription, or not the one it should",
        sql: "SELECT c.id, c.status FROM checkout_sessions c
              LEFT JOIN subscriptions s ON s.id = c.subscription_id
              WHERE (c.status = 'completed') <> (s.id IS NOT NULL)",
    },
    Check {
        invariant: Invariant::B8,
        code: "checkout_completed_twice",
        says: "openings that completed one Checkout",
        sql: "SELECT checkout_id, CAST(COUNT(*) AS TEXT) FROM checkout_attempts WHERE completed = 1
              GROUP BY checkout_id HAVING COUNT(*) > 1",
    },
    Check {
        invariant: Invariant::B8,
        code: "key_of_another_chain",
        says: "the key that was claimed, and whose it is",
        sql: "SELECT c.id, c.key_id || ', ' || COALESCE(k.chain_id, 'nobody') FROM checkout_sessions c
                  LEFT JOIN api_keys k ON k.id = c.key_id LEFT JOIN subscriptions s ON s.id = c.subscription_id
              WHERE c.key_id IS NOT NULL AND (k.id IS NULL OR s.id IS NULL OR k.chain_id <> s.chain_id)",
    },
    Check {
        invariant: Invariant::B10,
        code: "subscription_of_another_customer",
        says: "whose the subscription is, and whose its chain",
        sql: "SELECT s.id, s.customer_id || ', ' || c.customer_id FROM subscriptions s
                  JOIN chains c ON c.id = s.chain_id WHERE s.customer_id <> c.customer_id",
    },
    Check {
        invariant: Invariant::B10,
        code: "invoice_of_another_customer",
        says: "whom an invoice bills, and whose the subscription of a line is",
        sql: "SELECT i.id, i.customer_id || ', ' || s.customer_id FROM invoices i
                  JOIN invoice_lines l ON l.invoice_id = i.id JOIN subscriptions s ON s.id = l.subscription_id
              WHERE i.customer_id <> s.customer_id
              UNION SELECT i.id, i.customer_id || ', ' || s.customer_id FROM invoices i
                  JOIN subscriptions s ON s.id = i.subscription_id
              WHERE i.customer_id <> s.customer_id OR i.chain_id <> s.chain_id",
    },
    Check {
        invariant: Invariant::B10,
        code: "credit_of_another_customer",
        says: "whose a credit is, and whose the fee or the line it paid",
        sql: "SELECT c.id, c.customer_id || ', ' || i.customer_id FROM credits c
                  JOIN invoice_lines l ON l.identity = c.source
                  JOIN invoices i ON i.id = l.invoice_id WHERE c.customer_id <> i.customer_id
              UNION SELECT c.id, c.customer_id || ', ' || i.customer_id FROM credits c
                  JOIN credit_applications a ON a.credit_id = c.id
                  JOIN invoice_lines l ON l.identity = a.line
                  JOIN invoices i ON i.id = l.invoice_id WHERE c.customer_id <> i.customer_id",
    },
    Check {
        invariant: Invariant::B10,
        code: "checkout_of_another_customer",
        says: "whose a Checkout is, and whose its subscription",
        sql: "SELECT c.id, c.customer_id || ', ' || s.customer_id FROM checkout_sessions c
                  JOIN subscriptions s ON s.id = c.subscription_id WHERE c.customer_id <> s.customer_id",
    },
    Check {
        invariant: Invariant::B10,
        code: "usage_by_another_key",
        says: "the key, and the chain it is of",
        sql: "SELECT DISTINCT u.chain_id, u.api_key || ', ' || k.chain_id FROM usage_counters u
                  JOIN api_keys k ON k.id = u.api_key WHERE k.chain_id <> u.chain_id",
    },
];

/// What breaks a rule: what it is about, and what was found.
pub(super) async fn broken(
    connection: &mut Connection,
    check: &Check,
) -> Result<Vec<(String, String)>, Failure> {
    sqlx::query_as(check.sql).fetch_all(connection).await
}

/// A window that was used and not rated.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Unrated {
    pub(super) chain_id: String,
    pub(super) epoch: i64,
    pub(super) meter: String,
    pub(super) start_ms: i64,
    /// The last boundary that was billed of its subscription.
    pub(super) billed_ms: Option<i64>,
    /// The same of who took over from that, if anybody did; 0 before the first.
    pub(super) taken_over_ms: Option<i64>,
}

/// Windows that were used and not rated, by chain.
pub(super) async fn unrated(connection: &mut Connection) -> Result<Vec<Unrated>, Failure> {
    sqlx::query_as(
        "SELECT w.chain_id, w.epoch, w.meter, w.start_ms,
             (SELECT MAX(b.billed_ms) FROM billing_schedules b
              WHERE b.subscription_id = s.id) AS billed_ms,
             (SELECT MAX(COALESCE(b.billed_ms, 0)) FROM billing_schedules b
                  JOIN subscriptions n ON n.id = b.subscription_id
              WHERE b.changed_from = s.id
                  AND (n.active_to_ms IS NULL OR n.active_to_ms > n.active_from_ms)) AS taken_over_ms
         FROM usage_windows w
             LEFT JOIN subscriptions s ON s.chain_id = w.chain_id AND s.epoch = w.epoch
         WHERE w.units > 0 AND w.rated IS NULL ORDER BY w.chain_id",
    )
    .fetch_all(connection)
    .await
}

/// Ids and payloads of Stripe's events after `after`, in order.
pub(super) async fn events(
    connection: &mut Connection,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, String)>, Failure> {
    sqlx::query_as("SELECT id, payload FROM stripe_events WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await
}
