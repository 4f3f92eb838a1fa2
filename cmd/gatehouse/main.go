// Command gatehouse stands between an app and the platforms whose tokens it
// would otherwise hold.
//
// This package owns flags, construction and life cycle. It is the only one that
// reads the environment, and it holds no rule about calls, grants or keys: those
// live in the packages it binds together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses. They are a contract.
const (
	exitDone   = 0 // what was asked for is done
	exitFailed = 1 // it failed, or was found wanting
	exitUsage  = 2 // wrong use
)

func main() {
	// net/http writes what broken connections sent to package log. It is not ours
	// to repeat.
	log.SetOutput(io.Discard)
	guardMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs one command line and returns its exit status.
func execute(ctx context.Context, args []string) int {
	root, entered := newRoot()
	root.SetArgs(args)
	err := misspelt(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitDone
	}
	var wanting *wantingError
	if !errors.As(err, &wanting) {
		fmt.Fprintf(os.Stderr, "gatehouse: %v\n", err)
	}
	var usage *usageError
	if errors.As(err, &usage) || !*entered {
		fmt.Fprintf(os.Stderr, "Run '%s --help' for how to use it.\n", commandPath(root, args))
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in how the command was called, found after parsing.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// wantingError ends a command whose report is already printed and whose answer
// is "no": exit status 1 without a further message.
type wantingError struct{}

func (*wantingError) Error() string { return "found wanting" }

// misspelt refuses a command line that stops at a command which only groups
// others, such as "audit verfy". Cobra prints help and calls that success, which
// a script would take for a log that verifies.
func misspelt(root *cobra.Command, args []string) error {
	c, rest, err := root.Find(args)
	if err != nil || c == root || c.Runnable() || c.ParseFlags(rest) != nil {
		return nil // cobra's own to answer
	}
	if help, err := c.Flags().GetBool("help"); err == nil && help {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	if len(c.Flags().Args()) == 0 {
		return usagef("%s: which of %s?", c.CommandPath(), strings.Join(names, ", "))
	}
	wrong := c.Flags().Args()[0]
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(wrong); len(near) > 0 {
		names = near
	}
	return usagef("%s has no command %q; did you mean %s?", c.CommandPath(), wrong, strings.Join(names, ", "))
}

// one demands exactly one argument and calls it by its name.
func one(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give exactly one %s", name)
		}
		return nil
	}
}

// commandPath names the command that args selected, as far as it is known.
func commandPath(root *cobra.Command, args []string) string {
	if c, _, err := root.Find(args); err == nil {
		return c.CommandPath()
	}
	return root.CommandPath()
}

// newRoot builds the command tree. The returned flag becomes true once a
// command's own code runs, which is where wrong use ends and failure begins.
func newRoot() (*cobra.Command, *bool) {
	entered := new(bool)
	var o options
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "Stands between your app and X and Meta, and holds the tokens",
		Long: `Gatehouse stands between your app and the X API and Meta's Graph API.

The app keeps its client library and uses a handle where a token was. Gatehouse
holds the real tokens, encrypted; lets through what a declared purpose allows;
and writes each call, before it happens, in a log that verifies.

  gatehouse demo                    see it work, with sandboxed platforms
  gatehouse init                    make a configuration, keys and a database
  gatehouse run                     run it
  gatehouse service key create S    a key for one part of your app
  gatehouse audit verify            check that the log is complete and unaltered`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&o.config, "config", "gatehouse.yaml", "configuration file")
	root.AddCommand(
		newInit(&o), newRun(&o), newDemo(), newSandbox(), newConnect(&o), newPerson(&o), newService(&o), newAccount(&o), newKeys(&o),
		newPolicy(&o), newCase(&o), newStepup(&o), newEvents(&o), newLineage(&o), newEgressCommand(&o), newAudit(&o), newConfig(&o), newBackup(&o), newRestore(&o), newDoctor(&o), newVersion(),
	)
	markEntered(root, entered)
	return root, entered
}

// markEntered sets the flag where a command's own code begins. Cobra's hooks run
// before it has looked for required flags, which are wrong use when they miss.
func markEntered(c *cobra.Command, entered *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*entered = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		markEntered(sub, entered)
	}
}

// options are the flags that every command shares.
type options struct {
	config string
}
