-- +goose Up

-- Access reviews, and what they list. A review is one of the open ones until its
-- evidence is signed.
CREATE TABLE reviews (
    id       TEXT   NOT NULL PRIMARY KEY,
    state    TEXT   NOT NULL,
    begun    BIGINT NOT NULL,
    begun_by TEXT   NOT NULL,
    due      BIGINT NOT NULL,
    since    BIGINT NOT NULL,
    closed   BIGINT NOT NULL,
    finished BIGINT NOT NULL,
    reminded BIGINT NOT NULL,
    evidence BLOB
);

CREATE TABLE review_items (
    review     TEXT   NOT NULL REFERENCES reviews (id),
    number     BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    system     TEXT   NOT NULL,
    holder     TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    created    BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    flaw       TEXT   NOT NULL,
    proposed   BIGINT NOT NULL,
    why        TEXT   NOT NULL,
    decision   TEXT   NOT NULL,
    decided_by TEXT   NOT NULL,
    own        BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    reason     TEXT   NOT NULL,
    entry      TEXT   NOT NULL,
    effect     TEXT   NOT NULL,
    done       BIGINT NOT NULL,
    resolved   BIGINT NOT NULL,
    PRIMARY KEY (review, number)
);

CREATE INDEX review_items_open ON review_items (done) WHERE effect IN ('configuration', 'outside') AND resolved = 0;

-- Who may do what in other systems, as their newest lists say.
CREATE TABLE review_lists (
    system      TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    imported_by TEXT   NOT NULL,
    sha256      TEXT   NOT NULL,
    rights      BIGINT NOT NULL,
    has_use     BIGINT NOT NULL
);

CREATE TABLE review_access (
    system  TEXT   NOT NULL REFERENCES review_lists (system),
    account TEXT   NOT NULL,
    role    TEXT   NOT NULL,
    used    BIGINT NOT NULL,
    PRIMARY KEY (system, account, role)
);
