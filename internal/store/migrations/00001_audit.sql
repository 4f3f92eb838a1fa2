-- +goose Up

-- Facts about the database itself, such as the environment it belongs to.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The entries of the log. seq is the index in the Merkle tree. The leaf is
-- what the tree covers; personal and search lie outside, and the leaf commits
-- to them by a hash, so that they can be destroyed while proofs still hold.
CREATE TABLE audit_entries (
    seq       INTEGER PRIMARY KEY,
    id        TEXT NOT NULL,
    leaf      BLOB NOT NULL,
    leaf_hash BLOB NOT NULL,
    personal  BLOB,
    search    TEXT
);
CREATE UNIQUE INDEX audit_entries_id ON audit_entries (id);
CREATE INDEX audit_entries_search ON audit_entries (search, seq) WHERE search IS NOT NULL;

-- Full tiles of 256 hashes of every level, in the layout of C2SP tlog-tiles.
-- Partial tiles are not stored: they follow from what is.
CREATE TABLE audit_tiles (
    level  BIGINT NOT NULL,
    idx    BIGINT NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, idx)
);

-- One row: the newest signed checkpoint, replaced by compare-and-swap on size.
CREATE TABLE audit_head (
    id          INTEGER PRIMARY KEY,
    size        BIGINT NOT NULL,
    checkpoints BIGINT NOT NULL,
    note        BLOB NOT NULL
);

-- Checkpoints kept for good, numbered from 0 without a gap.
CREATE TABLE audit_checkpoints (
    num  INTEGER PRIMARY KEY,
    size BIGINT NOT NULL,
    note BLOB NOT NULL
);
