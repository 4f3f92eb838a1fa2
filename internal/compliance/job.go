package compliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/platform"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// The actions of the audit log.
const (
	actionSubmit = "compliance.submit"
	actionResult = "compliance.result"
)

// step does what a task's state asks for and leaves the task as it is to be saved.
// An error leaves the state: what can be resumed is.
func (k *Compliance) step(ctx context.Context, t *Task) error {
	switch t.State {
	case Idle:
		t.forgetJob()
		t.Started, t.Ended, t.Cursor = time.Now(), time.Time{}, nil
		t.Jobs, t.Sent, t.Found, t.Ignored, t.Malformed, t.Tries, t.Reason = 0, 0, 0, 0, 0, 0, ""
		return nil
	case Submitting:
		return k.submit(ctx, t)
	case Uploading:
		return k.upload(ctx, t)
	case Running:
		return k.poll(ctx, t)
	case Downloading:
		return k.download(ctx, t)
	}
	return fmt.Errorf("compliance: a list is in the unknown state %q", t.State)
}

// done says that something was reached: failures are counted anew.
func (t *Task) done(s State) {
	t.State, t.Tries, t.Reason, t.Due = s, 0, "", time.Now()
}

// submit makes a job at X, or ends the run when everything was asked about. The
// job's name is stored before X is asked: if the answer is lost, the job is found
// by its name, and not made twice.
func (k *Compliance) submit(ctx context.Context, t *Task) error {
	if t.Name == "" {
		first, err := k.config.Store.IDs(ctx, t.App, t.Kind, t.Cursor, 1)
		if err != nil {
			return err
		}
		if len(first) == 0 {
			t.forgetJob()
			t.done(Idle)
			t.Ended, t.Due = time.Now(), t.Started.Add(k.apps[t.App].Every)
			return nil
		}
		t.Name = "gatehouse-" + rand.Text()
		if err := k.save(ctx, t); err != nil {
			return abandonConflict(err)
		}
		if err := k.at("named"); err != nil {
			return err
		}
		return k.intent(ctx, t, actionSubmit, "create", func(r audit.Receipt, _ map[string]string) error { return k.create(ctx, r, t) })
	}
	return k.intent(ctx, t, actionSubmit, "look", func(r audit.Receipt, _ map[string]string) error {
		var reply struct {
			Data []job `json:"data"`
		}
		if err := k.call(ctx, r, t.App, http.MethodGet, "/2/compliance/jobs?status=created&type="+t.Kind.jobType(), nil, &reply); err != nil {
			return err
		}
		for _, j := range reply.Data {
			if j.Name == t.Name {
				return k.made(ctx, t, j)
			}
		}
		return k.create(ctx, r, t)
	})
}

// abandonConflict gives a task up that another process has taken.
func abandonConflict(err error) error {
	return fmt.Errorf("%w: %w", errAbandoned, err)
}

func (k *Compliance) create(ctx context.Context, r audit.Receipt, t *Task) error {
	body, err := json.Marshal(map[string]string{"type": t.Kind.jobType(), "name": t.Name})
	if err != nil {
		return err
	}
	var reply struct {
		Data job `json:"data"`
	}
	if err := k.call(ctx, r, t.App, http.MethodPost, "/2/compliance/jobs", body, &reply); err != nil {
		return err
	}
	if err := k.at("made"); err != nil {
		return err
	}
	return k.made(ctx, t, reply.Data)
}

// made takes a new job's addresses.
func (k *Compliance) made(ctx context.Context, t *Task, j job) error {
	if err := j.validate(); err != nil {
		return err
	}
	for _, raw := range []string{j.UploadURL, j.DownloadURL} {
		if _, err := k.address(raw); err != nil {
			return err
		}
	}
	var err error
	if t.UploadURL, err = k.config.Vault.Seal(ctx, urlPlace(t, "upload_url"), secret.New(j.UploadURL)); err != nil {
		return err
	}
	if t.DownloadURL, err = k.config.Vault.Seal(ctx, urlPlace(t, "download_url"), secret.New(j.DownloadURL)); err != nil {
		return err
	}
	t.Job, t.Upto, t.Asked, t.Expires = j.ID, nil, 0, j.UploadExpires
	t.done(Uploading)
	return nil
}

func urlPlace(t *Task, column string) vault.Ref {
	return vault.Ref{Table: "compliance_tasks", Row: string(t.App) + "/" + string(t.Kind), Column: column}
}

// address checks an address that X gave: nothing is called that the storage client
// would not call.
func (k *Compliance) address(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxAddress || u.User != nil || u.Opaque != "" || u.Fragment != "" || !k.config.Storage.Allows(u.Scheme, u.Host) {
		return nil, wire.BadGateway("compliance/address", "X named an address for a compliance job that Gatehouse does not call.", nil)
	}
	return u, nil
}

const maxAddress = 8192

// upload sends the list. Which part of the index it is is stored before, so that
// after a crash it is known what X was asked.
func (k *Compliance) upload(ctx context.Context, t *Task) error {
	if t.Upto != nil {
		// It was begun before: X knows whether the list arrived.
		j, err := k.status(ctx, t)
		if err != nil {
			return err
		}
		if j.Status != "created" {
			return k.heard(ctx, t, j)
		}
	}
	if !t.Expires.IsZero() && time.Now().After(t.Expires) {
		return over("compliance/upload-late", "the time to upload the list was over")
	}
	return k.intent(ctx, t, actionSubmit, "upload", func(r audit.Receipt, facts map[string]string) error {
		body, last, n, err := k.list(ctx, r, t)
		if err != nil {
			return err
		}
		facts["ids"] = strconv.Itoa(n)
		if n == 0 { // all of them expired meanwhile
			return over("compliance/empty", "the list became empty")
		}
		t.Upto, t.Asked, t.AskedAt = last, int64(n), time.Now()
		if err := k.save(ctx, t); err != nil {
			return abandonConflict(err)
		}
		if err := k.at("listed"); err != nil {
			return err
		}
		address, err := k.openAddress(ctx, r, t, "upload_url", t.UploadURL)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(body))
		if err != nil {
			return badAddress()
		}
		req.Header.Set("Content-Type", "text/plain")
		reply, err := k.config.Storage.RoundTrip(req)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(reply.Body, maxReply)); err != nil {
			return err
		}
		if reply.StatusCode/100 != 2 {
			return wire.BadGateway("compliance/upload", "The storage that X named did not take the list.", fmt.Errorf("status %d", reply.StatusCode))
		}
		if err := k.at("uploaded"); err != nil {
			return err
		}
		t.Jobs, t.Sent, t.Polls = t.Jobs+1, t.Sent+t.Asked, 0
		t.done(Running)
		t.Due = time.Now().Add(k.bounds.poll)
		return nil
	})
}

func (k *Compliance) openAddress(ctx context.Context, r audit.Receipt, t *Task, column string, sealed []byte) (string, error) {
	address, err := k.config.Vault.Open(ctx, r, urlPlace(t, column), sealed)
	if err != nil {
		return "", err
	}
	u, err := k.address(address.Reveal())
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// badAddress stands for errors of net/http that would repeat an address.
func badAddress() error {
	return wire.BadGateway("compliance/address", "X named an address for a compliance job that cannot be called.", nil)
}

// list returns the next part of the index as X wants it, one identifier on a line,
// with the hash it ends at.
func (k *Compliance) list(ctx context.Context, r audit.Receipt, t *Task) (body []byte, last []byte, n int, err error) {
	after := t.Cursor
	for n < k.bounds.perJob {
		page := min(k.bounds.page, k.bounds.perJob-n)
		ids, err := k.config.Store.IDs(ctx, t.App, t.Kind, after, page)
		if err != nil {
			return nil, nil, 0, err
		}
		for _, id := range ids {
			text, err := k.open(ctx, r, t.App, t.Kind, id.Hash, id.Sealed)
			if err != nil {
				return nil, nil, 0, err
			}
			body = append(append(body, text...), '\n')
			after = id.Hash
			n++
		}
		if len(ids) < page {
			break
		}
	}
	return body, after, n, nil
}

// status asks X how the job is doing.
func (k *Compliance) status(ctx context.Context, t *Task) (j job, err error) {
	err = k.intent(ctx, t, actionResult, "ask", func(r audit.Receipt, facts map[string]string) error {
		var reply struct {
			Data job `json:"data"`
		}
		if err := k.call(ctx, r, t.App, http.MethodGet, "/2/compliance/jobs/"+t.Job, nil, &reply); err != nil {
			return err
		}
		j = reply.Data
		if err := j.validate(); err != nil {
			return err
		}
		if j.ID != t.Job {
			return wire.BadGateway("compliance/reply", "X's answer is about another job.", nil)
		}
		facts["status"] = j.Status
		return nil
	})
	if err != nil && time.Since(t.AskedAt) > k.bounds.slow {
		// X may have forgotten it: whoever asks for ever asks about nothing else.
		err = &jobOver{err}
	}
	return j, err
}

// poll asks X how the job is doing, again and again with growing pauses.
func (k *Compliance) poll(ctx context.Context, t *Task) error {
	j, err := k.status(ctx, t)
	if err != nil {
		return err
	}
	return k.heard(ctx, t, j)
}

// heard takes X's word on a job whose list was uploaded.
func (k *Compliance) heard(ctx context.Context, t *Task, j job) error {
	if t.State == Uploading {
		t.Jobs, t.Sent, t.Polls = t.Jobs+1, t.Sent+t.Asked, 0
	}
	switch j.Status {
	case "complete":
		sealed, err := k.config.Vault.Seal(ctx, urlPlace(t, "download_url"), secret.New(j.DownloadURL))
		if err != nil {
			return err
		}
		t.DownloadURL = sealed
		t.done(Downloading)
		return nil
	case "failed", "expired":
		return over("compliance/job-"+j.Status, "X says that the job has "+j.Status)
	}
	if time.Since(t.AskedAt) > k.bounds.slow {
		return over("compliance/job-slow", "X has not done the job in a day")
	}
	t.done(Running)
	t.Polls++
	t.Due = time.Now().Add(min(k.bounds.poll<<min(t.Polls, 16), k.bounds.pollMost))
	return nil
}

// jobOver says that a job cannot go on; its part of the list needs a new one.
type jobOver struct{ error }

func (o *jobOver) Unwrap() error { return o.error }

func over(rule, text string) error { return &jobOver{wire.BadGateway(rule, text, nil)} }

// job is X's account of a job.
type job struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Status        string    `json:"status"`
	UploadURL     string    `json:"upload_url"`
	DownloadURL   string    `json:"download_url"`
	UploadExpires time.Time `json:"upload_expires_at"`
}

var jobStatuses = map[string]bool{"created": true, "in_progress": true, "complete": true, "failed": true, "expired": true}

func (j job) validate() error {
	if _, err := strconv.ParseUint(j.ID, 10, 64); err != nil || !jobStatuses[j.Status] {
		return wire.BadGateway("compliance/reply", "X's answer is not the account of a compliance job.", nil)
	}
	return nil
}

// maxReply bounds X's answers about jobs. A list of jobs may hold hundreds.
const maxReply = 4 << 20

// call makes a call to X's API in the app's own name.
func (k *Compliance) call(ctx context.Context, r audit.Receipt, app gatehouse.AppName, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, k.apps[app].API+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := k.config.Connections.AppRequest(ctx, r, app, req); err != nil {
		return err
	}
	reply, err := k.config.API.RoundTrip(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		return err
	}
	if reply.StatusCode/100 != 2 {
		return refusedByX(reply.StatusCode, reply.Header, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return wire.BadGateway("compliance/reply", "X's answer is not the account of a compliance job.", nil)
	}
	return nil
}

// throttled says until when X wants to be left alone.
type throttled struct {
	error
	until time.Time
}

func (t *throttled) Unwrap() error { return t.error }

func refusedByX(status int, h http.Header, body []byte) error {
	outcome := platform.Interpret(platform.X, status, h, body[:min(len(body), 8<<10)])
	err := wire.BadGateway("compliance/"+outcome.Kind.String(), "X refused a call for a compliance job.", fmt.Errorf("status %d", status))
	if outcome.Kind != platform.OutcomeThrottled {
		return err
	}
	until := outcome.Reset
	if until.IsZero() {
		until = time.Now().Add(max(outcome.RetryAfter, 15*time.Minute)) // X's window
	}
	return &throttled{err, until}
}

// intent writes down what is about to be done for a list, does it, and writes down
// how it went. The function may add counts to the facts of the outcome.
func (k *Compliance) intent(ctx context.Context, t *Task, action, step string, do func(r audit.Receipt, facts map[string]string) error) error {
	facts := map[string]string{"kind": string(t.Kind), "step": step}
	r, err := k.config.Log.Intent(ctx, audit.Entry{Action: action, Platform: gatehouse.X, App: t.App, Facts: map[string]string{"kind": string(t.Kind), "step": step}})
	if err != nil {
		return err
	}
	err = do(r, facts)
	e := audit.Entry{Action: action, Platform: gatehouse.X, App: t.App, Verdict: "done", Facts: facts}
	if err != nil {
		e.Verdict, e.Rule = "failed", wire.RuleOf(err)
	}
	k.config.Log.Outcome(r, e)
	return err
}
