-- +goose Up

-- Connections are counted by registration and state once a minute: without reading the
-- rows, which hold sealed tokens.
CREATE INDEX connections_counted ON connections (app, status);
