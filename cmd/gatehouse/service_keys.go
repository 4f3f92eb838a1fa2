package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store"

	"github.com/spf13/cobra"
)

// serviceKeyRow is a service's key in the JSON answers of the commands.
type serviceKeyRow struct {
	ID        string `json:"id"`
	Service   string `json:"service"`
	Purpose   string `json:"purpose,omitempty"`
	State     string `json:"state"`
	Created   string `json:"created_at"`
	Expires   string `json:"expires_at,omitempty"`
	Revoked   string `json:"revoked_at,omitempty"`
	Successor string `json:"successor,omitempty"`
	Used      string `json:"last_used_at,omitempty"`
	From      string `json:"last_used_from,omitempty"`
	Uses      int64  `json:"uses"`
}

func viewServiceKey(k identity.ServiceKey, now time.Time) serviceKeyRow {
	row := serviceKeyRow{
		ID: string(k.ID), Service: string(k.Service), Purpose: string(k.Purpose), State: keyState(k, now), Created: stamp(k.Created),
		Expires: stamp(k.Expires), Revoked: stamp(k.Revoked), Successor: string(k.Successor), Used: stamp(k.Used.At), Uses: k.Used.Count,
	}
	if k.Used.From.IsValid() {
		row.From = k.Used.From.String()
	}
	return row
}

// keyState is what a key is worth at a time, in one word or two.
func keyState(k identity.ServiceKey, now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Live(now):
		return "expired"
	case k.Ending(now):
		return "ends soon"
	case k.Successor != "":
		return "replaced"
	}
	return "in use"
}

// keyFor says what a key is for.
func keyFor(k identity.ServiceKey) string {
	switch k.Purpose {
	case "":
		return "every purpose"
	case identity.NoPurpose:
		return "no purpose"
	}
	return string(k.Purpose)
}

func serviceList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List services, and what becomes of their keys",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				services, err := p.identity.Services(c.Context())
				if err != nil {
					return err
				}
				type row struct {
					ID       string                  `json:"id"`
					Name     string                  `json:"name"`
					Purposes []gatehouse.PurposeName `json:"purposes"`
					Disabled bool                    `json:"disabled"`
					Created  string                  `json:"created_at"`
					Keys     int                     `json:"keys"`
					Wide     int                     `json:"wide_keys"`
					Ending   []string                `json:"ending_keys"`
					Used     string                  `json:"last_used_at,omitempty"`
				}
				list := []row{}
				var rows [][]string
				now := time.Now()
				for _, s := range services {
					keys, err := p.identity.ServiceKeys(c.Context(), s.Name)
					if err != nil {
						return err
					}
					r := row{ID: string(s.ID), Name: string(s.Name), Purposes: p.cfg.Services[s.Name].Purposes, Disabled: s.Disabled, Created: stamp(s.Created), Ending: []string{}}
					var used time.Time
					for _, k := range keys {
						if k.Used.At.After(used) {
							used = k.Used.At
						}
						if !k.Live(now) {
							continue
						}
						r.Keys++
						if isWide(k, len(r.Purposes), now) {
							r.Wide++
						}
						if k.Ending(now) {
							r.Ending = append(r.Ending, string(k.ID))
							fmt.Fprintf(c.ErrOrStderr(), "key %s of %s ends at %s: gatehouse service key rotate %s\n", k.ID, s.Name, when(k.Expires), k.ID)
						}
					}
					r.Used = stamp(used)
					list = append(list, r)
					state := "in use"
					if s.Disabled {
						state = "disabled: not in the configuration"
					}
					rows = append(rows, []string{string(s.Name), join(r.Purposes), state, when(s.Created), keysInWords(r.Keys, r.Wide), when(used)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "There is no service: add one to the configuration.", []string{"SERVICE", "PURPOSES", "STATE", "CREATED", "KEYS", "KEY LAST USED"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func keysInWords(live, wide int) string {
	if wide == 0 {
		return fmt.Sprint(live)
	}
	return fmt.Sprintf("%d, of them %d for every purpose", live, wide)
}

// keyFlags are those that say what a new key is for and how long it lives.
type keyFlags struct {
	purpose             string
	noPurpose, noExpiry bool
	life                time.Duration
}

func (f *keyFlags) span(c *cobra.Command) (time.Duration, error) {
	switch {
	case f.noExpiry && c.Flags().Changed("expires-in"):
		return 0, usagef("--no-expiry and --expires-in exclude each other")
	case f.noExpiry:
		return identity.NoEnd, nil
	case c.Flags().Changed("expires-in") && f.life < time.Minute:
		return 0, usagef("--expires-in: a span of time of at least a minute, such as 2160h")
	}
	return f.life, nil
}

func (f *keyFlags) declareLife(c *cobra.Command, usual string) {
	c.Flags().DurationVar(&f.life, "expires-in", 0, "how long it lives (default: "+usual+")")
	c.Flags().BoolVar(&f.noExpiry, "no-expiry", false, "let it live for ever; a review will ask about it")
}

func serviceKeyCreate(o *options) *cobra.Command {
	var asJSON, all bool
	var expiresOld time.Duration
	var f keyFlags
	c := &cobra.Command{
		Use:   "create SERVICE",
		Short: "Make a key for a service and print it, once",
		Long: `Makes a key for a service and prints it, once. A service may have several, best one
for each purpose: with --purpose the key is refused for everything else, so that one
which is stolen is worth that much less. With --no-purpose it is for what belongs to
none: events, duties, erasures, lineage and the log. With --all-purposes it is for
everything that the service may; without any of them too, and a warning says so.

A key ends after limits.service_key_ttl (a year); replace it before with
'service key rotate'. With --expires-old the service's other keys for the same
purpose end after that time: long enough to hand out the new one.`,
		Example: "  gatehouse service key create scheduler --purpose publish > /run/secrets/gatehouse-key",
		Args:    one("SERVICE"),
		RunE: func(c *cobra.Command, args []string) error {
			if expiresOld < 0 {
				return usagef("--expires-old: a span of time, such as 24h")
			}
			life, err := f.span(c)
			if err != nil {
				return err
			}
			if f.noPurpose && c.Flags().Changed("purpose") {
				return usagef("--purpose and --no-purpose exclude each other")
			}
			if all && (f.noPurpose || c.Flags().Changed("purpose")) {
				return usagef("--all-purposes excludes --purpose and --no-purpose")
			}
			if c.Flags().Changed("purpose") && f.purpose == "" {
				return usagef("--purpose: the name of one of the service's purposes")
			}
			return with(c.Context(), o, func(p *parts) error {
				name := gatehouse.ServiceName(args[0])
				declared, err := serviceNamed(p, args[0])
				if err != nil {
					return err
				}
				request := identity.KeyRequest{Service: name, Purpose: gatehouse.PurposeName(f.purpose), Life: life}
				switch {
				case f.noPurpose:
					request.Purpose = identity.NoPurpose
				case f.purpose != "":
					if err := mayServe(p, args[0], f.purpose); err != nil {
						return err
					}
				case !all:
					fmt.Fprintf(c.ErrOrStderr(), "warning: this key is for everything that %s may: its purposes (%s), and what belongs to none.\nOne for each is worth less to a thief: --purpose NAME, --no-purpose; --all-purposes if this is meant.\n", name, join(declared.Purposes))
				}
				key, text, err := p.identity.MakeServiceKey(c.Context(), request)
				if err != nil {
					return err
				}
				// The new key is printed whatever becomes of the old ones: it exists.
				if asJSON {
					err = printJSON(c.OutOrStdout(), newKeyAnswer(key, text.Reveal(), time.Time{}))
				} else {
					_, err = fmt.Fprintln(c.OutOrStdout(), text.Reveal())
				}
				if err == nil && c.Flags().Changed("expires-old") {
					_, err = p.identity.ExpireServiceKeys(c.Context(), key, time.Now().Add(expiresOld))
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&f.purpose, "purpose", "", "the only purpose that it is for")
	c.Flags().BoolVar(&f.noPurpose, "no-purpose", false, "it is for what belongs to no purpose")
	c.Flags().BoolVar(&all, "all-purposes", false, "it is for everything that the service may")
	f.declareLife(c, "limits.service_key_ttl")
	c.Flags().DurationVar(&expiresOld, "expires-old", 0, "give the service's other keys for the same purpose an end, that far ahead")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// newKeyAnswer is what is printed of a new key, once.
func newKeyAnswer(k identity.ServiceKey, text string, oldEnds time.Time) any {
	return struct {
		Service string `json:"service"`
		ID      string `json:"id"`
		Key     string `json:"key"`
		Purpose string `json:"purpose,omitempty"`
		Expires string `json:"expires_at,omitempty"`
		OldEnds string `json:"old_ends_at,omitempty"`
	}{string(k.Service), string(k.ID), text, string(k.Purpose), stamp(k.Expires), stamp(oldEnds)}
}

func serviceKeyList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list SERVICE",
		Short: "List a service's keys (their ids, never the keys)",
		Long: `Lists a service's keys with what each is for, when it ends, and when and from which
network it was last used. Uses are stored every few seconds while 'gatehouse run' runs;
if it is killed, the last seconds of them are lost.`,
		Args: one("SERVICE"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				keys, err := p.identity.ServiceKeys(c.Context(), gatehouse.ServiceName(args[0]))
				if err != nil {
					return err
				}
				// A service that left the configuration may still have keys to see.
				if _, err := serviceNamed(p, args[0]); err != nil && len(keys) == 0 {
					return err
				}
				list := []serviceKeyRow{}
				var rows [][]string
				now := time.Now()
				for _, k := range keys {
					row := viewServiceKey(k, now)
					list = append(list, row)
					rows = append(rows, []string{row.ID, keyFor(k), row.State, when(k.Created), when(k.Expires), when(k.Revoked), when(k.Used.At), dash(row.From)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), list)
				}
				return table(c.OutOrStdout(), "This service has no key.", []string{"KEY", "FOR", "STATE", "CREATED", "EXPIRES", "REVOKED", "LAST USED", "FROM"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func serviceKeyRotate(o *options) *cobra.Command {
	var asJSON, again bool
	var overlap time.Duration
	var f keyFlags
	c := &cobra.Command{
		Use:   "rotate KEY-ID",
		Short: "Make a key's successor, print it, once, and give the key an end",
		Long: `Makes a key for the same service and purpose, prints it, once, and has the old one
end after --overlap: long enough to hand out the new one. Both are one step: if it is
interrupted, either nothing has changed or the key has a successor.

A key with a successor is not rotated a second time. If nobody has the successor,
because the step was interrupted before it was printed, --again makes another one and
revokes that; it refuses when the successor was used.`,
		Example: "  gatehouse service key rotate 7Yk2mQ… --overlap 24h > /run/secrets/gatehouse-key",
		Args:    one("KEY-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if overlap < 0 {
				return usagef("--overlap: a span of time, such as 24h")
			}
			life, err := f.span(c)
			if err != nil {
				return err
			}
			return with(c.Context(), o, func(p *parts) error {
				id := identity.ServiceKeyID(args[0])
				key, text, err := p.identity.RotateServiceKey(c.Context(), id, identity.Rotation{Overlap: overlap, Life: life, Again: again})
				if rotated := (*identity.RotatedError)(nil); errors.As(err, &rotated) && rotated.Successor.Used.At.IsZero() {
					return fmt.Errorf("%w. If nobody has it: gatehouse service key rotate %s --again", err, id)
				}
				if err != nil {
					return err
				}
				old, err := p.identity.ServiceKey(c.Context(), id)
				if asJSON {
					return errors.Join(err, printJSON(c.OutOrStdout(), newKeyAnswer(key, text.Reveal(), old.Expires)))
				}
				_, printErr := fmt.Fprintln(c.OutOrStdout(), text.Reveal())
				fmt.Fprintf(c.ErrOrStderr(), "the old key ends at %s, the new one at %s\n", when(old.Expires), when(key.Expires))
				return errors.Join(err, printErr)
			})
		},
	}
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key works beside the new one")
	c.Flags().BoolVar(&again, "again", false, "replace a successor that nobody has")
	f.declareLife(c, "as long as the old one was made for")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func serviceKeyRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke KEY-ID",
		Short: "Make a key worthless at once",
		Args:  one("KEY-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), o, func(p *parts) error {
				if err := p.identity.RevokeServiceKey(c.Context(), identity.ServiceKeyID(args[0])); err != nil {
					return err
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "revoked")
				return err
			})
		},
	}
}

// tellKeyEnding tells the app that a service's key ends soon.
func (p *parts) tellKeyEnding(ctx context.Context, k identity.ServiceKey) error {
	return p.tell(ctx, outbox.Event{ID: "key-ending-" + string(k.ID), Type: "service_key.ending"}, struct {
		Service gatehouse.ServiceName `json:"service"`
		Key     identity.ServiceKeyID `json:"key"`
		Purpose gatehouse.PurposeName `json:"purpose,omitempty"`
		Expires time.Time             `json:"expires_at"`
		Used    time.Time             `json:"last_used_at,omitzero"`
		Next    string                `json:"next_step"`
	}{k.Service, k.ID, k.Purpose, k.Expires, k.Used.At, "gatehouse service key rotate " + string(k.ID)})
}

// liveKeys are the keys of enabled services that are accepted at a time.
func liveKeys(ctx context.Context, d *identity.Directory, now time.Time) ([]identity.ServiceKey, error) {
	services, err := d.Services(ctx)
	if err != nil {
		return nil, err
	}
	var live []identity.ServiceKey
	for _, s := range services {
		if s.Disabled {
			continue
		}
		keys, err := d.ServiceKeys(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Live(now) {
				live = append(live, k)
			}
		}
	}
	return live, nil
}

// serviceKeyFindings says which keys end soon, which never do, and which serve more
// than they need to.
func serviceKeyFindings(ctx context.Context, p *parts, now time.Time) []finding {
	const check = "service keys"
	keys, err := liveKeys(ctx, p.identity, now)
	if err != nil {
		return []finding{{Check: check, Text: err.Error(), Next: "gatehouse audit verify; then look at the database"}}
	}
	var out []finding
	var wide, endless []string
	for _, k := range keys {
		if k.Ending(now) {
			out = append(out, finding{
				Check: check, Text: fmt.Sprintf("key %s of %s ends at %s, and nothing takes its place", k.ID, k.Service, when(k.Expires)),
				Next: "gatehouse service key rotate " + string(k.ID),
			})
		}
		if isWide(k, len(p.cfg.Services[k.Service].Purposes), now) {
			wide = append(wide, string(k.ID)+" of "+string(k.Service))
		}
		if k.Expires.IsZero() {
			endless = append(endless, string(k.ID)+" of "+string(k.Service))
		}
	}
	if len(out) == 0 {
		out = append(out, finding{Check: check, OK: true, Text: fmt.Sprintf("none of %d ends soon", len(keys))})
	}
	if len(wide) > 0 {
		out = append(out, finding{Check: check, OK: true, Text: fmt.Sprintf("warning: %d of %d wider than needed, for every purpose of their services: %s; make one for each with --purpose, hand it out, revoke these", len(wide), len(keys), some(wide))})
	}
	if len(endless) > 0 {
		out = append(out, finding{Check: check, OK: true, Text: "warning: without an end: " + some(endless)})
	}
	return out
}

// some names a few of many.
func some(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// isWide reports whether a key works and opens every one of several purposes.
func isWide(k identity.ServiceKey, purposes int, now time.Time) bool {
	return k.Purpose == "" && purposes > 1 && k.Live(now)
}

// wideKey is a key that serves every purpose of a service with several.
type wideKey struct {
	ID       identity.ServiceKeyID   `json:"id"`
	Service  gatehouse.ServiceName   `json:"service"`
	Purposes []gatehouse.PurposeName `json:"purposes"`
}

// wideKeys lists the keys that serve every purpose of a service with several.
func (l *looked) wideKeys(ctx context.Context, db *store.DB) ([]wideKey, error) {
	now := time.Now()
	var out []wideKey
	records, err := db.Identity().Services(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		name := r.Service.Name
		purposes := l.cfg.Services[name].Purposes
		if r.Service.Disabled || len(purposes) < 2 {
			continue
		}
		keys, err := db.Identity().ServiceKeys(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if isWide(k.Key, len(purposes), now) {
				out = append(out, wideKey{k.Key.ID, name, purposes})
			}
		}
	}
	return out, nil
}
