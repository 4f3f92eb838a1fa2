package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"

	"github.com/spf13/cobra"
)

// showOptions are the flags of 'audit show'.
type showOptions struct {
	last               int
	since              string
	id                 string
	service, operation string
	action, verdict    string
	connection, person string
	handle             string
	people, checkpoint bool
	node               string
	json               bool
}

func auditShow(o *options) *cobra.Command {
	var s showOptions
	c := &cobra.Command{
		Use:   "show",
		Short: "Show entries of the log",
		Long: `Shows the newest entries, the oldest of them first. What belongs to a person is
sealed in the log; --people opens it with the root key, as far as that person has
not been erased. Nothing finds the entries of a person who was erased.`,
		Example: `  gatehouse audit show -n 20
  gatehouse audit show --operation 'POST /2/tweets' --since 24h --json
  gatehouse audit show --id 06h0dyvhg3fs7nz5jeqkyz7s9w --people`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if s.last <= 0 {
				return usagef("-n %d: ask for one entry at least", s.last)
			}
			if s.node != "" && !s.checkpoint {
				return usagef("--node goes with --checkpoint: entries of all logs are shown")
			}
			// What no entry can have is a mistake, not an empty answer.
			if err := (&audit.Query{Action: s.action, Verdict: s.verdict}).Validate(); err != nil {
				return invalidFlag(err)
			}
			return with(c.Context(), o, func(p *parts) error { return s.show(c.Context(), p, c.OutOrStdout()) })
		},
	}
	f := c.Flags()
	f.IntVarP(&s.last, "last", "n", 50, "how many")
	f.StringVar(&s.since, "since", "", "none before this: 24h (ago), 2026-05-04 or 2026-05-04T12:00:00Z")
	f.StringVar(&s.id, "id", "", "the entry with this id, and its outcome")
	f.StringVar(&s.service, "service", "", "only this service's")
	f.StringVar(&s.operation, "operation", "", "only this operation, such as 'GET /2/users/me'")
	f.StringVar(&s.action, "action", "", "only this action (docs/log-events.md)")
	f.StringVar(&s.verdict, "verdict", "", "only this verdict: allow, report, refuse, done, failed, aborted")
	f.StringVar(&s.connection, "connection", "", "only this connection's")
	f.StringVar(&s.person, "person", "", "only this person's: subject:NAME, x:12345, con…")
	f.StringVar(&s.handle, "handle", "", "only this handle's")
	c.MarkFlagsMutuallyExclusive("id", "connection", "person", "handle")
	f.BoolVar(&s.people, "people", false, "open what belongs to people")
	f.BoolVar(&s.checkpoint, "checkpoint", false, "print the newest signed checkpoint instead")
	f.StringVar(&s.node, "node", "", "with --checkpoint: of the log of the node of this name (default: that of nodes without one)")
	f.BoolVar(&s.json, "json", false, "print JSON")
	completeEntries(c, o)
	return c
}

// shownEntry is an entry with what was opened of it.
type shownEntry struct {
	audit.Shown
	People map[string]string `json:"people,omitempty"`
}

func (s *showOptions) show(ctx context.Context, p *parts, out io.Writer) error {
	if s.checkpoint {
		named, err := logNamed(ctx, p.db, s.node)
		if err != nil {
			return err
		}
		head, err := p.db.AuditLog(named.Number).Head(ctx)
		if err != nil {
			return err
		}
		_, err = out.Write(head.Note)
		return err
	}
	found, err := s.find(ctx, p)
	if err != nil {
		return err
	}
	list, err := p.withPeople(ctx, found, s.people)
	if err != nil {
		return err
	}
	if s.json {
		return printJSON(out, list)
	}
	rows := make([][]string, 0, len(list))
	for _, e := range list {
		rows = append(rows, e.row())
	}
	return table(out, "No entry fits.", entryHeader, rows)
}

// entryHeader names the columns of row.
var entryHeader = []string{"TIME", "ID", "KIND", "ACTION", "VERDICT", "OPERATION", "PURPOSE", "SERVICE", "STATUS", "RULE", "PEOPLE"}

func (e *shownEntry) row() []string {
	return []string{
		when(e.When), e.ID, e.Kind, e.Action, e.Verdict, dash(string(e.Operation)), dash(string(e.Purpose)), dash(string(e.Service)), number(e.Status), e.Rule, words(e.People),
	}
}

// withPeople returns the entries and, if open, what they say of people.
func (p *parts) withPeople(ctx context.Context, found []audit.Shown, open bool) ([]shownEntry, error) {
	list := make([]shownEntry, 0, len(found))
	var owners map[string]gatehouse.PersonID
	var err error
	if open {
		if owners, err = p.owners(ctx, found); err != nil {
			return nil, err
		}
	}
	for _, e := range found {
		entry := shownEntry{Shown: e}
		if open {
			if entry.People, err = p.open(ctx, e, owners); err != nil {
				return nil, fmt.Errorf("opening what entry %s says of a person: %w", e.ID, err)
			}
		}
		list = append(list, entry)
	}
	return list, nil
}

// find returns the entries that the flags ask for.
func (s *showOptions) find(ctx context.Context, p *parts) ([]audit.Shown, error) {
	if s.id != "" {
		found, err := p.showEntry(ctx, s.id)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return nil, p.whereEntry(ctx, s.id)
		}
		return found, err
	}
	q := audit.Query{
		Action: s.action, Service: gatehouse.ServiceName(s.service), Operation: gatehouse.Operation(s.operation), Verdict: s.verdict,
	}
	var err error
	if q.Since, err = parseMoment("--since", s.since, time.Now()); err != nil {
		return nil, err
	}
	if q.Found, err = p.logWhose(ctx, s.connection, s.handle, s.person); err != nil {
		return nil, err
	}
	return p.newestShown(ctx, q, s.last)
}

// logWhose turns who is named into what the log's index knows; nil is everybody. At
// most one of the three may be given.
func (p *parts) logWhose(ctx context.Context, connection, handle, person string) ([]audit.Found, error) {
	switch {
	case connection != "":
		whose := audit.Found{Hash: p.logIndex, Connection: gatehouse.ConnectionID(connection)}
		con, err := p.connect.Get(ctx, whose.Connection)
		if err == nil {
			whose.Person, whose.Kind, whose.Value = con.Person, "connection", connection
		} else if !errors.Is(err, gatehouse.ErrNotFound) {
			return nil, err
		}
		return []audit.Found{whose}, nil
	case handle != "":
		h, err := p.identity.Handle(ctx, gatehouse.HandleID(handle))
		if err != nil {
			return nil, err
		}
		return []audit.Found{{Hash: p.logIndex, Person: h.Person, Connection: h.Connection, Kind: "handle", Value: handle}}, nil
	case person != "":
		people, err := p.peopleNamed(ctx, person)
		if err != nil {
			return nil, err
		}
		whose := []audit.Found{}
		for _, person := range people {
			whose = append(whose, audit.Found{Hash: p.logIndex, Person: person})
		}
		return whose, nil
	}
	return nil, nil
}

// owners finds out whose the entries are: the log knows only a keyed hash.
func (p *parts) owners(ctx context.Context, entries []audit.Shown) (map[string]gatehouse.PersonID, error) {
	wanted := map[string]bool{}
	for i, e := range entries {
		if len(e.Sealed) == 0 || e.Version == 1 {
			continue
		}
		if e.Owner == nil {
			owner, err := p.db.AuditLog(e.Log).OwnerOf(ctx, e.Seq)
			if errors.Is(err, gatehouse.ErrNotFound) {
				continue // erased, or nobody's
			}
			if err != nil {
				return nil, err
			}
			entries[i].Owner = owner
		}
		wanted[string(entries[i].Owner)] = true
	}
	return p.ownersOf(ctx, wanted)
}

// eachPerson calls visit for everybody who has a key, until it returns false.
func (p *parts) eachPerson(ctx context.Context, visit func(gatehouse.PersonID) bool) error {
	const page = 1000
	for after := gatehouse.PersonID(""); ; {
		people, err := p.db.Vault().People(ctx, after, page)
		if err != nil {
			return err
		}
		for _, person := range people {
			if !visit(person) {
				return nil
			}
		}
		if len(people) < page {
			return nil
		}
		after = people[len(people)-1]
	}
}

// open opens what an entry says of a person, as far as it is known whose key that
// takes. Without a person it is the domain's.
func (p *parts) open(ctx context.Context, e audit.Shown, owners map[string]gatehouse.PersonID) (map[string]string, error) {
	if len(e.Sealed) == 0 {
		return nil, nil
	}
	opened, person, err := p.openFields(ctx, e, owners)
	if err != nil || opened == nil {
		return nil, err
	}
	people := map[string]string{}
	for name, o := range opened {
		people[name] = o.Value
	}
	if id := people["connection"]; id != "" && person != "" {
		if con, err := p.connect.Get(ctx, gatehouse.ConnectionID(id)); err == nil && !con.Unreadable {
			people["subject"] = string(con.Subject)
		}
	}
	return people, nil
}

// openFields opens and checks the personal fields of an entry; nil if they are
// erased.
func (p *parts) openFields(ctx context.Context, e audit.Shown, owners map[string]gatehouse.PersonID) (map[string]audit.Opened, gatehouse.PersonID, error) {
	keys := []gatehouse.PersonID{owners[string(e.Owner)], ""}
	if e.Version == 1 {
		con, err := p.connect.Get(ctx, gatehouse.ConnectionID(e.SearchV1))
		if err != nil {
			return nil, "", err
		}
		keys[0] = con.Person
	}
	var failed error
	for _, person := range slices.Compact(keys) {
		text, err := p.vault.OpenPersonal(ctx, person, audit.SealContext(e.ID), e.Sealed)
		if errors.Is(err, vault.ErrErased) {
			return nil, "", nil
		}
		if err != nil {
			failed = err
			continue
		}
		opened, err := audit.OpenFields(&e.Leaf, text)
		return opened, person, err
	}
	if keys[0] == "" {
		return nil, "", nil // nobody is left whose key could open it
	}
	return nil, "", failed
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
	for _, k := range []string{"subject", "connection", "handle"} {
		if v, ok := m[k]; ok {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s=%s", k, v)
		}
	}
	return b.String()
}
