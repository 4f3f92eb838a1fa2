-- +goose Up

-- Connections are counted by registration and state, and looked through by them, newest
-- first, a page at a time.
DROP INDEX connections_counted;
CREATE INDEX connections_counted ON connections (app, status, created, id);
