package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/vault"

	"github.com/spf13/cobra"
)

// keyName parses KEY@VERSION; the version is 0 if none is given.
func keyName(text string) (vault.Domain, uint32, error) {
	name, version, has := strings.Cut(text, "@")
	if !has {
		return vault.Domain(name), 0, nil
	}
	n, err := strconv.ParseUint(version, 10, 32)
	if err != nil || n == 0 {
		return "", 0, usagef("%q: write a version as %s@1", text, name)
	}
	return vault.Domain(name), uint32(n), nil
}

// keyVersion is keyName for commands that need one version.
func keyVersion(text string) (vault.Domain, uint32, error) {
	domain, version, err := keyName(text)
	if err == nil && version == 0 {
		err = usagef("which version of %s? Write %s@1; 'gatehouse keys list' shows them", domain, domain)
	}
	return domain, version, err
}

func keysRotate(o *options) *cobra.Command {
	var only bool
	c := &cobra.Command{
		Use:   "rotate tokens|personal|system|keyring",
		Short: "Make a new version of a key, beside calls",
		Long: `Makes a new version, which seals from then on. What the older ones sealed stays
readable, and what can be moved is moved under the new version at once, in small
steps beside calls. Interrupted, it goes on by itself in 'gatehouse run', or with
'gatehouse keys rewrap'.

keyring makes every keyring key and the daily key anew, and so rewraps the key of
every person. 'gatehouse run' does that daily where somebody was erased.

derive is not rotated: what is derived from it is not stored, so it cannot be
derived anew. The command says what it would take.`,
		Args: one("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			domain, version, err := keyName(args[0])
			if err == nil && version != 0 {
				err = usagef("rotate makes the next version itself: write %s", domain)
			}
			if err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error {
				if domain == "keyring" {
					return rewrap(c, p, vault.RewrapOptions{Keyring: true})
				}
				version, err := p.keys.Rotate(c.Context(), domain)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s@%d is active\n", domain, version)
				if only {
					return nil
				}
				return rewrap(c, p, vault.RewrapOptions{})
			})
		},
	}
	c.Flags().BoolVar(&only, "only", false, "do not move anything yet")
	return c
}

func keysRewrap(o *options) *cobra.Command {
	var r vault.RewrapOptions
	c := &cobra.Command{
		Use:   "rewrap",
		Short: "Move what stands under older keys under the newest",
		Long: `Moves whatever can be moved from under keys that were replaced: domain keys from
under a previous root key, system secrets, the keys of people, the keyring. It runs
beside calls and beside other nodes, and can be interrupted anywhere and run again.

To move to another root key (another file, or another provider): name the new one
as root_key and the old one under previous_root_keys, restart every node, and run
this with --root. 'gatehouse keys status' says when the old one is not needed any
more; then take it out of the configuration.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error { return rewrap(c, p, r) })
		},
	}
	c.Flags().BoolVar(&r.Root, "root", false, "only from under previous root keys")
	c.Flags().BoolVar(&r.SetAside, "set-aside", false, "go on without keys that do not open; they never will again")
	return c
}

func rewrap(c *cobra.Command, p *parts, r vault.RewrapOptions) error {
	progress, end := progressOn(c.ErrOrStderr())
	r.Progress = progress
	done, err := p.keys.Rewrap(c.Context(), r)
	end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "moved: %d keys of people, %d keyring keys\n", done.People, done.KeyringKeys)
	if done.Unreadable > 0 {
		fmt.Fprintf(c.OutOrStdout(), "set aside: %d keys of people that do not open\n", done.Unreadable)
	}
	return err
}

func keysDisable(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "disable KEY@VERSION",
		Short: "Keep a version from opening anything, until it is enabled again",
		Args:  one("KEY@VERSION"),
		RunE:  ofVersion(o, (*vault.Keys).Disable, "is disabled; running processes obey within half a minute"),
	}
}

func keysEnable(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "enable KEY@VERSION",
		Short: "Let a disabled version open again, or take back a scheduled destruction",
		Args:  one("KEY@VERSION"),
		RunE:  ofVersion(o, (*vault.Keys).Enable, "opens what it sealed"),
	}
}

// ofVersion does something to the version that is named, and says how it then stands.
func ofVersion(o *options, do func(*vault.Keys, context.Context, vault.Domain, uint32) error, stands string) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		domain, version, err := keyVersion(args[0])
		if err != nil {
			return err
		}
		return with(c.Context(), o, func(p *parts) error {
			if err := do(p.keys, c.Context(), domain, version); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s@%d %s\n", domain, version, stands)
			return err
		})
	}
}

func keysDestroy(o *options) *cobra.Command {
	var confirm string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "destroy KEY@VERSION --confirm KEY@VERSION",
		Short: "Have a version destroyed after a wait",
		Long: `Schedules the destruction of a version. Until its time it opens nothing, and
'gatehouse keys enable' takes it back; then 'gatehouse run', or this command again,
destroys it for good. It is refused for the version that seals, and while anything
still needs the version.`,
		Args: one("KEY@VERSION"),
		RunE: func(c *cobra.Command, args []string) error {
			domain, version, err := keyVersion(args[0])
			if err != nil {
				return err
			}
			if confirm != "" && confirm != args[0] {
				return usagef("--confirm must repeat %s; nothing was changed", args[0])
			}
			return with(c.Context(), o, func(p *parts) error {
				w := c.OutOrStdout()
				if confirm == "" {
					fmt.Fprintf(w, "This has %s destroyed for good in %s, if nothing needs it. To go on, add: --confirm %s\n", args[0], wait, args[0])
					return &wantingError{}
				}
				at, err := p.keys.Schedule(c.Context(), domain, version, wait)
				if err != nil {
					return err
				}
				if time.Now().Before(at) {
					_, err = fmt.Fprintf(w, "%s is scheduled for destruction at %s; 'gatehouse keys enable %s' takes it back\n", args[0], when(at), args[0])
					return err
				}
				if _, err := p.keys.DestroyDue(c.Context()); err != nil {
					return err
				}
				_, err = fmt.Fprintf(w, "%s is destroyed\n", args[0])
				return err
			})
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the key's name again")
	c.Flags().DurationVar(&wait, "wait", vault.DefaultWait, "how long it can be taken back; at least 24h")
	return c
}

func keysImport(o *options) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "import tokens|personal|system --from FILE",
		Short: "Make a keyset from elsewhere the new version of a key",
		Long: `Takes a Tink keyset for authenticated encryption, in plain, as JSON or binary, as
tinkey makes it, from a file that only you can read. It becomes the new active
version, as with 'gatehouse keys rotate'. Destroy the file afterwards: Gatehouse
does not.`,
		Args: one("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			domain, version, err := keyName(args[0])
			if err == nil && (version != 0 || from == "") {
				err = usagef("write: gatehouse keys import %s --from FILE", domain)
			}
			if err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error {
				version, err := p.keys.Import(c.Context(), domain, from)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s@%d is active; destroy %s now\n", domain, version, from)
				return rewrap(c, p, vault.RewrapOptions{})
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "the file that holds the keyset")
	return c
}

// keysState is the answer of 'keys status'.
type keysState struct {
	Root     string         `json:"root"`
	Wraps    map[string]int `json:"root_keys_wrap"`
	Previous []string       `json:"previous_roots_needed"`
	Obsolete []string       `json:"previous_roots_not_needed"`
	// Direct says that keys of people stand directly under the domain key Personal.
	Direct    bool   `json:"people_outside_keyring"`
	OldSystem int    `json:"system_secrets_under_old_key"`
	Turning   bool   `json:"keyring_turn_under_way"`
	Keyring   int64  `json:"keyring_keys"`
	Dirty     int64  `json:"keyring_keys_to_forget"`
	TurnDue   string `json:"keyring_turn_due_at,omitempty"`
	Outside   bool   `json:"daily_key_outside_database"`
	Overdue   bool   `json:"overdue"`
	// Older are the versions that only open, with what needs them.
	Older map[string][]vault.Use `json:"older_versions"`
}

// forgetWithin is the promise: an erasure is forgotten within a day.
const forgetWithin = 24 * time.Hour

func keysStatus(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what is unfinished, and what nothing needs any more",
		Long: `Says what stands under older keys still, which previous root keys are needed, and
what the keyring has to forget. Exit status 1 means that an erasure was not
forgotten within a day: 'gatehouse run' does that, so it does not run, or cannot.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				s, err := p.keys.Status(c.Context())
				if err != nil {
					return err
				}
				state := stateOfKeys(p, s)
				for _, row := range s.Domains {
					if row.State == vault.Active || row.State == vault.Destroyed {
						continue
					}
					name := fmt.Sprintf("%s@%d", row.Domain, row.Version)
					if state.Older[name], err = p.keys.Uses(c.Context(), row.Domain, row.Version); err != nil {
						return err
					}
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), state)
				} else {
					err = state.print(c.OutOrStdout())
				}
				if err == nil && state.Overdue {
					err = &wantingError{}
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// stateOfKeys is what is unfinished, without what older versions are needed by.
func stateOfKeys(p *parts, s vault.Status) keysState {
	state := keysState{
		Root: s.Root, Wraps: s.Roots, Previous: s.PreviousRoots(), Direct: s.Direct, OldSystem: s.OldSystem, Turning: s.Turning(),
		Keyring: s.Keyring.Keys, Dirty: s.Keyring.Dirty, TurnDue: stamp(s.TurnDue), Outside: s.InFile,
		Overdue: !s.Keyring.Erased.IsZero() && time.Since(s.Keyring.Erased) > forgetWithin,
		Older:   map[string][]vault.Use{},
	}
	slices.Sort(state.Previous)
	for _, root := range p.vault.PreviousRootIDs() {
		if s.Roots[root] == 0 {
			state.Obsolete = append(state.Obsolete, root)
		}
	}
	return state
}

func (s keysState) print(w io.Writer) error {
	var errs []error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format+"\n", args...)
		errs = append(errs, err)
	}
	say("root key %s wraps %d domain keys", s.Root, s.Wraps[s.Root])
	for _, id := range s.Previous {
		say("root key %s still wraps %d domain keys: gatehouse keys rewrap --root", id, s.Wraps[id])
	}
	for _, id := range s.Obsolete {
		say("root key %s is not needed any more: take it out of previous_root_keys, then destroy it", id)
	}
	if s.Direct {
		say("keys of people stand outside the keyring still: gatehouse run moves them, or gatehouse keys rewrap")
	}
	if s.OldSystem > 0 {
		say("%d system secrets are sealed under an older key: gatehouse run moves them, or gatehouse keys rewrap", s.OldSystem)
	}
	place := "in the database, which cannot quite forget (keys.keyring names a file)"
	if s.Outside {
		place = "outside the database"
	}
	say("keyring: %d keys; the daily key is %s", s.Keyring, place)
	switch {
	case s.Overdue:
		say("keyring: %d keys to be made anew since an erasure more than a day ago: OVERDUE. Start gatehouse run, or: gatehouse keys rewrap", s.Dirty)
	case s.Turning:
		say("keyring: being made anew now, or interrupted; gatehouse run goes on, or gatehouse keys rewrap")
	case s.Dirty > 0:
		say("keyring: %d keys to be made anew after an erasure, at %s", s.Dirty, s.TurnDue)
	}
	var names []string
	for name := range s.Older {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(s.Older[name]) == 0 {
			say("%s: nothing needs it (gatehouse keys destroy %s)", name, name)
			continue
		}
		for _, use := range s.Older[name] {
			say("%s is needed by %s", name, use.Text())
		}
	}
	return errors.Join(errs...)
}
