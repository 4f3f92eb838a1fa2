package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
)

// demoDoor signs one browser in to the demo's console, so that the first look needs no
// enrolment by hand. It stands in front of the demo's own app, another program than the
// console as far as the console knows: nothing of it exists in `run`, and the console
// has no way in but its own. The door itself enrols an invited owner for the browser,
// with a password and an authenticator app, like anybody.
//
// The browser's cookies are for a host and not for a port, which is what lets the app's
// address set those that the console reads. mu guards token.
type demoDoor struct {
	at        string // the app's address
	console   string // the console's
	dir       string // where the owner's password is written
	directory *operator.Directory
	email     string
	owner     secret.Text // the link to enrol with
	until     time.Time

	mu    sync.Mutex
	token string // "" when it was used
}

// doorLife is how long the link works.
const doorLife = 10 * time.Minute

// doorPath is where the link leads on the demo's app.
const doorPath = "/operator/"

// newDemoDoor invites the demo's owner. It is refused where anything but the sandbox
// would be reached, or anybody but this machine could come.
func newDemoDoor(ctx context.Context, s *server) (*demoDoor, error) {
	if s.cfg.Sandbox.X == "" || s.cfg.Sandbox.Meta == "" || !strings.HasPrefix(s.cfg.ConsoleURL(), "http://localhost:") || s.cfg.Environment != "development" {
		return nil, fmt.Errorf("a link for operators: only a demo on this machine whose every platform is the sandbox has one: %w", gatehouse.ErrDenied)
	}
	d := &demoDoor{
		console: s.cfg.ConsoleURL(), dir: filepath.Dir(s.cfg.Path()), directory: s.operators, email: "ada@demo.example",
		until: time.Now().Add(doorLife), token: rand.Text(),
	}
	in := operator.Invitation{Name: "Ada Demo", Email: d.email, Role: operator.Owner}
	var err error
	if d.owner, _, err = s.operators.Invite(ctx, operator.Host(), in); errors.Is(err, gatehouse.ErrConflict) {
		// The directory was kept, and so was its owner.
		d.email = strings.ToLower(rand.Text()[:8]) + "@demo.example"
		in.Email, in.Name = d.email, "Ada Demo "+d.email[:8]
		d.owner, _, err = s.operators.Invite(ctx, operator.Host(), in)
	}
	return d, err
}

// colleagues makes more operators, as a team would have them.
func (d *demoDoor) colleagues(ctx context.Context) error {
	for _, in := range []operator.Invitation{
		{Name: "Grace Demo", Email: "grace@demo.example", Role: operator.Developer},
		{Name: "Edsger Demo", Email: "edsger@demo.example", Role: operator.Auditor, Until: time.Now().AddDate(0, 1, 0)},
		{Name: "Barbara Demo", Email: "barbara@demo.example", Role: operator.Security},
	} {
		link, _, err := d.directory.Invite(ctx, operator.Host(), in)
		if errors.Is(err, gatehouse.ErrConflict) || ctx.Err() != nil {
			return nil // a directory that was kept, or the end
		}
		if err != nil || in.Role == operator.Security {
			return err // who is only invited
		}
		browser := demoBrowser(secret.New(rand.Text()), "demo")
		if _, _, err := enrolDemo(ctx, d.directory, browser, link, secret.New(rand.Text())); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// enrolDemo enrols somebody in a browser by a link, with a password and one-time codes,
// and returns the recovery codes and the browser's session.
func enrolDemo(ctx context.Context, directory *operator.Directory, browser operator.Browser, link, password secret.Text) ([]secret.Text, secret.Text, error) {
	e := operator.EnrolmentOrSession{Browser: browser, Enrolment: link}
	if err := directory.SetPassword(ctx, e, password); err != nil {
		return nil, secret.Text{}, err
	}
	app, err := directory.BeginTOTP(ctx, e)
	if err != nil {
		return nil, secret.Text{}, err
	}
	code, err := demoCode(app.Seed, time.Now())
	if err != nil {
		return nil, secret.Text{}, err
	}
	if err := directory.FinishTOTP(ctx, e, code); err != nil {
		return nil, secret.Text{}, err
	}
	codes, token, _, err := directory.Enrol(ctx, browser, link)
	return codes, token, err
}

func demoBrowser(binding secret.Text, agent string) operator.Browser {
	return operator.Browser{Source: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Agent: agent, Binding: binding}
}

// demoCode is what an authenticator app shows (RFC 6238).
func demoCode(seed secret.Text, at time.Time) (string, error) {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed.Reveal())
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000), nil
}

// link is what signs a browser in, once.
func (d *demoDoor) link() string {
	_, port, _ := strings.Cut(strings.TrimPrefix(d.at, "http://"), ":")
	return "http://localhost:" + port + doorPath + d.token
}

// before answers for the door, and hands everything else to the app.
func (d *demoDoor) before(app http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", app)
	mux.HandleFunc("GET "+doorPath+"{token}", d.open)
	return mux
}

// take uses the link up.
func (d *demoDoor) take(token string, at time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token == "" || !at.Before(d.until) || !secret.New(token).Equal(secret.New(d.token)) {
		return false
	}
	d.token = ""
	return true
}

// open signs the browser in and sends it to the console.
func (d *demoDoor) open(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	host, _, _ := strings.Cut(r.Host, ":")
	if err != nil || !from.Addr().IsLoopback() || host != "localhost" || r.Method != http.MethodGet {
		http.Error(w, "This link is for browsers on the machine that the demo runs on.", http.StatusForbidden)
		return
	}
	if !d.take(r.PathValue("token"), time.Now()) {
		http.Error(w, "This link was used, or its ten minutes are over. Start the demo again, or sign in with what operator.txt in its directory says.", http.StatusGone)
		return
	}
	binding := secret.New(rand.Text())
	token, err := d.enrol(r.Context(), demoBrowser(binding, r.UserAgent()))
	if err != nil {
		http.Error(w, "The demo's operator could not be enrolled: "+err.Error(), http.StatusInternalServerError)
		return
	}
	at, err := url.Parse(d.console)
	if err != nil {
		http.Error(w, "The console has no address.", http.StatusInternalServerError)
		return
	}
	sessionCookie, bindingCookie := console.CookieNames(at, "development") // newDemoDoor saw to that
	for name, value := range map[string]secret.Text{sessionCookie: token, bindingCookie: binding} {
		http.SetCookie(w, &http.Cookie{Name: name, Value: value.Reveal(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, d.console+"/", http.StatusSeeOther)
}

// enrol makes the owner's account this browser's, and writes down what it takes when
// the console asks again.
func (d *demoDoor) enrol(ctx context.Context, browser operator.Browser) (secret.Text, error) {
	password := secret.New(strings.ToLower(rand.Text()))
	codes, token, err := enrolDemo(ctx, d.directory, browser, d.owner, password)
	if err != nil {
		return secret.Text{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The demo's owner, for when the console asks again who you are:\n\n  e-mail    %s\n  password  %s\n\nin place of a code, one of these, each once:\n\n", d.email, password.Reveal())
	for _, c := range codes {
		fmt.Fprintf(&b, "  %s\n", c.Reveal())
	}
	return token, os.WriteFile(filepath.Join(d.dir, "operator.txt"), []byte(b.String()), 0o600)
}
