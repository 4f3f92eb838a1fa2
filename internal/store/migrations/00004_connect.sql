-- +goose Up

-- Runs through a platform's consent. Proofs are digests, the rest is sealed.
CREATE TABLE connect_attempts (
    id           TEXT PRIMARY KEY,
    service      TEXT NOT NULL,
    app          TEXT NOT NULL,
    oauth1       BIGINT NOT NULL,
    purposes     TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    return_to    TEXT NOT NULL,
    app_state    TEXT NOT NULL,
    subject_hash TEXT NOT NULL,
    subject      BLOB,
    state_hash   TEXT NOT NULL,
    browser_hash TEXT NOT NULL,
    verifier     BLOB,
    code_hash    TEXT NOT NULL,
    connection   TEXT NOT NULL,
    stage        TEXT NOT NULL,
    expires      BIGINT NOT NULL,
    created      BIGINT NOT NULL,
    version      BIGINT NOT NULL
);
CREATE UNIQUE INDEX connect_attempts_state ON connect_attempts (state_hash) WHERE state_hash <> '';
CREATE INDEX connect_attempts_expires ON connect_attempts (expires);

-- The index of people: a keyed hash of what a platform calls somebody.
CREATE TABLE connect_people (
    user_hash TEXT PRIMARY KEY,
    person    TEXT NOT NULL
);

CREATE TABLE connections (
    id                 TEXT PRIMARY KEY,
    app                TEXT NOT NULL,
    platform           TEXT NOT NULL,
    kind               TEXT NOT NULL,
    service            TEXT NOT NULL,
    person             TEXT NOT NULL,
    user_hash          TEXT NOT NULL,
    platform_user      BLOB,
    name               BLOB,
    subject_hash       TEXT NOT NULL,
    subject            BLOB,
    parent             TEXT NOT NULL,
    external_hash      TEXT NOT NULL,
    status             TEXT NOT NULL,
    reason             TEXT NOT NULL,
    scopes             TEXT NOT NULL,
    declined           TEXT NOT NULL,
    purposes           TEXT NOT NULL,
    access             BLOB,
    refresh            BLOB,
    access_expires     BIGINT NOT NULL,
    refresh_expires    BIGINT NOT NULL,
    renew_at           BIGINT NOT NULL,
    lease_until        BIGINT NOT NULL,
    redeemed           BIGINT NOT NULL,
    revoke_outstanding BIGINT NOT NULL,
    created            BIGINT NOT NULL,
    updated            BIGINT NOT NULL,
    version            BIGINT NOT NULL
);
-- One grant, one connection: what reconnecting finds again.
CREATE UNIQUE INDEX connections_grant
    ON connections (app, service, user_hash, subject_hash, kind, parent, external_hash)
    WHERE redeemed > 0 AND status <> 'erased';
CREATE INDEX connections_subject ON connections (subject_hash);
CREATE INDEX connections_user ON connections (user_hash);
CREATE INDEX connections_person ON connections (person);
CREATE INDEX connections_parent ON connections (parent, external_hash);
CREATE INDEX connections_service ON connections (service, created, id);
-- The three kinds of work in the background, each found without a scan.
CREATE INDEX connections_renew ON connections (renew_at) WHERE renew_at > 0;
CREATE INDEX connections_outstanding ON connections (updated) WHERE revoke_outstanding > 0;
CREATE INDEX connections_pending ON connections (created) WHERE status = 'pending';
