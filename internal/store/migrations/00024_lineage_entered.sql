-- +goose Up

-- Whether whoever has a value is not known to be a person of their own (1): what
-- somebody entered in a form, or whom a reply does not name.
ALTER TABLE lineage_prints ADD COLUMN entered BIGINT NOT NULL DEFAULT 0;
