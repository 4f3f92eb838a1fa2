-- +goose Up

-- Sessions, approvals and reviews say by a MAC that Gatehouse wrote them. What is there
-- already cannot be told from what somebody else wrote, and is not sealed afterwards:
-- sessions end (sign in again), proposals go (propose again; what was decided stands in
-- the log), and a review that is not finished goes (begin it again; by the schedule it
-- begins at once). What is finished has its signed evidence.
DELETE FROM operator_sessions;
ALTER TABLE operator_sessions ADD COLUMN mac TEXT NOT NULL DEFAULT '';
DELETE FROM operator_approvals;
ALTER TABLE operator_approvals ADD COLUMN mac TEXT NOT NULL DEFAULT '';

-- An address that its operator wrote instead of whoever invited them: no provider's
-- word about it finds the account.
ALTER TABLE operators ADD COLUMN own_email BIGINT NOT NULL DEFAULT 0;

-- A role that a provider's group gave goes when the group does.
ALTER TABLE operator_grants ADD COLUMN provider BIGINT NOT NULL DEFAULT 0;

DELETE FROM review_items WHERE review IN (SELECT id FROM reviews WHERE state <> 'finished');
DELETE FROM reviews WHERE state <> 'finished';
ALTER TABLE reviews ADD COLUMN mac TEXT NOT NULL DEFAULT '';
ALTER TABLE review_items ADD COLUMN mac TEXT NOT NULL DEFAULT '';

-- The imported lists as a review found them.
CREATE TABLE review_reviewed_lists (
    review      TEXT   NOT NULL REFERENCES reviews (id),
    system      TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    imported_by TEXT   NOT NULL,
    sha256      TEXT   NOT NULL,
    rights      BIGINT NOT NULL,
    has_use     BIGINT NOT NULL,
    mac         TEXT   NOT NULL,
    PRIMARY KEY (review, system)
);
