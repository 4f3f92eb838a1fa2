-- +goose Up

-- How many posts replies of X spoke of, by app and hour: micros of the hour's beginning.
-- What broke off is not among replies.
CREATE TABLE reconcile_posts (
    app      TEXT   NOT NULL,
    hour     BIGINT NOT NULL,
    posts    BIGINT NOT NULL,
    replies  BIGINT NOT NULL,
    streamed BIGINT NOT NULL,
    PRIMARY KEY (app, hour)
);
CREATE INDEX reconcile_posts_hour ON reconcile_posts (hour);

-- How many posts of a day of an app, by its id at X, need no explanation any more. The
-- row of day 0 says that the app was looked at before.
CREATE TABLE reconcile_posts_told (
    client TEXT   NOT NULL,
    day    BIGINT NOT NULL,
    told   BIGINT NOT NULL,
    PRIMARY KEY (client, day)
);

-- How often calls were let through with each handle, and when last. Up to compared they
-- were compared with the log, at compared_at; before that, this is when the first came.
CREATE TABLE handle_uses (
    handle      TEXT   NOT NULL PRIMARY KEY,
    uses        BIGINT NOT NULL,
    last_used   BIGINT NOT NULL,
    compared    BIGINT NOT NULL,
    compared_at BIGINT NOT NULL
);
CREATE INDEX handle_uses_new ON handle_uses (compared_at) WHERE compared < uses;

-- The last batch of uses that each process has stored, so that none is stored twice.
CREATE TABLE handle_use_batches (
    process TEXT   NOT NULL PRIMARY KEY,
    batch   BIGINT NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX handle_use_batches_at ON handle_use_batches (at);
