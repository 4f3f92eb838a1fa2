package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
)

// A Manifest says what a backup holds. It is signed with the log's key and
// stands in clear at the end of the file.
type Manifest struct {
	ID          string                `json:"id"`
	Environment gatehouse.Environment `json:"environment"`
	// Created is the moment at which the backup was begun; what it holds is of this
	// moment or a little later.
	Created time.Time `json:"created"`
	Program string    `json:"program"`
	Schema  int64     `json:"schema"`
	// Epoch names the key that wraps Key, and Root the root key that wraps that.
	Epoch string `json:"epoch"`
	Root  string `json:"root_key"`
	// Key is the backup's own key, wrapped.
	Key []byte `json:"key"`
	// Checkpoint is the log's newest signed checkpoint in the backup.
	Checkpoint string `json:"checkpoint"`
	// Ledger is the newest erasure that was done to what the backup holds.
	Ledger      Head   `json:"ledger"`
	Connections int64  `json:"connections"`
	Parts       []Part `json:"parts"`
}

// A Part is one table, sealed. Parts follow one another in the file, in order.
type Part struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of the sealed bytes, in hexadecimal
}

// A Head is the newest line of a ledger: its number (0 for none) and the SHA-256
// of the line in hexadecimal, which stands for all lines before it too.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

const (
	manifestHeader = "gatehouse-backup-1"
	maxManifest    = 1 << 20
)

var (
	errManifest = errors.New("its manifest is not one that the log's key signed")
	idForm      = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[a-z0-9]{8}$`)
	partForm    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// sign returns the manifest as a signed note.
func (m Manifest) sign(signer note.Signer) ([]byte, error) {
	text, err := m.text()
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the manifest: %w", err)
	}
	if len(signed) > maxManifest {
		return nil, errors.New("the manifest is too long")
	}
	return signed, nil
}

func (m Manifest) text() (string, error) {
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return "", fmt.Errorf("writing the manifest: %w", err)
	}
	return manifestHeader + "\n" + string(body) + "\n", nil
}

// ParseManifest verifies a signed manifest. It accepts one spelling only, so that
// no byte of it can change unnoticed.
func ParseManifest(signed []byte, verifier note.Verifier) (Manifest, error) {
	if len(signed) > maxManifest {
		return Manifest{}, errManifest
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return Manifest{}, errManifest
	}
	signature, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return Manifest{}, errManifest
	}
	canonical := n.Text + "\n— " + n.Sigs[0].Name + " " + base64.StdEncoding.EncodeToString(signature) + "\n"
	if !bytes.Equal([]byte(canonical), signed) {
		return Manifest{}, errManifest
	}
	body, ok := strings.CutPrefix(n.Text, manifestHeader+"\n")
	if !ok {
		return Manifest{}, errManifest // signed, but something else, such as a checkpoint
	}
	var m Manifest
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("reading the manifest (made by a newer program?): %w", gatehouse.ErrInvalid)
	}
	if text, err := m.text(); err != nil || text != n.Text {
		return Manifest{}, errManifest
	}
	return m, m.check()
}

// check holds what a signature does not: that the values can be acted on.
func (m Manifest) check() error {
	wrong := func(what string) error {
		return fmt.Errorf("the manifest's %s is wrong: %w", what, gatehouse.ErrInvalid)
	}
	switch {
	case !idForm.MatchString(m.ID):
		return wrong("id")
	case m.Environment == "" || m.Created.IsZero() || m.Schema < 1 || m.Connections < 0:
		return wrong("head")
	case !epochForm.MatchString(m.Epoch):
		return wrong("epoch")
	case m.Ledger.Seq < 0 || !hexDigest(m.Ledger.Hash):
		return wrong("ledger")
	}
	seen := map[string]bool{}
	for _, p := range m.Parts {
		if !partForm.MatchString(p.Name) || seen[p.Name] || p.Size < 1 || p.Size > 1<<50 || p.Rows < 0 || !hexDigest(p.SHA256) {
			return wrong("list of parts")
		}
		seen[p.Name] = true
	}
	return nil
}

func hexDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == hex.EncodeToString(b)
}
