package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/sandbox/world"
)

// isControl reports whether a request is for the control API.
func isControl(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/_sandbox/") }

// control serves what only a sandbox has, the same on both listeners:
//
//	GET         /_sandbox/ledger    every secret ever issued
//	GET         /_sandbox/apps      the registered apps' credentials
//	GET         /_sandbox/people    the people of the sandbox's world
//	GET         /_sandbox/requests  the last requests (?n=50)
//	GET|POST|DELETE /_sandbox/faults  disturbances of later requests
//	POST        /_sandbox/clock     {"skew_seconds": N}
//	POST        /_sandbox/revoke    {"token": "..."} or {"person": "user name"}
//	POST        /_sandbox/limits    {"factor": N}: X's rate limits, forgotten and multiplied
//	POST        /_sandbox/app-calls {"per_hour": N}: Meta's calls of each app in an hour; 0 only reports
//	POST        /_sandbox/standing  {"person": "user name", "standing": "suspended"}
//	POST        /_sandbox/redact    {"post": "id", "reason": "deleted", "bounced" or "scrub_geo"}
//	POST        /_sandbox/redirects {"uris": [...]}
//
// Anything else goes to the platform's own control.
func (s *Server) control(own http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sandbox/ledger", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Ledger()) })
	mux.HandleFunc("GET /_sandbox/apps", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Apps()) })
	mux.HandleFunc("GET /_sandbox/people", func(w http.ResponseWriter, _ *http.Request) { answer(w, world.People()) })
	mux.Handle("GET /_sandbox/requests", s.requests.Handler())
	mux.Handle("/_sandbox/faults", s.faults.Handler())
	mux.HandleFunc("POST /_sandbox/clock", command(func(in struct {
		Skew float64 `json:"skew_seconds"`
	}) error {
		s.SetSkew(time.Duration(in.Skew * float64(time.Second)))
		return nil
	}))
	mux.HandleFunc("POST /_sandbox/revoke", command(func(in struct {
		Token  string `json:"token"`
		Person string `json:"person"`
	}) error {
		if in.Token != "" && s.Revoke(in.Token) || in.Person != "" && s.X.RevokePerson(in.Person) {
			return nil
		}
		return errNothing
	}))
	mux.HandleFunc("POST /_sandbox/limits", command(func(in struct {
		Factor int `json:"factor"`
	}) error {
		s.X.SetRateFactor(in.Factor)
		return nil
	}))
	mux.HandleFunc("POST /_sandbox/app-calls", command(func(in struct {
		PerHour int `json:"per_hour"`
	}) error {
		s.Meta.SetAppCalls(in.PerHour)
		return nil
	}))
	mux.HandleFunc("POST /_sandbox/standing", command(func(in struct {
		Person   string `json:"person"`
		Standing string `json:"standing"`
	}) error {
		if !s.X.SetStanding(in.Person, in.Standing) {
			return errNothing
		}
		return nil
	}))
	mux.HandleFunc("POST /_sandbox/redact", command(func(in struct {
		Post   string `json:"post"`
		Reason string `json:"reason"`
	}) error {
		if !s.X.Redact(in.Post, in.Reason) {
			return errNothing
		}
		return nil
	}))
	mux.HandleFunc("POST /_sandbox/redirects", command(func(in struct {
		URIs []string `json:"uris"`
	}) error {
		s.SetRedirectURIs(in.URIs)
		return nil
	}))
	if own != nil {
		mux.Handle("/_sandbox/", own)
	}
	return mux
}

// errNothing means that a command named something that there is not.
var errNothing = errors.New("there is no such thing")

// command decodes a JSON command strictly and answers whether it was done.
func command[T any](do func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		decoder := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			http.Error(w, "the body is not the JSON that was expected: "+err.Error(), http.StatusBadRequest)
			return
		}
		if err := do(in); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// answer sends a value as JSON.
func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
}

// errNotLoopback keeps the sandbox from calling anything but this machine.
var errNotLoopback = errors.New("the sandbox only calls loopback addresses")

// webhookClient is what Meta's notices are sent with: to this machine only, no
// redirects, no proxy.
func webhookClient(c Config) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: c.WebhookTLS, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, errNotLoopback
				}
				if mapped, known := c.WebhookHosts[host]; known {
					if host, port, err = net.SplitHostPort(mapped); err != nil {
						return nil, errNotLoopback
					}
				}
				if host == "localhost" {
					host = "127.0.0.1"
				}
				if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
					return nil, errNotLoopback
				}
				return dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
