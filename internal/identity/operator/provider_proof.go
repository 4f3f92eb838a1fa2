package operator

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"gatehouse/internal/secret"

	"golang.org/x/oauth2"
)

// RowHalf is half a sign-in that a provider judged.
const RowHalf RowKind = "half"

// providerSkew is by how much a provider's clock may be ahead of ours.
const providerSkew = time.Minute

// ProveProviderBegin is SignInProviderBegin for an operator in a session who shows again
// who they are: the provider is told to ask them, even if they are signed in there, and
// has to say that it did. [Directory.SignInProviderFinish] then makes a new session.
func (d *Directory) ProveProviderBegin(ctx context.Context, b Browser, session secret.Text) (address string, err error) {
	s, _, err := d.session(ctx, b, session)
	if err != nil {
		return "", err
	}
	return d.providerBegin(ctx, b, s.Session.Account)
}

// demand is what the provider is asked for beside who somebody is: that it saw them
// lately, and, to prove again, that it sees them now.
func (d *Directory) demand(account AccountID) []oauth2.AuthCodeOption {
	age := max(1, int64(d.config.Fresh/time.Second))
	options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("max_age", strconv.FormatInt(age, 10))}
	if account != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	return options
}

// proof is when a factor was shown for what a provider says now. Whoever did not demand
// to be told gets no recent sign-in out of it: zero.
func (d *Directory) proof(seen time.Time) time.Time {
	at := d.now()
	if seen.IsZero() || seen.Sub(at) > providerSkew {
		return time.Time{}
	}
	return earlier(at, seen)
}

// provesAgain says why what a provider said does not prove again that somebody is the
// operator of an account, or nothing: also if they were not asked to.
func (d *Directory) provesAgain(asked, account AccountID, seen time.Time) (reason string) {
	switch {
	case asked == "":
		return ""
	case asked != account:
		return "another-account"
	case !d.Fresh(Session{Proved: d.proof(seen)}):
		return "auth-time"
	}
	return ""
}

// claimTime is a claim that is a time, in seconds since 1970; zero for anything else.
func claimTime(raw json.RawMessage) time.Time {
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || !(seconds >= 1 && seconds < math.MaxInt32*100) {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// mappedGroups are those of the groups that give a role here, each once.
func (d *Directory) mappedGroups(groups []string) []string {
	var mapped []string
	for _, group := range groups {
		if _, ok := d.config.Provider.Roles[group]; ok && !slices.Contains(mapped, group) {
			mapped = append(mapped, group)
		}
	}
	return mapped
}

// finishHalf signs in whom a provider and our own second factor have judged, with the
// roles of the groups that the provider named.
func (d *Directory) finishHalf(ctx context.Context, b Browser, h half) (secret.Text, Session, error) {
	if d.config.Provider != nil {
		if err := d.grantGroups(ctx, h.record, h.token.Groups); err != nil {
			return secret.Text{}, Session{}, err
		}
	}
	return d.newSessionProved(ctx, b, h.id, h.token.Proved)
}

// sealHalf gives half a sign-in that a provider judged its MAC.
func (d *Directory) sealHalf(ctx context.Context, r *TokenRecord) (err error) {
	if r.Kind != tokenProvider {
		return nil
	}
	r.MAC, err = d.RowMAC(ctx, RowHalf, halfParts(r)...)
	return err
}

// halfHolds reports whether what half a sign-in says of a provider is as it was written.
func (d *Directory) halfHolds(ctx context.Context, r *TokenRecord) (bool, error) {
	if r.Kind != tokenProvider {
		return true, nil
	}
	ok, err := d.RowHolds(ctx, r.MAC, RowHalf, halfParts(r)...)
	if err != nil {
		return false, fmt.Errorf("reading half a sign-in: %w", err)
	}
	if !ok {
		d.TellAltered(AlteredRow{RowHalf, r.Account, ""})
	}
	return ok, nil
}

func halfParts(r *TokenRecord) []string {
	return append([]string{
		hex.EncodeToString(r.Hash[:]), string(r.Account), hex.EncodeToString(r.Binding[:]), RowTime(r.Created), RowTime(r.Until), RowTime(r.Proved),
	}, r.Groups...)
}
