-- +goose Up

-- A step-up that the app asked for. about is sealed under the person's key.
CREATE TABLE stepup_requests (
    id           TEXT   NOT NULL PRIMARY KEY,
    service      TEXT   NOT NULL,
    person       TEXT   NOT NULL,
    about        BLOB   NOT NULL,
    methods      TEXT   NOT NULL,
    further      BIGINT NOT NULL,
    max_age      BIGINT NOT NULL,
    return_to    TEXT   NOT NULL,
    app_state    TEXT   NOT NULL,
    stage        TEXT   NOT NULL,
    browser_hash TEXT   NOT NULL,
    ceremony     BLOB,
    pending      BLOB,
    proved       BIGINT NOT NULL,
    proved_by    TEXT   NOT NULL,
    enrolled     TEXT   NOT NULL,
    is_first     BIGINT NOT NULL,
    wrong        BIGINT NOT NULL,
    begun        BIGINT NOT NULL,
    code_hash    TEXT   NOT NULL,
    created      BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    version      BIGINT NOT NULL
);
CREATE INDEX stepup_requests_person ON stepup_requests (person, created);
CREATE INDEX stepup_requests_expires ON stepup_requests (expires);

-- A second factor, sealed under the person's key. It counts when request is empty.
CREATE TABLE stepup_factors (
    id      TEXT   NOT NULL PRIMARY KEY,
    person  TEXT   NOT NULL,
    request TEXT   NOT NULL,
    method  TEXT   NOT NULL,
    site    TEXT   NOT NULL,
    sealed  BLOB   NOT NULL,
    step    BIGINT NOT NULL,
    blocked BIGINT NOT NULL,
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX stepup_factors_person ON stepup_factors (person, created);
CREATE INDEX stepup_factors_request ON stepup_factors (request) WHERE request <> '';

-- Hashes of recovery codes. They count when request is empty.
CREATE TABLE stepup_recovery (
    person  TEXT NOT NULL,
    hash    BLOB NOT NULL,
    request TEXT NOT NULL,
    PRIMARY KEY (person, hash)
);
CREATE INDEX stepup_recovery_request ON stepup_recovery (request) WHERE request <> '';

-- Browsers in which a person has proved a factor, and how far the budget of guesses is
-- used up: spent is the time at which it is full again. The row without a hash is for
-- all browsers that are not known.
CREATE TABLE stepup_browsers (
    person TEXT   NOT NULL,
    hash   TEXT   NOT NULL,
    proved BIGINT NOT NULL,
    method TEXT   NOT NULL,
    spent  BIGINT NOT NULL,
    PRIMARY KEY (person, hash)
);
