package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/config"
	"gatehouse/internal/identity/operator"

	"github.com/spf13/cobra"
)

// agreedRestore asks whether a backup may be restored beside the installation that the
// configuration names, and returns what the restored log is to say of that; "" where
// nobody has to agree. An installation that does not open has nobody who could, and one
// in whose place the backup goes is refused as not empty: see docs/decisions/0038.
func agreedRestore(c *cobra.Command, cfg *config.Config, rc backup.RestoreConfig, dsn string, f restoreFlags) (_ string, err error) {
	reason := ""
	if f.without != "" {
		reason = "none: " + f.without
	}
	ctx := c.Context()
	if dsn == cfg.Store.Text().Reveal() {
		return reason, nil
	}
	live, err := assembleUnder(ctx, cfg, rc.Root, quiet())
	if err != nil {
		return reason, nil // a disaster must not wait for what is lost in it
	}
	defer func() {
		if closed := live.Close(); err == nil {
			err = closed
		}
	}()
	two, err := live.operators.RestoreTakesTwo(ctx)
	if err != nil || !two {
		return reason, err
	}
	code, proposal, err := restoreCode(rc.File.Manifest)
	if err != nil {
		return "", err
	}
	switch {
	case f.approval != "":
		if err := live.operators.AllowRestore(ctx, operator.ApprovalID(f.approval), proposal); err != nil {
			return "", fmt.Errorf("--approval: %w", err)
		}
		return f.approval, nil
	case reason != "":
		return reason, recordUnapproved(ctx, live, rc.File.Manifest.ID, f.without)
	}
	return "", fmt.Errorf("restoring a backup beside an installation takes two operators: one proposes it in the console, on the page Approvals, with the code\n  %s\nanother approves it, and --approval takes the id that 'gatehouse account approvals' shows; if nobody can: --without-approval \"why\"", code)
}

// restoreCode is what an operator hands to the console to propose the restore of a
// backup, and the proposal that it becomes.
func restoreCode(m backup.Manifest) (string, operator.Proposal, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", operator.Proposal{}, fmt.Errorf("the backup's manifest: %w", err)
	}
	sum := sha256.Sum256(text)
	hash := hex.EncodeToString(sum[:])
	return m.ID + "/" + hash, operator.ProposalToRestore(m.ID, hash), nil
}

// recordUnapproved has the installation know that a backup was restored beside it
// although nobody agreed.
func recordUnapproved(ctx context.Context, live *parts, id, reason string) error {
	_, err := live.log.Record(ctx, audit.Entry{Action: "backup.restore", Verdict: "allow", Facts: map[string]string{"backup": id, "approval": "none: " + reason}})
	return err
}

// plainReason reports whether a reason can stand in the log.
func plainReason(s string) bool {
	return len(s) <= 200 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
