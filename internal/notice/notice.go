// Package notice takes in what platforms send by themselves: webhook events,
// deauthorizations, requests to delete a person's data, and the checks by which
// platforms find out whether an address is the app's.
//
// It promises that nothing is believed before its signature over the bytes that
// arrived is right; that a notice is durable, as an event for the app and where it
// asks for one as a duty, before the platform is told that it arrived; that taking
// one in twice does what taking it in once does; and that the events about one
// person keep their order. It must never answer a check in a way that makes us sign
// what a stranger chose, and never log what a notice says.
package notice

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/wire"
)

// Forwarded is a notice on its way to the app.
type Forwarded struct {
	// ID is the same whenever the same notice arrives.
	ID  string
	App gatehouse.AppName
	// Person is whom it is about, as far as they are known here.
	Person gatehouse.PersonID
	// Stream keeps the notices about one account in order. It names nobody.
	Stream string
	// Data is a JSON object: the platform, and what it sent, unchanged.
	Data json.RawMessage
}

// Store remembers which notices were taken in. Every write is durable when it
// returns nil.
type Store interface {
	// NoticeTaken reports whether a notice with that id was taken in.
	NoticeTaken(ctx context.Context, id string) (bool, error)
	// TakeNotice remembers an id. Remembering it again is no error.
	TakeNotice(ctx context.Context, id string, at time.Time) error
	// SweepNotices forgets those taken in before the given time.
	SweepNotices(ctx context.Context, before time.Time) error
}

// Config is what New needs.
type Config struct {
	Store       Store
	Connections *connect.Connections
	Cases       *cases.Cases
	Log         *audit.Log
	// Forward makes a notice durable for the app. The same ID twice is one notice.
	Forward func(ctx context.Context, f Forwarded) error
	// Recheck has the health of a person's grants at an app looked at soon.
	Recheck func(ctx context.Context, app gatehouse.AppName, person gatehouse.PersonID) error
	// StatusURL returns the address at which a person can see how a duty stands.
	StatusURL func(code string) string
}

// Notices takes notices in. It is safe for concurrent use.
type Notices struct {
	c Config
	// refusals bounds the entries that strangers can cause.
	refusals *rate.Limiter
}

// New checks the configuration.
func New(c Config) (*Notices, error) {
	if c.Store == nil || c.Connections == nil || c.Cases == nil || c.Log == nil || c.Forward == nil || c.Recheck == nil || c.StatusURL == nil {
		return nil, errors.New("notice: Config lacks something")
	}
	return &Notices{c: c, refusals: rate.NewLimiter(10, 100)}, nil
}

// remember is how long a notice is recognised when it arrives again. X's signature
// covers no time, so that whoever has a signed event could send it for ever; what
// an event asks for is guarded by its own time besides.
const remember = 90 * 24 * time.Hour

// Run forgets old notices until ctx ends.
func (n *Notices) Run(ctx context.Context) error {
	for {
		// What could not be forgotten now is forgotten tomorrow.
		_ = n.c.Store.SweepNotices(ctx, time.Now().Add(-remember))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(24 * time.Hour):
		}
	}
}

// Platform returns the platform of an address's segment.
func Platform(segment string) (gatehouse.Platform, bool) {
	switch p := gatehouse.Platform(segment); p {
	case gatehouse.X, gatehouse.Facebook, gatehouse.Instagram, gatehouse.Threads:
		return p, true
	}
	return "", false
}

// AnswerCRC answers X's check of a webhook's address.
func (n *Notices) AnswerCRC(ctx context.Context, only gatehouse.AppName, token string) (string, error) {
	answer, err := n.c.Connections.AnswerCRC(only, token)
	return answer, n.refused(ctx, gatehouse.X, err)
}

// CheckSubscription answers Meta's check of a webhook's address.
func (n *Notices) CheckSubscription(ctx context.Context, p gatehouse.Platform, only gatehouse.AppName, token string) error {
	return n.refused(ctx, p, n.c.Connections.CheckVerifyToken(ctx, p, only, token))
}

// refused records a refusal, unless strangers cause too many.
func (n *Notices) refused(ctx context.Context, p gatehouse.Platform, err error) error {
	rule := wire.RuleOf(err)
	if err == nil || rule == "" {
		return err
	}
	if !n.refusals.Allow() {
		return err
	}
	return wire.WithInstance(err, n.c.Log.Refusal(audit.Entry{Action: "notice.refuse", Platform: p, Rule: rule}))
}

// RuleMalformed is the rule of events that a platform signed and that are not what it
// documents.
const RuleMalformed = "notice/malformed"

// Event takes a webhook's event in; body is what arrived, byte for byte. only names
// the registration if the address did.
func (n *Notices) Event(ctx context.Context, p gatehouse.Platform, only gatehouse.AppName, body []byte, signature string) error {
	app, err := n.c.Connections.EventSigner(p, only, body, signature)
	if err != nil {
		return n.refused(ctx, p, err)
	}
	events, err := parse(p, body)
	if err != nil {
		return n.refused(ctx, p, wire.Refuse(gatehouse.ErrInvalid, RuleMalformed, "The event is not what this platform sends."))
	}
	for _, e := range events {
		if err := n.take(ctx, p, app, e); err != nil {
			return err
		}
	}
	return nil
}

// take makes one event durable, with what it asks for. The order matters: whatever
// the process dies after, the platform sends it again, and only the last step has
// it taken for known.
func (n *Notices) take(ctx context.Context, p gatehouse.Platform, app gatehouse.AppName, e event) error {
	id, err := n.id(ctx, p, app, e.identity())
	if err != nil {
		return err
	}
	if known, err := n.c.Store.NoticeTaken(ctx, id); err != nil || known {
		return err
	}
	f := Forwarded{ID: id, App: app, Data: e.data(p), Stream: id}
	if e.account != "" {
		key, err := n.c.Connections.UserKey(ctx, app, e.account)
		if err != nil {
			return err
		}
		f.Stream = "account:" + key
		people, err := n.c.Connections.People(ctx, connect.Who{App: app, User: e.account})
		if err != nil {
			return err
		}
		if len(people) > 0 {
			f.Person = people[0]
		}
	}
	switch {
	case e.revoked != "":
		err = n.deauthorize(ctx, p, app, e.revoked, e.at, id)
	case e.permissions && f.Person != "":
		err = n.c.Recheck(ctx, app, f.Person)
	}
	if err != nil {
		return err
	}
	if err := n.c.Forward(ctx, f); err != nil {
		return err
	}
	if _, err := n.c.Log.Record(ctx, audit.Entry{Action: "notice.take", Platform: p, App: app, Verdict: "done", Facts: map[string]string{"kind": e.kind()}}); err != nil {
		return err
	}
	return n.c.Store.TakeNotice(ctx, id, time.Now())
}

// id recognises a notice.
func (n *Notices) id(ctx context.Context, p gatehouse.Platform, app gatehouse.AppName, content []byte) (string, error) {
	sum := sha256.Sum256(content)
	digest, err := n.c.Connections.NoticeKey(ctx, string(p), string(app), base64.RawURLEncoding.EncodeToString(sum[:]))
	if err != nil {
		return "", fmt.Errorf("recognising a notice: %w", err)
	}
	return "ntc" + digest, nil
}

// Deauthorized takes in that a person removed the app at the platform.
func (n *Notices) Deauthorized(ctx context.Context, p gatehouse.Platform, only gatehouse.AppName, signedRequest string) error {
	app, request, err := n.c.Connections.SignedRequest(p, only, signedRequest)
	if err != nil {
		return n.refused(ctx, p, err)
	}
	id, err := n.id(ctx, p, app, []byte("deauthorize\x00"+signedRequest))
	if err != nil {
		return err
	}
	if err := n.deauthorize(ctx, p, app, request.UserID, request.IssuedAt, id); err != nil {
		return err
	}
	_, err = n.c.Log.Record(ctx, audit.Entry{Action: "notice.take", Platform: p, App: app, Verdict: "done", Facts: map[string]string{"kind": "deauthorize"}})
	return err
}

// deauthorize opens a duty for everything that is held of the person, unless what
// the platform tells of is past or was our own doing.
func (n *Notices) deauthorize(ctx context.Context, p gatehouse.Platform, app gatehouse.AppName, user string, at time.Time, id string) error {
	people, err := n.c.Connections.People(ctx, connect.Who{App: app, User: user})
	if err != nil || len(people) == 0 {
		return err
	}
	if news, err := n.c.Connections.TookAway(ctx, people[0], app, at); err != nil || !news {
		return err
	}
	d, err := n.c.Cases.Open(ctx, cases.Request{
		Kind: cases.Deauthorized, Origin: cases.FromPlatform, App: app, Platform: p, Person: people[0], Key: id, Since: at,
	})
	if err != nil {
		return err
	}
	// The person is cut off before the platform hears that the notice arrived; what
	// takes longer goes on by itself.
	return n.cutOff(ctx, d)
}

// cutOff takes the first steps of a duty now. What fails is tried again by the
// duty's own clock.
func (n *Notices) cutOff(ctx context.Context, d cases.Duty) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := n.c.Cases.Advance(ctx, d.ID)
	if err != nil && ctx.Err() == nil && gatehouse.Kind(err) == nil {
		return err
	}
	return nil
}

// Deletion is the answer to a request to delete a person's data.
type Deletion struct {
	URL  string `json:"url"`
	Code string `json:"confirmation_code"`
}

// DeletionRequested takes in that a person asked for the deletion of their data.
func (n *Notices) DeletionRequested(ctx context.Context, p gatehouse.Platform, only gatehouse.AppName, signedRequest string) (Deletion, error) {
	app, request, err := n.c.Connections.SignedRequest(p, only, signedRequest)
	if err != nil {
		return Deletion{}, n.refused(ctx, p, err)
	}
	id, err := n.id(ctx, p, app, []byte("deletion\x00"+signedRequest))
	if err != nil {
		return Deletion{}, err
	}
	people, err := n.c.Connections.People(ctx, connect.Who{App: app, User: request.UserID})
	if err != nil {
		return Deletion{}, err
	}
	// Whoever came back since has not asked for anything.
	if len(people) > 0 {
		later, err := n.c.Connections.CameAfter(ctx, people[0], app, request.IssuedAt)
		if err != nil {
			return Deletion{}, err
		}
		if later {
			people = people[1:]
		}
	}
	r := cases.Request{Kind: cases.DeletionRequested, Origin: cases.FromPlatform, App: app, Platform: p, Key: id, Since: request.IssuedAt}
	if len(people) > 0 {
		r.Person = people[0]
	}
	d, err := n.c.Cases.Open(ctx, r)
	if err != nil {
		return Deletion{}, err
	}
	// An earlier grant that is still being erased belongs to the same human.
	for i, person := range people {
		if i == 0 {
			continue
		}
		r.Person, r.Key = person, fmt.Sprintf("%s:%d", id, i)
		if _, err := n.c.Cases.Open(ctx, r); err != nil {
			return Deletion{}, err
		}
	}
	if d.About() {
		if err := n.cutOff(ctx, d); err != nil {
			return Deletion{}, err
		}
	}
	_, err = n.c.Log.Record(ctx, audit.Entry{Action: "notice.take", Platform: p, App: app, Verdict: "done", Facts: map[string]string{"kind": "deletion"}})
	return Deletion{URL: n.c.StatusURL(d.Code), Code: d.Code}, err
}
