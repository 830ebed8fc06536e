-- The ledger: consumed units of a window (epoch, meter, start) of a chain, by generation of the store, late generation
-- of the window, hour since 1970 and API key. A unit is in one row; units never fall.
CREATE TABLE usage_counters (
    chain_id        TEXT   NOT NULL,
    epoch           BIGINT NOT NULL,
    meter           TEXT   NOT NULL,
    start_ms        BIGINT NOT NULL,
    generation      BIGINT NOT NULL,
    late_generation BIGINT NOT NULL,
    hour            BIGINT NOT NULL,
    api_key         TEXT   NOT NULL,
    units           BIGINT NOT NULL,
    PRIMARY KEY (chain_id, epoch, meter, start_ms, generation, late_generation, hour, api_key)
);

-- Windows that were used, with the sum of their counters.
CREATE TABLE usage_windows (
    chain_id   TEXT   NOT NULL,
    epoch      BIGINT NOT NULL,
    meter      TEXT   NOT NULL,
    start_ms   BIGINT NOT NULL,
    units      BIGINT NOT NULL,
    -- When its counters may be removed from Redis; none for a window that no subscription has.
    trim_at_ms BIGINT,
    -- Whether they were.
    trimmed    BIGINT NOT NULL,
    PRIMARY KEY (chain_id, epoch, meter, start_ms)
);
CREATE INDEX usage_windows_to_trim ON usage_windows (trimmed, trim_at_ms);

-- How far each worker's batches of a chain are in the ledger, as JSON: worker → [number, Unix ms of its rise].
CREATE TABLE usage_chains (
    chain_id        TEXT   NOT NULL PRIMARY KEY,
    workers         TEXT   NOT NULL,
    late_generation BIGINT NOT NULL
);

-- One row: the last time that everything in Redis was read.
CREATE TABLE usage_drains (
    id                BIGINT NOT NULL PRIMARY KEY,
    -- When that began, in business time and in machine time.
    began_at_ms       BIGINT NOT NULL,
    began_machine_ms  BIGINT NOT NULL
);
