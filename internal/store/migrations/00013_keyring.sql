-- +goose Up

-- The daily key wraps the keyring keys. Its own wrapped material stands in the
-- keyring file, outside this database; in wrapped only where there is no such
-- file. See docs/decisions/0010-keyring.md.
CREATE TABLE vault_daily_keys (
    version        BIGINT NOT NULL PRIMARY KEY CHECK (version > 0),
    state          TEXT   NOT NULL CHECK (state IN ('active', 'decrypt-only', 'destroyed')),
    domain_version BIGINT NOT NULL,
    in_file        BIGINT NOT NULL,
    wrapped        BLOB   NOT NULL,
    created        BIGINT NOT NULL,
    destroyed      BIGINT NOT NULL
);

-- A keyring key wraps the keys of the people in its bucket. erased is when the
-- first of them was erased since the key was made: then it is made anew, and its
-- row removed. Identifiers are random, so that none ever comes back.
CREATE TABLE vault_keyring_keys (
    id      BIGINT NOT NULL PRIMARY KEY CHECK (id > 0),
    bucket  BIGINT NOT NULL,
    state   TEXT   NOT NULL CHECK (state IN ('active', 'decrypt-only')),
    daily   BIGINT NOT NULL,
    wrapped BLOB   NOT NULL,
    created BIGINT NOT NULL,
    erased  BIGINT NOT NULL
);
CREATE UNIQUE INDEX vault_keyring_keys_active ON vault_keyring_keys (bucket) WHERE state = 'active';
CREATE INDEX vault_keyring_keys_by_daily ON vault_keyring_keys (daily, id);
CREATE INDEX vault_keyring_keys_by_erased ON vault_keyring_keys (erased) WHERE erased > 0;

-- Which keyring key wraps a person's key; 0 is for those that a domain key wraps
-- directly, as before, until the walk reaches them. A tombstone needs neither.
ALTER TABLE vault_person_keys ADD COLUMN keyring BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vault_person_keys_by_keyring ON vault_person_keys (keyring) WHERE keyring > 0;
UPDATE vault_person_keys SET domain_version = 0 WHERE state = 'destroyed';
