package api_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/mod/sumdb/note"
)

// The log is read over HTTP by a witness and proves every entry; who is not named as a
// reader learns nothing of it.
func TestLogIsServed(t *testing.T) {
	w := newWorld(t)
	w.refuses(404, "log/path", w.request("GET", "/gatehouse/v1/log/tile/entries/000.p/200", ""))
	if err := w.Log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context, path string) ([]byte, error) {
		reply, err := http.DefaultClient.Do(w.request("GET", "/gatehouse/v1/log/"+path, "").WithContext(ctx))
		if err != nil {
			return nil, err
		}
		defer func() { _ = reply.Body.Close() }()
		if reply.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s: %w", path, reply.Status, gatehouse.ErrNotFound)
		}
		want := "application/octet-stream"
		if path == "checkpoint" {
			want = "text/plain; charset=utf-8"
		}
		if got := reply.Header.Get("Content-Type"); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
		return io.ReadAll(reply.Body)
	}
	view, err := audit.Newest(t.Context(), get, publicKey(t, w.SignerKey))
	if err != nil || view.Size == 0 {
		t.Fatalf("the newest checkpoint: %v", err)
	}
	for n := range view.Size {
		if _, _, err := view.Entry(t.Context(), n); err != nil {
			t.Errorf("entry %d of %d: %v", n, view.Size, err)
		}
	}
	for _, path := range []string{"tile/0/000", "tile/0/0", "tile/9/000", "tile/entries/x000", "tile/0/001.p/3"} {
		w.refuses(404, "log/path", w.request("GET", "/gatehouse/v1/log/"+path, ""))
	}
	w.refuses(400, "api/unknown-parameter", w.request("GET", "/gatehouse/v1/log/checkpoint?size=3", ""))
	w.refuses(404, "api/unknown-path", w.request("GET", "/gatehouse/v1/log/other", ""))

	w.key = w.serviceKey("analytics")
	for _, path := range []string{"checkpoint", "tile/0/000", "tile/nonsense"} {
		w.refuses(403, "log/reader", w.request("GET", "/gatehouse/v1/log/"+path, ""))
	}
}

// publicKey returns the verifier that belongs to a log's signing key.
func publicKey(t *testing.T, private string) note.Verifier {
	t.Helper()
	parts := strings.SplitN(private, "+", 5) // PRIVATE, KEY, name, hash, key
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil {
		t.Fatal(err)
	}
	public, err := note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
