-- +goose Up

-- When a version's state last changed, when it will be destroyed, and the hour
-- in which it was last used.
ALTER TABLE vault_domain_keys ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vault_domain_keys ADD COLUMN destroy_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vault_domain_keys ADD COLUMN used BIGINT NOT NULL DEFAULT 0;

-- Keys that are kept elsewhere, such as a platform's client secret: a keyed hash
-- of the value seen at start tells when it changed.
CREATE TABLE vault_seen_keys (
    name        TEXT   NOT NULL PRIMARY KEY,
    fingerprint TEXT   NOT NULL,
    since       BIGINT NOT NULL
);

-- Who is at a piece of work that one process shall do at a time. Nothing depends
-- on it: every step is a compare-and-swap.
CREATE TABLE vault_leases (
    name  TEXT   NOT NULL PRIMARY KEY,
    owner TEXT   NOT NULL,
    until BIGINT NOT NULL
);

-- A service's old key lives on beside the new one until then; 0 is for ever.
ALTER TABLE service_keys ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;
