-- +goose Up

-- Connections are counted by registration and state, and looked through by them, newest
-- first, a page at a time. What decides whether one is shown stands in the index too: the
-- rows hold sealed tokens, and lie all over the table.
DROP INDEX connections_counted;
CREATE INDEX connections_counted ON connections (app, status, created, id, redeemed, purposes);
