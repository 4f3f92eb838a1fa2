package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// nameTyped asks whoever sits at a terminal to type the name of what is about to be
// lost. A pipe is not asked: scripts that ran before run as they did.
type nameTyped struct{ yes bool }

func (f *nameTyped) flag(c *cobra.Command) {
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask on a terminal")
}

// ask says what will happen and demands the name.
func (f *nameTyped) ask(c *cobra.Command, will, name string) error {
	in, ok := c.InOrStdin().(*os.File)
	if f.yes || !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return typedName(in, c.ErrOrStderr(), will, name)
}

// typedName reads one line, which has to be the name.
func typedName(in io.Reader, out io.Writer, will, name string) error {
	fmt.Fprintf(out, "%s\nTo go on, type %s: ", will, name)
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && line == "" {
		return fmt.Errorf("nothing was typed, and nothing was done: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return usagef("that is not the name; nothing was done")
	}
	return nil
}
