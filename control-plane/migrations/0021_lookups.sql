-- Indexes with which any plan finds what it looks for, also one that PostgreSQL makes before it knows a table's contents.

-- Few schedules have a change before them.
DROP INDEX billing_schedules_by_change;
CREATE INDEX billing_schedules_by_change ON billing_schedules (changed_from) WHERE changed_from IS NOT NULL;

-- Of one hour there may be a counter of every chain.
DROP INDEX usage_counters_by_hour;
CREATE INDEX usage_counters_by_hour ON usage_counters (meter, hour, chain_id);
