package x

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/sandbox/world"
)

// knownScopes are X's OAuth 2.0 scopes: those of its documentation and of its
// OpenAPI document.
var knownScopes = strings.Fields(`tweet.read tweet.write tweet.moderate.write users.email users.read
	follows.read follows.write offline.access space.read mute.read mute.write like.read like.write
	list.read list.write block.read block.write bookmark.read bookmark.write dm.read dm.write
	media.write broadcast.read broadcast.write timeline.read`)

// maxState is the longest state parameter.
const maxState = 500

// serveAuthorize asks the person and sends them back with a code. The extra
// parameters sandbox_person, sandbox_decision and sandbox_scopes answer in the
// person's place.
func (p *Platform) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	request, form := r.URL.Query(), r.URL.Query()
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		if err := r.ParseForm(); err != nil {
			sendError(w, &oauthError{http.StatusBadRequest, "invalid_request", "The form could not be read."})
			return
		}
		form = r.PostForm
		request = world.OriginalRequest(form)
	default:
		w.Header().Set("Allow", "GET, POST")
		sendError(w, plainProblem(http.StatusMethodNotAllowed, "Method Not Allowed"))
		return
	}
	if err := p.checkAuthorize(request); err != nil {
		sendError(w, err)
		return
	}
	scopes := strings.Fields(request.Get("scope"))
	answer, decided := world.ReadAnswer(form, scopes)
	if !decided {
		p.renderConsent(w, scopes, request, "")
		return
	}
	back := url.Values{"state": {request.Get("state")}}
	if answer.Allow {
		value, ok := p.issueCode(request, answer)
		if !ok {
			p.renderConsent(w, scopes, request, "There is no person with that user name.")
			return
		}
		back.Set("code", value)
	} else {
		// The exact parameters of a refusal are not in X's documentation; these
		// are RFC 6749's.
		back.Set("error", "access_denied")
	}
	redirect(w, request.Get("redirect_uri"), back)
}

// renderConsent shows the consent page for an OAuth 2.0 request.
func (p *Platform) renderConsent(w http.ResponseWriter, scopes []string, request url.Values, notice string) {
	_ = world.RenderConsent(w, world.Consent{
		Platform: "X", AppName: p.config.App.Name, People: world.People(), Scopes: scopes, Hidden: request, Notice: notice,
	})
}

// checkAuthorize refuses a request that must not even be shown to the person.
// Nothing is sent to a callback that has not been checked.
func (p *Platform) checkAuthorize(request url.Values) error {
	for name, values := range request {
		if len(values) > 1 {
			return &oauthError{http.StatusBadRequest, "invalid_request", "Parameter [" + name + "] was given more than once."}
		}
	}
	if id := request.Get("client_id"); id == "" {
		return missingOAuthParameter("client_id")
	} else if id != p.config.App.ClientID && id != p.config.App.PublicClientID {
		return invalidOAuthValue("client_id")
	}
	p.mu.Lock()
	registered := p.redirects[request.Get("redirect_uri")]
	p.mu.Unlock()
	if !registered {
		return &legacyError{status: http.StatusBadRequest, code: errCallback.code, message: errCallback.message}
	}
	if request.Get("response_type") != "code" {
		return invalidOAuthValue("response_type")
	}
	if state := request.Get("state"); state == "" {
		return missingOAuthParameter("state")
	} else if len(state) > maxState {
		return invalidOAuthValue("state")
	}
	challenge := request.Get("code_challenge")
	if challenge == "" {
		return missingOAuthParameter("code_challenge")
	}
	switch request.Get("code_challenge_method") {
	case "S256":
		if len(challenge) != 43 {
			return invalidOAuthValue("code_challenge")
		}
	case "plain", "":
		if len(challenge) > 128 {
			return invalidOAuthValue("code_challenge")
		}
	default:
		return invalidOAuthValue("code_challenge_method")
	}
	scopes := strings.Fields(request.Get("scope"))
	if len(scopes) == 0 {
		return missingOAuthParameter("scope")
	}
	for _, scope := range scopes {
		if !slices.Contains(knownScopes, scope) {
			return &oauthError{http.StatusBadRequest, "invalid_scope", "Value passed for the scope was invalid."}
		}
	}
	return nil
}

// issueCode makes the code for a person who allowed. The second result is false
// for an unknown person.
func (p *Platform) issueCode(request url.Values, answer world.Answer) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.state.byUsername(answer.Person)
	if u == nil || u.gone() {
		return "", false
	}
	value := newOAuth2Secret("ac", p.now())
	p.auth.codes[value] = &code{
		grant: &grant{
			user: u, clientID: request.Get("client_id"),
			public: request.Get("client_id") == p.config.App.PublicClientID, scopes: answer.Scopes,
		},
		redirectURI: request.Get("redirect_uri"),
		challenge:   request.Get("code_challenge"),
		method:      request.Get("code_challenge_method"),
		expires:     p.now().Add(p.config.CodeTTL),
	}
	p.config.Ledger.Add("x authorization code", value)
	return value, true
}

// redirect sends the browser to a checked callback with more parameters.
func redirect(w http.ResponseWriter, callback string, parameters url.Values) {
	separator := "?"
	if strings.Contains(callback, "?") {
		separator = "&"
	}
	w.Header().Set("Location", callback+separator+parameters.Encode())
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}
