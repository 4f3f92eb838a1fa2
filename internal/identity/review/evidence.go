package review

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
)

const (
	// evidenceDomain begins what is signed, so that no evidence passes for a checkpoint
	// or a manifest, nor the other way round.
	evidenceDomain = "gatehouse access review 1\n"
	// MaxEvidence bounds a file of evidence, in bytes.
	MaxEvidence = 64 << 20
)

const (
	// reasonsShare is the part of the largest evidence that is left for reasons when a
	// review begins.
	reasonsShare = 8
	// boundHead is more than a document takes without its rights: the lists of all
	// systems, and a checkpoint.
	boundHead = 32 << 10
	// boundItem is more than a right takes without its texts: names of members, seven
	// identifiers and words, and four times.
	boundItem = 640
)

// evidenceBound is more bytes than the evidence of these rights has, whatever is done
// about them. It has to be known before somebody decides: a finished review that cannot
// be verified is none.
func evidenceBound(items []Item) int {
	n := boundHead
	for _, i := range items {
		n += itemBound(i)
	}
	return n
}

func itemBound(i Item) int {
	// What to do repeats the names.
	return boundItem + 2*(escaped(i.System)+escaped(i.Holder)+escaped(i.Name)) + escaped(i.Detail) + escaped(i.Why) + escaped(i.Reason)
}

// escaped is more bytes than a text has in JSON.
func escaped(s string) (n int) {
	foreign := 2 // a line separator has three bytes, and six in JSON
	if !utf8.ValidString(s) {
		foreign = 6
	}
	for _, c := range []byte(s) {
		switch {
		case c >= utf8.RuneSelf:
			n += foreign
		case c == '<', c == '>', c == '&', c < ' ', c == 0x7f:
			n += 6
		case c == '"', c == '\\':
			n += 2
		default:
			n++
		}
	}
	return n
}

// Document is a finished review: everything that was decided, by whom, when, and what
// came of it.
type Document struct {
	Version     int                   `json:"v"`
	Review      ID                    `json:"review"`
	Environment gatehouse.Environment `json:"environment"`
	Begun       time.Time             `json:"begun_at"`
	By          string                `json:"begun_by"`
	Due         time.Time             `json:"due_at"`
	Since       time.Time             `json:"unused_since"`
	Closed      time.Time             `json:"closed_at"`
	// Alone says that a reviewer decided about their own rights, since there was nobody
	// else who could.
	Alone  bool   `json:"only_reviewer"`
	Counts Counts `json:"counts"`
	// Lists are the imported lists that were reviewed, as they were when it began.
	Lists []List         `json:"lists"`
	Items []DocumentItem `json:"rights"`
	// Checkpoint is the log's newest signed checkpoint: all decisions stand in the log
	// that it covers.
	Checkpoint string `json:"log_checkpoint"`
}

// DocumentItem is one right in a Document.
type DocumentItem struct {
	Number   int       `json:"number"`
	Kind     Kind      `json:"kind"`
	System   string    `json:"system,omitempty"`
	Holder   string    `json:"holder"`
	Name     string    `json:"right"`
	Detail   string    `json:"detail,omitempty"`
	Created  time.Time `json:"created_at,omitzero"`
	Used     time.Time `json:"last_used_at,omitzero"`
	Proposed bool      `json:"proposed_for_removal"`
	Why      string    `json:"why,omitempty"`
	Decision Decision  `json:"decision"`
	By       string    `json:"decided_by"`
	Own      bool      `json:"own_right,omitempty"`
	At       time.Time `json:"decided_at"`
	Reason   string    `json:"reason,omitempty"`
	Entry    string    `json:"log_entry,omitempty"`
	Effect   Effect    `json:"effect,omitempty"`
	Done     time.Time `json:"done_at,omitzero"`
	Do       string    `json:"to_do,omitempty"`
}

// evidence makes the signed document of a review that was carried out.
func (r *Reviews) evidence(ctx context.Context, id ID) ([]byte, error) {
	review, err := r.Review(ctx, id)
	if err != nil {
		return nil, err
	}
	items, err := r.Items(ctx, id)
	if err != nil {
		return nil, err
	}
	lists, err := r.reviewedLists(ctx, review)
	if err != nil {
		return nil, err
	}
	d := Document{
		Version: 1, Review: id, Environment: r.config.Environment, Begun: review.Begun, By: review.By, Due: review.Due,
		Since: review.Since, Closed: review.Closed, Counts: review.Counts, Lists: lists, Items: make([]DocumentItem, len(items)),
	}
	// As they came about: one may have been seen gone already, if a process died before it
	// signed, and the document says what was done and nothing of what came later.
	d.Counts.OpenItems = 0
	for i, item := range items {
		if item.Effect == InConfiguration || item.Effect == Outside {
			d.Counts.OpenItems++
		}
		d.Alone = d.Alone || item.Own
		d.Items[i] = item.document()
	}
	if err := r.config.Log.Flush(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the log: %w", err)
	}
	if d.Checkpoint, err = r.config.Checkpoint(ctx); err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	file, err := d.sign(r.config.Signer)
	if err == nil && len(file) > r.config.MaxEvidence {
		err = fmt.Errorf("the evidence has %d bytes, more than can be verified: %w", len(file), gatehouse.ErrLimited)
	}
	return file, err
}

// document is an item as it stands in the evidence.
func (i Item) document() DocumentItem {
	return DocumentItem{
		Number: i.Number, Kind: i.Kind, System: i.System, Holder: i.Holder, Name: i.Name, Detail: i.Detail, Created: i.Created, Used: i.Used,
		Proposed: i.Proposed, Why: i.Why, Decision: i.Decision, By: i.By, Own: i.Own, At: i.At, Reason: i.Reason, Entry: i.Entry,
		Effect: i.Effect, Done: i.Done, Do: i.Do(),
	}
}

// signedFile is the form of a file of evidence.
type signedFile struct {
	Review    json.RawMessage `json:"review"`
	Signature string          `json:"signature"`
}

func (d *Document) text() (string, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("writing the evidence: %w", err)
	}
	return evidenceDomain + string(body) + "\n", nil
}

// sign returns the file of evidence: the document and the signature of a note with its
// text.
func (d *Document) sign(signer note.Signer) ([]byte, error) {
	text, err := d.text()
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the evidence: %w", err)
	}
	return json.Marshal(signedFile{json.RawMessage(text[len(evidenceDomain) : len(text)-1]), string(signed[len(text)+1:])})
}

// signed reports whether this is the evidence of a review, signed with our key: a
// signature of Ed25519 is the same each time.
func (r *Reviews) signed(id ID, evidence []byte) bool {
	var f signedFile
	var d Document
	if strict(evidence, &f) != nil || strict(f.Review, &d) != nil || d.Review != id {
		return false
	}
	again, err := d.sign(r.config.Signer)
	return err == nil && bytes.Equal(again, evidence)
}

var errEvidence = fmt.Errorf("this is no evidence of a review, or it is not signed by this log's key: %w", gatehouse.ErrInvalid)

// Verify checks a file of evidence with nothing but the log's public key, and returns
// what it says. It accepts one spelling only, so that no byte of it can change
// unnoticed. A checkpoint of another log than the key's is not checked: covered is
// false.
func Verify(file []byte, verifier note.Verifier) (d *Document, covered bool, err error) {
	if len(file) > MaxEvidence {
		return nil, false, errEvidence
	}
	var f signedFile
	if err := strict(bytes.TrimSuffix(file, []byte("\n")), &f); err != nil {
		return nil, false, errEvidence
	}
	again, err := json.Marshal(f)
	if err != nil || !bytes.Equal(again, bytes.TrimSuffix(file, []byte("\n"))) {
		return nil, false, errEvidence
	}
	text := evidenceDomain + string(f.Review) + "\n"
	n, err := note.Open([]byte(text+"\n"+f.Signature), note.VerifierList(verifier))
	if err != nil || n.Text != text || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return nil, false, errEvidence
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || f.Signature != "— "+n.Sigs[0].Name+" "+base64.StdEncoding.EncodeToString(raw)+"\n" {
		return nil, false, errEvidence
	}
	d = &Document{}
	if err := strict(f.Review, d); err != nil {
		return nil, false, fmt.Errorf("reading the evidence (made by a newer program?): %w", gatehouse.ErrInvalid)
	}
	if same, err := d.text(); err != nil || same != text {
		return nil, false, errEvidence
	}
	if err := d.check(); err != nil {
		return nil, false, err
	}
	_, _, err = audit.ParseCheckpoint([]byte(d.Checkpoint), verifier)
	return d, err == nil, nil
}

// check holds what a signature does not: that the document is what it says.
func (d *Document) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("the evidence contradicts itself: %s: %w", fmt.Sprintf(format, args...), gatehouse.ErrInvalid)
	}
	if d.Version != 1 || d.Review == "" || d.Counts.Items != len(d.Items) {
		return wrong("its head")
	}
	var c Counts
	own := false
	for i, item := range d.Items {
		if item.Number != i+1 {
			return wrong("right %d", i+1)
		}
		c.Items++
		if item.Proposed {
			c.Proposed++
		}
		switch item.Decision {
		case Confirmed:
			c.Confirmed++
		case Removed:
			c.Removed++
		case Lapsed:
			c.Lapsed++
			if d.Closed.Before(d.Due) {
				return wrong("right %d lapsed before it was due", item.Number)
			}
		default:
			return wrong("right %d is undecided", item.Number)
		}
		switch {
		case item.By == "" || (item.Decision == Confirmed) != (item.Effect == ""):
			return wrong("right %d", item.Number)
		case item.Effect == LastOwner:
			c.Exceptions++
		case item.Effect == InConfiguration || item.Effect == Outside:
			c.OpenItems++
		}
		own = own || item.Own
		if item.Kind == Grant && item.By == item.Holder && !item.Own {
			return wrong("right %d was decided by its holder", item.Number)
		}
	}
	if c != d.Counts || own != d.Alone {
		return wrong("its counts")
	}
	return nil
}

// Evidence returns the signed evidence of a finished review.
func (r *Reviews) Evidence(ctx context.Context, id ID) ([]byte, error) {
	review, err := r.Review(ctx, id)
	if err != nil {
		return nil, err
	}
	if review.State != Finished {
		return nil, errNotFinished
	}
	evidence, err := r.config.Store.Evidence(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the evidence: %w", err)
	}
	return evidence, nil
}

// strict decodes one JSON value without unknown members.
func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more than one value")
	}
	return nil
}
