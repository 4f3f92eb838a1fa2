-- +goose Up

-- Whether anybody has signed in with a browser is asked for strangers too.
CREATE INDEX operator_browsers_by_binding ON operator_browsers (binding);
