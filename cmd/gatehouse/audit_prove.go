package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// proveOptions are the flags of 'audit prove'.
type proveOptions struct {
	out, checkpoint string
	archive         string
	reveal          []string
}

func auditProve(o *options) *cobra.Command {
	var p proveOptions
	c := &cobra.Command{
		Use:   "prove ENTRY-ID",
		Short: "Write a proof that an entry stands in the log",
		Long: `Writes a small file (C2SP tlog-proof) with which anybody who has the log's public key
can check, offline, that an entry stands in the log: 'gatehouse audit check-proof', or
any other program for this format.

What belongs to a person stays sealed. --reveal opens single fields and puts them into
the file, with what it takes to check them; that they were opened stands in the log.
--reveal needs the root key, and nothing opens the fields of a person who was erased.`,
		Example: `  gatehouse audit prove 06h0dyvhg3fs7nz5jeqkyz7s9w --out entry.tlog-proof
  gatehouse audit prove 06h0dyvhg3fs7nz5jeqkyz7s9w --reveal connection
  gatehouse audit prove 06h0dyvhg3fs7nz5jeqkyz7s9w --checkpoint watched/cosigned`,
		Args: one("ENTRY-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(parts *parts) error { return p.prove(c.Context(), parts, args[0], c.OutOrStdout()) })
		},
	}
	f := c.Flags()
	f.StringVar(&p.out, "out", "", "file to write (default: standard output)")
	f.StringVar(&p.checkpoint, "checkpoint", "", "file with the checkpoint to prove it by, such as one that a witness co-signed (default: the newest)")
	f.StringVar(&p.archive, "archive", "", "archive that the entry is in, if it was pruned")
	f.StringSliceVar(&p.reveal, "reveal", nil, "a personal field to open in the proof, such as connection; may be repeated")
	return c
}

func (o *proveOptions) prove(ctx context.Context, p *parts, id string, out io.Writer) error {
	entry, log, verifier, archived, err := o.find(ctx, p, id)
	if err != nil {
		return err
	}
	source := audit.NewSource(log)
	if archived != nil {
		source = source.Or(archived)
	}
	view, err := audit.Newest(ctx, source, verifier)
	if err != nil {
		return err
	}
	if o.checkpoint != "" {
		signed, point, err := readCheckpoint(o.checkpoint, verifier)
		if err != nil {
			return err
		}
		if err := view.GrownFrom(point); err != nil {
			return err
		}
		view = audit.NewView(ctx, source, point, signed)
	}
	proof, err := view.Prove(ctx, entry.Seq)
	if err != nil {
		return err
	}
	if len(o.reveal) > 0 {
		if proof.Extra.Opened, err = o.open(ctx, p, entry); err != nil {
			return err
		}
	}
	data, err := proof.Marshal()
	if err != nil {
		return err
	}
	if _, err := audit.CheckProof(data, verifier); err != nil {
		return fmt.Errorf("the proof does not hold: %w", err)
	}
	if o.out == "" {
		_, err = out.Write(data)
		return err
	}
	return writeFileSync(o.out, data, 0o600)
}

// find looks for the entry, in whichever log or in the archive, and returns its log with
// what the archive has of it.
func (o *proveOptions) find(ctx context.Context, p *parts, id string) (entry audit.Shown, log *store.Audit, verifier note.Verifier, archived audit.Source, err error) {
	var in audit.Registration
	if o.archive != "" {
		if len(o.reveal) > 0 {
			return entry, nil, nil, nil, usagef("--reveal: what people's entries are found by goes when they are pruned, so that nothing of an archive is opened")
		}
		if in, verifier, err = archiveLog(ctx, p.cfg, p.db, o.archive); err != nil {
			return entry, nil, nil, nil, err
		}
		entry.Seq, archived, err = archivedEntry(ctx, o.archive, id, verifier)
		return entry, p.db.AuditLog(in.Number), verifier, archived, err
	}
	in, err = logOf(ctx, p.db, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		err = p.whereEntry(ctx, id)
	}
	if err != nil {
		return entry, nil, nil, nil, err
	}
	log = p.db.AuditLog(in.Number)
	shown, err := audit.ShowLogs(ctx, []audit.ListedLog{{Registration: in, Store: log}}, id)
	if err != nil {
		return entry, nil, nil, nil, err
	}
	verifier, err = verifierOfNode(p.cfg, in)
	return shown[0], log, verifier, nil, err
}

// open opens the fields that were asked for, after this is on record.
func (o *proveOptions) open(ctx context.Context, p *parts, entry audit.Shown) (map[string]audit.Opened, error) {
	for _, name := range o.reveal {
		if entry.Version == 1 {
			return nil, fmt.Errorf("--reveal %s: entries of the first version cannot be opened field by field: %w", name, gatehouse.ErrInvalid)
		}
		if _, ok := entry.Personal[name]; !ok {
			if len(entry.Personal) == 0 && entry.Intent != "" {
				return nil, fmt.Errorf("--reveal %s: an outcome has no personal fields; prove its intent, %s: %w", name, entry.Intent, gatehouse.ErrInvalid)
			}
			return nil, fmt.Errorf("--reveal %s: the entry has no such field; it has %s: %w", name, cmp.Or(strings.Join(slices.Sorted(maps.Keys(entry.Personal)), ", "), "none"), gatehouse.ErrInvalid)
		}
	}
	list := []audit.Shown{entry}
	owners, err := p.owners(ctx, list)
	if err != nil {
		return nil, err
	}
	e := audit.Entry{Action: "audit.reveal", Facts: map[string]string{"fields": strings.Join(slices.Sorted(slices.Values(o.reveal)), " ")}}
	if owner := owners[string(list[0].Owner)]; owner != "" {
		// Which entry it was is the person's, too: in clear, or under a key that is
		// left when they are erased, it would join the two.
		e.Person, e.Personal = owner, map[string]string{"entry": entry.ID}
	}
	receipt, err := p.log.Intent(ctx, e)
	if err != nil {
		return nil, err
	}
	opened, _, err := p.openFields(ctx, list[0], owners)
	if err == nil && opened == nil {
		err = fmt.Errorf("--reveal: nothing opens the fields of this entry any more: its person was erased: %w", gatehouse.ErrNotFound)
	}
	if err != nil {
		p.log.Outcome(receipt, audit.Entry{Verdict: "failed"})
		return nil, err
	}
	p.log.Outcome(receipt, audit.Entry{Verdict: "done"})
	revealed := map[string]audit.Opened{}
	for _, name := range o.reveal {
		revealed[name] = opened[name]
	}
	return revealed, nil
}

// readCheckpoint reads a file with a signed checkpoint.
func readCheckpoint(path string, verifier note.Verifier) ([]byte, audit.Point, error) {
	signed, err := os.ReadFile(path)
	if err != nil {
		return nil, audit.Point{}, err
	}
	point, err := audit.OpenCheckpoint(signed, verifier)
	if err != nil {
		return nil, point, fmt.Errorf("%s: %w", path, err)
	}
	return signed, point, nil
}

func auditCheckProof() *cobra.Command {
	var keyFile string
	var witnesses []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check-proof FILE",
		Short: "Check a proof of an entry, offline",
		Long: `Checks a file of 'gatehouse audit prove' with nothing but the log's public key: that
the entry stands in a log that this key signed, and that the opened fields are those
that the entry commits to. It needs no configuration and no network. --witness demands
the co-signature of a witness as well.`,
		Example: `  gatehouse audit check-proof entry.tlog-proof --key log.pub`,
		Args:    one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if keyFile == "" {
				return usagef("say with --key which public key the log has")
			}
			verifier, err := readVerifier(keyFile)
			if err != nil {
				return err
			}
			var list []note.Verifier
			for _, path := range witnesses {
				w, err := readWitness(path)
				if err != nil {
					return err
				}
				list = append(list, w)
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			checked, err := audit.CheckProof(data, verifier, list...)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			for _, w := range list {
				if !slices.Contains(checked.Witnesses, w.Name()) {
					return fmt.Errorf("%s: witness %s has not co-signed its checkpoint: %w", args[0], w.Name(), gatehouse.ErrConflict)
				}
			}
			return printChecked(c.OutOrStdout(), checked, verifier.Name(), asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&keyFile, "key", "", "the log's public key")
	f.StringSliceVar(&witnesses, "witness", nil, "file with the public key of a witness who must have co-signed; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printChecked(w io.Writer, c *audit.Checked, origin string, asJSON bool) error {
	if asJSON {
		return printJSON(w, struct {
			Origin    string            `json:"origin"`
			Seq       int64             `json:"seq"`
			Size      int64             `json:"size"`
			Entry     audit.Leaf        `json:"entry"`
			When      string            `json:"when"`
			Opened    map[string]string `json:"opened,omitempty"`
			Witnesses []string          `json:"witnesses,omitempty"`
		}{origin, c.Seq, c.Size, c.Leaf, stamp(c.Leaf.When()), c.Opened, c.Witnesses})
	}
	fmt.Fprintf(w, "Entry %d (%s) stands in the log %s of %d entries.\n", c.Seq, c.Leaf.ID, origin, c.Size)
	fmt.Fprintf(w, "%s  %s %s %s %s\n", when(c.Leaf.When()), c.Leaf.Kind, c.Leaf.Action, dash(c.Leaf.Verdict), dash(string(c.Leaf.Operation)))
	for _, name := range slices.Sorted(maps.Keys(c.Opened)) {
		fmt.Fprintf(w, "%s = %s\n", name, c.Opened[name])
	}
	for _, name := range c.Witnesses {
		fmt.Fprintf(w, "co-signed by %s\n", name)
	}
	return nil
}

func auditConsistency(o *options) *cobra.Command {
	var l logFlags
	var archive string
	var asJSON bool
	c := &cobra.Command{
		Use:   "consistency OLD NEW",
		Short: "Check that a log has grown by appending alone",
		Long: `Checks that the log of the checkpoint NEW begins with the log of the checkpoint OLD,
and that both are parts of the log as it is now. OLD and NEW are files with signed
checkpoints, or numbers of entries.`,
		Example: `  gatehouse audit consistency checkpoint-of-monday checkpoint-of-friday
  gatehouse audit consistency 1000 2000 --tiles https://logs.example.com/gatehouse --key log.pub`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("give OLD and NEW")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return l.view(c.Context(), o, func(view *audit.View, verifier note.Verifier) error {
				var points [2]audit.Point
				if archive != "" {
					known := map[int64]bool{}
					for _, arg := range args {
						if size, err := sizeOf(verifier, arg); err == nil {
							known[size/audit.TileWidth] = true
						}
					}
					archived, err := archiveTiles(c.Context(), archive, known, 0, verifier)
					if err != nil {
						return err
					}
					view = view.Or(c.Context(), archived)
				}
				for i, arg := range args {
					var err error
					if points[i], err = pointOf(view, verifier, arg); err != nil {
						return err
					}
				}
				if points[0].Size > points[1].Size {
					return usagef("OLD has %d entries and NEW %d: give the older one first", points[0].Size, points[1].Size)
				}
				for i, p := range points {
					if err := view.GrownFrom(p); err != nil {
						return fmt.Errorf("%s: %w", args[i], err)
					}
				}
				type shown struct {
					Size int64  `json:"size"`
					Root string `json:"root"`
				}
				older, newer := shown{points[0].Size, points[0].Root.String()}, shown{points[1].Size, points[1].Root.String()}
				if asJSON {
					return printJSON(c.OutOrStdout(), map[string]any{"origin": verifier.Name(), "old": older, "new": newer, "consistent": true})
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "The log %s has grown from %d entries (root %s) to %d (root %s) by appending alone.\n",
					verifier.Name(), older.Size, older.Root, newer.Size, newer.Root)
				return err
			})
		},
	}
	l.register(c, "tiles", "directory or address of the log's tiles, in place of the database")
	c.Flags().StringVar(&archive, "archive", "", "archive of pruned entries in which OLD or NEW ends")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// pointOf reads a file with a checkpoint, or a number of entries.
func pointOf(view *audit.View, verifier note.Verifier, arg string) (audit.Point, error) {
	if _, err := os.Stat(arg); err == nil {
		_, point, err := readCheckpoint(arg, verifier)
		return point, err
	}
	size, err := sizeOf(verifier, arg)
	if err != nil {
		return audit.Point{}, err
	}
	return view.At(size)
}

// sizeOf returns how many entries a file with a checkpoint covers, or a number says.
func sizeOf(verifier note.Verifier, arg string) (size int64, err error) {
	if _, err := os.Stat(arg); err == nil {
		_, point, err := readCheckpoint(arg, verifier)
		return point.Size, err
	}
	if _, err := fmt.Sscanf(arg, "%d", &size); err != nil || fmt.Sprint(size) != arg || size < 0 {
		return 0, usagef("%s is neither a file nor a number of entries", arg)
	}
	return size, nil
}
