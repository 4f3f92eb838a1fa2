-- +goose Up

-- What a platform said, in replies, is left of a window in which it counts calls.
-- owner is a keyed hash of the person; rows go when the window has been over for a day.
CREATE TABLE reconcile_windows (
    app         TEXT   NOT NULL,
    owner       BLOB   NOT NULL,
    operation   TEXT   NOT NULL,
    lim         BIGINT NOT NULL,
    reset_at    BIGINT NOT NULL,
    connection  TEXT   NOT NULL,
    first_left  BIGINT NOT NULL,
    first_began BIGINT NOT NULL,
    first_at    BIGINT NOT NULL,
    last_left   BIGINT NOT NULL,
    last_began  BIGINT NOT NULL,
    last_at     BIGINT NOT NULL,
    replies     BIGINT NOT NULL,
    told        BIGINT NOT NULL,
    judged_left BIGINT NOT NULL,
    PRIMARY KEY (app, owner, operation, lim, reset_at)
);
-- Those that the replies do not explain: what a look asks for.
CREATE INDEX reconcile_windows_open ON reconcile_windows (first_began) WHERE replies <= first_left - last_left AND last_left < judged_left;
CREATE INDEX reconcile_windows_last ON reconcile_windows (last_at);
CREATE INDEX reconcile_windows_connection ON reconcile_windows (connection);

-- Calls that were sent once more.
CREATE TABLE reconcile_repeats (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    app       TEXT   NOT NULL,
    owner     BLOB   NOT NULL,
    operation TEXT   NOT NULL,
    at        BIGINT NOT NULL
);
CREATE INDEX reconcile_repeats_owner ON reconcile_repeats (owner, at);
CREATE INDEX reconcile_repeats_at ON reconcile_repeats (at);

-- What the database held when it was last compared with the log: numbers by name.
CREATE TABLE reconcile_baseline (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE reconcile_work (
    id          INTEGER PRIMARY KEY,
    done_at     BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
INSERT INTO reconcile_work (id, done_at, lease_until) VALUES (1, 0, 0);
