package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/store"

	"golang.org/x/sync/errgroup"
)

// wavePace is more than Gatehouse renews in a second, so that a wave outlasts
// the measurement beside it.
const wavePace = 300

// beside measures the whole program with most connections: calls without and with
// a wave of renewals, and what connections cost in memory.
func beside(ctx context.Context, out io.Writer, s *stage, x *platformX, d time.Duration, rounds, most int) error {
	p, err := s.startGatehouse(ctx, s.upstream, s.certs)
	if err != nil {
		return err
	}
	none := s.idleMB
	grants, err := s.importGrants(ctx, x, realGrants(most))
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(s.dir, "gatehouse-data", "gatehouse.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := fill(ctx, "Gatehouse", db, len(grants), most); err != nil {
		return err
	}
	s.stopLast()
	pid, err := s.runGatehouse(ctx)
	if err != nil {
		return err
	}
	p.pid, p.url = pid, s.app+"/x/2/users/me"
	filled := s.idleMB

	progress("")
	d = min(d, time.Duration(len(grants))*time.Second/wavePace)
	fmt.Fprintf(out, "\nCalls through Gatehouse with %d connections (SQLite), without and with a wave of renewals, %s each, interleaved:\n\n", most, d)
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| wave\t| callers\t| p50 quiet\t| p50 in a wave\t| ratio\t| p99 quiet\t| p99 in a wave\t| ratio\t| requests/s, ratio\t| renewed/s\t| CPU/call quiet\t| CPU/call in a wave, renewals included\t|")
	fmt.Fprintln(t, "|"+strings.Repeat(" ---\t|", 12))
	early := grants[:min(len(grants), int(d.Seconds()*wavePace/4)+1)]
	for _, callers := range []int{1, 16} {
		if err := s.duringWaves(ctx, t, db, p, wave{"early", early, makeEarly}, callers, d, rounds); err != nil {
			return err
		}
		if err := s.duringWaves(ctx, t, db, p, wave{"late, at full pace", grants, makeDue}, callers, d, rounds); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return s.memory(ctx, out, p, grants, most, none, filled)
}

// importGrants has grants minted and hands them to Gatehouse's own command.
func (s *stage) importGrants(ctx context.Context, x *platformX, n int) ([]gatehouse.ConnectionID, error) {
	lines := make([]map[string]any, n)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			got, err := x.mint(ctx, s.redirect)
			progress("%d of %d grants", i, n)
			lines[i] = map[string]any{
				"app": "main-x", "subject": fmt.Sprint("subject-", i), "access_token": got.Access, "refresh_token": got.Refresh,
				"scopes": []string{"tweet.read", "users.read", "offline.access"}, "expires_at": time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339),
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "tokens.jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	encoder := json.NewEncoder(file)
	for _, line := range lines {
		if err := encoder.Encode(line); err != nil {
			return nil, err
		}
	}
	progress("importing %d grants", n)
	text, err := exec.CommandContext(ctx, s.gatehouse, "connect", "import", file.Name(), "--service", "bench", "--purpose", "bench",
		"--keep-copies", "--json", "--config", s.config).Output()
	if err != nil {
		return nil, fmt.Errorf("gatehouse connect import: %w: %.500s", err, text)
	}
	var ids []gatehouse.ConnectionID
	for decoder := json.NewDecoder(strings.NewReader(string(text))); decoder.More(); {
		var line struct {
			Connection gatehouse.ConnectionID `json:"connection"`
		}
		if err := decoder.Decode(&line); err != nil {
			return nil, err
		}
		if line.Connection != "" {
			ids = append(ids, line.Connection)
		}
	}
	if len(ids) != n {
		return nil, fmt.Errorf("gatehouse connect import took in %d of %d", len(ids), n)
	}
	return ids, nil
}

// wave is what comes due at once: these, changed so.
type wave struct {
	name string
	ids  []gatehouse.ConnectionID
	due  func(*connect.Record)
}

// duringWaves prints a line: the same calls in quiet and beside a wave, in turns.
func (s *stage) duringWaves(ctx context.Context, t io.Writer, db *store.DB, p peer, w wave, callers int, d time.Duration, rounds int) error {
	ids := w.ids
	cpu := func() time.Duration { return processCPU(p.pid) }
	var quiet50, quiet99, wave50, wave99, quietCPU, waveCPU []time.Duration
	var ratio50, ratio99, rate, renewed []float64
	for round := range rounds {
		progress("%s wave, %d callers, round %d of %d", w.name, callers, round+1, rounds)
		quiet, err := load(ctx, p.url, p.bearer, s.roots, callers, d, cpu)
		if err != nil {
			return err
		}
		if err := change(ctx, db, ids, w.due); err != nil {
			return err
		}
		before, start := waiting(ctx, db, ids), time.Now()
		beside, err := load(ctx, p.url, p.bearer, s.roots, callers, d, cpu)
		if err != nil {
			return err
		}
		done := before - waiting(ctx, db, ids)
		renewed = append(renewed, float64(done)/time.Since(start).Seconds())
		quiet50, quiet99 = append(quiet50, quiet.p50), append(quiet99, quiet.p99)
		wave50, wave99 = append(wave50, beside.p50), append(wave99, beside.p99)
		quietCPU, waveCPU = append(quietCPU, quiet.cpu), append(waveCPU, beside.cpu)
		ratio50 = append(ratio50, float64(beside.p50)/float64(quiet.p50))
		ratio99 = append(ratio99, float64(beside.p99)/float64(quiet.p99))
		rate = append(rate, beside.perSecond/quiet.perSecond)
		for deadline := time.Now().Add(5 * time.Minute); waiting(ctx, db, ids) > 0; time.Sleep(200 * time.Millisecond) {
			if ctx.Err() != nil || time.Now().After(deadline) {
				return fmt.Errorf("the wave does not end: %d are due", waiting(ctx, db, ids))
			}
		}
	}
	us := func(d []time.Duration) string { return median(d).Round(10 * time.Microsecond).String() }
	_, err := fmt.Fprintf(t, "| %s\t| %d\t| %s\t| %s\t| %.2f\t| %s\t| %s\t| %.2f\t| %.2f\t| %.0f\t| %s\t| %s\t|\n", w.name, callers, us(quiet50), us(wave50), median(ratio50),
		us(quiet99), us(wave99), median(ratio99), median(rate), median(renewed), micro(median(quietCPU)), micro(median(waveCPU)))
	return err
}

// waiting counts the connections that are due.
func waiting(ctx context.Context, db *store.DB, ids []gatehouse.ConnectionID) int {
	records, err := db.Connect().Due(ctx, "main-x", time.Now(), time.Now().Add(-time.Hour), len(ids))
	if err != nil {
		return len(ids)
	}
	return len(records)
}

// memory prints what the program holds: with no connection, with many that
// nobody uses, and after many of them were used.
func (s *stage) memory(ctx context.Context, out io.Writer, p peer, ids []gatehouse.ConnectionID, most int, none, filled float64) error {
	handles := make([]string, len(ids))
	client := s.client()
	for i, id := range ids {
		progress("%d of %d handles", i, len(ids))
		var handle struct{ Handle string }
		if err := postJSON(client, s.app+"/gatehouse/v1/handles", s.key, map[string]string{"connection": string(id), "purpose": "bench"}, &handle); err != nil {
			return err
		}
		handles[i] = handle.Handle
	}
	call := func(handle string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+handle)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		return res.Body.Close()
	}
	for range handles {
		if err := call(handles[0]); err != nil {
			return err
		}
	}
	one := residentMB(p.pid)
	for i, handle := range handles {
		progress("%d of %d touched", i, len(handles))
		if err := call(handle); err != nil {
			return err
		}
	}
	all := residentMB(p.pid)
	progress("")
	each := func(mb float64, n int) float64 { return mb * (1 << 20) / float64(n) }
	_, err := fmt.Fprintf(out, "\nResident idle: %.1f MB with no connection, %.1f MB with %d (%.1f bytes each). After the load and %d calls with one handle: %.1f MB; after as many with %d: %.1f MB (%.0f bytes each).\n",
		none, filled, most, each(filled-none, most), len(handles), one, len(handles), all, each(all-one, len(handles)))
	return err
}
