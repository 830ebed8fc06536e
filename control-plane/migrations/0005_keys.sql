CREATE TABLE api_keys (
    id              TEXT   NOT NULL PRIMARY KEY,
    chain_id        TEXT   NOT NULL REFERENCES chains (id),
    -- SHA-256 of the whole key, in hex.
    hash            TEXT   NOT NULL UNIQUE,
    name            TEXT,
    subject         TEXT,
    bypass          BIGINT NOT NULL,
    last_characters TEXT   NOT NULL,
    -- Of its document: raised with every change of what it says.
    version         BIGINT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    expires_at_ms   BIGINT,
    revoked_at_ms   BIGINT
);
CREATE INDEX api_keys_by_chain ON api_keys (chain_id, id);
