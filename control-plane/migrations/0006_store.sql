-- Lives of the data in Redis: each begins with a rebuild from this database.
CREATE TABLE store_generations (
    generation   BIGINT NOT NULL PRIMARY KEY,
    begun_at_ms  BIGINT NOT NULL,
    -- Since when the filter could use it, if it came to that.
    opened_at_ms BIGINT,
    -- Replication id of the process for which every document was written.
    node         TEXT
);
