package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// This file is the demo app's use of step-ups: before something that cannot be undone
// it has its user prove a second factor.

// confirmedPath is where the demo's people come back to.
const confirmedPath = "/confirmed"

// demoStepup is what the app keeps in its user's session while they are away. The id
// stays here: the code that comes back is redeemed for it, so that a code from somebody
// else's session is worth nothing.
type demoStepup struct{ id, subject, state string }

// confirmation is what the page shows of a result.
type confirmation struct {
	Subject, Reason, Method, Enrolled string
	Proved                            time.Time
	RecoveryLeft                      int
	Result                            string
}

// confirm asks for a second factor of the person of this browser's session.
func (d *demoApp) confirm(w http.ResponseWriter, r *http.Request) {
	subject := strings.TrimSpace(r.FormValue("subject"))
	if subject == "" {
		subject = "ada"
	}
	ask := map[string]any{
		"subject": subject, "reason": "Delete everything that this app has of " + subject, "account": subject + "@example.com", "return_url": d.self + confirmedPath,
		"state": "demo", "add": r.FormValue("add") != "",
	}
	if r.FormValue("recent") != "" {
		ask["max_age"] = 300
	}
	var begun struct {
		ID  string `json:"id"`
		URL string `json:"url"`
	}
	if err := d.api.do(r.Context(), http.MethodPost, "/gatehouse/v1/stepups", ask, &begun); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	cookie := d.session(w, subject)
	d.mu.Lock()
	d.stepups[cookie] = demoStepup{begun.ID, subject, "demo"}
	d.mu.Unlock()
	http.Redirect(w, r, begun.URL, http.StatusSeeOther)
}

// confirmed is where the browser comes back to with a one-time code.
func (d *demoApp) confirmed(w http.ResponseWriter, r *http.Request) {
	var s demoStepup
	if c, err := r.Cookie(demoSession); err == nil {
		d.mu.Lock()
		s = d.stepups[c.Value]
		delete(d.stepups, c.Value)
		d.mu.Unlock()
	}
	if s.id == "" || r.FormValue("state") != s.state {
		d.render(w, "Nothing was asked for in this session: begin again here.")
		return
	}
	if e := r.FormValue("error"); e != "" {
		d.render(w, "Not confirmed: "+r.FormValue("error_description"))
		return
	}
	var result struct {
		Subject      string    `json:"subject"`
		Method       string    `json:"method"`
		Enrolled     string    `json:"enrolled"`
		Proved       time.Time `json:"proved_at"`
		RecoveryLeft int       `json:"recovery_codes_left"`
		Result       string    `json:"result"`
	}
	path := "/gatehouse/v1/stepups/" + url.PathEscape(s.id) + "?code=" + url.QueryEscape(r.FormValue("code")) + "&subject=" + url.QueryEscape(s.subject)
	if err := d.api.do(r.Context(), http.MethodGet, path, nil, &result); err != nil {
		d.render(w, "Not confirmed: "+err.Error())
		return
	}
	reason, err := d.verified(r, result.Result, s.subject)
	if err != nil {
		d.render(w, "Not confirmed: "+err.Error())
		return
	}
	d.show(w, "", &confirmation{result.Subject, reason, result.Method, result.Enrolled, result.Proved, result.RecoveryLeft, result.Result})
}

// verified is what another service of the app would do, which did not ask Gatehouse
// itself: it believes the signed result, by a key that it fetched. It returns the
// reason that stands in it.
func (d *demoApp) verified(r *http.Request, token, subject string) (string, error) {
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
			X  string `json:"x"`
		} `json:"keys"`
	}
	if err := d.api.do(r.Context(), http.MethodGet, "/gatehouse/v1/stepups/keys", nil, &set); err != nil {
		return "", err
	}
	signed, signature, _ := cutLast(token, ".")
	header, body, _ := strings.Cut(signed, ".")
	var head struct {
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
	}
	var claims struct {
		Subject string `json:"sub"`
		Expires int64  `json:"exp"`
		Reason  string `json:"reason"`
	}
	sum, err := base64.RawURLEncoding.DecodeString(signature)
	if err := errors.Join(err, part(header, &head), part(body, &claims)); err != nil {
		return "", err
	}
	for _, k := range set.Keys {
		key, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || k.ID != head.ID || head.Algorithm != "EdDSA" || len(key) != ed25519.PublicKeySize {
			continue
		}
		if ed25519.Verify(key, []byte(signed), sum) && claims.Subject == subject && time.Now().Unix() < claims.Expires {
			return claims.Reason, nil
		}
	}
	return "", errors.New("the result's signature is not right")
}

func part(text string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
