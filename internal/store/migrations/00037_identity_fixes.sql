-- +goose Up

-- Half a sign-in that a provider judged remembers the groups that give roles here, and
-- when the provider saw the operator, until our own second factor follows. It gives
-- something, and so has a MAC.
ALTER TABLE operator_tokens ADD COLUMN provider_groups TEXT NOT NULL DEFAULT '';
ALTER TABLE operator_tokens ADD COLUMN proved BIGINT NOT NULL DEFAULT 0;
ALTER TABLE operator_tokens ADD COLUMN mac TEXT NOT NULL DEFAULT '';
