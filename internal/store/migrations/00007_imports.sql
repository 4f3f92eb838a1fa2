-- +goose Up

-- What was handed in, by a keyed hash of its token: found again, it is not used
-- twice. While an import is under way its sealed tokens stand here.
CREATE TABLE connect_imports (
    fingerprint    TEXT PRIMARY KEY,
    app            TEXT NOT NULL,
    state          TEXT NOT NULL,
    access         BLOB,
    refresh        BLOB,
    access_expires BIGINT NOT NULL,
    connection     TEXT NOT NULL,
    lease_until    BIGINT NOT NULL,
    created        BIGINT NOT NULL,
    version        BIGINT NOT NULL
);
CREATE INDEX connect_imports_open ON connect_imports (created) WHERE state <> 'done';
