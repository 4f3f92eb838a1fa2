package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"

	"github.com/spf13/cobra"
)

// reviewItemRow is one right in the JSON answers.
type reviewItemRow struct {
	Review   review.ID       `json:"review"`
	Number   int             `json:"number"`
	Kind     review.Kind     `json:"kind"`
	System   string          `json:"system,omitempty"`
	Holder   string          `json:"holder"`
	Name     string          `json:"holder_name,omitempty"`
	Right    string          `json:"right"`
	Detail   string          `json:"detail,omitempty"`
	Used     string          `json:"last_used_at,omitempty"`
	Proposed bool            `json:"proposed_for_removal"`
	Why      string          `json:"why,omitempty"`
	Decision review.Decision `json:"decision,omitempty"`
	By       string          `json:"decided_by,omitempty"`
	Own      bool            `json:"own_right,omitempty"`
	At       string          `json:"decided_at,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Effect   review.Effect   `json:"effect,omitempty"`
	Do       string          `json:"to_do,omitempty"`
	Resolved string          `json:"resolved_at,omitempty"`
}

// operatorNames are what operators are called, by their accounts' identifiers.
func operatorNames(ctx context.Context, p *parts) (map[string]string, error) {
	accounts, err := p.operators.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(accounts))
	for _, a := range accounts {
		names[string(a.ID)] = a.Name
		if a.Email != "" {
			names[string(a.ID)] = a.Email
		}
	}
	return names, nil
}

func viewReviewItems(items []review.Item, names map[string]string) ([]reviewItemRow, [][]string) {
	answer := []reviewItemRow{}
	var rows [][]string
	for _, i := range items {
		r := reviewItemRow{
			Review: i.Review, Number: i.Number, Kind: i.Kind, System: i.System, Holder: i.Holder, Right: i.Name, Detail: i.Detail, Used: stamp(i.Used),
			Proposed: i.Proposed, Why: i.Why, Decision: i.Decision, By: i.By, Own: i.Own, At: stamp(i.At), Reason: i.Reason, Effect: i.Effect,
			Do: i.Do(), Resolved: stamp(i.Resolved),
		}
		holder := i.Holder
		if i.Kind == review.Grant {
			if r.Name = names[i.Holder]; r.Name != "" {
				holder = r.Name
			}
		}
		if i.System != "" {
			holder += " at " + i.System
		}
		answer = append(answer, r)
		decided := string(i.Decision)
		if i.Effect != "" {
			decided += " (" + string(i.Effect) + ")"
		}
		rows = append(rows, []string{strconv.Itoa(i.Number), string(i.Kind), holder, i.Name, when(i.Used), dash(i.Why), dash(decided), i.Detail})
	}
	return answer, rows
}

// newestReview is what is meant by a command with a review's identifier, without one,
// or with the word newest.
func newestReview(ctx context.Context, p *parts, args []string) (review.ID, error) {
	if len(args) > 0 && args[0] != "newest" {
		return review.ID(args[0]), nil
	}
	list, err := p.reviews.Reviews(ctx)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", fmt.Errorf("there was no review yet: gatehouse account review start: %w", gatehouse.ErrNotFound)
	}
	return list[0].ID, nil
}

func reviewOpen(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "open",
		Short: "List what reviews left to be removed elsewhere",
		Long: `Lists rights that a review ended and Gatehouse cannot take away: they stand in the
configuration, or in another system. Each says what to do. It is done when the
configuration in force, or the system's next list ('account review import'), does not
have it any more. Exit status 1 means that there are some.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				// What is gone since the last look is not open.
				if err := p.reviews.Resolve(c.Context()); err != nil {
					return err
				}
				items, err := p.reviews.OpenItems(c.Context())
				if err != nil {
					return err
				}
				answer, _ := viewReviewItems(items, nil)
				var rows [][]string
				for _, i := range items {
					rows = append(rows, []string{string(i.Review), strconv.Itoa(i.Number), i.Holder, i.Name, when(i.Done), i.Do()})
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), answer)
				} else {
					err = table(c.OutOrStdout(), "Nothing is left to do.", []string{"REVIEW", "NUMBER", "HOLDER", "RIGHT", "SINCE", "DO"}, rows)
				}
				if err == nil && len(items) > 0 {
					err = &wantingError{}
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func reviewImport(o *options) *cobra.Command {
	var system string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import --system NAME FILE",
		Short: "Take in who may do what in another system",
		Long: `Takes in the list of who may do what in another system (a code host, a cloud, the roles of
your app at a platform), in the place of the one before. The next review asks about it,
and what an earlier review ended and the list does not have is done.

FILE is CSV with the heading account,role,last_used, or a JSON array of objects with these
members; last_used (2026-01-31, or a time) may be left out, or be empty for never. "-" is
standard input.`,
		Example: "  gatehouse account review import --system github members.csv",
		Args:    one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := readListFile(c.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error {
				list, err := p.reviews.Import(c.Context(), operator.Host(), system, file)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%d rights of %s\n", list.Rights, list.System)
				return err
			})
		},
	}
	c.Flags().StringVar(&system, "system", "", "what the list is of, such as github")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	if err := c.MarkFlagRequired("system"); err != nil {
		panic(err) // a programmer's mistake: the flag is declared above
	}
	return c
}

// readListFile reads a list, as far as it may be long.
func readListFile(stdin io.Reader, path string) (b []byte, err error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, review.MaxListBytes+1))
}

func reviewEvidence(o *options) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "evidence REVIEW",
		Short: "Write the signed evidence of a finished review",
		Long: `Writes the signed evidence of a finished review: one JSON document with everything that
was decided, by whom and when, and the log's checkpoint. 'account review verify' checks
it anywhere, with the log's public key.`,
		Example:           "  gatehouse account review evidence k5h… --out review-2026-q2.json",
		Args:              one("REVIEW"),
		ValidArgsFunction: reviewIDs(o),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				id, err := newestReview(c.Context(), p, args)
				if err != nil {
					return err
				}
				b, err := p.reviews.Evidence(c.Context(), id)
				if err != nil {
					return err
				}
				b = append(b, '\n')
				if out == "" {
					_, err = c.OutOrStdout().Write(b)
					return err
				}
				f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return err
				}
				_, err = f.Write(b)
				return errors.Join(err, f.Sync(), f.Close())
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write; it must not be there yet (default: standard output)")
	return c
}

func reviewVerify(o *options) *cobra.Command {
	var keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check the evidence of a review, offline",
		Long: `Checks that the evidence of a review is signed with the log's key and says what it said
then. It needs the file and the log's public key, and nothing else: no database, no
configuration if --key is given.`,
		Example: "  gatehouse account review verify review-2026-q2.json --key log.pub",
		Args:    one("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if keyFile == "" {
				cfg, err := readConfig(o)
				if err != nil {
					return err
				}
				keyFile = beside(cfg, logKeyFile)
			}
			verifier, err := readVerifier(keyFile)
			if err != nil {
				return err
			}
			file, err := readEvidenceFile(args[0])
			if err != nil {
				return err
			}
			d, covered, err := review.Verify(file, verifier)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Verified bool          `json:"verified"`
					Covered  bool          `json:"checkpoint_of_this_log"`
					Review   review.ID     `json:"review"`
					Closed   string        `json:"closed_at"`
					Alone    bool          `json:"only_reviewer"`
					Counts   review.Counts `json:"counts"`
				}{true, covered, d.Review, stamp(d.Closed), d.Alone, d.Counts})
			}
			n := d.Counts
			fmt.Fprintf(c.OutOrStdout(), "the evidence of review %s (%s) verifies: closed %s, %d rights, %d confirmed, %d removed, %d lapsed, %d exceptions, %d left to be removed elsewhere\n",
				d.Review, d.Environment, when(d.Closed), n.Items, n.Confirmed, n.Removed, n.Lapsed, n.Exceptions, n.OpenItems)
			if d.Alone {
				fmt.Fprintln(c.OutOrStdout(), "somebody decided about their own role, since nobody else could")
			}
			if !covered {
				fmt.Fprintln(c.OutOrStdout(), "its checkpoint is of another node's log, and was not checked")
			}
			return nil
		},
	}
	c.Flags().StringVar(&keyFile, "key", "", "the log's public key (default: log.pub beside the configuration)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readEvidenceFile reads a file, as far as evidence may be long.
func readEvidenceFile(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, review.MaxEvidence+2))
}
