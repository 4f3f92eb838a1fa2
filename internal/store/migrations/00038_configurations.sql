-- +goose Up

-- What each node applied last, by the number of its log: one row for each, so that a node
-- which reloads often hides no other. content is the file's text without comments; it
-- holds references to secrets and no secret.
CREATE TABLE configurations (
    log     BIGINT NOT NULL PRIMARY KEY,
    node    TEXT   NOT NULL,
    hash    TEXT   NOT NULL,
    mode    TEXT   NOT NULL,
    content TEXT   NOT NULL,
    entry   TEXT   NOT NULL,
    at      BIGINT NOT NULL
);
