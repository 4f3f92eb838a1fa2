-- +goose Up

-- Whether anybody has signed in with a browser is asked for strangers too.
CREATE INDEX operator_browsers_by_binding ON operator_browsers (binding);

-- Of some streams X says how fast they may be, and of some it does not. What was streamed
-- before nobody told apart.
ALTER TABLE reconcile_posts ADD COLUMN unbounded BIGINT NOT NULL DEFAULT 0;
UPDATE reconcile_posts SET unbounded = streamed;

-- Whose an entry of the log is, is found without comparing everybody: by a keyed hash of
-- the keyed hash that stands beside the entry, so that nobody without the key can tell
-- which is whose. It goes with the key; NULL is not computed yet.
ALTER TABLE vault_person_keys ADD COLUMN owner BLOB;
CREATE INDEX vault_person_keys_by_owner ON vault_person_keys (owner) WHERE owner IS NOT NULL;
CREATE INDEX vault_person_keys_unmarked ON vault_person_keys (person) WHERE owner IS NULL AND state <> 'destroyed';
