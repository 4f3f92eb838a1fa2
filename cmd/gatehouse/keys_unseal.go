package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/secret"

	"github.com/spf13/cobra"
)

func keysUnseal(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "unseal",
		Short: "Give a running, sealed Gatehouse its passphrase",
		Long: `Gives the passphrase of the root key to a Gatehouse that was started without it and
waits, sealed. It is read from the terminal, without echo, or one line of it from
standard input, and goes over a Unix socket beside the database that only the same
user, and root, may use.

After a wrong passphrase the next one is heard after a second, and twice as long
after each further one. How many were wrong is written into the log once it is open.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(o)
			if err != nil {
				return err
			}
			if cfg.RootKey.Kind() != config.RootPassphrase {
				return fmt.Errorf("the root key is %s, which needs no passphrase: %w", cfg.RootKey, gatehouse.ErrInvalid)
			}
			passphrase, err := askPassphrase("Passphrase: ", os.Stdin, true)
			if err != nil {
				return err
			}
			id, err := sendPassphrase(c.Context(), socketPath(cfg), passphrase)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "open  root key %s; Gatehouse starts\n", strings.TrimSpace(id))
			return err
		},
	}
}

// newSecretReader sends a secret as the body of a request.
func newSecretReader(s secret.Text) io.Reader { return strings.NewReader(s.Reveal()) }

// decodeProblem reads the refusal of another Gatehouse.
func decodeProblem(r io.Reader, into any) error {
	return json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(into)
}
