-- +goose Up

CREATE TABLE services (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL UNIQUE,
    environment TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    disabled    BIGINT NOT NULL
);

-- Keys and handles are kept as hashes; 0 in "revoked" means that they are not.
CREATE TABLE service_keys (
    id      TEXT   NOT NULL PRIMARY KEY,
    service TEXT   NOT NULL REFERENCES services (id),
    hash    BLOB   NOT NULL,
    created BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);

CREATE INDEX service_keys_by_service ON service_keys (service);

CREATE TABLE handles (
    id         TEXT   NOT NULL PRIMARY KEY,
    service    TEXT   NOT NULL REFERENCES services (id),
    connection TEXT   NOT NULL,
    person     TEXT   NOT NULL,
    purpose    TEXT   NOT NULL,
    platform   TEXT   NOT NULL,
    app        TEXT   NOT NULL,
    parent     TEXT   REFERENCES handles (id),
    hash       BLOB   NOT NULL,
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    revoked    BIGINT NOT NULL
);

CREATE INDEX handles_by_connection ON handles (connection);
CREATE INDEX handles_by_parent ON handles (parent);
CREATE INDEX handles_by_created ON handles (created);

-- The primary key is what refuses a replay, in whichever process it arrives.
CREATE TABLE oauth1_nonces (
    handle  TEXT   NOT NULL,
    nonce   BLOB   NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (handle, nonce)
);

CREATE INDEX oauth1_nonces_by_expires ON oauth1_nonces (expires);

CREATE TABLE service_sources (
    service TEXT   NOT NULL REFERENCES services (id),
    source  TEXT   NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (service, source)
);
