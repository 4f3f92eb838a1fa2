//go:build otlpserver

package export_test

// The OpenTelemetry Collector's own receiver, built by `make test-otlp`.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// What the collector read, in OTLP's JSON.
type collected struct {
	ResourceLogs []struct {
		Resource  struct{ Attributes []collectedAttribute }
		ScopeLogs []struct {
			LogRecords []struct {
				EventName      string
				SeverityNumber int
				SeverityText   string
				TimeUnixNano   string
				Body           struct{ StringValue string }
				Attributes     []collectedAttribute
			}
		}
	}
}

type collectedAttribute struct {
	Key   string
	Value struct{ StringValue, IntValue string }
}

func TestCollector(t *testing.T) {
	a := newAuthority(t)
	_, certFile, keyFile := a.issue("127.0.0.1", time.Now().Add(time.Hour))
	server := exec.Command(os.Getenv("GATEHOUSE_OTLP_SERVER"), certFile, keyFile, filepath.Join(a.dir, "ca.pem"))
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("starting the receiver (make test-otlp builds it): %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	said := bufio.NewScanner(out)
	said.Buffer(nil, 64<<20)
	if !said.Scan() {
		t.Fatal("the receiver says no address")
	}
	url := "https://" + said.Text()
	// A receiver whose output nobody takes would not answer.
	taken := make(chan []byte, 1<<16)
	go func() {
		defer close(taken)
		for said.Scan() {
			taken <- bytes.Clone(said.Bytes())
		}
	}()

	r := newRig(t, storetest.SQLite(t))
	r.calls(1000)
	r.event("log.tampered")
	_, ourCert, ourKey := a.issue("gatehouse", time.Now().Add(time.Hour))
	show, err := wire.ClientCertificate(ourCert, ourKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := otlpTo(t, a, url, nil).Send(t.Context(), entries(0, 1)); err == nil {
		t.Error("the receiver took something without our certificate")
	}
	stop := r.export(r.config(export.Target{Name: "otel", Sink: otlpTo(t, a, url, func(_ *export.OTLPConfig, e *wire.EgressConfig) { e.Certificate = show })}))
	r.reached("otel", 1001)
	stop()
	leaves := r.leaves()
	var got []int64
	for len(got) < 1001 {
		line, ok := <-taken
		if !ok {
			break
		}
		var c collected
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		for _, record := range c.ResourceLogs[0].ScopeLogs[0].LogRecords {
			attributes := map[string]collectedAttribute{}
			for _, a := range record.Attributes {
				attributes[a.Key] = a
			}
			index, err := strconv.ParseInt(attributes["gatehouse.log.index"].Value.IntValue, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, index)
			action, severity := "call", 9
			if index == 1000 {
				action, severity = "log.tampered", 18
			}
			if record.EventName != action || record.SeverityNumber != severity || record.Body.StringValue != string(leaves[index]) ||
				attributes["gatehouse.log.leaf_hash"].Value.StringValue != leafHash(leaves[index]) {
				t.Fatalf("entry %d is read as %+v", index, record)
			}
		}
	}
	exactly(t, got, 1001)
}
