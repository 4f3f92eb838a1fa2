-- +goose Up

-- Who made a token for an identity provider: an account's number, empty for the host.
ALTER TABLE scim_tokens ADD COLUMN maker TEXT NOT NULL DEFAULT '';
