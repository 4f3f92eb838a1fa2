-- +goose Up

-- When a connection's tokens were obtained, and how many renewals in a row
-- brought none.
ALTER TABLE connections ADD COLUMN obtained BIGINT NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
