-- +goose Up

-- What an entry of the log is found by: the keyed hash of its person, and those of
-- its connection, handle and the like, one after the other. It lies beside the tree
-- and goes when the person is erased. Entries of version 1 have audit_entries.search.
CREATE TABLE audit_search (
    seq    INTEGER PRIMARY KEY,
    person BLOB NOT NULL,
    terms  BLOB NOT NULL
);
CREATE INDEX audit_search_person ON audit_search (person, seq);

-- Keyed hashes of people who were erased, for as long as a process may still hold
-- entries of theirs that wait to be written. num counts up.
CREATE TABLE audit_forgotten (
    num    INTEGER PRIMARY KEY,
    person BLOB   NOT NULL UNIQUE,
    at     BIGINT NOT NULL
);
