-- +goose Up

-- Since when there has been observing: one row.
CREATE TABLE observe_since (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL
);

-- What services use for their purposes: counts, and days since 1970.
CREATE TABLE observe_calls (
    service      TEXT NOT NULL,
    purpose      TEXT NOT NULL,
    operation    TEXT NOT NULL,
    app          TEXT NOT NULL,
    first_day    BIGINT NOT NULL,
    last_day     BIGINT NOT NULL,
    calls        BIGINT NOT NULL,
    implied      BIGINT NOT NULL,
    reported     BIGINT NOT NULL,
    params       BIGINT NOT NULL,
    bodies       BIGINT NOT NULL,
    replies      BIGINT NOT NULL,
    files        BIGINT NOT NULL,
    other_params BIGINT NOT NULL,
    other_body   BIGINT NOT NULL,
    other_reply  BIGINT NOT NULL,
    PRIMARY KEY (service, purpose, operation)
);

-- By which names, and the measures of what they held; never a value.
CREATE TABLE observe_fields (
    service   TEXT NOT NULL,
    purpose   TEXT NOT NULL,
    operation TEXT NOT NULL,
    place     TEXT NOT NULL,
    name      TEXT NOT NULL,
    first_day BIGINT NOT NULL,
    last_day  BIGINT NOT NULL,
    seen      BIGINT NOT NULL,
    kinds     BIGINT NOT NULL,
    least     BIGINT NOT NULL,
    greatest  BIGINT NOT NULL,
    length    BIGINT NOT NULL,
    entries   BIGINT NOT NULL,
    entry     BIGINT NOT NULL,
    PRIMARY KEY (service, purpose, operation, place, name)
);
