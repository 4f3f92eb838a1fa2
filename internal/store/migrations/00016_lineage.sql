-- +goose Up

-- People's numbers: the keyed hash of what a platform calls somebody (connect's own,
-- so that who connects is who appeared), or of a set of people among whom nothing
-- decides. An erased person's row stays without its hash: it leads to nobody.
CREATE TABLE lineage_people (
    owner    INTEGER PRIMARY KEY AUTOINCREMENT,
    hash     TEXT   NOT NULL,
    platform TEXT   NOT NULL,
    created  BIGINT NOT NULL,
    erased   BIGINT NOT NULL
);
CREATE UNIQUE INDEX lineage_people_hash ON lineage_people (hash) WHERE hash <> '';

-- Who belongs to a set of people.
CREATE TABLE lineage_candidates (
    owner     BIGINT NOT NULL,
    candidate BIGINT NOT NULL,
    PRIMARY KEY (owner, candidate)
);
CREATE INDEX lineage_candidates_of ON lineage_candidates (candidate, owner);

-- The ways that data takes: few, and each stands once.
CREATE TABLE lineage_edges (
    edge        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    platform    TEXT NOT NULL,
    app         TEXT NOT NULL,
    class       TEXT NOT NULL,
    operation   TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    service     TEXT NOT NULL,
    destination TEXT NOT NULL,
    sent_for    TEXT NOT NULL,
    part        TEXT NOT NULL,
    UNIQUE (kind, verdict, platform, app, class, operation, purpose, service, destination, sent_for, part)
);
CREATE INDEX lineage_edges_destination ON lineage_edges (destination);
CREATE INDEX lineage_edges_service ON lineage_edges (service);
CREATE INDEX lineage_edges_purpose ON lineage_edges (purpose);
CREATE INDEX lineage_edges_sent_for ON lineage_edges (sent_for);

CREATE TABLE lineage_handles (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    handle TEXT NOT NULL UNIQUE
);

-- The flows: whose data took which way on which day (days since 1970), how often.
CREATE TABLE lineage_flows (
    owner    BIGINT NOT NULL,
    day      BIGINT NOT NULL,
    edge     BIGINT NOT NULL,
    handle   BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    PRIMARY KEY (owner, day, edge, handle)
);
CREATE INDEX lineage_flows_edge ON lineage_flows (edge, day, owner, handle);
CREATE INDEX lineage_flows_handle ON lineage_flows (handle, day, owner, edge) WHERE handle > 0;

-- The fingerprints by which values are recognised. What processes have to learn
-- from one another comes with a new number; a row without a class says that its
-- owner is to be forgotten.
CREATE TABLE lineage_prints (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    print   BLOB   NOT NULL,
    owner   BIGINT NOT NULL,
    class   TEXT   NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX lineage_prints_owner ON lineage_prints (owner, print);
CREATE INDEX lineage_prints_expires ON lineage_prints (expires);

-- One row: what was forgotten for room, and how far the process that started last
-- has come in reading the fingerprints.
CREATE TABLE lineage_state (
    id         INTEGER PRIMARY KEY,
    expired    BIGINT NOT NULL,
    evicted    BIGINT NOT NULL,
    evicted_at BIGINT NOT NULL,
    told_at    BIGINT NOT NULL,
    loaded     BIGINT NOT NULL,
    to_load    BIGINT NOT NULL,
    loading_at BIGINT NOT NULL,
    loaded_at  BIGINT NOT NULL
);
INSERT INTO lineage_state (id, expired, evicted, evicted_at, told_at, loaded, to_load, loading_at, loaded_at) VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0);
