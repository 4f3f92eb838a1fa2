package api_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/api"
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
	w.refuses(404, "log/node", w.request("GET", "/gatehouse/v1/log/other/checkpoint", ""))
	w.refuses(404, "api/unknown-path", w.request("GET", "/gatehouse/v1/logs/other", ""))

	w.key = w.serviceKey("analytics")
	for _, path := range []string{"checkpoint", "tile/0/000", "tile/nonsense", "blue/checkpoint", "blue/tile/0/000"} {
		w.refuses(403, "log/reader", w.request("GET", "/gatehouse/v1/log/"+path, ""))
	}
}

// The log of a node is served below its name, beside the one of nodes without a name.
func TestLogsOfNodesAreServed(t *testing.T) {
	w := newWorld(t)
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/production/test/blue")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), audit.Config{Store: w.DB.AuditLog(1), Signer: signer, Environment: "production"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	id := log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ask := func(path string) []byte {
		t.Helper()
		reply, err := http.DefaultClient.Do(w.request("GET", "/gatehouse/v1/"+path, ""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reply.Body.Close() }()
		b, err := io.ReadAll(reply.Body)
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s %v", path, reply.Status, b, err)
		}
		return b
	}
	if got := string(ask("logs")); strings.TrimSpace(got) != `{"logs":[]}` {
		t.Errorf("without nodes: %s", got)
	}
	w.nodes = []api.NodeLog{{Node: "blue", Origin: "gatehouse/production/test/blue", Key: public, Source: audit.NewSource(w.DB.AuditLog(1))}}
	if got := string(ask("logs")); !strings.Contains(got, `"node":"blue"`) || !strings.Contains(got, `"path":"/gatehouse/v1/log/blue"`) {
		t.Errorf("the list is %s", got)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	view, err := audit.Newest(t.Context(), func(_ context.Context, path string) ([]byte, error) { return ask("log/blue/" + path), nil }, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, _, err := view.Entry(t.Context(), 0); err != nil || !bytes.Contains(leaf, []byte(id)) {
		t.Errorf("the node's first entry is %+v, %v", leaf, err)
	}
	w.refuses(404, "log/path", w.request("GET", "/gatehouse/v1/log/blue/tile/0/000", ""))
	w.refuses(404, "log/path", w.request("GET", "/gatehouse/v1/log/blue/other", ""))
	w.refuses(404, "log/node", w.request("GET", "/gatehouse/v1/log/green/checkpoint", ""))
	w.refuses(400, "api/unknown-parameter", w.request("GET", "/gatehouse/v1/log/blue/checkpoint?a=b", ""))
	w.refuses(400, "api/unknown-parameter", w.request("GET", "/gatehouse/v1/logs?a=b", ""))
	w.key = w.serviceKey("analytics")
	w.refuses(403, "log/reader", w.request("GET", "/gatehouse/v1/logs", ""))
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
