-- +goose Up

-- Operators' accounts that an identity provider manages by SCIM, and what it calls
-- them; the address and the name that operators see stand with the account. made says
-- that SCIM made the account, refused when SCIM last wanted the last owner gone.
CREATE TABLE operator_provisioned (
    operator    TEXT   NOT NULL PRIMARY KEY REFERENCES operators (id),
    user_name   TEXT   NOT NULL,
    user_key    TEXT   NOT NULL UNIQUE,
    external_id TEXT   UNIQUE,
    display     TEXT   NOT NULL,
    formatted   TEXT   NOT NULL,
    given       TEXT   NOT NULL,
    family      TEXT   NOT NULL,
    made        BIGINT NOT NULL,
    since       BIGINT NOT NULL,
    changed     BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    version     BIGINT NOT NULL
);

CREATE INDEX operator_provisioned_by_since ON operator_provisioned (since, operator);

-- The provider's groups. A member has the role that their group gave them when they
-- joined; it is kept so that what an operator took away since does not come back.
CREATE TABLE operator_groups (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    name_key    TEXT   NOT NULL UNIQUE,
    external_id TEXT   UNIQUE,
    created     BIGINT NOT NULL,
    changed     BIGINT NOT NULL,
    version     BIGINT NOT NULL
);

CREATE INDEX operator_groups_by_created ON operator_groups (created, id);

CREATE TABLE operator_group_members (
    grp      TEXT NOT NULL REFERENCES operator_groups (id),
    operator TEXT NOT NULL REFERENCES operator_provisioned (operator),
    role     TEXT NOT NULL,
    PRIMARY KEY (grp, operator)
);

CREATE INDEX operator_group_members_by_operator ON operator_group_members (operator);

-- Who gave a role: empty for operators and sign-in, scim for a group.
ALTER TABLE operator_grants ADD COLUMN source TEXT NOT NULL DEFAULT '';

-- What the provider presents, known by a keyed hash.
CREATE TABLE scim_tokens (
    id      TEXT   NOT NULL PRIMARY KEY,
    hash    BLOB   NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    used    BIGINT NOT NULL
);
