package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
)

// unpack unpacks a tar that is compressed with gzip, as any tool would.
func unpack(t *testing.T, file, dir string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(zipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A log outlives its retention: an operator archives a period, prunes, proves what is
// gone with the archive, and everything that is left verifies.
func TestLogOutlivesRetention(t *testing.T) {
	verify := verifierProgram(t)
	h := newHouseWith(t, "\nevents:", "\naudit: {retention: 1ms, archive: old}\nevents:")
	file := func(name string) string { return filepath.Join(h.dir, name) }
	pub := file(logKeyFile)
	h.refused("audit.archive: ", "audit", "prune")
	if err := os.Mkdir(file("old"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := assemble(t.Context(), h.load(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	id := p.log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
	for range audit.Segment {
		p.log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("before"), []byte(h.must("audit", "show", "--checkpoint")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("audit", "prove", id, "--out", file("proof"))

	// For an auditor.
	h.must("audit", "archive", "--from", "2020-01-01", "--out", file("all.tar.gz"))
	h.refused("is there already", "audit", "archive", "--out", file("all.tar.gz"))
	h.refused("no entries of this time", "audit", "archive", "--to", "2020-01-01", "--out", file("none.tar.gz"))
	for want, args := range map[string][]string{
		"which file to write":   {"archive"},
		"write a day as":        {"archive", "--from", "yesterday", "--out", file("x")},
		"is not before --to":    {"archive", "--from", "2026-01-02", "--to", "2026-01-02", "--out", file("x")},
		"which public key":      {"archive", "verify", file("all.tar.gz")},
		"nothing of an archive": {"prove", id, "--archive", file("all.tar.gz"), "--reveal", "connection"},
	} {
		if _, errOut, code := h.gatehouse(append([]string{"audit"}, args...)...); code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("audit %v: %d %s, want wrong use and %q", args, code, errOut, want)
		}
	}
	var report archiveReport
	if err := json.Unmarshal([]byte(h.must("audit", "archive", "verify", file("all.tar.gz"), "--key", pub, "--json")), &report); err != nil || report.First != 0 || report.Last <= audit.Segment {
		t.Errorf("the archive of all: %+v, %v", report, err)
	}
	if out := h.must("audit", "show", "-n", "1", "--action", "log.archive", "--json"); !strings.Contains(out, report.SHA256) {
		t.Errorf("the log does not name the archive: %s", out)
	}

	// The operator's own.
	if out := h.must("audit", "prune", "--dry-run"); !strings.Contains(out, "Entries 0 to 65535") || !strings.Contains(out, "would be pruned") {
		t.Errorf("what would be pruned: %s", out)
	}
	h.must("audit", "prove", id, "--out", file("again"))
	var done []audit.PrunedSegment
	if err := json.Unmarshal([]byte(h.must("audit", "prune", "--json")), &done); err != nil || len(done) != 1 {
		t.Fatalf("pruned %+v, %v", done, err)
	}
	archive := filepath.Join(file("old"), done[0].Archive)
	if out := h.must("audit", "prune"); !strings.Contains(out, "No segment") {
		t.Errorf("pruned twice: %s", out)
	}
	if out := h.must("audit", "verify"); !strings.Contains(out, "Entries 0 to 65535 were pruned") {
		t.Errorf("verify said %s", out)
	}
	h.must("audit", "verify", "--checkpoint", file("before"))
	if err := os.WriteFile(file("after"), []byte(h.must("audit", "show", "--checkpoint")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("audit", "consistency", file("before"), file("after"))
	h.refused("no such tile", "audit", "consistency", "1000", file("before"))
	h.must("audit", "consistency", "1000", file("before"), "--archive", archive)
	h.must("audit", "check-proof", file("proof"), "--key", pub)
	h.refused("in the archive "+done[0].Archive, "audit", "prove", id)
	h.refused("in the archive "+done[0].Archive, "audit", "show", "--id", id)
	h.must("audit", "export", "--tiles", file("tiles"))
	h.refused("there is no entry zzzzzzzzzzzzzzzzzzzzzzzzzz:", "audit", "prove", strings.Repeat("z", 26))
	h.must("audit", "prove", id, "--archive", archive, "--out", file("later"))
	h.must("audit", "check-proof", file("later"), "--key", pub)
	h.refused("has no entry", "audit", "prove", strings.Repeat("z", 26), "--archive", archive)
	h.must("audit", "archive", "verify", archive, "--key", pub)

	// The independent verifier reads both archives with what any tool unpacks.
	for n, archive := range []string{archive, file("all.tar.gz")} {
		dir := file([]string{"first", "second"}[n])
		unpack(t, archive, dir)
		if out, err := verify("-key", pub, "-archive", dir); err != nil || !strings.Contains(out, "ok: ") {
			t.Errorf("the independent verifier: %v %s", err, out)
		}
		changed, err := os.ReadFile(filepath.Join(dir, "tile/entries/007"))
		if err != nil {
			t.Fatal(err)
		}
		changed[100] ^= 1
		if err := os.WriteFile(filepath.Join(dir, "tile/entries/007"), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := verify("-key", pub, "-archive", dir); err == nil {
			t.Errorf("the independent verifier takes a changed archive: %s", out)
		}
	}
}

// A node's log and the one from before it had a name are pruned by the node, into one
// directory, and what is gone of either is proved from its archive.
func TestNodesLogsOutliveRetention(t *testing.T) {
	h := newHouseWith(t, "\nevents:", "\nnode: blue\naudit: {retention: 1ms, archive: old}\nevents:")
	file := func(name string) string { return filepath.Join(h.dir, name) }
	if err := os.Mkdir(file("old"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := assemble(t.Context(), h.load(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	fill := func(log *audit.Log, entries int) (id string) {
		for range entries {
			id = log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return id
	}
	ids := map[string]string{"log-blue.pub": fill(p.log, 300)}
	within, err := p.db.AuditLog(1).Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("within"), within.Note, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(p.log, audit.Segment)
	if err := p.withFirst(t.Context(), func(l nodeLog) error {
		ids["log.pub"] = fill(l.log, 300)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sizeOfFirst := func() int64 {
		head, err := p.db.Audit().Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return head.Size
	}
	before := sizeOfFirst()
	if err := p.pruneOthersNow(t.Context(), time.Now()); err != nil || sizeOfFirst() != before {
		t.Errorf("nothing is due of log 0, and it went from %d entries to %d, %v", before, sizeOfFirst(), err)
	}
	if err := p.withFirst(t.Context(), func(l nodeLog) error {
		fill(l.log, audit.Segment)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.pruneOthersNow(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	// By the configuration of a node without a name, the other is named.
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	plain := &house{t: t, dir: h.dir, config: file("plain.yaml"), box: h.box, stderr: &lockedBuffer{}}
	if err := os.WriteFile(plain.config, bytes.Replace(text, []byte("\nnode: blue\n"), []byte("\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	plain.refused("no log of this node", "audit", "prune", "--node", "green")
	plain.must("audit", "archive", "--node", "blue", "--out", file("all.tar.gz"))
	plain.must("audit", "archive", "verify", file("all.tar.gz"), "--key", file("log-blue.pub"))
	plain.refused("manifest", "audit", "archive", "verify", file("all.tar.gz"), "--key", file("log.pub"))
	var done []audit.PrunedSegment
	if err := json.Unmarshal([]byte(plain.must("audit", "prune", "--node", "blue", "--dry-run", "--json")), &done); err != nil || len(done) != 1 {
		t.Fatalf("due are %+v, %v", done, err)
	}
	// The node is gone, which after a week without a word the others see.
	if p, err = assemble(t.Context(), plain.load(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	inForce := p.inForce.Load()
	behind := *inForce.cfg
	behind.Audit.Export = []config.Sink{{Name: "siem"}} // which has got nothing yet
	for _, c := range []struct {
		after, begins int64
		cfg           *config.Config
	}{{167, 0, inForce.cfg}, {169, 0, &behind}, {169, audit.Segment, inForce.cfg}, {169, audit.Segment, inForce.cfg}} {
		p.inForce.Store(&rules{c.cfg, inForce.policy})
		if err := p.pruneOthersNow(t.Context(), time.Now().Add(time.Duration(c.after)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if begins, err := audit.Begin(t.Context(), p.db.AuditLog(1)); err != nil || begins != c.begins {
			t.Errorf("%d hours after the node's last word its log begins at %d, %v; want %d", c.after, begins, err, c.begins)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if out := h.must("audit", "prune"); !strings.Contains(out, "No segment") {
		t.Errorf("its own log once more: %s", out)
	}
	archives, err := filepath.Glob(file("old/*.tar.gz"))
	if err != nil || len(archives) != 2 {
		t.Fatalf("the archives: %v, %v", archives, err)
	}
	if out := h.must("audit", "verify"); strings.Count(out, "Entries 0 to 65535 were pruned") != 2 {
		t.Errorf("verify said %s", out)
	}
	for key, id := range ids {
		_, errOut, _ := h.gatehouse("audit", "prove", id)
		var archive string
		for _, a := range archives {
			if strings.Contains(errOut, filepath.Base(a)) {
				if _, _, code := h.gatehouse("audit", "archive", "verify", a, "--key", file(key)); code == 0 {
					archive = a
				}
			}
		}
		if archive == "" {
			t.Fatalf("where the entry of %s is: %s", key, errOut)
		}
		h.must("audit", "prove", id, "--archive", archive, "--out", file("proof-"+key))
		h.must("audit", "check-proof", file("proof-"+key), "--key", file(key))
		if key == "log-blue.pub" {
			h.refused("is needed to compare it", "audit", "verify", "--checkpoint", file("within"))
			h.must("audit", "verify", "--checkpoint", file("within"), "--archive", archive)
		}
	}
}
