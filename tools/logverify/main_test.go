package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/log"
	cosignature "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
)

const vectors = "../../internal/audit/testdata/vectors"

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestProofVectors(t *testing.T) {
	v, err := newVerifier(vectors+"/log.pub", "")
	if err != nil {
		t.Fatal(err)
	}
	witnessed, err := newVerifier(vectors+"/log.pub", vectors+"/witness.pub")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		File, Expect string
		Witness      bool
	}
	if err := json.Unmarshal([]byte(text(t, "proofs.json")), &cases); err != nil || len(cases) < 10 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		if err := v.proof(vectors + "/" + c.File); (err == nil) != (c.Expect == "ok") {
			t.Errorf("%s: %v, want %s", c.File, err, c.Expect)
		}
		if err := witnessed.proof(vectors + "/" + c.File); (err == nil) != c.Witness {
			t.Errorf("%s, with a witness: %v, want %v", c.File, err, c.Witness)
		}
	}
}

// copied returns a copy of the vectors' log.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(vectors+"/log")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLogVectors(t *testing.T) {
	v, err := newVerifier(vectors+"/log.pub", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.log(vectors+"/log", ""); err != nil {
		t.Errorf("a directory: %v", err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(vectors + "/log")))
	defer server.Close()
	if err := v.log(server.URL, ""); err != nil {
		t.Errorf("an address: %v", err)
	}
	for _, name := range []string{"checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"} {
		dir := copied(t)
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, evil := range map[string][]byte{
			"a byte changed": append(append(bytes.Clone(good[:20]), good[20]^1), good[21:]...),
			"cut off":        good[:len(good)-1],
			"longer":         append(bytes.Clone(good), 0),
		} {
			if err := os.WriteFile(path, evil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := v.log(dir, ""); err == nil {
				t.Errorf("%s %s, and the log verifies", name, what)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := v.log(dir, ""); err == nil {
			t.Errorf("%s is gone, and the log verifies", name)
		}
	}
}

// TestLibrariesOfTheField reads the same files with the libraries of transparency-dev.
func TestLibrariesOfTheField(t *testing.T) {
	key, err := note.NewVerifier(text(t, "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, _, _, err := log.ParseCheckpoint([]byte(text(t, "log/checkpoint")+"\n"), "gatehouse/production/vectors", key)
	if err != nil || checkpoint.Size != 300 {
		t.Errorf("the checkpoint: %+v, %v", checkpoint, err)
	}
	data, err := os.ReadFile(vectors + "/cosigned.tlog-proof")
	if err != nil {
		t.Fatal(err)
	}
	var p proof.TLogProof
	if err := p.Unmarshal(data); err != nil || p.Index != 1 || len(p.Hashes) != 9 {
		t.Fatalf("the proof: %+v, %v", p, err)
	}
	if !bytes.Equal(p.Marshal(), data) {
		t.Error("the proof is written in another form")
	}
	extra := p.ExtraData
	if decoded, err := base64.StdEncoding.DecodeString(string(extra)); err == nil {
		extra = decoded
	}
	if !json.Valid(extra) {
		t.Errorf("the extra data is no JSON: %q", extra)
	}
	witness, err := cosignature.NewVerifierForCosignatureV1(text(t, "witness.pub"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(p.Checkpoint, note.VerifierList(key, witness))
	if err != nil || len(n.Sigs) != 2 {
		t.Fatalf("the co-signed checkpoint: %v", err)
	}
	if at, err := cosignature.CoSigV1Timestamp(n.Sigs[1]); err != nil || at.Unix() < 1700000000 {
		t.Errorf("the time of the co-signature: %v, %v", at, err)
	}
}
