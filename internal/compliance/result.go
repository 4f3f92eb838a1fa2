package compliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// line is one line of an answer.
type line struct {
	id             uint64
	action, reason string
	at             time.Time
}

// maxLine bounds one line; X's have some two hundred bytes.
const maxLine = 4096

// parseLines reads an answer: JSON objects, one on a line. A line that is none,
// or too long, is counted and passed over; the identifiers that it concerned stay
// in the index, so the next job asks about them again.
func parseLines(r io.Reader, yield func(line) error) (malformed int64, err error) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := in.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return malformed, err
		}
		if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 {
			if l, ok := parseLine(trimmed); ok && !tooLong {
				if err := yield(l); err != nil {
					return malformed, err
				}
			} else {
				malformed++
			}
		}
		if err != nil {
			return malformed, nil
		}
	}
}

func parseLine(b []byte) (line, bool) {
	var raw struct {
		ID         string `json:"id"`
		Action     string `json:"action"`
		Reason     string `json:"reason"`
		CreatedAt  string `json:"created_at"`
		RedactedAt string `json:"redacted_at"`
	}
	if b[0] != '{' || json.Unmarshal(b, &raw) != nil {
		return line{}, false
	}
	l := line{action: raw.Action, reason: raw.Reason}
	var err error
	if l.id, err = strconv.ParseUint(raw.ID, 10, 63); err != nil || strconv.FormatUint(l.id, 10) != raw.ID {
		return line{}, false
	}
	if !word(l.action) || !word(l.reason) {
		return line{}, false
	}
	for _, at := range []string{raw.RedactedAt, raw.CreatedAt} {
		if t, err := time.Parse(time.RFC3339, at); err == nil && t.Year() >= 2006 && t.Year() < 3000 {
			l.at = t.UTC().Truncate(time.Microsecond)
			break
		}
	}
	return l, true
}

// word reports whether an action or a reason is one word, as X's are: what is new
// is passed on, what is no word is not.
func word(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// gone are the reasons after which the app may hold nothing more of it, so that
// there is nothing left to ask about. Others, such as scrub_geo and what X may
// invent, change what the app holds, and the identifier stays in the index.
var gone = map[Kind]map[string]bool{
	Post: {"deleted": true, "bounced": true, "protected": true, "suspended": true},
	User: {"deleted": true, "suspended": true, "protected": true, "deactivated": true},
}

// maxDownloads is how often an answer is asked for before the job is made anew.
const maxDownloads = 5

// download reads X's answer and stores every line that concerns the index; then
// the job is done with, and the next part of the list is asked about.
func (k *Compliance) download(ctx context.Context, t *Task) error {
	found, ignored, malformed := int64(0), int64(0), int64(0)
	err := k.intent(ctx, t, actionResult, "download", func(r audit.Receipt, facts map[string]string) (err error) {
		found, ignored, malformed, err = k.read(ctx, r, t)
		facts["found"], facts["ignored"], facts["malformed"] = strconv.FormatInt(found, 10), strconv.FormatInt(ignored, 10), strconv.FormatInt(malformed, 10)
		return err
	})
	if err == nil && malformed > 0 {
		err = wire.BadGateway("compliance/result", "Lines of X's answer could not be read.", nil)
	}
	if err != nil && (malformed == 0 || t.Tries < maxDownloads) {
		if t.Tries >= maxDownloads && !errors.Is(err, errAbandoned) {
			return &jobOver{err}
		}
		return err
	}
	if err := k.at("read"); err != nil {
		return err
	}
	if malformed > 0 {
		k.log.WarnContext(ctx, "lines of a compliance answer could not be read; what they concern is asked about again in the next run",
			slog.String("app", string(t.App)), slog.String("kind", string(t.Kind)), slog.Int64("lines", malformed))
	}
	t.Found, t.Ignored, t.Malformed = t.Found+found, t.Ignored+ignored, t.Malformed+malformed
	upto := t.Upto
	t.forgetJob()
	t.Cursor = upto
	t.done(Submitting)
	return nil
}

// read takes the answer in.
func (k *Compliance) read(ctx context.Context, r audit.Receipt, t *Task) (found, ignored, malformed int64, err error) {
	address, err := k.openAddress(ctx, r, t, "download_url", t.DownloadURL)
	if err != nil {
		return 0, 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, 0, 0, badAddress()
	}
	// What is not compressed cannot be larger than it looks.
	req.Header.Set("Accept-Encoding", "identity")
	reply, err := k.config.Storage.RoundTrip(req)
	if err != nil {
		return 0, 0, 0, err
	}
	defer reply.Body.Close()
	if err := checkAnswer(reply); err != nil {
		return 0, 0, 0, err
	}
	var chunk []StoredFinding
	store := func() error {
		if len(chunk) == 0 {
			return nil
		}
		if err := k.config.Store.AddFindings(ctx, chunk); err != nil {
			return err
		}
		chunk = chunk[:0]
		return k.at("stored")
	}
	malformed, err = parseLines(reply.Body, func(l line) error {
		f, ok, err := k.concerns(ctx, t, l)
		if err != nil {
			return err
		}
		if !ok {
			ignored++
			return nil
		}
		found++
		if chunk = append(chunk, f); len(chunk) >= k.bounds.page {
			return store()
		}
		return nil
	})
	if err == nil {
		err = store()
	}
	return found, ignored, malformed, err
}

// checkAnswer refuses what cannot be an answer. Storage services name such a file
// in several ways, but none calls it a page.
func checkAnswer(reply *http.Response) error {
	if reply.StatusCode != http.StatusOK {
		return wire.BadGateway("compliance/download", "The storage that X named did not give the answer.", fmt.Errorf("status %d", reply.StatusCode))
	}
	if e := reply.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return wire.BadGateway("compliance/encoding", "The answer is compressed although that was not asked for.", nil)
	}
	kind, _, err := mime.ParseMediaType(reply.Header.Get("Content-Type"))
	switch kind {
	case "text/plain", "application/json", "application/x-ndjson", "application/jsonl", "application/octet-stream", "binary/octet-stream":
		if err == nil {
			return nil
		}
	case "":
		if reply.Header.Get("Content-Type") == "" {
			return nil
		}
	}
	return wire.BadGateway("compliance/content-type", "The answer is not the file that X describes.", nil)
}

// concerns says whether a line is about something that this job asked about and
// that the app has not been told already.
func (k *Compliance) concerns(ctx context.Context, t *Task, l line) (StoredFinding, bool, error) {
	hash, err := k.keys.hash(ctx, t.App, t.Kind, l.id)
	if err != nil {
		return StoredFinding{}, false, err
	}
	if bytes.Compare(hash, t.Cursor) <= 0 || bytes.Compare(hash, t.Upto) > 0 {
		return StoredFinding{}, false, nil
	}
	id, err := k.config.Store.IDOf(ctx, t.App, t.Kind, hash)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return StoredFinding{}, false, nil
	}
	if err != nil {
		return StoredFinding{}, false, err
	}
	if id.First.After(t.AskedAt) || !id.Told.IsZero() && id.Reason == l.reason {
		return StoredFinding{}, false, nil
	}
	ready := time.Now().Add(k.bounds.settle)
	return StoredFinding{
		App: t.App, Kind: t.Kind, Hash: hash, Sealed: id.Sealed, Action: l.action, Reason: l.reason, At: l.at,
		First: id.First, Ready: ready, Due: ready,
	}, true, nil
}

// HandOver hands over what is due: up to a page of findings.
func (k *Compliance) HandOver(ctx context.Context) error {
	due, err := k.config.Store.Findings(ctx, time.Now(), k.bounds.page)
	if err != nil || len(due) == 0 {
		return err
	}
	// One entry for all: the log has counts, not what was found about whom.
	facts := map[string]string{"step": "hand-over", "findings": strconv.Itoa(len(due))}
	r, err := k.config.Log.Intent(ctx, audit.Entry{Action: actionResult, Platform: gatehouse.X, Facts: facts})
	if err != nil {
		return err
	}
	taken, failed := 0, error(nil)
	for _, f := range due {
		if ctx.Err() != nil {
			break
		}
		switch err := k.hand(ctx, r, f); {
		case err == nil:
			taken++
		case errors.Is(err, gatehouse.ErrConflict): // another process has it
		case errors.Is(err, errAbandoned):
			return err
		case failed == nil:
			failed = err // the others mostly say the same
		}
	}
	e := audit.Entry{Action: actionResult, Platform: gatehouse.X, Verdict: "done",
		Facts: map[string]string{"step": "hand-over", "findings": strconv.Itoa(len(due)), "taken": strconv.Itoa(taken)}}
	if failed != nil {
		e.Verdict, e.Rule = "failed", wire.RuleOf(failed)
		failed = fmt.Errorf("handing a finding over: %w", failed)
	}
	k.config.Log.Outcome(r, e)
	return failed
}

// hand hands one finding over and settles it. It is delayed first: this process
// has it for a while, and if it is refused, or the process dies, it comes again.
func (k *Compliance) hand(ctx context.Context, r audit.Receipt, f StoredFinding) error {
	pause := max(backoff(k.bounds.retry, k.bounds.retryMost, f.Tries+1), k.bounds.retry/2)
	if err := k.config.Store.DelayFinding(ctx, f, time.Now().Add(pause)); err != nil {
		return err
	}
	if err := k.at("claimed"); err != nil {
		return err
	}
	id, err := k.open(ctx, r, f.App, f.Kind, f.Hash, f.Sealed)
	if err != nil {
		return err
	}
	err = k.config.Found(ctx, Finding{App: f.App, Kind: f.Kind, ID: id, Action: f.Action, Reason: f.Reason, At: f.At, Key: f.key()})
	if err != nil {
		return err
	}
	if err := k.at("taken"); err != nil {
		return err
	}
	return k.config.Store.SettleFinding(context.WithoutCancel(ctx), f, gone[f.Kind][f.Reason], time.Now())
}

// key names a finding: the same identifier's later life, or another reason, is
// another one.
func (f StoredFinding) key() string {
	return fmt.Sprintf("x-compliance/%s/%s/%x/%s/%s", f.App, f.Kind, f.Hash, f.Reason, strconv.FormatInt(f.First.UnixMicro(), 36))
}
