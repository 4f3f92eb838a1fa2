package operator

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// SessionID is the random identifier of a session. It opens nothing.
type SessionID string

// Session is a browser that is signed in.
type Session struct {
	ID      SessionID
	Account AccountID
	// Created is when it began, Seen its last request, within half a minute, and
	// Proved when a factor was last shown; zero if that is not known.
	Created, Seen, Proved time.Time
	// IdleUntil is when it ends without another request, Until in any case.
	IdleUntil, Until time.Time
	// Agent and Source are what the browser said of itself, and its address.
	Agent, Source string
	// Current says that it is the one that asks.
	Current bool
}

// Browser is where a request comes from.
type Browser struct {
	Source netip.Addr
	// Agent is what the browser says of itself.
	Agent string
	// Binding is the random content of a cookie that the browser has had since its
	// first request, and that a session is bound to. Required.
	Binding secret.Text
	// Unattended says that a page asks by itself: nobody need be there, so a session
	// lasts no longer for it.
	Unattended bool
}

const (
	// maxSessions is how many sessions an account has at most; the oldest goes.
	maxSessions = 20
	// touchEvery is how exactly the last request is known.
	touchEvery = 30 * time.Second
	// maxAgent bounds what is kept of a browser's name, in bytes.
	maxAgent = 200
)

// binding is what is stored of a browser's binding.
func (d *Directory) binding(ctx context.Context, b Browser) (Hash, error) {
	if n := len(b.Binding.Reveal()); n < 16 || n > maxToken {
		return Hash{}, wire.Refuse(gatehouse.ErrInvalid, "operator/browser", "The browser did not keep a cookie. Allow cookies for this site.")
	}
	return d.hash(ctx, "binding", b.Binding)
}

// newSession signs a browser in with factors that were shown just now.
func (d *Directory) newSession(ctx context.Context, b Browser, id AccountID) (secret.Text, Session, error) {
	return d.newSessionProved(ctx, b, id, d.now())
}

// newSessionProved signs a browser in with factors that were shown at a time; zero if
// that is not known. Its token is new whatever the browser had before.
func (d *Directory) newSessionProved(ctx context.Context, b Browser, id AccountID, proved time.Time) (secret.Text, Session, error) {
	binding, err := d.binding(ctx, b)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	token := newToken(id)
	hash, err := d.hash(ctx, "session", token)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	at := d.now()
	s := Session{
		ID: SessionID(newID()), Account: id, Created: at, Seen: at, Proved: proved, IdleUntil: at.Add(min(d.config.Idle, d.config.MaxSession)),
		Until: at.Add(d.config.MaxSession), Agent: cleanAgent(b.Agent), Source: source(b.Source),
	}
	record := SessionRecord{Session: s, Hash: hash, Binding: binding}
	if err := d.sealSession(ctx, &record); err != nil {
		return secret.Text{}, Session{}, err
	}
	if err := d.config.Store.AddSession(ctx, record, maxSessions); errors.Is(err, gatehouse.ErrConflict) {
		return secret.Text{}, Session{}, ErrSignIn // the account was suspended meanwhile
	} else if err != nil {
		return secret.Text{}, Session{}, fmt.Errorf("storing a session: %w", err)
	}
	s.Current = true
	return token, s, nil
}

func source(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

func cleanAgent(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxAgent)], ""))
	return s
}

// alive reports whether a session works at a time.
func (d *Directory) alive(s Session, r AccountRecord, at time.Time) bool {
	return r.Account.State == Active && r.Environment == d.config.Environment && at.Before(s.Until) && at.Before(s.IdleUntil) && !d.owed.ends(r.Account.ID, s.ID)
}

// Session returns the session of a token and its account, as they are now. A token
// that does not work, or not any more, or comes from another browser, is ErrSession;
// in the last case the session ends, since somebody else has its token.
func (d *Directory) Session(ctx context.Context, b Browser, token secret.Text) (Session, Account, error) {
	s, r, err := d.session(ctx, b, token)
	return s.Session, r.Account, err
}

func (d *Directory) session(ctx context.Context, b Browser, token secret.Text) (SessionRecord, AccountRecord, error) {
	if n := len(token.Reveal()); n == 0 || n > maxToken {
		return SessionRecord{}, AccountRecord{}, ErrSession
	}
	hash, err := d.hash(ctx, "session", token)
	if err != nil {
		return SessionRecord{}, AccountRecord{}, err
	}
	s, r, err := d.config.Store.Session(ctx, hash)
	at := d.now()
	if err == nil {
		err = d.grants(ctx, &r)
	}
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && !(d.alive(s.Session, r, at) && isOf(token, r.Account.ID)) {
		return SessionRecord{}, AccountRecord{}, ErrSession
	}
	if err != nil {
		return SessionRecord{}, AccountRecord{}, fmt.Errorf("reading a session: %w", err)
	}
	if ok, err := d.sessionHolds(ctx, &s); err != nil {
		return SessionRecord{}, AccountRecord{}, err
	} else if !ok {
		return SessionRecord{}, AccountRecord{}, ErrSession
	}
	binding, err := d.binding(ctx, b)
	if err != nil && !errors.Is(err, gatehouse.ErrInvalid) {
		return SessionRecord{}, AccountRecord{}, err
	}
	if err != nil || subtle.ConstantTimeCompare(binding[:], s.Binding[:]) != 1 {
		e := entry(actionSignOut, Actor{system: true}, r.Account.ID)
		e.Facts["reason"] = "binding"
		return SessionRecord{}, AccountRecord{}, errors.Join(ErrSession, d.endSession(ctx, e, r.Account.ID, s.Session.ID))
	}
	if !b.Unattended && at.Sub(s.Session.Seen) >= touchEvery {
		was := s.MAC
		s.Session.Seen, s.Session.IdleUntil = at, earlier(at.Add(d.config.Idle), s.Session.Until)
		if err := d.sealSession(ctx, &s); err != nil {
			return SessionRecord{}, AccountRecord{}, err
		}
		// While nothing can be written, an operator must see it: the session then
		// lasts as long as it would have.
		_ = d.config.Store.TouchSession(ctx, was, s)
	}
	s.Session.Current = true
	return s, r, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// rotate gives a session a new token, after a factor was shown.
func (d *Directory) rotate(ctx context.Context, s SessionRecord) (secret.Text, Session, error) {
	token := newToken(s.Session.Account)
	hash, err := d.hash(ctx, "session", token)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	from := s.Hash
	s.Hash, s.Session.Proved = hash, d.now()
	if err := d.sealSession(ctx, &s); err != nil {
		return secret.Text{}, Session{}, err
	}
	if err := d.config.Store.RotateSession(ctx, from, s); errors.Is(err, gatehouse.ErrConflict) {
		return secret.Text{}, Session{}, ErrSession
	} else if err != nil {
		return secret.Text{}, Session{}, fmt.Errorf("storing a session: %w", err)
	}
	return token, s.Session, nil
}

// SignOut ends the session of a token. One that does not work is no error.
func (d *Directory) SignOut(ctx context.Context, b Browser, token secret.Text) error {
	s, r, err := d.session(ctx, b, token)
	if errors.Is(err, ErrSession) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.endSession(ctx, entry(actionSignOut, By(s.Session), r.Account.ID), r.Account.ID, s.Session.ID)
}

// Sessions returns the sessions of an account, newest first. Those of others take
// operators.read.
func (d *Directory) Sessions(ctx context.Context, by Actor, id AccountID) ([]Session, error) {
	p := OperatorsRead
	if id == by.account && by.account != "" {
		p = Self
	}
	if _, err := d.authorise(ctx, by, p, false); err != nil {
		return nil, err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return nil, err
	}
	records, err := d.config.Store.Sessions(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	var sessions []Session
	for _, s := range records {
		ok, err := d.sessionHolds(ctx, &s)
		if err != nil {
			return nil, err
		}
		if ok && d.alive(s.Session, r, d.now()) {
			s.Session.Current = s.Session.ID == by.session
			sessions = append(sessions, s.Session)
		}
	}
	return sessions, nil
}

// EndSession ends one session. Another operator's takes operators.change, and no
// recent sign-in: ending one gives nobody anything.
func (d *Directory) EndSession(ctx context.Context, by Actor, account AccountID, id SessionID) error {
	if err := d.mayEnd(ctx, by, account); err != nil {
		return err
	}
	return d.endSession(ctx, entry(actionSignOut, by, account), account, id)
}

// EndSessions ends all sessions of an account but the one that asks.
func (d *Directory) EndSessions(ctx context.Context, by Actor, account AccountID) error {
	if err := d.mayEnd(ctx, by, account); err != nil {
		return err
	}
	e := entry(actionSignOut, by, account)
	e.Facts["sessions"] = "all"
	return d.endSessions(ctx, e, account, by.session)
}

func (d *Directory) mayEnd(ctx context.Context, by Actor, account AccountID) error {
	p := OperatorsChange
	if account == by.account && account != "" {
		p = Self
	}
	_, err := d.authorise(ctx, by, p, false)
	return err
}

func (d *Directory) endSession(ctx context.Context, e audit.Entry, account AccountID, id SessionID) error {
	return d.reduced(ctx, e, deedOf(deedSession, pair(account, string(id))), func() error {
		return d.config.Store.EndSession(ctx, account, id)
	})
}

func (d *Directory) endSessions(ctx context.Context, e audit.Entry, account AccountID, but SessionID) error {
	return d.reduced(ctx, e, audit.Deed{Kind: deedSessions, Target: string(account), Reason: string(but)}, func() error {
		_, err := d.config.Store.EndSessions(ctx, account, but)
		return err
	})
}
