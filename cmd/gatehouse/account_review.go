package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

func accountReview(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "review",
		Short: "Review who may do what: list it with its last use, decide, keep the evidence",
		Long: `An access review lists every right of every operator and service, and of imported lists
of other systems, with when it was last used. Those that are not used are proposed for
removal. A reviewer confirms or removes each; what nobody confirms until the review is
due ends: roles, keys and handles here, and what stands in the configuration or in
another system stays an open item until it is gone. The finished review is one signed
file. See docs/access-reviews.md.

In a running Gatehouse reviews begin, remind and end by themselves (reviews, in the
configuration). A decision on the command line is that of whoever has the machine.
"newest" in the place of REVIEW is the newest one.`,
	}
	c.AddCommand(reviewStart(o), reviewList(o), reviewShow(o), reviewDecide(o, review.Confirmed), reviewDecide(o, review.Removed),
		reviewFinish(o), reviewOpen(o), reviewImport(o), reviewEvidence(o), reviewVerify(o))
	return c
}

// reviewRow is a review in the JSON answers.
type reviewRow struct {
	ID       review.ID     `json:"id"`
	State    review.State  `json:"state"`
	Begun    string        `json:"begun_at"`
	By       string        `json:"begun_by"`
	Due      string        `json:"due_at"`
	Since    string        `json:"unused_since"`
	Closed   string        `json:"closed_at,omitempty"`
	Finished string        `json:"finished_at,omitempty"`
	Counts   review.Counts `json:"counts"`
}

func viewReview(r review.Review) reviewRow {
	return reviewRow{r.ID, r.State, stamp(r.Begun), r.By, stamp(r.Due), stamp(r.Since), stamp(r.Closed), stamp(r.Finished), r.Counts}
}

// printReview says how a review stands.
func printReview(c *cobra.Command, r review.Review, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), viewReview(r))
	}
	n := r.Counts
	w := c.OutOrStdout()
	fmt.Fprintf(w, "review %s is %s, begun %s, due %s\n%d rights, %d of them not used: %d undecided, %d confirmed, %d to remove, %d lapsed\n",
		r.ID, r.State, when(r.Begun), when(r.Due), n.Items, n.Proposed, n.Undecided, n.Confirmed, n.Removed, n.Lapsed)
	if n.OpenItems > 0 {
		fmt.Fprintf(w, "%d are left to be removed elsewhere: gatehouse account review open\n", n.OpenItems)
	}
	return nil
}

func reviewStart(o *options) *cobra.Command {
	var due, unused time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "start",
		Short: "List all rights and begin a review of them",
		Long: `Lists all rights there are now and begins a review of them. What is not confirmed when
it is due ends. One review runs at a time.`,
		Example: "  gatehouse account review start --due 336h",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				r, err := p.reviews.Begin(c.Context(), operator.Host(), due, unused)
				if err != nil {
					return err
				}
				return printReview(c, r, asJSON)
			})
		},
	}
	c.Flags().DurationVar(&due, "due", 0, "how long it takes, at least 24h (default: reviews.due)")
	c.Flags().DurationVar(&unused, "unused", 0, "propose the removal of what was not used for so long (default: reviews.unused)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func reviewList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List reviews, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				list, err := p.reviews.Reviews(c.Context())
				if err != nil {
					return err
				}
				answer := []reviewRow{}
				var rows [][]string
				for _, r := range list {
					answer = append(answer, viewReview(r))
					rows = append(rows, []string{
						string(r.ID), string(r.State), when(r.Begun), when(r.Due), strconv.Itoa(r.Counts.Items), strconv.Itoa(r.Counts.Undecided),
						strconv.Itoa(r.Counts.Removed + r.Counts.Lapsed), strconv.Itoa(r.Counts.OpenItems),
					})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), answer)
				}
				return table(c.OutOrStdout(), "There was no review: gatehouse account review start", []string{"REVIEW", "STATE", "BEGUN", "DUE", "RIGHTS", "UNDECIDED", "ENDED", "OPEN"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

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

func reviewShow(o *options) *cobra.Command {
	var asJSON, asCSV, undecided, proposed bool
	c := &cobra.Command{
		Use:   "show [REVIEW]",
		Short: "Show a review's rights, by default those of the newest one",
		Long: `Shows a review's rights with when each was last used, why its removal is proposed, and
what was decided. With --csv it is a table for a spreadsheet, in which no cell is a formula.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: reviewIDs(o),
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON && asCSV {
				return usagef("--json and --csv exclude each other")
			}
			return with(c.Context(), o, func(p *parts) error {
				id, err := newestReview(c.Context(), p, args)
				if err != nil {
					return err
				}
				r, err := p.reviews.Review(c.Context(), id)
				if err != nil {
					return err
				}
				all, err := p.reviews.Items(c.Context(), id)
				if err != nil {
					return err
				}
				var items []review.Item
				for _, i := range all {
					if (!undecided || i.Decision == "") && (!proposed || i.Proposed) {
						items = append(items, i)
					}
				}
				if asCSV {
					return review.WriteCSV(c.OutOrStdout(), items)
				}
				names, err := operatorNames(c.Context(), p)
				if err != nil {
					return err
				}
				answer, rows := viewReviewItems(items, names)
				if asJSON {
					return printJSON(c.OutOrStdout(), struct {
						reviewRow
						Rights []reviewItemRow `json:"rights"`
					}{viewReview(r), answer})
				}
				if err := printReview(c, r, false); err != nil {
					return err
				}
				return table(c.OutOrStdout(), "No right is listed.", []string{"NUMBER", "KIND", "HOLDER", "RIGHT", "LAST USED", "REMOVE BECAUSE", "DECISION", "DETAIL"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&asCSV, "csv", false, "print CSV")
	c.Flags().BoolVar(&undecided, "undecided", false, "only rights that are not decided")
	c.Flags().BoolVar(&proposed, "proposed", false, "only rights whose removal is proposed")
	return c
}

// reviewIDs completes the identifiers of reviews.
func reviewIDs(o *options) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		cfg, err := readConfig(o)
		if err != nil || len(args) > 0 {
			return nil, none
		}
		db, err := store.Open(c.Context(), cfg.Store.Text().Reveal())
		if err != nil {
			return nil, none
		}
		defer func() { _ = db.Close() }()
		list, err := db.Reviews().Reviews(c.Context())
		if err != nil {
			return nil, none
		}
		for _, r := range list {
			ids = append(ids, cobra.CompletionWithDesc(string(r.ID), string(r.State)))
		}
		return ids, none
	}
}

// itemNumbers reads numbers and spans of them: 3 7-12.
func itemNumbers(args []string) (numbers []int, err error) {
	for _, arg := range args {
		first, last, span := strings.Cut(arg, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && span {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < 1 || to < from || to-from > 100_000 {
			return nil, usagef("a right is named by its number, or several by a span: 3 7-12")
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func reviewDecide(o *options, decision review.Decision) *cobra.Command {
	var reason string
	var group, asJSON bool
	use, short, flag, meaning := "confirm REVIEW NUMBER…", "Confirm rights: they stay", "used", "all undecided rights whose removal is not proposed"
	long := "Confirms rights of a review by their numbers, or all that are used: they stay. Nobody\nconfirms their own role."
	if decision == review.Removed {
		use, short, flag, meaning = "remove REVIEW NUMBER…", "Remove rights: they end when the review closes", "proposed", "all undecided rights whose removal is proposed"
		long = "Marks rights of a review for removal by their numbers, or all that are proposed. They\nend when the review closes; until then the decision can be taken back with confirm."
	}
	c := &cobra.Command{
		Use:               use,
		Short:             short,
		Long:              long,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: reviewIDs(o),
		RunE: func(c *cobra.Command, args []string) error {
			numbers, err := itemNumbers(args[1:])
			if err != nil {
				return err
			}
			if group == (len(numbers) > 0) {
				return usagef("name rights by their numbers, or give --%s", flag)
			}
			return with(c.Context(), o, func(p *parts) error {
				id, err := newestReview(c.Context(), p, args[:1])
				if err != nil {
					return err
				}
				if group {
					items, err := p.reviews.Items(c.Context(), id)
					if err != nil {
						return err
					}
					for _, i := range items {
						if i.Decision == "" && i.Proposed == (decision == review.Removed) {
							numbers = append(numbers, i.Number)
						}
					}
				}
				if len(numbers) > 0 {
					if err := p.reviews.Decide(c.Context(), operator.Host(), id, review.Ruling{Decision: decision, Items: numbers, Reason: reason}); err != nil {
						return err
					}
				}
				r, err := p.reviews.Review(c.Context(), id)
				if err != nil {
					return err
				}
				return printReview(c, r, asJSON)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the evidence")
	c.Flags().BoolVar(&group, flag, false, meaning)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func reviewFinish(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "finish REVIEW",
		Short: "Close a review: carry its decisions out and sign the evidence",
		Long: `Closes a review in which every right is decided, or which is due: what was removed or
not confirmed ends, and the evidence is signed. If it is interrupted, run it again:
it goes on. Exit status 1 means that something is left to be removed elsewhere.`,
		Args:              one("REVIEW"),
		ValidArgsFunction: reviewIDs(o),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				id, err := newestReview(c.Context(), p, args)
				if err != nil {
					return err
				}
				r, err := p.reviews.Finish(c.Context(), operator.Host(), id)
				if err != nil {
					return err
				}
				if err := printReview(c, r, asJSON); err != nil {
					return err
				}
				if r.Counts.OpenItems > 0 {
					return &wantingError{}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
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
