-- One row, in a sandbox: where its clock stands.
CREATE TABLE sandbox_clock (
    id         BIGINT NOT NULL PRIMARY KEY,
    -- Business time minus machine time.
    lead_ms    BIGINT NOT NULL,
    -- The business instant it is on its way to, if it is.
    target_ms  BIGINT,
    -- Machine time of its last step: what was used before is in the ledger after a drain that began later.
    stepped_ms BIGINT NOT NULL
);
