-- +goose Up

-- All connections are gone through in the order in which they came, a page at a time: when
-- a process starts, by listings without a service, by the search for tokens at rest. Without
-- this each page read and sorted the whole table.
CREATE INDEX connections_created ON connections (created, id);
