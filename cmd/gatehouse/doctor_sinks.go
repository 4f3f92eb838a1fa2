package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/export"
)

// checkExports says whether each sink of the log gets its entries.
func checkExports(ctx context.Context, p *parts) (string, error) {
	if len(p.cfg.Audit.Export) == 0 {
		return "no sink is configured", nil
	}
	logs, err := logsOf(ctx, p.db, p.signer.Name(), "")
	if err != nil {
		return "", err
	}
	reports, err := export.Status(ctx, p.db.Export(), sinkNames(p.cfg), logs, time.Now())
	if err != nil {
		return "", err
	}
	var bad []string
	var behind int64
	for _, r := range reports {
		lag := int64(0)
		for _, l := range r.Logs {
			lag += l.Lag
		}
		switch r.State {
		case export.StateRemoved:
			continue
		case export.StateStuck, export.StateRetrying, export.StateUnserved:
			bad = append(bad, fmt.Sprintf("%s is %s, %d entries behind", r.Sink, r.State, lag))
		}
		behind = max(behind, lag)
	}
	if len(bad) > 0 {
		return "", fmt.Errorf("%s: %w", strings.Join(bad, "; "), gatehouse.ErrUnavailable)
	}
	return fmt.Sprintf("%d sinks, none more than %d entries behind", len(p.cfg.Audit.Export), behind), nil
}

// checkArchives says whether segments can be archived before they go.
func checkArchives(p *parts) (string, error) {
	keep, dir := p.cfg.Audit.Keep(), p.cfg.Audit.Archive.Path()
	if keep == 0 && dir == "" {
		return "entries are kept for good", nil
	}
	if dir == "" {
		return fmt.Sprintf("no archive is made: whole segments go that are older than %s", keep), nil
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return dir + " can be written", os.Remove(f.Name())
}
