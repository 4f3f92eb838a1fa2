package connect

import (
	"slices"
	"strings"
	"time"

	"gatehouse"
)

// Cause is why a connection is in its state: one word of a closed set, those of
// nextSteps, or "" when there is nothing to say beyond the state. Most are package
// platform's words for why a token is dead.
type Cause string

// The causes that are found out here. The others come from package platform.
const (
	causeExpired Cause = "expired"
	causeInvalid Cause = "invalid"
	causeRole    Cause = "role-lost"
	// causeSibling: Facebook ends everything a person granted to an app at once.
	causeSibling Cause = "revoked-with-another"
	// causeAccessEnding and causeAccessEnded are about the 90 days without use
	// after which Facebook ends an app's access to a person's data.
	causeAccessEnding Cause = "data-access-ending"
	causeAccessEnded  Cause = "data-access-ended"
	// causeWithdrawn: the person took back a scope that they had granted.
	causeWithdrawn Cause = "scope-withdrawn"
)

// The variants of a state that show in a record and are not stored as its cause.
const (
	variantAgain        Cause = "tried-again"
	variantOutstanding  Cause = "outstanding"
	variantUnconfigured Cause = "outstanding-unconfigured"
	variantNotOffered   Cause = "not-offered"
)

// nextSteps says for each state and cause what somebody has to do: all that
// Gatehouse ever says about it. A cause that a state does not list has the state's
// own sentence. {platform}, {app}, {expires} and {date} are filled in. The table
// of docs/connecting.md holds the same sentences, and a test compares them.
var nextSteps = map[Status]map[Cause]string{
	Pending: {"": "The app redeems its one-time code."},
	Healthy: {
		"":                "",
		causeAccessEnding: "Let the person log in again by {date}: after that {platform} ends the app's access to their data.",
		causeWithdrawn:    "Calls that need what stands in declined are refused. If the app needs it, let the person connect again and agree to it.",
	},
	Renewing: {"": "Nothing: it takes seconds."},
	InDoubt: {
		"":           "Nothing: it settles by itself when the access token expires at {expires}; if it ends in reconnect_needed, let the person connect again.",
		variantAgain: "Nothing: the renewal is tried again by itself; if it ends in reconnect_needed, let the person connect again.",
	},
	ReconnectNeeded: {
		"":                 "Let the person connect again.",
		causeExpired:       "Let the person connect again: the token's time is over, and what has expired cannot be renewed.",
		causeInvalid:       "Let the person connect again: {platform} no longer knows the token.",
		"spent":            "Let the person connect again: the refresh token had been used. If that was not Gatehouse, something else has a copy of it.",
		"app-removed":      "The person removed the app at {platform}. If they want to go on, let them connect again.",
		"checkpoint":       "The person must clear {platform}'s security check first, then connect again.",
		"password-changed": "Let the person connect again: a changed password, or {platform}'s caution, ended their sessions.",
		"unconfirmed":      "The person must confirm their account at {platform} first, then connect again.",
		"invalidated":      "Let the person connect again: they logged out, or the token was revoked at {platform}.",
		causeRole:          "Somebody who runs the Page must give the person their role on it back; then let the person connect again.",
		"unused":           "Let the person connect again: they had not used the app for 90 days.",
		causeAccessEnded:   "Let the person connect again: {platform} ended the app's access to their data after 90 days without use.",
		causeSibling:       "Let the person connect again: this grant ended together with another connection of the same person.",
	},
	Revoked: {
		"":                  "Nothing. To use it again, let the person connect again.",
		variantOutstanding:  "Nothing: it is cut off here, and {platform}, which has to confirm that the grant is gone there too, is asked until it does.",
		variantUnconfigured: "Put the app registration {app} back into the configuration: {platform} has not confirmed that the grant is gone there, and can only be asked in its name.",
		variantNotOffered:   "It is cut off here. {platform} offers apps no way to end a grant: it ends there when it expires, or when the person removes the app in their settings.",
	},
	Erased: {"": "Nothing: the person was erased here."},
}

// pageStep is added for a Page whose own token is lost: its grant is the parent's.
const pageStep = " Then list the person's pages once (GET /me/accounts): that heals this connection too."

// unreadableStep is for a row in which what names the person does not open.
const unreadableStep = "Somebody changed this row, or it belongs elsewhere: what it says of its person does not open. Revoke it and let the person connect again, or restore a backup; gatehouse audit verify says whether the log was changed, too."

// Causes returns all the causes that a connection's can be, in order.
func Causes() []Cause {
	var all []Cause
	for _, s := range []Status{Healthy, ReconnectNeeded} {
		for cause := range nextSteps[s] {
			if cause != "" {
				all = append(all, cause)
			}
		}
	}
	slices.Sort(all)
	return all
}

// causeIn returns the cause if the state's own sentences know it, and otherwise "".
func causeIn(s Status, cause Cause) Cause {
	if _, ok := nextSteps[s][cause]; !ok {
		return ""
	}
	return cause
}

// platformNames is what people call the platforms.
var platformNames = map[gatehouse.Platform]string{
	gatehouse.X: "X", gatehouse.Facebook: "Facebook", gatehouse.Instagram: "Instagram", gatehouse.Threads: "Threads",
	gatehouse.OAuth2: "the platform",
}

// next says what somebody has to do about a connection.
func (c *Connections) next(rec Record) string {
	sentence, ok := nextSteps[rec.Status][c.variant(rec)]
	if !ok {
		sentence = nextSteps[rec.Status][""]
	}
	if rec.Status == ReconnectNeeded && rec.Kind == KindPage {
		sentence += pageStep
	}
	return strings.NewReplacer(
		"{platform}", platformNames[rec.Platform], "{app}", string(rec.App),
		"{expires}", rec.AccessExpires.UTC().Format("2006-01-02 15:04 UTC"), "{date}", day(rec.DataAccessExpires),
	).Replace(sentence)
}

// variant is the row of a state's sentences that fits the record.
func (c *Connections) variant(rec Record) Cause {
	switch rec.Status {
	case InDoubt:
		if rec.AccessExpires.IsZero() || !singleUse(rec.Platform) {
			return variantAgain
		}
	case Revoked:
		_, configured := c.apps[rec.App]
		switch c.atPlatformOf(rec) {
		case Outstanding:
			if !configured {
				return variantUnconfigured
			}
			return variantOutstanding
		case NotOffered:
			return variantNotOffered
		}
	}
	return rec.Cause
}

// day is a date as people read it.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// healthy makes the record healthy. What is known about its grant and a new token
// does not change stays said.
func (r *Record) healthy() {
	cause := causeIn(Healthy, r.Cause)
	r.become(Healthy, cause, r.standing(cause))
}

// standing is the reason that goes with a healthy connection's cause.
func (r *Record) standing(cause Cause) string {
	switch cause {
	case causeAccessEnding:
		return "the person has not logged in for long: the access to their data ends on " + day(r.DataAccessExpires)
	case causeWithdrawn:
		return "not granted any more, or never: " + strings.Join(r.Declined, ", ")
	default:
		return ""
	}
}
