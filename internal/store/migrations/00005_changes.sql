-- +goose Up

-- One row: counts changes to rows that a process may remember; see cache.go.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    n  BIGINT NOT NULL
);
INSERT INTO changes (id, n) VALUES (1, 0);
