-- Every POST to Stripe as it was first sent: a repeat sends the same form, never one that was built anew.
CREATE TABLE stripe_requests (
    idempotency_key TEXT   NOT NULL PRIMARY KEY,
    -- How often it was begun anew, after a time in which Stripe may have forgotten the key.
    round           BIGINT NOT NULL,
    path            TEXT   NOT NULL,
    form            TEXT   NOT NULL,
    first_sent_ms   BIGINT NOT NULL,
    -- What Stripe answered at last.
    status          BIGINT,
    request_id      TEXT,
    answered_ms     BIGINT
);
CREATE INDEX stripe_requests_by_answer ON stripe_requests (answered_ms);

-- Who a customer is to Stripe.
CREATE TABLE payment_customers (
    customer_id    TEXT   NOT NULL PRIMARY KEY REFERENCES customers (id),
    stripe_id      TEXT   NOT NULL UNIQUE,
    -- The default payment method for invoices, as Stripe last said: its id, and what people call it.
    payment_method TEXT,
    card           TEXT,
    -- Since when Stripe has it no longer.
    deleted_at_ms  BIGINT,
    created_at_ms  BIGINT NOT NULL
);

-- A customer's way to a plan: completed once, by whichever of its openings comes first.
CREATE TABLE checkout_sessions (
    id              TEXT   NOT NULL PRIMARY KEY,
    customer_id     TEXT   NOT NULL REFERENCES customers (id),
    plan_key        TEXT   NOT NULL,
    plan_version    BIGINT NOT NULL,
    starting_phase  TEXT,
    currency        TEXT   NOT NULL,
    success_url     TEXT,
    cancel_url      TEXT,
    -- open, completed or failed.
    status          TEXT   NOT NULL,
    subscription_id TEXT,
    -- The code of why nobody was subscribed, though a payment method was given.
    failure         TEXT,
    -- Claims of the key: how many were wrong, and the key that the first right one made.
    wrong_claims    BIGINT NOT NULL,
    key_id          TEXT,
    created_at_ms   BIGINT NOT NULL,
    expires_at_ms   BIGINT NOT NULL
);
CREATE INDEX checkout_sessions_by_status ON checkout_sessions (status, expires_at_ms);

-- One opening of a Checkout, each with its own Stripe session and its own token to claim the key with.
CREATE TABLE checkout_attempts (
    id            TEXT   NOT NULL PRIMARY KEY,
    checkout_id   TEXT   NOT NULL REFERENCES checkout_sessions (id),
    -- SHA-256 of the token, in hex.
    token_hash    TEXT   NOT NULL UNIQUE,
    -- customer, who opened a link; or operator, who made it and may claim whatever completes it.
    holder        TEXT   NOT NULL,
    stripe_id     TEXT   UNIQUE,
    -- Whether this is the opening that completed the Checkout.
    completed     BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX checkout_attempts_by_checkout ON checkout_attempts (checkout_id, id);

-- What Stripe told us, once per event; handled after it was stored.
CREATE TABLE stripe_events (
    id              TEXT   NOT NULL PRIMARY KEY,
    stripe_id       TEXT   NOT NULL UNIQUE,
    type            TEXT   NOT NULL,
    -- What it is about.
    object_id       TEXT   NOT NULL,
    payload         TEXT   NOT NULL,
    -- pending, handled, ignored or dead.
    status          TEXT   NOT NULL,
    attempts        BIGINT NOT NULL,
    next_attempt_ms BIGINT NOT NULL,
    failure         TEXT,
    -- When Stripe says it happened, and when it came.
    happened_at_ms  BIGINT NOT NULL,
    received_at_ms  BIGINT NOT NULL,
    handled_at_ms   BIGINT
);
CREATE INDEX stripe_events_due ON stripe_events (status, next_attempt_ms);
