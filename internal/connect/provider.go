package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// provider is what differs between platforms in OAuth 2.0. Its methods talk to
// the platform's endpoints only; what they return is not yet stored.
type provider interface {
	// ownScopes are those that Gatehouse needs itself: to see whose grant it
	// got, and to renew it.
	ownScopes() []string
	// authorize returns the address of the consent page.
	authorize(redirect, state, challenge string, scopes []string) string
	// exchange turns an authorization code into a lasting grant and finds out
	// whose it is.
	exchange(ctx context.Context, code, redirect, verifier string, asked []string) (grant, error)
	// whose fills in the user, the name and, where the platform tells, the
	// scopes of a grant whose tokens are known.
	whose(ctx context.Context, g *grant) error
	// renew gets a fresh grant for an old one.
	renew(ctx context.Context, old grant) (grant, error)
	// revoke ends the grant at the platform. A platform without such a call
	// reports nothing: cutting off here is all there is.
	revoke(ctx context.Context, g grant) error
}

// grant is what a platform gave: plain tokens, held for as short as possible.
type grant struct {
	kind                    Kind        // of what is renewed; "" elsewhere
	access, refresh         secret.Text // OAuth 1.0a: token and token secret
	expires, refreshExpires time.Time   // zero: the platform names no end
	scopes                  []string
	user, name              string
}

// provider returns the provider of an app's platform.
func (c *Connections) provider(a App) provider {
	base := client{c: c, app: a}
	switch a.Platform {
	case gatehouse.X:
		return xProvider{base}
	case gatehouse.Facebook:
		return facebookProvider{base}
	case gatehouse.Instagram:
		return instagramProvider{base}
	case gatehouse.Threads:
		return threadsProvider{base}
	default:
		return oauth2Provider{base}
	}
}

// client makes one app's calls to its platform.
type client struct {
	c   *Connections
	app App
}

// replyLimit bounds what a token endpoint may answer.
const replyLimit = 1 << 20

// platformError is a platform's refusal reduced to what cannot carry a secret:
// the status and a class made of known words and numbers. The platform's own
// text is dropped where it is read, because it may repeat a token.
type platformError struct {
	status int
	class  string
	cause  Cause                // platform's word for why, if the token is dead
	kind   platform.OutcomeKind // what the answer means for a call with a token
	dead   bool                 // the platform says that this grant is gone
}

func (e *platformError) Error() string {
	return fmt.Sprintf("the platform answered %d (%s)", e.status, e.class)
}

// send performs one request and decodes a JSON reply into the value. The
// request's address may hold credentials, so no error repeats it.
func (p client) send(req *http.Request, into any) error {
	body, err := p.fetch(req)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, into) != nil {
		// The decoder's text may quote the reply.
		return wire.BadGateway("connect/platform-reply", "The platform's answer could not be read.", nil)
	}
	return nil
}

// fetch performs one request and returns the body of a successful reply.
func (p client) fetch(req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/json")
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	sent := time.Now()
	reply, err := p.c.egress.RoundTrip(req)
	if err != nil && !connected.Load() {
		return nil, &unsentError{err}
	}
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	// No cache answers a POST: what comes back is the platform's own time.
	p.c.observe(req.Context(), p.app, sent, reply, req.Method == http.MethodPost)
	body, err := io.ReadAll(io.LimitReader(reply.Body, replyLimit+1))
	p.learn(reply, body)
	if err != nil {
		return nil, err
	}
	if len(body) > replyLimit {
		return nil, wire.BadGateway("connect/platform-reply", "The platform's answer is too long.", nil)
	}
	if reply.StatusCode/100 != 2 {
		refused := classify(p.app.Platform, reply.StatusCode, body)
		return nil, wire.BadGateway("connect/platform-refused", "The platform refused: "+refused.class+".", refused)
	}
	return body, nil
}

// unsentError is a failure before there was a connection: the platform cannot
// have seen the request.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// unsent reports whether err shows that the platform never saw the request.
func unsent(err error) bool {
	var e *unsentError
	return errors.As(err, &e)
}

// since is the time at the platform when a request was sent that has been
// answered: a life span counts from before the platform began to count.
func (p client) since(sent time.Time) time.Time {
	return p.c.now(p.app.Name).Add(-time.Since(sent))
}

// form returns a POST of a form.
func form(ctx context.Context, address string, values url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(values.Encode()))
	if err != nil {
		return nil, errors.New("the endpoint's address is malformed")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

// get returns a GET with query parameters.
func get(ctx context.Context, address string, query url.Values) (*http.Request, error) {
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the endpoint's address is malformed")
	}
	return req, nil
}

// knownErrors are the error words that may be repeated. Anything else a
// platform writes there becomes "other".
var knownErrors = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "access_denied", "server_error", "temporarily_unavailable", "unsupported_response_type",
	"interaction_required", "login_required", "consent_required",
}

// knownError returns word if it is one of the known ones, and otherwise "other".
func knownError(word string) string {
	if slices.Contains(knownErrors, word) {
		return word
	}
	return "other"
}

// classify reduces a platform's error reply. The rules for "dead" name only
// answers that mean this one grant; a misconfigured app must never cost a grant.
func classify(p gatehouse.Platform, status int, body []byte) *platformError {
	e := &platformError{status: status, class: strconv.Itoa(status)}
	meaning := platform.Interpret(platform.Name(p), status, nil, body)
	if e.kind = meaning.Kind; e.kind == platform.OutcomeTokenDead {
		e.cause = Cause(meaning.Cause)
	}
	var reply struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		ErrorType   string          `json:"error_type"`
		Code        int             `json:"code"`
		Errors      []struct {
			Code int `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &reply) != nil {
		return e
	}
	var word string
	var graph struct {
		Code    int `json:"code"`
		Subcode int `json:"error_subcode"`
	}
	switch {
	case len(reply.Error) > 0 && json.Unmarshal(reply.Error, &word) == nil:
		e.class = knownError(word)
		e.dead = e.class == "invalid_grant" ||
			// X's word for a spent, revoked or expired refresh token.
			(p == gatehouse.X && status == http.StatusBadRequest && reply.Description == "Value passed for the token was invalid.")
	case len(reply.Error) > 0 && json.Unmarshal(reply.Error, &graph) == nil && graph.Code != 0:
		e.class = fmt.Sprintf("graph/%d/%d", graph.Code, graph.Subcode)
		e.dead = graph.Code == 190 || graph.Code == 102
	case reply.ErrorType != "":
		e.class = fmt.Sprintf("instagram/%d", reply.Code)
	case len(reply.Errors) > 0 && reply.Errors[0].Code != 0:
		e.class = fmt.Sprintf("x/%d", reply.Errors[0].Code)
		e.dead = reply.Errors[0].Code == 89
	}
	return e
}

// refusal returns the platform's answer in err, or nil.
func refusal(err error) *platformError {
	var refused *platformError
	if errors.As(err, &refused) {
		return refused
	}
	return nil
}

// dead reports whether err is a platform's word that the grant is gone.
func dead(err error) bool {
	refused := refusal(err)
	return refused != nil && refused.dead
}

// answered reports whether err is an answer of the platform, as opposed to
// silence, after which nobody knows what the platform did.
func answered(err error) bool {
	var refused *platformError
	return errors.As(err, &refused)
}

// tokenReply is the common part of the token endpoints' replies.
type tokenReply struct {
	AccessToken  string      `json:"access_token"`
	RefreshToken string      `json:"refresh_token"`
	ExpiresIn    json.Number `json:"expires_in"`
	Scope        string      `json:"scope"`
}

// grant checks the reply and gives it the form in which grants are kept.
func (t tokenReply) grant(now time.Time) (grant, error) {
	bad := wire.BadGateway("connect/platform-reply", "The platform's answer held no usable token.", nil)
	for _, token := range []string{t.AccessToken, t.RefreshToken} {
		if len(token) > 8<<10 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return grant{}, bad
		}
	}
	if t.AccessToken == "" {
		return grant{}, bad
	}
	g := grant{access: secret.New(t.AccessToken), refresh: secret.New(t.RefreshToken), scopes: splitScopes(t.Scope)}
	if seconds, err := t.ExpiresIn.Int64(); err == nil && seconds > 0 && seconds < 1<<31 {
		g.expires = now.Add(time.Duration(seconds) * time.Second)
	}
	return g, nil
}

// splitScopes reads a list of scopes separated by spaces or commas.
func splitScopes(s string) []string {
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
	slices.Sort(list)
	return slices.Compact(list)
}

// missing returns what of asked is not in granted.
func missing(asked, granted []string) []string {
	var list []string
	for _, s := range asked {
		if !slices.Contains(granted, s) {
			list = append(list, s)
		}
	}
	return list
}

// consentURL builds a consent page's address on top of whatever query the
// configured endpoint has.
func consentURL(endpoint string, params url.Values) string {
	joint := "?"
	if strings.Contains(endpoint, "?") {
		joint = "&"
	}
	// X reads "+" in a scope list as a plus sign; %20 is read alike everywhere.
	return endpoint + joint + strings.ReplaceAll(params.Encode(), "+", "%20")
}
