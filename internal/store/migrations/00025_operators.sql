-- +goose Up

-- Who may sign in to run this Gatehouse. A removed operator's row stays, without
-- name, address and factors, so that the log's identifiers keep their meaning.
CREATE TABLE operators (
    id            TEXT   NOT NULL PRIMARY KEY,
    environment   TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    email         TEXT   NOT NULL,
    email_key     TEXT   UNIQUE,
    subject       TEXT   UNIQUE,
    state         TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    created       BIGINT NOT NULL,
    seen          BIGINT NOT NULL,
    decided_until BIGINT NOT NULL,
    handle        BLOB   NOT NULL,
    password      TEXT   NOT NULL,
    totp          TEXT   NOT NULL,
    totp_step     BIGINT NOT NULL,
    totp_next     TEXT   NOT NULL,
    totp_next_end BIGINT NOT NULL
);

CREATE UNIQUE INDEX operators_by_handle ON operators (handle);

CREATE TABLE operator_grants (
    operator TEXT   NOT NULL REFERENCES operators (id),
    role     TEXT   NOT NULL,
    since    BIGINT NOT NULL,
    until    BIGINT NOT NULL,
    mac      TEXT   NOT NULL,
    PRIMARY KEY (operator, role)
);

-- The credential is the public half; a browser keeps the other.
CREATE TABLE operator_passkeys (
    id         TEXT   NOT NULL PRIMARY KEY,
    operator   TEXT   NOT NULL REFERENCES operators (id),
    name       TEXT   NOT NULL,
    credential BLOB   NOT NULL,
    mac        TEXT   NOT NULL,
    synced     BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    used       BIGINT NOT NULL
);

CREATE INDEX operator_passkeys_by_operator ON operator_passkeys (operator);

-- A recovery code is used once by deleting its row.
CREATE TABLE operator_recovery (
    operator TEXT NOT NULL REFERENCES operators (id),
    hash     BLOB NOT NULL,
    PRIMARY KEY (operator, hash)
);

-- Enrolment links and half sign-ins, each known by its hash. An enrolment belongs
-- to the browser that uses it first.
CREATE TABLE operator_tokens (
    hash     BLOB   NOT NULL PRIMARY KEY,
    kind     TEXT   NOT NULL,
    operator TEXT   NOT NULL REFERENCES operators (id),
    binding  BLOB   NOT NULL,
    tries    BIGINT NOT NULL,
    created  BIGINT NOT NULL,
    until    BIGINT NOT NULL
);

CREATE INDEX operator_tokens_by_operator ON operator_tokens (operator);
CREATE INDEX operator_tokens_by_until ON operator_tokens (until);

CREATE TABLE operator_sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    hash       BLOB   NOT NULL UNIQUE,
    operator   TEXT   NOT NULL REFERENCES operators (id),
    binding    BLOB   NOT NULL,
    created    BIGINT NOT NULL,
    seen       BIGINT NOT NULL,
    proved     BIGINT NOT NULL,
    idle_until BIGINT NOT NULL,
    until      BIGINT NOT NULL,
    agent      TEXT   NOT NULL,
    source     TEXT   NOT NULL
);

CREATE INDEX operator_sessions_by_operator ON operator_sessions (operator);
CREATE INDEX operator_sessions_by_until ON operator_sessions (until);

-- Ceremonies whose answer was accepted: the primary key refuses it a second time.
CREATE TABLE operator_ceremonies (
    hash  BLOB   NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL
);

CREATE INDEX operator_ceremonies_by_until ON operator_ceremonies (until);

-- Browsers from which an operator has signed in: their attempts are counted apart.
CREATE TABLE operator_browsers (
    operator TEXT   NOT NULL REFERENCES operators (id),
    binding  BLOB   NOT NULL,
    seen     BIGINT NOT NULL,
    PRIMARY KEY (operator, binding)
);

-- How often something was tried. The names are of a fixed number.
CREATE TABLE operator_limits (
    slot  TEXT   NOT NULL PRIMARY KEY,
    tries BIGINT NOT NULL,
    since BIGINT NOT NULL
);

CREATE TABLE operator_approvals (
    id         TEXT   NOT NULL PRIMARY KEY,
    act        TEXT   NOT NULL,
    target     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    asked_by   TEXT   NOT NULL REFERENCES operators (id),
    asked      BIGINT NOT NULL,
    until      BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    decided_by TEXT   NOT NULL,
    decided    BIGINT NOT NULL,
    used       BIGINT NOT NULL
);

CREATE INDEX operator_approvals_by_asked ON operator_approvals (asked);
