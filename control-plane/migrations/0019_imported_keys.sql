-- Whether the key is not of our own making; nothing but its hash is known then.
ALTER TABLE api_keys ADD COLUMN imported BIGINT NOT NULL DEFAULT 0;
