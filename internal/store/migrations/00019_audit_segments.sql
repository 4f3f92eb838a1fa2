-- +goose Up

-- What entries of the log are searched by, of each segment of it that is complete: span
-- entries from seq on. It follows from the leaves and can be made anew at any time.
-- last_hash is the leaf hash of the segment's last entry, as it was indexed.
CREATE TABLE audit_segments (
    seq       BIGINT NOT NULL,
    span      BIGINT NOT NULL,
    version   BIGINT NOT NULL,
    last_hash BLOB   NOT NULL,
    oldest    BIGINT NOT NULL,
    newest    BIGINT NOT NULL,
    PRIMARY KEY (seq, span)
);

-- The parts of a segment: which of its entries have which hashes of values.
CREATE TABLE audit_segment_parts (
    span    BIGINT NOT NULL,
    part    BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    content BLOB   NOT NULL,
    PRIMARY KEY (span, part, seq)
);
