-- +goose Up

-- The people for whom a step-up was asked, by when it last was. subject is the app's own
-- name of them, sealed under their key; it is not known of those whose factors are
-- older than this table, until the app asks again.
CREATE TABLE stepup_people (
    person  TEXT   NOT NULL PRIMARY KEY,
    subject BLOB,
    asked   BIGINT NOT NULL
);
INSERT INTO stepup_people (person, subject, asked)
    SELECT person, NULL, max(at) FROM (
        SELECT person, created AS at FROM stepup_factors WHERE request = ''
        UNION ALL
        SELECT person, created AS at FROM stepup_requests
    ) AS known GROUP BY person;
CREATE INDEX stepup_people_asked ON stepup_people (asked, person);

-- What operators look for first: what is open, and what is blocked.
CREATE INDEX stepup_requests_open ON stepup_requests (created, id) WHERE stage IN ('asked', 'started', 'coded');
CREATE INDEX stepup_factors_blocked ON stepup_factors (person) WHERE blocked = 1;
