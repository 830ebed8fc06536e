-- Who may subscribe to a private plan.
CREATE TABLE plan_invites (
    id            TEXT   NOT NULL PRIMARY KEY,
    plan_key      TEXT   NOT NULL,
    -- In lower case.
    email         TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    revoked_at_ms BIGINT
);
CREATE UNIQUE INDEX plan_invites_by_plan ON plan_invites (plan_key, email) WHERE revoked_at_ms IS NULL;
