package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Origin is the name of a log, which is also the name of its key:
// "gatehouse/<environment>/<log>". Both parts must hold no space and no plus.
func Origin(env gatehouse.Environment, log string) string {
	return "gatehouse/" + string(env) + "/" + log
}

// signCheckpoint returns the signed note (C2SP tlog-checkpoint) that commits to
// the tree.
func signCheckpoint(signer note.Signer, size int64, root tlog.Hash) ([]byte, error) {
	text := signer.Name() + "\n" + strconv.FormatInt(size, 10) + "\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return signed, nil
}

var errCheckpoint = errors.New("not a checkpoint signed by the log's key")

// ParseCheckpoint verifies a signed checkpoint and returns what it commits to.
// It accepts one spelling only, so that no byte of a stored note can change
// unnoticed: one signature, in canonical base64.
func ParseCheckpoint(signed []byte, verifier note.Verifier) (size int64, root [32]byte, err error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return 0, root, errCheckpoint
	}
	signature, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return 0, root, errCheckpoint
	}
	canonical := n.Text + "\n— " + n.Sigs[0].Name + " " + base64.StdEncoding.EncodeToString(signature) + "\n"
	if !bytes.Equal([]byte(canonical), signed) {
		return 0, root, errCheckpoint
	}
	point, err := parsePoint(n.Text, verifier.Name())
	return point.Size, point.Root, err
}

// parsePoint reads the text of a checkpoint, of which it accepts one spelling.
func parsePoint(text, origin string) (p Point, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != origin || lines[3] != "" {
		return p, errCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return p, errCheckpoint
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(hash) != len(p.Root) {
		return p, errCheckpoint
	}
	return Point{size, tlog.Hash(hash)}, nil
}
