-- A customer's line of subscriptions, one after another, with the keys and counters they share.
CREATE TABLE chains (
    id          TEXT   NOT NULL PRIMARY KEY,
    customer_id TEXT   NOT NULL REFERENCES customers (id),
    tag         TEXT   NOT NULL,
    -- Of the access document: raised with every change of what it says.
    version     BIGINT NOT NULL,
    -- When the document needs further windows; none while it has all there will be.
    renew_at_ms BIGINT
);
CREATE INDEX chains_by_customer ON chains (customer_id);
CREATE INDEX chains_by_renewal ON chains (renew_at_ms);

CREATE TABLE subscriptions (
    id               TEXT   NOT NULL PRIMARY KEY,
    subscription_key TEXT   UNIQUE,
    chain_id         TEXT   NOT NULL REFERENCES chains (id),
    -- Its number in the chain, from 1.
    epoch            BIGINT NOT NULL,
    customer_id      TEXT   NOT NULL REFERENCES customers (id),
    plan_id          TEXT   NOT NULL REFERENCES plans (id),
    plan_key         TEXT   NOT NULL,
    plan_version     BIGINT NOT NULL,
    -- The number of the phase it started with, from 0.
    starting_phase   BIGINT NOT NULL,
    -- Whether that is a trial.
    trial            BIGINT NOT NULL,
    -- By meter: the window of an earlier subscription that its first one goes on with.
    resumed          TEXT   NOT NULL,
    active_from_ms   BIGINT NOT NULL,
    active_to_ms     BIGINT,
    created_at_ms    BIGINT NOT NULL,
    UNIQUE (chain_id, epoch)
);
CREATE INDEX subscriptions_by_customer ON subscriptions (customer_id);
