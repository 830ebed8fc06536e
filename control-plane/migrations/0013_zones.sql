-- The zone whose dates the boundaries of a subscription are: fixed when it is made, by the customer's or else by the
-- billing profile's.
ALTER TABLE subscriptions ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE customers ADD COLUMN time_zone TEXT;

CREATE TABLE billing_profile (
    id       BIGINT NOT NULL PRIMARY KEY,
    document TEXT   NOT NULL
);
