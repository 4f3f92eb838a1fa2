package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Proof shows to somebody who has nothing but the log's public key that an entry
// stands in the log, and what some of its personal fields say. As a file it is a C2SP
// tlog-proof, whose extra data is Extra in JSON.
type Proof struct {
	Index  int64
	Hashes tlog.RecordProof
	// Checkpoint is the signed note, with the signatures of witnesses if there are any.
	Checkpoint []byte
	Extra      Extra
}

// Extra is what a Proof holds beside what is usual.
type Extra struct {
	// Entry are the leaf's bytes, which are text.
	Entry string `json:"entry"`
	// Opened are the personal fields that whoever made the proof chose to open.
	Opened map[string]Opened `json:"opened,omitempty"`
}

// maxProof bounds a proof's file: an entry of the greatest length with all fields
// opened, and a checkpoint with many signatures.
const maxProof = 1 << 20

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Prove returns the proof of an entry in a log as of a checkpoint.
func (v *View) Prove(ctx context.Context, index int64) (*Proof, error) {
	leaf, hashes, err := v.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	return &Proof{Index: index, Hashes: hashes, Checkpoint: v.Note, Extra: Extra{Entry: string(leaf)}}, nil
}

// Marshal returns the proof's file.
func (p *Proof) Marshal() ([]byte, error) {
	var extra bytes.Buffer
	e := json.NewEncoder(&extra)
	e.SetEscapeHTML(false)
	if err := e.Encode(p.Extra); err != nil {
		return nil, fmt.Errorf("encoding a proof: %w", err)
	}
	b := []byte(proofHeader + "extra ")
	b = base64.StdEncoding.AppendEncode(b, bytes.TrimSuffix(extra.Bytes(), []byte("\n")))
	b = strconv.AppendInt(append(b, "\nindex "...), p.Index, 10)
	b = append(b, '\n')
	for _, h := range p.Hashes {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), p.Checkpoint...), nil
}

var errProof = fmt.Errorf("this is no proof of an entry in the form of C2SP tlog-proof: %w", gatehouse.ErrInvalid)

// ParseProof reads a proof's file. Nothing in it is checked yet.
func ParseProof(data []byte) (*Proof, error) {
	rest, ok := strings.CutPrefix(string(data), proofHeader)
	if !ok || len(data) > maxProof {
		return nil, errProof
	}
	head, checkpoint, ok := strings.Cut(rest, "\n\n")
	if !ok {
		return nil, errProof
	}
	p := &Proof{Checkpoint: []byte(checkpoint)}
	lines := strings.Split(head, "\n")
	extra, ok := strings.CutPrefix(lines[0], "extra ")
	if !ok || len(lines) < 2 {
		return nil, errProof
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(extra)
	if err != nil {
		return nil, errProof
	}
	d := json.NewDecoder(bytes.NewReader(decoded))
	d.DisallowUnknownFields()
	if err := d.Decode(&p.Extra); err != nil || d.More() {
		return nil, errProof
	}
	index, ok := strings.CutPrefix(lines[1], "index ")
	p.Index, err = strconv.ParseInt(index, 10, 64)
	if !ok || err != nil || p.Index < 0 || strconv.FormatInt(p.Index, 10) != index || len(lines) > 2+64 {
		return nil, errProof
	}
	for _, line := range lines[2:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return nil, errProof
		}
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	return p, nil
}

// Checked is what a proof shows.
type Checked struct {
	Leaf Leaf
	Seq  int64
	Point
	// Opened are the values of the opened fields, each of which the leaf commits to.
	Opened map[string]string
	// Witnesses are the names of those of the given witnesses who co-signed.
	Witnesses []string
}

// CheckProof checks a proof's file with nothing but the log's public key, and with
// those of witnesses for what they co-signed. The error is ErrTampered if something
// does not fit, and ErrInvalid if it is no proof.
func CheckProof(data []byte, verifier note.Verifier, witnesses ...note.Verifier) (*Checked, error) {
	p, err := ParseProof(data)
	if err != nil {
		return nil, err
	}
	point, err := OpenCheckpoint(p.Checkpoint, verifier)
	if err != nil {
		return nil, err
	}
	leaf := []byte(p.Extra.Entry)
	if p.Index >= point.Size {
		return nil, fmt.Errorf("entry %d is not covered by the proof's checkpoint: %w", p.Index, ErrTampered)
	}
	if err := tlog.CheckRecord(p.Hashes, point.Size, point.Root, p.Index, LeafHash(leaf)); err != nil {
		return nil, fmt.Errorf("the entry is not the one that stands in the log at %d: %w", p.Index, ErrTampered)
	}
	l, err := DecodeLeaf(leaf)
	if err != nil {
		return nil, err
	}
	c := &Checked{Leaf: *l, Seq: p.Index, Point: point}
	for name, o := range p.Extra.Opened {
		if !o.Opens(l, name) {
			return nil, fmt.Errorf("the opened field %s is not the one that the entry commits to: %w", name, ErrTampered)
		}
		if c.Opened == nil {
			c.Opened = map[string]string{}
		}
		c.Opened[name] = o.Value
	}
	c.Witnesses = cosigners(p.Checkpoint, witnesses)
	return c, nil
}

// cosigners returns the names of the witnesses whose signatures on the note are right.
func cosigners(signed []byte, witnesses []note.Verifier) (names []string) {
	for _, w := range witnesses {
		if n, err := note.Open(signed, note.VerifierList(w)); err == nil && len(n.Sigs) == 1 {
			names = append(names, w.Name())
		}
	}
	return names
}
