-- One set of files for SQLite and PostgreSQL: only TEXT and BIGINT. Instants are Unix milliseconds,
-- units thousandths, flags 0 or 1, documents JSON text.

-- Locked by every write transaction on PostgreSQL, so that there is one writer over all replicas.
CREATE TABLE write_lock (id BIGINT NOT NULL PRIMARY KEY);

-- Numbers without gaps in the order of commits.
CREATE TABLE sequences (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE admin_keys (
    id            TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    secret_hash   TEXT   NOT NULL UNIQUE,
    scopes        TEXT   NOT NULL,
    origin        TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,
    last_used_ms  BIGINT,
    revoked_at_ms BIGINT
);

CREATE TABLE idempotency_keys (
    caller          TEXT   NOT NULL,
    route           TEXT   NOT NULL,
    idempotency_key TEXT   NOT NULL,
    fingerprint     TEXT   NOT NULL,
    status          BIGINT NOT NULL,
    body            TEXT   NOT NULL,
    expires_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (caller, route, idempotency_key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at_ms);

CREATE TABLE jobs (
    name           TEXT   NOT NULL PRIMARY KEY,
    owner          TEXT   NOT NULL,
    token          BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL
);

CREATE TABLE outbox (
    id              TEXT   NOT NULL PRIMARY KEY,
    topic           TEXT   NOT NULL,
    ordering_key    TEXT   NOT NULL,
    sequence        BIGINT NOT NULL,
    payload         TEXT   NOT NULL,
    enqueued_at_ms  BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    next_attempt_ms BIGINT NOT NULL,
    UNIQUE (topic, ordering_key, sequence)
);
CREATE INDEX outbox_by_sequence ON outbox (topic, sequence);
