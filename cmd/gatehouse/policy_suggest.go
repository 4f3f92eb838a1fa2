package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/observe"

	"github.com/spf13/cobra"
)

func policySuggest(o *options) *cobra.Command {
	var purpose, service, since, output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "suggest",
		Short: "Write the narrowest contracts for what was observed",
		Long: `Writes a purposes section, ready to stand in the configuration: the calls that were
made, the parameters and fields that they carried, the fields that came back, the
scopes that they need. Comments say how often and when each was seen. Names are
exact; bounds are what the platform allows, or what was seen with room. What is
declared already is narrowed, not widened, but by what a call carried against it.

Most is seen in report mode ("mode: report" with "until: DATE"), in which every call is
read whole; in enforce mode only what is declared is.`,
		Example: "  gatehouse policy suggest --output purposes.yaml\n" +
			"  gatehouse policy suggest --purpose publish --since 2026-01-31",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return look(c.Context(), o, since, gatehouse.ServiceName(service), func(l *looked, _ *policyStore) error {
				if _, known := l.cfg.Purposes[gatehouse.PurposeName(purpose)]; purpose != "" && !known {
					return fmt.Errorf("purpose %s is not in the configuration: %w", purpose, gatehouse.ErrNotFound)
				}
				list := observe.Suggest(l.snapshot, l.declared, gatehouse.PurposeName(purpose))
				var out bytes.Buffer
				if err := l.suggestion(&out, list, service, asJSON, time.Now()); err != nil {
					return err
				}
				if output == "" {
					_, err := c.OutOrStdout().Write(out.Bytes())
					return err
				}
				return writeNew(output, out.Bytes())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&purpose, "purpose", "", "only this purpose")
	f.StringVar(&service, "service", "", "only by what this service used")
	f.StringVar(&since, "since", "", "leave out what was not used since this day, such as 2026-01-31")
	f.StringVar(&output, "output", "", "write to this file, which must not exist")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// writeNew writes a file that did not exist.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; name another file: %w", path, gatehouse.ErrConflict)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// suggestion writes what is suggested.
func (l *looked) suggestion(w *bytes.Buffer, list []observe.Suggested, service string, asJSON bool, now time.Time) error {
	days, warning := watched(l.snapshot.Since, now)
	if asJSON {
		return printJSON(w, struct {
			Since    string              `json:"since"`
			Days     int                 `json:"days"`
			Warnings []string            `json:"warnings"`
			Purposes []observe.Suggested `json:"purposes"`
		}{stamp(l.snapshot.Since), days, warnings(warning), list})
	}
	head := fmt.Sprintf("Suggested by gatehouse policy suggest from what was observed since %s.", when(l.snapshot.Since))
	if service != "" {
		head += " Only what service " + service + " used: others that share these purposes may need more."
	}
	if warning != "" {
		head += " Beware: " + warning + "."
	}
	purposes, notes := map[gatehouse.PurposeName]config.Purpose{}, map[string]string{"": head}
	for _, s := range list {
		at := "purposes." + string(s.Name)
		is := l.cfg.Purposes[s.Name]
		was := is.Calls
		for entry, text := range s.Notes {
			notes[entryAt(at, entry)] = text
		}
		is.Scopes, is.Calls = s.Scopes, nil
		for i, call := range s.Calls {
			for entry, text := range call.Notes {
				notes[entryAt(at+".calls["+strconv.Itoa(i)+"]", entry)] = text
			}
			is.Calls = append(is.Calls, l.callOf(call, was))
		}
		purposes[s.Name] = is
	}
	return config.WritePurposes(w, purposes, notes)
}

func entryAt(at, entry string) string {
	if entry == "" {
		return at
	}
	return at + "." + entry
}

func warnings(text string) []string {
	if text == "" {
		return []string{}
	}
	return []string{text}
}

// callOf is a suggested call as the configuration says it, in the spelling that
// it has there.
func (l *looked) callOf(s observe.SuggestedCall, was []config.Call) config.Call {
	c := config.Call{
		Call: string(s.Operation), Params: ruleOf(s.Params), Body: ruleOf(s.Body), Fields: s.Fields, Unlisted: s.Unlisted,
	}
	i := slices.IndexFunc(was, func(old config.Call) bool { return old.Operation == s.Operation })
	if i < 0 {
		return c
	}
	c.Call = was[i].Call
	// What was named there is meant, where it is still suggested.
	for _, name := range was[i].Unlisted {
		_, param := c.Params[name]
		_, body := c.Body[name]
		if (param || body || slices.Contains(c.Fields, name)) && !slices.Contains(c.Unlisted, name) {
			c.Unlisted = append(c.Unlisted, name)
		}
	}
	return c
}
