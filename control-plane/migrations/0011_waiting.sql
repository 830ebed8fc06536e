-- Whether a subscription waits for its first invoice to be paid; the one before it goes on until then.
ALTER TABLE subscriptions ADD COLUMN waits_for_payment BIGINT NOT NULL DEFAULT 0;
