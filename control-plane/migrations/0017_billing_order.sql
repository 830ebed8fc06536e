-- In the order in which subscriptions are billed: many are due at one instant.
DROP INDEX billing_schedules_due;
CREATE INDEX billing_schedules_due ON billing_schedules (due_ms, subscription_id);
