-- Where the boundaries of a subscription count from, if not from the start of each phase; and whether that was kept from
-- the subscription before, so that a cut first window gives its share.
ALTER TABLE subscriptions ADD COLUMN anchor_ms BIGINT;
ALTER TABLE subscriptions ADD COLUMN anchor_kept BIGINT NOT NULL DEFAULT 0;
-- By meter: what the customer or the operator set in place of the plan's overage limit, in thousandths.
ALTER TABLE subscriptions ADD COLUMN overage_limits TEXT NOT NULL DEFAULT '{}';
