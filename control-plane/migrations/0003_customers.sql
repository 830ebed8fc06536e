CREATE TABLE customers (
    id            TEXT   NOT NULL PRIMARY KEY,
    customer_key  TEXT   UNIQUE,
    name          TEXT   NOT NULL,
    email         TEXT,
    metadata      TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE INDEX customers_by_email ON customers (email);
