package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// eventsPath is where the small app receives events.
const eventsPath = "/gatehouse/events"

// event takes what Gatehouse tells the app, as docs/events.md has apps do it: the
// signature first, over the bytes that came.
func (d *demoApp) event(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil || !d.signed(r.Header, body) {
		http.Error(w, "not an event of Gatehouse's", http.StatusUnauthorized)
		return
	}
	var event struct {
		Type string `json:"type"`
		Data struct {
			Duty       string   `json:"duty"`
			Subjects   []string `json:"subjects"`
			Connection string   `json:"connection"`
			Status     string   `json:"status"`
			NextStep   string   `json:"next_step"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &event) != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	switch event.Type {
	case "person.erase":
		// The app's own copy is what it keeps in its memory. Deleting it again does
		// no harm, and only then it says so.
		d.mu.Lock()
		d.grants = slices.DeleteFunc(d.grants, func(g *demoGrant) bool { return slices.Contains(event.Data.Subjects, g.Subject) })
		if _, known := d.duties[event.Data.Duty]; !known {
			d.duties[event.Data.Duty] = time.Now()
		}
		d.mu.Unlock()
		if err := d.answerDuties(r.Context(), time.Now()); err != nil {
			http.Error(w, "the duty could not be answered", http.StatusBadGateway)
			return
		}
	case "connection.health":
		d.mu.Lock()
		for _, g := range d.grants {
			if g.Connection == event.Data.Connection {
				g.Status, g.Next = event.Data.Status, event.Data.NextStep
			}
		}
		d.mu.Unlock()
	}
	w.WriteHeader(http.StatusNoContent)
}

// deliberate makes deletions take a while, as they do where there are backups.
func (d *demoApp) deliberate(takes time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takes = takes
}

// answerDuties says of each deletion that has taken its time that it is done.
func (d *demoApp) answerDuties(ctx context.Context, at time.Time) error {
	d.mu.Lock()
	var done []string
	for duty, since := range d.duties {
		if at.Sub(since) >= d.takes {
			done = append(done, duty)
		}
	}
	d.mu.Unlock()
	var failed error
	for _, duty := range done {
		if err := d.api.do(ctx, http.MethodPost, "/gatehouse/v1/duties/"+duty+"/done", nil, nil); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		d.mu.Lock()
		delete(d.duties, duty)
		d.mu.Unlock()
	}
	return failed
}

// signed checks the signature that Standard Webhooks describes.
func (d *demoApp) signed(h http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(d.eventSecret, "whsec_"))
	sent, bad := strconv.ParseInt(h.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || bad != nil || d.eventSecret == "" || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "."))
	mac.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for one := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(one), []byte(want)) {
			return true
		}
	}
	return false
}
