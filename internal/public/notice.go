package public

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/notice"
	"gatehouse/internal/wire"
)

// Paths of the addresses that are given to the platforms; the platform's name
// follows, and where several registrations share a platform the registration's.
const (
	WebhooksPath = "/_gatehouse/webhooks/"
	DeletionPath = "/_gatehouse/deletion/"
)

const (
	// maxNotice bounds a notice. Meta's largest (WhatsApp's) have up to 3 MB.
	maxNotice = 4 << 20
	// maxSigned bounds a form with a signed request.
	maxSigned = 64 << 10
	// readTime bounds how long a notice may take to arrive. X waits 10 seconds for
	// our answer.
	readTime = 10 * time.Second
)

// unknownPlatform answers for addresses that belong to none.
var unknownPlatform = wire.Refuse(gatehouse.ErrNotFound, "notice/unknown-address", "This address belongs to no platform: it ends in x, facebook, instagram or threads, and perhaps the name of an app.")

// addressed returns what a notice's address names.
func addressed(r *http.Request) (gatehouse.Platform, gatehouse.AppName, error) {
	p, ok := notice.Platform(r.PathValue("platform"))
	if !ok {
		return "", "", unknownPlatform
	}
	return p, gatehouse.AppName(r.PathValue("app")), nil
}

// webhook answers a platform's checks of the address (GET) and takes in its events
// (POST). Meta's deauthorization callback may be given the same address: it sends a
// form, events are JSON.
func (p *Public) webhook(w http.ResponseWriter, r *http.Request) error {
	platform, app, err := addressed(r)
	if err != nil {
		return err
	}
	return p.judged(r, func() error {
		if r.Method == http.MethodGet {
			return p.check(w, r, platform, app)
		}
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err == nil && media == "application/x-www-form-urlencoded" {
			raw, err := p.signedRequest(w, r)
			if err == nil {
				err = p.notices.Deauthorized(r.Context(), platform, app, raw)
			}
			if err != nil {
				return err
			}
			return taken(w)
		}
		body, err := p.read(w, r, maxNotice)
		if err != nil {
			return err
		}
		signature := "X-Hub-Signature-256"
		if platform == gatehouse.X {
			signature = "X-Twitter-Webhooks-Signature"
		}
		values := r.Header.Values(signature)
		if len(values) != 1 {
			values = []string{""} // two signatures are none
		}
		if err := p.notices.Event(r.Context(), platform, app, body, values[0]); err != nil {
			return err
		}
		return taken(w)
	})
}

// judged keeps sources away that send what no platform signed, and bounds how many
// notices are in memory at once, from all sources and from each.
func (p *Public) judged(r *http.Request, next func() error) error {
	from, _ := p.proxies.Source(r)
	if p.strangers.Spent(from) {
		return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "notice/rate", "Too much came from this network that no platform signed."), time.Minute)
	}
	if r.Method == http.MethodPost {
		leave, ok := p.reading.enter(from)
		if !ok {
			return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "notice/busy", "As many notices as can be read at once are arriving."), 5*time.Second)
		}
		defer leave()
		r.Body = &hurried{ReadCloser: r.Body, until: time.Now().Add(readTime)}
	}
	err := next()
	if err == nil && r.Method == http.MethodPost {
		wire.Known(r.Context()) // a platform's connection is no stranger's
	}
	cost := 0
	switch {
	case wire.RuleOf(err) == ruleSlow:
		cost = slowCost
	case err != nil && wire.StatusOf(err) < http.StatusInternalServerError && wire.RuleOf(err) != notice.RuleMalformed:
		cost = 1 // what was signed, and not understood, is no stranger's
	}
	for range cost {
		p.allow(p.strangers, r)
	}
	return err
}

// ruleSlow is the rule of errSlow.
const ruleSlow = "notice/slow"

var errSlow = wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, ruleSlow, "The notice came too slowly."), http.StatusRequestTimeout)

// slowCost is how many of a source's notices that nobody signed one counts as that
// came too slowly: it has kept a place from the platforms for as long as readTime,
// and a few networks could keep all of them.
const slowCost = 10

// hurried fails when a body trickles in.
type hurried struct {
	io.ReadCloser
	until time.Time
}

func (h *hurried) Read(b []byte) (int, error) {
	if time.Now().After(h.until) {
		return 0, errSlow
	}
	n, err := h.ReadCloser.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) { // nothing came for as long as the surface waits
		err = errSlow
	}
	return n, err
}

// check answers X's challenge (CRC) or Meta's verification.
func (p *Public) check(w http.ResponseWriter, r *http.Request, platform gatehouse.Platform, app gatehouse.AppName) error {
	query := r.URL.Query()
	one := func(name string) string {
		if len(query[name]) != 1 {
			return ""
		}
		return query[name][0]
	}
	if platform == gatehouse.X {
		answer, err := p.notices.AnswerCRC(r.Context(), app, one("crc_token"))
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(map[string]string{"response_token": answer})
	}
	challenge := one("hub.challenge")
	if one("hub.mode") != "subscribe" || challenge == "" || len(challenge) > 200 {
		return wire.Refuse(gatehouse.ErrInvalid, "notice/verification", "This is not a webhook verification: hub.mode=subscribe and hub.challenge are needed.")
	}
	if err := p.notices.CheckSubscription(r.Context(), platform, app, one("hub.verify_token")); err != nil {
		return err
	}
	// Plain text, and whatever it is, no browser takes it for a page: nosniff.
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, challenge)
	return err
}

// read reads a notice's body.
func (p *Public) read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		return nil, wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "notice/encoding", "Notices come without a content encoding."), http.StatusUnsupportedMediaType)
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// signedRequest reads the form of Meta's callbacks.
func (p *Public) signedRequest(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := p.read(w, r, maxSigned)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["signed_request"]) != 1 {
		return "", wire.Refuse(gatehouse.ErrInvalid, "notice/signed-request", "The form must have one field signed_request.")
	}
	return form["signed_request"][0], nil
}

// taken tells the platform that its notice arrived.
func taken(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"success":true}`+"\n")
	return err
}

// deletion takes in a request to delete a person's data and answers with where the
// person can see how it stands.
func (p *Public) deletion(w http.ResponseWriter, r *http.Request) error {
	platform, app, err := addressed(r)
	if err != nil {
		return err
	}
	return p.judged(r, func() error {
		raw, err := p.signedRequest(w, r)
		if err != nil {
			return err
		}
		answer, err := p.notices.DeletionRequested(r.Context(), platform, app, raw)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(answer)
	})
}

// status shows a person how a request for deletion stands.
func (p *Public) status(w http.ResponseWriter, r *http.Request) error {
	d, err := p.byCode(r.Context(), r.PathValue("code"))
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := deletionPage.Execute(&page, viewDuty(d, time.Now())); err != nil {
		return err
	}
	show(w, r, http.StatusOK, page.Bytes())
	return nil
}

// byCode finds a duty by a visitor's code.
func (p *Public) byCode(ctx context.Context, code string) (cases.Duty, error) {
	unknown := wire.Refuse(gatehouse.ErrNotFound, "deletion/unknown-code", "There is no request with this confirmation code. Compare it with the one that you were given.")
	if len(code) != 26 {
		return cases.Duty{}, unknown
	}
	d, err := p.cases.ByCode(ctx, code)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && d.Kind == cases.ContentRemoved {
		return cases.Duty{}, unknown
	}
	return d, err
}

// dutyView is what the page shows of a duty: nothing that names anybody.
type dutyView struct {
	Style, Code, State, Opened, Deadline, Closed, Justification string
	Steps                                                       []dutyStep
}

type dutyStep struct {
	Done bool
	Text string
	When string
}

func viewDuty(d cases.Duty, now time.Time) dutyView {
	day := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2 January 2006, 15:04 UTC")
	}
	v := dutyView{
		Style: stylePath, Code: d.Code, State: string(d.State(now)), Opened: day(d.Opened), Deadline: day(d.Deadline),
		Closed: day(d.Closed), Justification: d.Justification,
	}
	if d.Person == "" {
		v.State = "nothing"
		return v
	}
	for _, s := range []struct {
		at   time.Time
		done string
		open string
	}{
		{d.Revoked, "The app's access to your account has ended.", "The app can no longer use your account. The platform's confirmation is awaited."},
		{d.Answered, "The app has deleted its own copy of your data.", "The app has been asked to delete its own copy of your data and has not confirmed yet."},
		{d.Shredded, "The tokens for your account, and what was kept under it, have been destroyed.", "The tokens for your account, and what was kept under it, will be destroyed."},
	} {
		step := dutyStep{Done: !s.at.IsZero(), Text: s.open, When: day(s.at)}
		if step.Done {
			step.Text = s.done
		}
		v.Steps = append(v.Steps, step)
	}
	return v
}
