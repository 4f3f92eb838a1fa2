package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// Some tests need a process that can be killed. This test binary then starts
// itself again with a description of the world in this variable.
const processVariable = "GATEHOUSE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(processVariable); text != "" {
		if err := deliverUntilTold(text); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// place is what a process needs to work beside others on one database.
type place struct {
	DSN, RootKey, SignerKey, URL string
	Kill                         string // the step at which to die
}

// deliverUntilTold is the other process: it delivers until its standard input
// ends.
func deliverUntilTold(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db, err := store.Open(ctx, p.DSN)
	if err != nil {
		return err
	}
	root, err := vault.NewFileRootKey(p.RootKey)
	if err != nil {
		return err
	}
	v, err := vault.Open(ctx, vault.Config{Root: root, Store: db.Vault(), Environment: "development"})
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(p.SignerKey)
	if err != nil {
		return err
	}
	log, err := audit.Open(ctx, audit.Config{Store: db.Audit(), Signer: signer, Environment: "development", Seal: v.SealPersonal, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	go func() { _ = log.Run(ctx) }()
	host, _, _ := strings.Cut(strings.TrimPrefix(p.URL, "http://"), "/")
	egress, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{host}, AllowLoopback: true, AllowPlainLoopback: true})
	if err != nil {
		return err
	}
	o, err := outbox.New(outbox.Config{Store: db.Outbox(), Log: log, Vault: v, URL: p.URL, Egress: egress})
	if err != nil {
		return err
	}
	o.OnStep(func(step string) {
		if step == p.Kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	running, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("ready")
	return o.Run(running)
}

// start starts a process that delivers the world's events; the returned channel
// is closed when it has ended.
func (w *world) start(url, kill string) (died <-chan struct{}, end func()) {
	w.t.Helper()
	text := must(json.Marshal(place{DSN: w.dsn, RootKey: w.rootKey, SignerKey: w.signerKey, URL: url, Kill: kill}))(w.t)
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), processVariable+"="+string(text))
	c.Stderr = os.Stderr
	in, out := must(c.StdinPipe())(w.t), must(c.StdoutPipe())(w.t)
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		w.t.Fatalf("the process ended at once: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Wait()
	}()
	end = func() {
		_ = in.Close()
		<-done
	}
	w.t.Cleanup(end)
	return done, end
}

// A process is killed at each step of a delivery. The next one delivers what the
// app has not got, and what it got and we do not know of a second time, with the
// same id; what stands behind it comes after it.
func TestKilledAtEveryStep(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		a := newApp(t, nil)
		w := newWorld(t, dsn, a.URL+"/events")
		raw := storetest.OpenRaw(t, dsn)
		for _, point := range []struct {
			step string
			sent int // how often the app gets the first event in the end
		}{{"taken", 1}, {"opened", 1}, {"sending", 1}, {"answered", 2}, {"saved", 1}} {
			first, second := point.step+"-1", point.step+"-2"
			w.put(first, "s")
			w.put(second, "s")
			died, _ := w.start(a.URL+"/events", point.step)
			<-died
			if d := w.state(first); point.step != "saved" && (d.State != outbox.Waiting || d.Class != outbox.ClassInterrupted || !d.HasContent) {
				t.Errorf("killed at %s: %+v", point.step, d)
			}
			// Its lease ends.
			raw.ExecUncounted("UPDATE outbox_events SET due = 1 WHERE due > 0")
			_, end := w.start(a.URL+"/events", "")
			eventually(t, a, "both are delivered after "+point.step, func() bool {
				return w.state(first).State == outbox.Delivered && w.state(second).State == outbox.Delivered
			})
			end()
			var got []string
			for _, d := range a.deliveries() {
				if d.ID != d.header.Get("webhook-id") {
					t.Errorf("%s has the header %s", d.ID, d.header.Get("webhook-id"))
				}
				if strings.HasPrefix(d.ID, point.step) {
					got = append(got, d.ID)
				}
			}
			if want := append(slices.Repeat([]string{first}, point.sent), second); !slices.Equal(got, want) {
				t.Errorf("killed at %s, the app got %v, want %v", point.step, got, want)
			}
		}
	})
}

// Two processes on one PostgreSQL: each event once, and streams in their order.
func TestTwoProcesses(t *testing.T) {
	a := newApp(t, nil)
	w := newWorld(t, storetest.Postgres(t), a.URL+"/events")
	for i := range 20 {
		for s := range 4 {
			w.put(fmt.Sprintf("s%d-%02d", s, i), fmt.Sprint("s", s))
		}
	}
	w.start(a.URL+"/events", "")
	w.start(a.URL+"/events", "")
	for i := range 10 { // and what is put while they run
		w.put(fmt.Sprintf("late-%02d", i), "late")
	}
	eventually(t, a, "all are delivered", func() bool {
		return len(must(w.List(t.Context(), outbox.Selection{State: outbox.Delivered, Limit: 1000}))(t)) == 90
	})
	inOrder(t, a, 90)
}
