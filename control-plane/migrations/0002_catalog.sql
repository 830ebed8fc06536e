CREATE TABLE meters (
    id             TEXT   NOT NULL PRIMARY KEY,
    slug           TEXT   NOT NULL UNIQUE,
    name           TEXT   NOT NULL,
    event_type     TEXT   NOT NULL,
    aggregation    TEXT   NOT NULL,
    value_property TEXT,
    created_at_ms  BIGINT NOT NULL,
    archived_at_ms BIGINT
);

CREATE TABLE features (
    id             TEXT   NOT NULL PRIMARY KEY,
    feature_key    TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    meter_slug     TEXT   REFERENCES meters (slug),
    metadata       TEXT   NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    archived_at_ms BIGINT
);
-- An archived feature's key may be used again.
CREATE UNIQUE INDEX features_by_key ON features (feature_key) WHERE archived_at_ms IS NULL;

CREATE TABLE plans (
    id              TEXT   NOT NULL PRIMARY KEY,
    plan_key        TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    status          TEXT   NOT NULL,
    document        TEXT   NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    updated_at_ms   BIGINT NOT NULL,
    published_at_ms BIGINT,
    archived_at_ms  BIGINT,
    UNIQUE (plan_key, version)
);
CREATE UNIQUE INDEX plans_one_draft ON plans (plan_key) WHERE status = 'draft';
CREATE UNIQUE INDEX plans_one_active ON plans (plan_key) WHERE status = 'active';

CREATE TABLE configuration (
    id       BIGINT NOT NULL PRIMARY KEY,
    document TEXT   NOT NULL
);
