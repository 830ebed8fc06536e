-- By whom a job's work was committed last. Both are null until something was.
ALTER TABLE jobs ADD COLUMN committed_token BIGINT;
ALTER TABLE jobs ADD COLUMN committed_by TEXT;
