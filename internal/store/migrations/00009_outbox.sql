-- +goose Up

-- What the app is told. The content is sealed, and gone once it is delivered. Of
-- the waiting events of one stream, one has a due time: the head.
CREATE TABLE outbox_events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    type     TEXT NOT NULL,
    app      TEXT NOT NULL,
    person   TEXT NOT NULL,
    stream   TEXT NOT NULL,
    data     BLOB,
    state    TEXT NOT NULL,
    created  BIGINT NOT NULL,
    since    BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    class    TEXT NOT NULL,
    updated  BIGINT NOT NULL,
    version  BIGINT NOT NULL
);
CREATE INDEX outbox_events_due ON outbox_events (due) WHERE due > 0;
CREATE INDEX outbox_events_stream ON outbox_events (stream, seq) WHERE state = 'waiting';
CREATE INDEX outbox_events_state ON outbox_events (state, seq);
CREATE INDEX outbox_events_settled ON outbox_events (state, updated) WHERE state <> 'waiting';
CREATE INDEX outbox_events_person ON outbox_events (person) WHERE person <> '';

-- Which version of the signing secret is in force; no row before the first
-- rotation. The secrets themselves are derived, not stored.
CREATE TABLE outbox_signing (
    id      INTEGER PRIMARY KEY,
    version BIGINT NOT NULL,
    overlap BIGINT NOT NULL
);
