package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"

	"github.com/spf13/cobra"
)

// acceptance is what 'audit accept' answers.
type acceptance struct {
	Noticed audit.Alert `json:"noticed"`
	// Entries is how many the log has now.
	Entries  int64 `json:"entries"`
	Accepted bool  `json:"accepted"`
	// Confirm is the code that the next run needs.
	Confirm string `json:"confirm,omitempty"`
}

func auditAccept(o *options) *cobra.Command {
	var confirm, node string
	var asJSON bool
	c := &cobra.Command{
		Use:   "accept",
		Short: "Go on with a log that was found not to be as it was written",
		Long: `Gatehouse looks each second whether the log is as it was written. If entries or the
whole of it were deleted, changed, replaced or rolled back, no call is made any more,
also after a restart. Look first ('gatehouse audit verify'), restore a backup if that
is what it takes, and find out who did it. This command then says that the log as it
is now is what goes on; that is recorded in it, as is what was noticed.

The first run says what was noticed and prints a code; run it again with --confirm
CODE. A Gatehouse that runs goes on by itself, unless the database's file was deleted
or replaced: then restart it.

A node that has a name looks at its own log, and whether those of the others are there:
run this where its configuration is, or name it with --node.`,
		Example: `  gatehouse audit accept
  gatehouse audit accept --confirm 1a2b-3c4d`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(o)
			if err != nil {
				return err
			}
			if c.Flags().Changed("node") {
				if err := config.CheckNode(node); node != "" && err != nil {
					return usagef("--node: %v", err)
				}
				cfg.Node = node
			}
			dir := asideDir(cfg)
			out := acceptance{}
			begun := false
			if out.Noticed, err = audit.ReadAlert(dir); errors.Is(err, gatehouse.ErrNotFound) {
				// An accept that was interrupted goes on.
				out.Noticed, err = audit.ReadAccepted(dir)
				begun = true
			}
			if errors.Is(err, gatehouse.ErrNotFound) {
				return fmt.Errorf("there is nothing to accept: %w", err)
			}
			if err != nil {
				return err
			}
			code := acceptCode(out.Noticed)
			if !begun && confirm != code {
				if confirm != "" {
					return errors.New("--confirm: this is not the code for what was noticed; nothing was accepted")
				}
				out.Confirm = code
				if err := printAcceptance(c, out, asJSON); err != nil {
					return err
				}
				return &wantingError{}
			}
			if !begun {
				// As long as it is not accepted nobody writes on.
				if err := forgetRolledBack(c.Context(), cfg); err != nil {
					return err
				}
				if err := audit.Accept(dir); err != nil {
					return err
				}
			}
			if err := withConfig(c.Context(), cfg, func(p *parts) error {
				own, err := logNamed(c.Context(), p.db, cfg.Node)
				if err != nil {
					return err
				}
				head, err := p.db.AuditLog(own.Number).Head(c.Context())
				if err != nil {
					return err
				}
				out.Entries = head.Size
				e := audit.Entry{Action: "log.accept", Verdict: "done", Facts: map[string]string{
					"noticed": strconv.FormatInt(out.Noticed.Size, 10), "accepted": strconv.FormatInt(head.Size, 10),
				}}
				if _, err = p.log.Record(c.Context(), e); err != nil || cfg.Node == "" {
					return err
				}
				// Log 0 names the nodes' logs, and may have nobody who looks after it.
				_, err = p.recordInFirst(c.Context(), e)
				return err
			}); err != nil {
				return err
			}
			if err := audit.Accepted(dir); err != nil {
				return err
			}
			out.Accepted = true
			return printAcceptance(c, out, asJSON)
		},
	}
	c.Flags().StringVar(&node, "node", "", "accept for the node of this name (default: that of the configuration)")
	c.Flags().StringVar(&confirm, "confirm", "", "the code that the first run printed")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// forgetRolledBack deletes what is left of entries that the log had once.
func forgetRolledBack(ctx context.Context, cfg *config.Config) (err error) {
	db, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	own, err := logNamed(ctx, db, cfg.Node)
	if err != nil {
		return err
	}
	return audit.ForgetRolledBack(ctx, db.AuditLog(own.Number))
}

// acceptCode fits one thing that was noticed.
func acceptCode(a audit.Alert) string {
	h := sha256.Sum256([]byte(a.Time.String() + a.What))
	text := hex.EncodeToString(h[:])
	return text[:4] + "-" + text[4:8]
}

func printAcceptance(c *cobra.Command, a acceptance, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), a)
	}
	if a.Accepted {
		_, err := fmt.Fprintf(c.OutOrStdout(), "accepted: the log of %d entries goes on\n", a.Entries)
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "Noticed at %s, when the log had %d entries:\n  %s\nTo go on with the log as it is now, add: --confirm %s\n", when(a.Noticed.Time), a.Noticed.Size, a.Noticed.What, a.Confirm)
	return err
}
