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

-- How often each handle was accepted, when last, and up to which use that was compared
-- with the log.
CREATE TABLE handle_uses (
    handle    TEXT   NOT NULL PRIMARY KEY,
    uses      BIGINT NOT NULL,
    last_used BIGINT NOT NULL,
    compared  BIGINT NOT NULL
);
CREATE INDEX handle_uses_new ON handle_uses (handle) WHERE compared < uses;
