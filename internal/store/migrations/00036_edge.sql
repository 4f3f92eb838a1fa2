-- +goose Up

-- Whether anybody has signed in with a browser is asked for strangers too.
CREATE INDEX operator_browsers_by_binding ON operator_browsers (binding);

-- Of some streams X says how fast they may be, and of some it does not. What was streamed
-- before nobody told apart.
ALTER TABLE reconcile_posts ADD COLUMN unbounded BIGINT NOT NULL DEFAULT 0;
UPDATE reconcile_posts SET unbounded = streamed;
