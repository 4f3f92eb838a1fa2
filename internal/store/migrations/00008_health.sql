-- +goose Up

-- When a connection is next looked at by its platform's own word (0: never), and
-- until when the platform lets the app read the person's data (0: not said).
ALTER TABLE connections ADD COLUMN check_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN data_access_expires BIGINT NOT NULL DEFAULT 0;
-- Why it is in its state: one of our own words, or nothing.
ALTER TABLE connections ADD COLUMN cause TEXT NOT NULL DEFAULT '';
-- What the app was told of its state last, and what it is being told: the change
-- under way has a number, and comes back to whoever finds it unfinished at tell_at.
ALTER TABLE connections ADD COLUMN told TEXT NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN telling TEXT NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN tell_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN tell_at BIGINT NOT NULL DEFAULT 0;

-- What was there before is known to the app, and is looked at in its turn.
UPDATE connections SET told = CASE WHEN status = 'renewing' THEN 'healthy/' ELSE status || '/' END WHERE redeemed > 0;
UPDATE connections SET check_at = 1 WHERE redeemed > 0 AND platform = 'facebook' AND kind IN ('user', 'page', 'system_user')
    AND status IN ('healthy', 'renewing', 'in_doubt');

CREATE INDEX connections_check ON connections (check_at) WHERE check_at > 0 AND redeemed > 0;
CREATE INDEX connections_untold ON connections (tell_at)
    WHERE redeemed > 0 AND (telling <> '' OR (told <> status || '/' || cause AND status <> 'renewing'));
