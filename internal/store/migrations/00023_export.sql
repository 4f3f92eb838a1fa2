-- +goose Up

-- How each sink of the audit log is doing, and which process serves it.
CREATE TABLE export_sinks (
    sink         TEXT PRIMARY KEY,
    owner        TEXT   NOT NULL,
    lease_until  BIGINT NOT NULL,
    class        TEXT   NOT NULL,
    error        TEXT   NOT NULL,
    failed_at    BIGINT NOT NULL,
    succeeded_at BIGINT NOT NULL,
    stuck_at     BIGINT NOT NULL,
    sent         BIGINT NOT NULL,
    rejected     BIGINT NOT NULL
);

-- How far each sink has got in each log: next is the first entry that it has not
-- accepted, leaf_hash that of the entry before.
CREATE TABLE export_cursors (
    sink      TEXT   NOT NULL,
    log       BIGINT NOT NULL,
    next      BIGINT NOT NULL,
    leaf_hash TEXT   NOT NULL,
    since     BIGINT NOT NULL,
    moved     BIGINT NOT NULL,
    PRIMARY KEY (sink, log)
);
