package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	return completed(o, 1, func(ctx context.Context, db *store.DB) (ids []cobra.Completion, _ error) {
		list, err := db.Reviews().Reviews(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			ids = append(ids, cobra.CompletionWithDesc(string(r.ID), string(r.State)))
		}
		return ids, nil
	})
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
