-- +goose Up

-- What a key is for: a purpose, '-' for what names no purpose, '' for everything
-- that its service may. How long it was made to live: microseconds, -1 for no end,
-- 0 for one of before this was asked. And which key took its place, if one did.
ALTER TABLE service_keys ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
ALTER TABLE service_keys ADD COLUMN life BIGINT NOT NULL DEFAULT 0;
ALTER TABLE service_keys ADD COLUMN successor TEXT NOT NULL DEFAULT '';
ALTER TABLE service_keys ADD COLUMN warned BIGINT NOT NULL DEFAULT 0;

-- When each key was last used, and from which network (never a whole address).
-- Apart from the keys, so that writing it every few seconds touches nothing that
-- calls read.
CREATE TABLE service_key_uses (
    key    TEXT   NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    source TEXT   NOT NULL,
    uses   BIGINT NOT NULL
);
