package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/export"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// childVariable holds what a process of TestKill is to do.
const childVariable = "GATEHOUSE_TEST_EXPORT"

type childRole struct{ DSN, File, URL string }

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child exports until it is killed.
func child(role string) error {
	var c childRole
	if err := json.Unmarshal([]byte(role), &c); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, c.DSN)
	if err != nil {
		return err
	}
	file, err := export.NewFile(export.FileConfig{Path: c.File})
	if err != nil {
		return err
	}
	egress, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{c.URL[len("http://"):]}, AllowLoopback: true, AllowPlainLoopback: true})
	if err != nil {
		return err
	}
	otlp, err := export.NewOTLP(export.OTLPConfig{URL: c.URL + "/v1/logs", Send: egress})
	if err != nil {
		return err
	}
	x, err := export.New(export.Config{
		Store: db.Export(), Targets: []export.Target{{Name: "file", Sink: file}, {Name: "otel", Sink: otlp}},
		Logs: func(context.Context) ([]export.Log, error) {
			return []export.Log{{Origin: origin, Store: db.Audit().Exported()}}, nil
		},
		Record: func(context.Context, audit.Entry) (string, error) { return "", gatehouse.ErrUnavailable },
		// A lease that a killed process leaves is over at once.
		Every: time.Millisecond, Timeout: time.Millisecond * 50, Spare: 2 * time.Millisecond, Backoff: time.Millisecond, Batch: 16,
	})
	if err != nil {
		return err
	}
	return x.Run(ctx)
}

// Whenever a process is killed: no cursor is ahead of what its sink has, and in the end
// the sink has everything.
func TestKill(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		const size, kills = 1500, 25
		r := newRig(t, dsn)
		r.calls(size)
		g := &gatherer{t: t}
		plain := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
		l := listenPlain(t)
		go func() { _ = plain.Serve(l) }()
		t.Cleanup(func() { _ = plain.Close() })
		role := childRole{DSN: dsn, File: filepath.Join(t.TempDir(), "log.jsonl"), URL: "http://" + l.Addr().String()}
		text, err := json.Marshal(role)
		if err != nil {
			t.Fatal(err)
		}
		start := func() (kill func()) {
			cmd := exec.Command(os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), childVariable+"="+string(text))
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
		fileHas := func() (n int64) {
			content, err := os.ReadFile(role.File)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			// What stands behind the last whole line does not count.
			for _, l := range lines(t, content[:bytes.LastIndexByte(content, '\n')+1]) {
				n = max(n, l.Index+1)
			}
			return n
		}
		for range kills {
			// Either sink's next step, or some time within one.
			file, otel := r.cursor("file"), r.cursor("otel")
			kill := start()
			until(t, "a step", func() bool {
				return r.cursor("file") > file || r.cursor("otel") > otel || r.cursor("file") == size && r.cursor("otel") == size
			})
			spin := time.NewTimer(time.Duration(rand.IntN(3000)) * time.Microsecond)
			<-spin.C
			kill()
			if at, has := r.cursor("file"), fileHas(); at > has {
				t.Fatalf("the file's cursor is at %d, and it has %d", at, has)
			}
			has := int64(0)
			for _, index := range g.indexes() {
				has = max(has, index+1)
			}
			if at := r.cursor("otel"); at > has {
				t.Fatalf("the receiver's cursor is at %d, and it has %d", at, has)
			}
		}
		kill := start()
		r.reached("file", size)
		r.reached("otel", size)
		kill()
		complete(t, indexes(lines(t, readFile(t, role.File))), size)
		complete(t, g.indexes(), size)
	})
}
