-- What was or is to be charged: never rewritten once it is issued.
CREATE TABLE invoices (
    id              TEXT   NOT NULL PRIMARY KEY,
    customer_id     TEXT   NOT NULL REFERENCES customers (id),
    chain_id        TEXT   NOT NULL REFERENCES chains (id),
    -- The subscription that begins, goes on or ends at the boundary, with the version of its plan.
    subscription_id TEXT   NOT NULL REFERENCES subscriptions (id),
    plan_version    BIGINT NOT NULL,
    kind            TEXT   NOT NULL,
    boundary_ms     BIGINT NOT NULL,
    -- all, or fees and then arrears.
    part            TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    currency        TEXT   NOT NULL,
    -- Minor units of the currency, as everywhere.
    total           BIGINT NOT NULL,
    -- The next step of bringing it to Stripe, how often that step was refused, and why it was last.
    step            TEXT   NOT NULL,
    attempt         BIGINT NOT NULL,
    failure         TEXT,
    stripe_id       TEXT   UNIQUE,
    number          TEXT,
    hosted_url      TEXT,
    -- How often Stripe tried to collect it.
    attempts        BIGINT NOT NULL,
    -- The first failed attempt, or the first that the customer had to confirm.
    due_since_ms    BIGINT,
    created_at_ms   BIGINT NOT NULL,
    finalized_at_ms BIGINT,
    paid_at_ms      BIGINT,
    UNIQUE (subscription_id, plan_version, boundary_ms, part)
);
CREATE INDEX invoices_by_customer ON invoices (customer_id, id);
CREATE INDEX invoices_by_chain ON invoices (chain_id, status);
CREATE INDEX invoices_by_status ON invoices (status, id);

CREATE TABLE invoice_lines (
    -- {subscription}/{phase}/{rateCard}/v{n}/{periodStart}/{lineId}/{part}/{correction}
    identity        TEXT   NOT NULL PRIMARY KEY,
    invoice_id      TEXT   NOT NULL REFERENCES invoices (id),
    position        BIGINT NOT NULL,
    -- fee, arrears or late.
    kind            TEXT   NOT NULL,
    subscription_id TEXT   NOT NULL REFERENCES subscriptions (id),
    rate_card       TEXT   NOT NULL,
    description     TEXT   NOT NULL,
    period_start_ms BIGINT NOT NULL,
    period_end_ms   BIGINT NOT NULL,
    -- Decimals.
    quantity        TEXT   NOT NULL,
    unit_amount     TEXT,
    amount          BIGINT NOT NULL,
    -- What of it was paid with credits: total = amount - credit.
    credit          BIGINT NOT NULL,
    total           BIGINT NOT NULL
);
CREATE INDEX invoice_lines_by_invoice ON invoice_lines (invoice_id, position);
CREATE INDEX invoice_lines_by_subscription ON invoice_lines (subscription_id, kind);

-- What was given back of fees, for later fees of the same customer.
CREATE TABLE credits (
    id            TEXT   NOT NULL PRIMARY KEY,
    customer_id   TEXT   NOT NULL REFERENCES customers (id),
    currency      TEXT   NOT NULL,
    -- The line of the fee, and the subscription that took over.
    source        TEXT   NOT NULL REFERENCES invoice_lines (identity),
    cause         TEXT   NOT NULL REFERENCES subscriptions (id),
    amount        BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    -- Since when it is no longer applied, if the customer was away for too long.
    expired_at_ms BIGINT,
    UNIQUE (source, cause)
);
CREATE INDEX credits_by_customer ON credits (customer_id, id);

CREATE TABLE credit_applications (
    credit_id TEXT   NOT NULL REFERENCES credits (id),
    line      TEXT   NOT NULL REFERENCES invoice_lines (identity),
    amount    BIGINT NOT NULL,
    PRIMARY KEY (credit_id, line)
);
CREATE INDEX credit_applications_by_line ON credit_applications (line);

-- Windows (epoch, meter, start) of a chain that were rated, with everything rated of them so far.
CREATE TABLE rated_windows (
    chain_id    TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,
    meter       TEXT   NOT NULL,
    start_ms    BIGINT NOT NULL,
    rate_card   TEXT   NOT NULL,
    end_ms      BIGINT NOT NULL,
    -- Units, in thousandths: of earlier windows that came before, and its own.
    carried     BIGINT NOT NULL,
    units       BIGINT NOT NULL,
    amount      BIGINT NOT NULL,
    -- How often late usage was added.
    corrections BIGINT NOT NULL,
    PRIMARY KEY (chain_id, epoch, meter, start_ms, rate_card)
);

-- What of a window was rated; none before it was. What is more is late usage.
ALTER TABLE usage_windows ADD COLUMN rated BIGINT;
CREATE INDEX usage_windows_late ON usage_windows (chain_id) WHERE rated IS NOT NULL AND rated < units;

-- When a subscription is billed next.
CREATE TABLE billing_schedules (
    subscription_id  TEXT   NOT NULL PRIMARY KEY REFERENCES subscriptions (id),
    -- The subscription that it took over from.
    changed_from     TEXT,
    -- The last boundary that was billed, and the next one; none when there is no other.
    billed_ms        BIGINT,
    boundary_ms      BIGINT,
    -- all, or arrears after the fees went out alone.
    part             TEXT   NOT NULL,
    -- When it can be billed: in business time, and after drains that began at these instants of business time and of
    -- machine time.
    due_ms           BIGINT,
    drained_ms       BIGINT,
    drained_mark_ms  BIGINT
);
CREATE INDEX billing_schedules_due ON billing_schedules (due_ms);
CREATE INDEX billing_schedules_by_change ON billing_schedules (changed_from);
