-- Events that were taken in, each once by source and id.
CREATE TABLE usage_events (
    source         TEXT   NOT NULL,
    event_id       TEXT   NOT NULL,
    type           TEXT   NOT NULL,
    subject        TEXT   NOT NULL,
    -- When it happened, and when it came.
    time_ms        BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    PRIMARY KEY (source, event_id)
);

-- What an event says to a meter, in the window that it belongs to. Its units are in usage_counters of generation 0.
CREATE TABLE usage_readings (
    source   TEXT   NOT NULL,
    event_id TEXT   NOT NULL,
    meter    TEXT   NOT NULL,
    chain_id TEXT   NOT NULL,
    epoch    BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    time_ms  BIGINT NOT NULL,
    -- Of whom, if an API key was named.
    api_key  TEXT   NOT NULL,
    -- Thousandths; of a meter that counts distinct values nothing, and the value.
    units    BIGINT NOT NULL,
    value    TEXT   NOT NULL,
    PRIMARY KEY (source, event_id, meter)
);
CREATE INDEX usage_readings_by_window ON usage_readings (chain_id, epoch, meter, start_ms, value);
CREATE INDEX usage_readings_by_time ON usage_readings (meter, time_ms);

CREATE INDEX usage_counters_by_hour ON usage_counters (meter, hour);
