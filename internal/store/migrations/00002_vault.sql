-- +goose Up

-- Keysets of the domains, wrapped by the root key. Environment and root stand
-- here for clear errors; what binds the key to them is its associated data.
CREATE TABLE vault_domain_keys (
    domain      TEXT   NOT NULL,
    version     BIGINT NOT NULL CHECK (version > 0),
    state       TEXT   NOT NULL CHECK (state IN ('active', 'decrypt-only', 'disabled', 'scheduled', 'destroyed')),
    environment TEXT   NOT NULL,
    root        TEXT   NOT NULL,
    wrapped     BLOB   NOT NULL,
    created     BIGINT NOT NULL,
    PRIMARY KEY (domain, version)
);

-- One key for each person. A destroyed one stays as a row without material, so
-- that "erased" and "never existed" can be told apart.
CREATE TABLE vault_person_keys (
    person         TEXT   NOT NULL,
    version        BIGINT NOT NULL CHECK (version > 0),
    state          TEXT   NOT NULL CHECK (state IN ('active', 'decrypt-only', 'disabled', 'scheduled', 'destroyed')),
    domain_version BIGINT NOT NULL,
    wrapped        BLOB   NOT NULL,
    created        BIGINT NOT NULL,
    destroyed      BIGINT NOT NULL,
    PRIMARY KEY (person, version)
);

-- Rotation of a domain key walks over the keys of people that it wraps.
CREATE INDEX vault_person_keys_by_domain_version ON vault_person_keys (domain_version);

-- Secrets of Gatehouse itself, sealed under the domain key "system".
CREATE TABLE vault_system (
    name    TEXT   NOT NULL PRIMARY KEY,
    sealed  BLOB   NOT NULL,
    updated BIGINT NOT NULL
);
