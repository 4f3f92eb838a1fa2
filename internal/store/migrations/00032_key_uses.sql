-- +goose Up

-- What a version of a domain key sealed is counted by the first five bytes of the sealed
-- record, which name the version: without reading the rows, however many there are.
CREATE INDEX audit_entries_sealed ON audit_entries (substr(personal, 1, 5)) WHERE personal IS NOT NULL;
CREATE INDEX outbox_events_sealed ON outbox_events (substr(data, 1, 5)) WHERE data IS NOT NULL;
CREATE INDEX compliance_ids_sealed ON compliance_ids (substr(sealed, 1, 5));
CREATE INDEX compliance_findings_sealed ON compliance_findings (substr(sealed, 1, 5));
CREATE INDEX connect_imports_access ON connect_imports (substr(access, 1, 5)) WHERE access IS NOT NULL;
CREATE INDEX connect_imports_refresh ON connect_imports (substr(refresh, 1, 5)) WHERE refresh IS NOT NULL;
