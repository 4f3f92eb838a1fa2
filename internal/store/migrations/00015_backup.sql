-- +goose Up

-- The ledger of erasures: signed lines, in order, without a gap. Files in the
-- directories of backups are copies of it.
CREATE TABLE backup_erasures (
    seq    INTEGER PRIMARY KEY,
    person TEXT   NOT NULL UNIQUE,
    at     BIGINT NOT NULL,
    line   TEXT   NOT NULL
);

-- One row: when the last scheduled backup was taken, and until when a process
-- holds the work.
CREATE TABLE backup_work (
    id          INTEGER PRIMARY KEY,
    done_at     BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
INSERT INTO backup_work (id, done_at, lease_until) VALUES (1, 0, 0);
