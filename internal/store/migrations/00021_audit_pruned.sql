-- +goose Up

-- Where the stored part of a log begins, if its beginning was pruned. start is the first
-- index that is stored, entry that of the entry of the log which says so: without that,
-- the row counts for nothing. since is the size of the log when a pruning began that
-- has not ended, else -1; holder is the process that prunes, until the time in until.
CREATE TABLE audit_pruned (
    log    INTEGER PRIMARY KEY,
    start  BIGINT NOT NULL,
    entry  BIGINT NOT NULL,
    since  BIGINT NOT NULL,
    holder TEXT   NOT NULL,
    until  BIGINT NOT NULL
);

-- What was pruned, for whoever looks for an entry: a segment's entries are of ids from
-- first_id to last_id, and file is its archive, empty if there is none.
CREATE TABLE audit_archives (
    log      BIGINT NOT NULL,
    segment  BIGINT NOT NULL,
    first_id TEXT   NOT NULL,
    last_id  TEXT   NOT NULL,
    file     TEXT   NOT NULL,
    PRIMARY KEY (log, segment)
);
