package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// The files of a witness's directory.
const (
	watchedFile  = "checkpoint"  // what was accepted last
	cosignedFile = "cosigned"    // the same with the witness's signature
	conflictFile = "conflict"    // the first one that was not accepted
	statusFile   = "status.json" // what the last look came to
)

// watchOptions are the flags of 'audit watch'.
type watchOptions struct {
	logFlags
	state, witnessKey string
	interval          time.Duration
	once, json        bool
}

func auditWatch() *cobra.Command {
	var w watchOptions
	c := &cobra.Command{
		Use:   "watch --url ADDRESS --key log.pub --state DIR",
		Short: "Watch a log from another machine, as a witness",
		Long: `Reads the log's checkpoint again and again, and accepts it only if the log has grown
from the last one by appending alone. The last one is kept in the directory --state,
on this machine, where whoever can change the log cannot. With --witness-key each one
that was accepted is co-signed (C2SP tlog-cosignature): DIR/cosigned is for 'gatehouse
audit prove --checkpoint' and for others who trust this witness.

A log that was forked, rewritten or shortened ends the watch with status 1; DIR/conflict
is the evidence. One that cannot be reached is reported, and tried again.
DIR/status.json says how the last look went. --once looks once, for cron: status 1 if
it did not go well.`,
		Example: `  gatehouse audit keygen --name witness.example.com --out witness.key
  gatehouse audit watch --url https://gatehouse.internal:8100/gatehouse/v1/log --ca-file ca.pem \
    --service-key-file auditor.key --key log.pub --state /var/lib/witness --witness-key witness.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if w.tiles == "" || w.state == "" {
				return usagef("say with --url what to watch, and with --state where to keep what was seen")
			}
			if w.interval < time.Second {
				return usagef("--interval %s: at least 1s", w.interval)
			}
			if w.node != "" {
				w.tiles = strings.TrimSuffix(w.tiles, "/") + "/" + w.node
			}
			if err := w.holdsLog(); err != nil {
				return err
			}
			witness, err := w.witness()
			if err != nil {
				return err
			}
			return w.watch(c.Context(), witness, c.OutOrStdout(), newWatchLogger(c.ErrOrStderr()))
		},
	}
	w.register(c, "url", "where the log is served: an address, or a directory of tiles")
	f := c.Flags()
	f.StringVar(&w.state, "state", "", "directory for what was seen")
	f.StringVar(&w.witnessKey, "witness-key", "", "file with this witness's key, to co-sign with ('gatehouse audit keygen')")
	f.DurationVar(&w.interval, "interval", 10*time.Second, "how often to look")
	f.BoolVar(&w.once, "once", false, "look once")
	f.BoolVar(&w.json, "json", false, "with --once, print JSON")
	return c
}

// holdsLog refuses a directory in which no log is: there will be none later.
func (w *watchOptions) holdsLog() error {
	if strings.Contains(w.tiles, "://") {
		return nil
	}
	_, err := os.Stat(filepath.Join(w.tiles, filepath.FromSlash(audit.CheckpointPath)))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no log: there is no %s. Give the directory that 'gatehouse audit export --tiles' wrote, or where the log is served, such as https://127.0.0.1:8100/gatehouse/v1/log: %w", w.tiles, audit.CheckpointPath, gatehouse.ErrNotFound)
	}
	return err
}

func newWatchLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// witness puts together who watches.
func (w *watchOptions) witness() (*audit.Witness, error) {
	verifier, err := w.verifier(nil)
	if err != nil {
		return nil, err
	}
	source, err := w.source()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(w.state, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(w.state, watchedFile)
	witness := &audit.Witness{
		Source: source, Verifier: verifier,
		Load: func() ([]byte, error) {
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w: %w", gatehouse.ErrNotFound, err)
			}
			return b, err
		},
		Save: func(signed []byte) error { return writeFileSync(path, signed, 0o644) },
	}
	if w.witnessKey != "" {
		b, err := os.ReadFile(w.witnessKey)
		if err != nil {
			return nil, err
		}
		if witness.Signer, err = audit.NewWitnessSigner(strings.TrimSpace(string(b))); err != nil {
			return nil, fmt.Errorf("%s: %w", w.witnessKey, err)
		}
	}
	return witness, nil
}

// watchStatus is what a look came to, for whoever asks.
type watchStatus struct {
	// State is ok, unreachable or tampered.
	State string `json:"state"`
	Size  int64  `json:"size"`
	Root  string `json:"root,omitempty"`
	At    string `json:"at"`
	Error string `json:"error,omitempty"`
}

// watch looks until ctx ends, or the log is found to be tampered with.
func (w *watchOptions) watch(ctx context.Context, witness *audit.Witness, out io.Writer, logger *slog.Logger) error {
	away, size := false, int64(-1)
	for {
		status, err := w.look(ctx, witness)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case status.State == "tampered":
			logger.ErrorContext(ctx, "the log was tampered with", slog.String("error", err.Error()), slog.String("evidence", filepath.Join(w.state, conflictFile)))
		case err != nil && !away:
			logger.WarnContext(ctx, "the log cannot be watched", slog.String("error", err.Error()))
		case err == nil && (away || size < 0):
			logger.InfoContext(ctx, "the log is watched", slog.Int64("size", status.Size))
		}
		away, size = err != nil, status.Size
		if w.once {
			if w.json {
				if err := printJSON(out, status); err != nil {
					return err
				}
			} else if err == nil {
				fmt.Fprintf(out, "The log %s of %d entries has grown by appending alone.\n", witness.Verifier.Name(), status.Size)
			}
		}
		if status.State == "tampered" || w.once && err != nil {
			return &wantingError{}
		}
		if w.once {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.interval):
		}
	}
}

// look looks once and writes down what came of it.
func (w *watchOptions) look(ctx context.Context, witness *audit.Witness) (watchStatus, error) {
	s, err := witness.Look(ctx)
	status := watchStatus{State: "ok", Size: s.Size, Root: s.Root.String(), At: stamp(time.Now())}
	switch {
	case errors.Is(err, audit.ErrTampered):
		status.State = "tampered"
		// The first conflict is the evidence; what comes later must not replace it.
		path := filepath.Join(w.state, conflictFile)
		if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, writeFileSync(path, s.Note, 0o644))
		}
	case err != nil:
		status.State = "unreachable"
	case s.Cosigned != nil:
		err = writeFileSync(filepath.Join(w.state, cosignedFile), s.Cosigned, 0o644)
	}
	if err != nil {
		status.Error = err.Error()
		if s.Note == nil {
			status.Size, status.Root = max(0, s.Before.Size), ""
		}
	}
	b, encoding := json.Marshal(status)
	return status, errors.Join(err, encoding, writeFileSync(filepath.Join(w.state, statusFile), append(b, '\n'), 0o644))
}

func auditKeygen() *cobra.Command {
	var name, out string
	c := &cobra.Command{
		Use:   "keygen --name NAME --out FILE",
		Short: "Make a witness's key",
		Long: `Makes the key with which 'gatehouse audit watch' co-signs. FILE holds the private
half, FILE.pub the public one, which is for those who trust the witness.`,
		Example: "  gatehouse audit keygen --name witness.example.com --out witness.key",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if name == "" || out == "" {
				return usagef("say with --name who the witness is (such as its host's name), and with --out where to write")
			}
			for _, path := range []string{out, out + ".pub"} {
				if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s is there already, and nothing is overwritten: %w", path, gatehouse.ErrConflict)
				}
			}
			private, public, err := audit.GenerateWitnessKey(name)
			if err != nil {
				return err
			}
			if err := writeFileSync(out, []byte(private+"\n"), 0o600); err != nil {
				return err
			}
			if err := writeFileSync(out+".pub", []byte(public+"\n"), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), public)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "who the witness is, such as witness.example.com")
	c.Flags().StringVar(&out, "out", "", "file for the private key")
	return c
}

// readWitness reads a witness's public key.
func readWitness(path string) (note.Verifier, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a witness's public key: %w", err)
	}
	w, err := audit.NewWitnessVerifier(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}
