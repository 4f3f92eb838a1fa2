package export_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// rsyslog is a receiver that we did not write, as distributions ship it. It listens
// with TLS, asks for our certificate, and writes what it reads to a file.
type rsyslog struct {
	t    testing.TB
	dir  string
	conf string
	cmd  *exec.Cmd
}

func newRsyslog(t testing.TB, a *authority) *rsyslog {
	t.Helper()
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		if program = "/usr/sbin/rsyslogd"; !exists(program) {
			t.Fatal("rsyslogd is not installed, which this test speaks to: run scripts/setup")
		}
	}
	_, certFile, keyFile := a.issue("siem.example.com", time.Now().Add(time.Hour))
	r := &rsyslog{t: t, dir: t.TempDir()}
	r.conf = filepath.Join(r.dir, "rsyslog.conf")
	conf := fmt.Sprintf(`global(workDirectory=%q maxMessageSize="128k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name" permittedPeer=["gatehouse.example.com"])
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName=%q)
template(name="lines" type="string" string="%%pri%% %%structured-data%% %%msg%%\n")
action(type="omfile" file=%q template="lines")
`, r.dir, filepath.Join(a.dir, "ca.pem"), certFile, keyFile, filepath.Join(r.dir, "port"), filepath.Join(r.dir, "out"))
	if err := os.WriteFile(r.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(program)
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (r *rsyslog) start(program string) {
	r.t.Helper()
	r.cmd = exec.Command(program, "-n", "-f", r.conf, "-i", filepath.Join(r.dir, "pid"))
	said := &strings.Builder{}
	r.cmd.Stdout, r.cmd.Stderr = said, said
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		_ = r.cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("rsyslogd says: %s", said)
		}
	})
	until(r.t, "rsyslogd listens", func() bool { return strings.TrimSpace(r.read("port")) != "" })
}

func (r *rsyslog) read(name string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r *rsyslog) dial(a *authority) func(context.Context) (*wire.StreamConn, error) {
	r.t.Helper()
	_, certFile, keyFile := a.issue("gatehouse.example.com", time.Now().Add(time.Hour))
	show, err := wire.ClientCertificate(certFile, keyFile)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.dial("127.0.0.1:"+strings.TrimSpace(r.read("port")), func(c *wire.StreamConfig) {
		c.ServerName, c.Certificate = "siem.example.com", show
	})
}

// A receiver of the world reads what we send, all of it and in order.
func TestRsyslog(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	a := newAuthority(t)
	receiver := newRsyslog(t, a)
	r.calls(1000)
	r.event("log.tampered")
	sink, err := export.NewSyslog(export.SyslogConfig{Dial: receiver.dial(a), Format: export.SyslogFormat{MaxMessage: 100_000}, Unconfirmed: true})
	if err != nil {
		t.Fatal(err)
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
	r.reached("siem", 1001)
	stop()
	// It has all of it, and needs a moment to write it down.
	until(t, "rsyslogd has written", func() bool { return strings.Count(receiver.read("out"), "\n") >= 1001 })
	leaves := r.leaves()
	var got []int64
	for text := range strings.Lines(receiver.read("out")) {
		pri, rest, _ := strings.Cut(text, " ")
		sd, message, found := strings.Cut(rest, "] ")
		message = strings.TrimPrefix(strings.TrimPrefix(message, " "), "\xef\xbb\xbf")
		l := lines(t, []byte(message))[0]
		if !found || string(l.Leaf) != string(leaves[l.Index]) || !strings.HasPrefix(sd, `[gatehouse@32473 origin="`+origin+`"`) || !strings.Contains(sd, l.Hash) {
			t.Fatalf("it read %q", text)
		}
		if want := map[bool]string{true: "105", false: "110"}[l.Index == 1000]; pri != want {
			t.Errorf("entry %d has priority %s, want %s", l.Index, pri, want)
		}
		got = append(got, l.Index)
	}
	exactly(t, got, 1001)
	if h := r.health("siem"); h.Class != "" || h.FailedAt != (time.Time{}) {
		t.Errorf("something failed on the way: %+v", h)
	}
}

// It lets in nobody whom it does not know, and we see that.
func TestRsyslogRefuses(t *testing.T) {
	a := newAuthority(t)
	receiver := newRsyslog(t, a)
	addr := "127.0.0.1:" + strings.TrimSpace(receiver.read("port"))
	stranger := newAuthority(t)
	cert, _, _ := stranger.issue("gatehouse.example.com", time.Now().Add(time.Hour))
	for name, show := range map[string]func(*tls.CertificateRequestInfo) (*tls.Certificate, error){
		"no certificate": nil,
		"a stranger's":   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	} {
		dial := a.dial(addr, func(c *wire.StreamConfig) { c.ServerName, c.Certificate = "siem.example.com", show })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		sink, err := export.NewSyslog(export.SyslogConfig{Dial: dial, Unconfirmed: true})
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := sink.Send(ctx, entries(0, 3))
		cancel()
		if err == nil || accepted.Entries != 0 {
			t.Errorf("%s: accepted %d", name, accepted.Entries)
		}
	}
	// Its GnuTLS driver ends connections without a word of TLS: that is what Unconfirmed
	// is for, and what the failure says.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var failure *export.Failure
	if _, err := syslogTo(t, receiver.dial(a)).Send(ctx, entries(0, 3)); !errors.As(err, &failure) || failure.Class != export.Unacknowledged || !strings.Contains(failure.Text, "unconfirmed") {
		t.Errorf("an end without a word: %v", err)
	}
	sink, err := export.NewSyslog(export.SyslogConfig{Dial: receiver.dial(a), Unconfirmed: true})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := sink.Send(ctx, entries(0, 3)); err != nil || a.Entries != 3 {
		t.Errorf("near miss: %+v, %v", a, err)
	}
}
