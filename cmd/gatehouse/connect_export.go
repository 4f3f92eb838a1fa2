package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"gatehouse"
	"gatehouse/internal/connect"

	"github.com/spf13/cobra"
)

func connectExport(o *options) *cobra.Command {
	var all bool
	var app, platform, out, confirm string
	c := &cobra.Command{
		Use:   "export CONNECTION...|--all --out FILE",
		Short: "Take tokens out of Gatehouse, in the clear",
		Long: `Writes connections with their tokens, as the lines that 'connect import' reads, into
a new file that only you can read. From then on whoever has the file can act as
these people. Each connection that is opened is in the audit log.

The first run says what would be exported and prints a code; run it again with
--confirm CODE. The code fits these connections only.

X's refresh tokens work once: while this Gatehouse goes on running, it renews its
own and the exported ones die. Stop it first, or have the other side import at
once, which ends the tokens here.`,
		Example: "  gatehouse connect export --all --platform x --out tokens.jsonl",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the connections, or give --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !all && (app != "" || platform != "") {
				return usagef("--app and --platform narrow --all")
			}
			return with(c.Context(), o, func(p *parts) error {
				scope, err := scopeOf(p, app, platform)
				if err != nil {
					return err
				}
				e := &exporter{c: c, parts: p, out: out}
				if err := e.choose(args, scope); err != nil {
					return err
				}
				return e.run(confirm)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every connection that works")
	c.Flags().StringVar(&app, "app", "", "with --all: only of this app registration")
	c.Flags().StringVar(&platform, "platform", "", "with --all: only of this platform")
	c.Flags().StringVar(&out, "out", "", "the new file")
	c.Flags().StringVar(&confirm, "confirm", "", "the code that the first run printed")
	if err := c.MarkFlagRequired("out"); err != nil {
		panic(err) // a programmer's mistake: the flag is declared above
	}
	return c
}

// scopeOf checks the words that narrow a sweeping command: a misspelt one must
// not make it look as if there were nothing to do.
func scopeOf(p *parts, app, platform string) (connect.Scope, error) {
	s := connect.Scope{App: gatehouse.AppName(app), Platform: gatehouse.Platform(platform)}
	if app != "" && !slices.Contains(p.connect.Apps(), s.App) {
		return s, fmt.Errorf("there is no app %q in the configuration; there are: %s", app, join(p.connect.Apps()))
	}
	platforms := []gatehouse.Platform{gatehouse.X, gatehouse.Facebook, gatehouse.Instagram, gatehouse.Threads, gatehouse.OAuth2}
	if platform != "" && !slices.Contains(platforms, s.Platform) {
		return s, usagef("--platform %s: there are %s", platform, join(platforms))
	}
	return s, nil
}

// exporter writes tokens into a file.
type exporter struct {
	c      *cobra.Command
	parts  *parts
	out    string
	chosen []connect.Connection
}

func (e *exporter) choose(args []string, scope connect.Scope) error {
	ctx := e.c.Context()
	if len(args) == 0 {
		var err error
		e.chosen, err = e.parts.connect.Exportable(ctx, scope)
		e.chosen = slices.DeleteFunc(e.chosen, func(con connect.Connection) bool {
			if con.Unreadable {
				fmt.Fprintf(e.c.ErrOrStderr(), "warning: %s is left out: %s\n", con.ID, con.Next)
			}
			return con.Unreadable
		})
		return err
	}
	for _, id := range args {
		con, err := e.parts.connect.Get(ctx, gatehouse.ConnectionID(id))
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		if con.Unreadable {
			return fmt.Errorf("%s: %s", con.ID, con.Next)
		}
		if !con.Status.Usable() {
			return fmt.Errorf("%s is %s: there is no token that works", id, con.Status)
		}
		if !slices.ContainsFunc(e.chosen, func(other connect.Connection) bool { return other.ID == con.ID }) {
			e.chosen = append(e.chosen, con)
		}
	}
	// A parent must be imported before what hangs on it; it is always older.
	slices.SortStableFunc(e.chosen, func(a, b connect.Connection) int { return a.Created.Compare(b.Created) })
	return nil
}

// run asks for confirmation, or writes.
func (e *exporter) run(confirm string) error {
	if len(e.chosen) == 0 {
		return errors.New("there is no connection to export")
	}
	words := []string{"export"}
	chosen := map[gatehouse.ConnectionID]bool{}
	for _, con := range e.chosen {
		chosen[con.ID] = true
	}
	for _, con := range e.chosen {
		words = append(words, string(con.ID))
		if con.Parent != "" && !chosen[con.Parent] {
			fmt.Fprintf(e.c.ErrOrStderr(), "warning: %s hangs on %s, which is not exported: it cannot be imported elsewhere without it\n", con.ID, con.Parent)
		}
	}
	slices.Sort(words[1:])
	code, err := e.parts.connect.Confirmation(e.c.Context(), words...)
	if err != nil {
		return err
	}
	w := e.c.OutOrStdout()
	if confirm != code {
		for _, con := range e.chosen {
			fmt.Fprintf(w, "%s  %s  %s  %s %s\n", con.ID, con.App, con.Kind, con.Subject, con.Name)
		}
		fmt.Fprintf(w, "The tokens of these %d connections would be written to %s in the clear.\nWhoever has that file can act as these people. To go on, add: --confirm %s\n", len(e.chosen), e.out, code)
		if confirm != "" {
			return errors.New("--confirm: this is not the code for these connections; nothing was exported")
		}
		return &wantingError{}
	}
	if err := e.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "EXPORTED the tokens of %d connections to %s. They are no longer protected by Gatehouse:\nmove the file safely, import it, and destroy it. The audit log names each of them.\n", len(e.chosen), e.out)
	return err
}

// write writes all lines or leaves no file.
func (e *exporter) write() (err error) {
	f, err := os.OpenFile(e.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(e.out))
		}
	}()
	progress := onTerminal(e.c.ErrOrStderr())
	for n, con := range e.chosen {
		err := e.parts.connect.Export(e.c.Context(), con.ID, func(line []byte) error {
			_, err := f.Write(append(line, '\n'))
			return err
		})
		if err != nil {
			return fmt.Errorf("exporting %s: %w", con.ID, err)
		}
		if progress {
			fmt.Fprintf(e.c.ErrOrStderr(), "\r%d of %d", n+1, len(e.chosen))
		}
	}
	if progress {
		fmt.Fprintln(e.c.ErrOrStderr())
	}
	return f.Sync()
}
