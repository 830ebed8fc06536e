-- What is taken off a line: total = amount - discount - credit.
ALTER TABLE invoice_lines ADD COLUMN discount BIGINT NOT NULL DEFAULT 0;
