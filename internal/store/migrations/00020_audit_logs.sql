-- +goose Up

-- The logs of this database: one for each node that has a name, and number 0 for those
-- without. A row of audit_entries, audit_search, audit_tiles and audit_checkpoints
-- belongs to the log that stands in the bits of its number from 40 on; the head of log n
-- has the id n + 1. Of log 0, only its number stands here: whoever begins a log, or
-- forgets a person, locks this row.
CREATE TABLE audit_logs (
    num      INTEGER PRIMARY KEY,
    node     TEXT   NOT NULL UNIQUE,
    origin   TEXT   NOT NULL UNIQUE,
    verifier TEXT   NOT NULL,
    created  BIGINT NOT NULL,
    -- The entry of log 0 that says that this log belongs to it.
    entry    TEXT   NOT NULL
);
INSERT INTO audit_logs (num, node, origin, verifier, created, entry) VALUES (0, '', '', '', 0, '');

-- How many were forgotten as the log's writers have to know. It stands in the row that
-- an append changes anyway, so that appends of two logs have no row in common.
ALTER TABLE audit_head ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;
UPDATE audit_head SET forgotten = (SELECT coalesce(max(num), 0) FROM audit_forgotten);
