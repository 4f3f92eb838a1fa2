-- +goose Up

-- What must be done by a deadline. A person has one open duty. look_at is 0 once
-- it is closed.
CREATE TABLE duties (
    id            TEXT   NOT NULL PRIMARY KEY,
    kind          TEXT   NOT NULL,
    origin        TEXT   NOT NULL,
    app           TEXT   NOT NULL,
    platform      TEXT   NOT NULL,
    person        TEXT   NOT NULL,
    request       TEXT   NOT NULL,
    code          TEXT   NOT NULL,
    opened        BIGINT NOT NULL,
    deadline      BIGINT NOT NULL,
    revoked       BIGINT NOT NULL,
    asked         BIGINT NOT NULL,
    answered      BIGINT NOT NULL,
    answered_by   TEXT   NOT NULL,
    shredded      BIGINT NOT NULL,
    closed        BIGINT NOT NULL,
    justification TEXT   NOT NULL,
    noted         BIGINT NOT NULL,
    look_at       BIGINT NOT NULL,
    proof         TEXT   NOT NULL,
    version       BIGINT NOT NULL
);
CREATE UNIQUE INDEX duties_request ON duties (request);
CREATE UNIQUE INDEX duties_code ON duties (code);
CREATE UNIQUE INDEX duties_person ON duties (person) WHERE person <> '' AND closed = 0;
CREATE INDEX duties_of_person ON duties (person) WHERE person <> '';
CREATE INDEX duties_look_at ON duties (look_at) WHERE look_at > 0;
CREATE INDEX duties_opened ON duties (opened, id);
CREATE INDEX duties_open ON duties (opened, id) WHERE closed = 0;

-- People whose data is about to be erased: whoever comes back under the same id at
-- the platform is somebody new from here on.
CREATE TABLE connect_people_ended (
    user_hash TEXT NOT NULL,
    person    TEXT NOT NULL,
    PRIMARY KEY (user_hash, person)
);
CREATE INDEX connect_people_ended_person ON connect_people_ended (person);
CREATE INDEX connect_people_person ON connect_people (person);
CREATE INDEX connect_imports_connection ON connect_imports (connection);
CREATE INDEX connect_attempts_connection ON connect_attempts (connection);

-- One grant of one person, one connection. The person is part of it, because the
-- rows of one who is being erased stay until the end.
DROP INDEX connections_grant;
CREATE UNIQUE INDEX connections_grant
    ON connections (app, service, user_hash, subject_hash, kind, parent, external_hash, person)
    WHERE redeemed > 0 AND status <> 'erased';

-- Notices of platforms that were taken in, by a keyed hash, so that a second
-- arrival does nothing. Theirs carry no time that could be checked.
CREATE TABLE notices (
    id       TEXT   NOT NULL PRIMARY KEY,
    received BIGINT NOT NULL
);
CREATE INDEX notices_received ON notices (received);
