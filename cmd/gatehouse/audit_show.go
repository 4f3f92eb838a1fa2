package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/spf13/cobra"
)

// showOptions are the flags of 'audit show'.
type showOptions struct {
	last               int
	since              time.Duration
	id                 string
	service, operation string
	action, verdict    string
	connection         string
	people, checkpoint bool
	json               bool
}

func auditShow(o *options) *cobra.Command {
	var s showOptions
	c := &cobra.Command{
		Use:   "show",
		Short: "Show entries of the log",
		Long: `Shows the newest entries, the oldest of them first. What belongs to a person is
sealed in the log; --people opens it with the root key, as far as that person has
not been erased.`,
		Example: `  gatehouse audit show -n 20
  gatehouse audit show --operation 'POST /2/tweets' --since 24h --json
  gatehouse audit show --id 06h0dyvhg3fs7nz5jeqkyz7s9w --people`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if s.last <= 0 {
				return usagef("-n %d: ask for one entry at least", s.last)
			}
			return with(c.Context(), o, func(p *parts) error { return s.show(c.Context(), p, c.OutOrStdout()) })
		},
	}
	f := c.Flags()
	f.IntVarP(&s.last, "last", "n", 50, "how many")
	f.DurationVar(&s.since, "since", 0, "none older than this, such as 24h")
	f.StringVar(&s.id, "id", "", "the entry with this id, and its outcome")
	f.StringVar(&s.service, "service", "", "only this service's")
	f.StringVar(&s.operation, "operation", "", "only this operation, such as 'GET /2/users/me'")
	f.StringVar(&s.action, "action", "", "only this action (docs/log-events.md)")
	f.StringVar(&s.verdict, "verdict", "", "only this verdict: allow, refuse, done, failed, …")
	f.StringVar(&s.connection, "connection", "", "only this connection's")
	f.BoolVar(&s.people, "people", false, "open what belongs to people")
	f.BoolVar(&s.checkpoint, "checkpoint", false, "print the newest signed checkpoint instead")
	f.BoolVar(&s.json, "json", false, "print JSON")
	return c
}

// shownEntry is an entry with what was opened of it.
type shownEntry struct {
	audit.Shown
	People map[string]string `json:"people,omitempty"`
}

func (s *showOptions) show(ctx context.Context, p *parts, out io.Writer) error {
	if s.checkpoint {
		head, err := p.db.Audit().Head(ctx)
		if err != nil {
			return err
		}
		_, err = out.Write(head.Note)
		return err
	}
	var found []audit.Shown
	var err error
	if s.id != "" {
		found, err = audit.Show(ctx, p.db.Audit(), s.id)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return fmt.Errorf("there is no entry %s: %w", s.id, gatehouse.ErrNotFound)
		}
	} else {
		filter := audit.Filter{
			Last: s.last, Search: s.connection, Action: s.action, Service: gatehouse.ServiceName(s.service),
			Operation: gatehouse.Operation(s.operation), Verdict: s.verdict,
		}
		if s.since > 0 {
			filter.Since = time.Now().Add(-s.since)
		}
		found, err = audit.List(ctx, p.db.Audit(), filter)
	}
	if err != nil {
		return err
	}
	list := make([]shownEntry, 0, len(found))
	rows := make([][]string, 0, len(found))
	for _, e := range found {
		entry := shownEntry{Shown: e}
		if s.people {
			if entry.People, err = p.open(ctx, e); err != nil {
				return fmt.Errorf("opening what entry %s says of a person: %w", e.ID, err)
			}
		}
		list = append(list, entry)
		rows = append(rows, []string{
			when(e.When), e.ID, e.Kind, e.Action, e.Verdict, dash(string(e.Operation)), dash(string(e.Purpose)), dash(string(e.Service)), number(e.Status), e.Rule, words(entry.People),
		})
	}
	if s.json {
		return printJSON(out, list)
	}
	return table(out, "No entry fits.", []string{"TIME", "ID", "KIND", "ACTION", "VERDICT", "OPERATION", "PURPOSE", "SERVICE", "STATUS", "RULE", "PEOPLE"}, rows)
}

// open opens what an entry says of a person. Whose key it takes is known through
// the entry's connection.
func (p *parts) open(ctx context.Context, e audit.Shown) (map[string]string, error) {
	if len(e.Sealed) == 0 {
		return nil, nil
	}
	if e.Search == "" {
		return p.openUnnamed(ctx, e)
	}
	con, err := p.connect.Get(ctx, gatehouse.ConnectionID(e.Search))
	if err != nil {
		return nil, err
	}
	plain, err := p.vault.OpenPersonal(ctx, con.Person, audit.SealContext(e.ID), e.Sealed)
	if err != nil && e.Kind == audit.KindOutcome {
		// An outcome without fields of its own commits only to its connection,
		// and not with the person's key.
		plain, err = p.vault.OpenPersonal(ctx, "", audit.SealContext(e.ID), e.Sealed)
	}
	if err != nil {
		return nil, err
	}
	fields, err := sealedFields(plain)
	if err != nil {
		return nil, err
	}
	fields["subject"] = string(con.Subject)
	return fields, nil
}

// openUnnamed opens what is sealed and belongs to nobody whom the entry names: a host
// that a service asked for, which nobody declared.
func (p *parts) openUnnamed(ctx context.Context, e audit.Shown) (map[string]string, error) {
	plain, err := p.vault.OpenPersonal(ctx, "", audit.SealContext(e.ID), e.Sealed)
	if errors.Is(err, gatehouse.ErrUnavailable) {
		return nil, err
	}
	if err != nil {
		return nil, nil // it is somebody's, and the entry does not say whose
	}
	return sealedFields(plain)
}

// sealedFields reads what was sealed.
func sealedFields(plain []byte) (map[string]string, error) {
	var people struct {
		Fields map[string]string `json:"fields"`
	}
	if err := json.Unmarshal(plain, &people); err != nil {
		return nil, err
	}
	if people.Fields == nil {
		people.Fields = map[string]string{}
	}
	return people.Fields, nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// words lists names and values in order of the names.
func words(m map[string]string) string {
	var b bytes.Buffer
	for _, k := range []string{"subject", "connection", "handle", "host"} {
		if v, ok := m[k]; ok {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s=%s", k, v)
		}
	}
	return b.String()
}
