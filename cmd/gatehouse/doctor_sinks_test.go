package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/export"
)

// A sink that gets nothing, and an archive that cannot be written, are found; one that
// gets its entries, and one that can, are not.
func TestDoctorLooksAtSinksAndArchives(t *testing.T) {
	p := assembled(t, sealingConfig)
	if text, err := checkExports(t.Context(), p); err != nil || text != "no sink is configured" {
		t.Errorf("without a sink: %q, %v", text, err)
	}
	if text, err := checkArchives(p); err != nil || !strings.Contains(text, "no archive is made") {
		t.Errorf("without an archive: %q, %v", text, err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	cfg, _, err := config.Parse(p.cfg.Path(), []byte(sealingConfig+"audit:\n  export:\n    - {name: file, kind: jsonl, path: "+path+"}\n  archive: "+t.TempDir()+"\n"), resolver())
	if err != nil {
		t.Fatal(err)
	}
	p.cfg = cfg
	if text, err := checkArchives(p); err != nil || !strings.Contains(text, "can be written") {
		t.Errorf("an archive: %q, %v", text, err)
	}
	if err := os.Remove(cfg.Audit.Archive.Path()); err != nil {
		t.Fatal(err)
	}
	if text, err := checkArchives(p); err == nil {
		t.Errorf("an archive that is gone: %q", text)
	}

	x, err := newExporter(p, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.log.Record(t.Context(), audit.Entry{Action: "run.start", Verdict: "done"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	eventually(t, "the sink has everything", func() bool {
		text, err := checkExports(t.Context(), p)
		return err == nil && text == "1 sinks, none more than 0 entries behind"
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// Nobody serves it any more, and it gets behind.
	if _, err := p.log.Record(t.Context(), audit.Entry{Action: "run.stop", Verdict: "done"}); err != nil {
		t.Fatal(err)
	}
	logs, err := logsOf(t.Context(), p.db, p.signer.Name(), "")
	if err != nil {
		t.Fatal(err)
	}
	reports, err := export.Status(t.Context(), p.db.Export(), []string{"file"}, logs, time.Now())
	if err != nil || len(reports) != 1 || reports[0].State != export.StateUnserved {
		t.Fatalf("%+v, %v", reports, err)
	}
	if text, err := checkExports(t.Context(), p); err == nil || !strings.Contains(err.Error(), "file is unserved, 1 entries behind") {
		t.Errorf("a sink that nobody serves: %q, %v", text, err)
	}
}
