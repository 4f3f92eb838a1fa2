-- +goose Up

-- The person whose key seals for a subject of the app, found by a keyed hash.
CREATE TABLE record_subjects (
    subject_hash TEXT NOT NULL PRIMARY KEY,
    person       TEXT NOT NULL
);
CREATE UNIQUE INDEX record_subjects_person ON record_subjects (person);

-- The app's data about people, sealed under the person's key for the row's key and
-- form. Purpose and label stand in clear: they name kinds of things.
CREATE TABLE records (
    person  TEXT   NOT NULL,
    purpose TEXT   NOT NULL,
    label   TEXT   NOT NULL,
    json    BIGINT NOT NULL,
    sealed  BLOB   NOT NULL,
    size    BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (person, purpose, label)
);
-- What the sweep looks for.
CREATE INDEX records_by_age ON records (purpose, updated);
CREATE INDEX records_by_expiry ON records (purpose, expires) WHERE expires > 0;
