-- +goose Up

-- What was delivered from X: a keyed hash of each identifier, and the identifier
-- sealed, because X has to be asked about it in clear.
CREATE TABLE compliance_ids (
    app      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    hash     BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    told     BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (app, kind, hash)
);
CREATE INDEX compliance_ids_expires ON compliance_ids (app, kind, expires);

-- One row for each list: where its job at X is.
CREATE TABLE compliance_tasks (
    app          TEXT NOT NULL,
    kind         TEXT NOT NULL,
    state        TEXT NOT NULL,
    due          BIGINT NOT NULL,
    lease_until  BIGINT NOT NULL,
    started      BIGINT NOT NULL,
    ended        BIGINT NOT NULL,
    cursor_at    BLOB,
    upto         BLOB,
    name         TEXT NOT NULL,
    job          TEXT NOT NULL,
    upload_url   BLOB,
    download_url BLOB,
    expires      BIGINT NOT NULL,
    asked        BIGINT NOT NULL,
    asked_at     BIGINT NOT NULL,
    polls        BIGINT NOT NULL,
    tries        BIGINT NOT NULL,
    reason       TEXT NOT NULL,
    jobs         BIGINT NOT NULL,
    sent         BIGINT NOT NULL,
    found        BIGINT NOT NULL,
    ignored      BIGINT NOT NULL,
    malformed    BIGINT NOT NULL,
    epoch        BIGINT NOT NULL,
    evicted      BIGINT NOT NULL,
    evicted_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    PRIMARY KEY (app, kind)
);

-- Findings that nobody has taken over yet.
CREATE TABLE compliance_findings (
    app      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    hash     BLOB NOT NULL,
    reason   TEXT NOT NULL,
    action   TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    at       BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    ready    BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    tries    BIGINT NOT NULL,
    PRIMARY KEY (app, kind, hash, reason)
);
CREATE INDEX compliance_findings_due ON compliance_findings (due);
