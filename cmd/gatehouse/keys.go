package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
)

func newKeys(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Every key: what it is for, how old it is, and its rotation",
		Long: `Every key that Gatehouse uses, and the life of those that it makes.

The root key wraps the domain keys: tokens, personal, system and derive, each in
versions. Personal wraps the keyring, and the keyring wraps a key for each person.
A version is active (it seals), decrypt-only (it opens what it sealed), disabled,
scheduled for destruction, or destroyed. Nothing here shows a key.`,
	}
	c.AddCommand(keysList(o), keysShow(o), keysStatus(o), keysRotate(o), keysRewrap(o), keysDisable(o), keysEnable(o), keysDestroy(o), keysImport(o), keysUnseal(o))
	return c
}

// keyRow is one key, or one version of one, as a listing shows it.
type keyRow struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"` // root, domain, keyring, system, service or platform
	Version   uint32 `json:"version,omitempty"`
	State     string `json:"state"`
	Owner     string `json:"owner"`
	Purpose   string `json:"purpose"`
	Created   string `json:"created_at,omitempty"`
	Changed   string `json:"changed_at,omitempty"`
	Used      string `json:"last_used_at,omitempty"` // to the hour
	DestroyAt string `json:"destroy_at,omitempty"`
	Expires   string `json:"expires_at,omitempty"`
	WrappedBy string `json:"wrapped_by,omitempty"`
	Reference string `json:"reference,omitempty"`
	// SeenSince is when the value that others keep was first seen as it is.
	SeenSince string `json:"seen_since,omitempty"`
}

// domainPurposes say what each domain key is for.
var domainPurposes = map[vault.Domain]string{
	vault.Tokens:   "seals credentials that belong to no person",
	vault.Personal: "wraps the keyring, seals log fields of no person",
	vault.System:   "seals Gatehouse's own secrets",
	vault.Derive:   "derives hashes for look-up and secrets that are not stored",
}

// Owners: who answers for a key.
const (
	ownerOperator  = "operator"
	ownerGatehouse = "gatehouse"
	ownerPlatform  = "platform registration"
)

// inventory lists every key there is, as far as it is known.
func inventory(ctx context.Context, p *parts) ([]keyRow, error) {
	s, err := p.keys.Status(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]time.Time{}
	for _, key := range s.Seen {
		seen[key.Name] = key.Since
	}
	var rows []keyRow
	for _, id := range slices.Sorted(maps.Keys(rootIDs(s))) {
		row := keyRow{Name: "root/" + id, Kind: "root", State: "active", Owner: ownerOperator, Purpose: "wraps the domain keys",
			SeenSince: stamp(seen["root/"+id])}
		if id == s.Root {
			row.Reference = p.cfg.RootKey.String()
		} else {
			row.State = "decrypt-only"
		}
		rows = append(rows, row)
	}
	for _, key := range s.Domains {
		row := keyRow{Name: string(key.Domain), Kind: "domain", Version: key.Version, State: string(key.State), Owner: ownerGatehouse,
			Purpose: domainPurposes[key.Domain], Created: stamp(key.Created), Changed: stamp(key.Changed), Used: stamp(key.Used),
			DestroyAt: stamp(key.DestroyAt)}
		if key.State != vault.Destroyed {
			row.WrappedBy = "root/" + key.Root
		}
		rows = append(rows, row)
	}
	rows = append(rows, keyringRows(s, p.cfg)...)
	for _, record := range s.System {
		rows = append(rows, systemRow(ctx, p, record))
	}
	signing, err := p.db.Outbox().Signing(ctx)
	if err != nil {
		return nil, err
	}
	rows = append(rows, keyRow{Name: "events/signing", Kind: "derived", Version: uint32(signing.Version), State: "active", Owner: ownerGatehouse,
		Purpose: "signs events for the app; rotated with 'gatehouse events secret'", WrappedBy: "derive"})
	services, err := serviceRows(ctx, p)
	if err != nil {
		return nil, err
	}
	rows = append(rows, services...)
	for _, name := range slices.Sorted(maps.Keys(platformSecrets(p.cfg))) {
		ref := platformSecrets(p.cfg)[name]
		state := "active"
		if strings.HasSuffix(name, "-previous") {
			state = "decrypt-only"
		}
		rows = append(rows, keyRow{Name: name, Kind: "platform", State: state, Owner: ownerPlatform,
			Purpose: "proves the app to the platform", Reference: ref.Reference(), SeenSince: stamp(seen[name])})
	}
	return rows, nil
}

// rootIDs are the configured root key and those that still wrap something.
func rootIDs(s vault.Status) map[string]bool {
	ids := map[string]bool{s.Root: true}
	for id := range s.Roots {
		ids[id] = true
	}
	return ids
}

// keyringRows are the daily key's living versions, and the keyring keys as one row:
// there are up to a thousand, and they differ in nothing.
func keyringRows(s vault.Status, cfg *config.Config) []keyRow {
	var rows []keyRow
	for _, key := range s.Daily {
		if key.State == vault.Destroyed {
			continue
		}
		row := keyRow{Name: "daily", Kind: "keyring", Version: key.Version, State: string(key.State), Owner: ownerGatehouse,
			Purpose: "wraps the keyring keys; made anew where somebody was erased", Created: stamp(key.Created),
			WrappedBy: fmt.Sprintf("personal@%d", key.DomainVersion), Reference: "database"}
		if key.InFile {
			row.Reference = "file:" + keyringFile(cfg)
		}
		rows = append(rows, row)
	}
	if s.Keyring.Keys > 0 {
		rows = append(rows, keyRow{Name: "keyring", Kind: "keyring", State: "active", Owner: ownerGatehouse,
			Purpose: fmt.Sprintf("%d keys that wrap the keys of people", s.Keyring.Keys), Created: stamp(s.Keyring.Oldest), WrappedBy: "daily"})
	}
	return rows
}

func systemRow(ctx context.Context, p *parts, record vault.SystemRecord) keyRow {
	row := keyRow{Name: "system/" + record.Name, Kind: "system", State: "active", Owner: ownerGatehouse, Purpose: "Gatehouse's own secret",
		Created: stamp(record.Updated), WrappedBy: "system"}
	if node, ok := strings.CutPrefix(record.Name, secretLogKey+"/"); ok {
		row.Purpose, row.Reference = "signs the checkpoints of the audit log of node "+node+"; its public half verifies them", "file:"+beside(p.cfg, nodeKeyFile(node))
	}
	switch record.Name {
	case secretLogKey:
		row.Purpose, row.Reference = "signs the audit log's checkpoints; its public half verifies them", "file:"+beside(p.cfg, logKeyFile)
	case secretCAKey:
		row.Purpose = "certifies the listeners' names; renewed at a start before it ends"
		if cert, err := p.vault.System(ctx, secretCACert); err == nil {
			if key, err := p.vault.System(ctx, secretCAKey); err == nil {
				if ca, err := wire.OpenCA([]byte(cert.Reveal()), key); err == nil {
					row.Expires = stamp(ca.Expires())
				}
			}
		}
	case egress.SecretAuthority:
		row.Purpose = "certifies the third parties that are inspected; made anew when they change, and every 60 days"
		if ca, err := openAuthorities(ctx, p.vault); err == nil {
			row.Expires = stamp(ca.Authorities()[0].Ends)
		}
	case secretCACert:
		row.Purpose = "the local authority's certificate"
	}
	return row
}

func serviceRows(ctx context.Context, p *parts) ([]keyRow, error) {
	services, err := p.identity.Services(ctx)
	if err != nil {
		return nil, err
	}
	var rows []keyRow
	for _, service := range services {
		keys, err := p.identity.ServiceKeys(ctx, service.Name)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			state := "active"
			switch {
			case !key.Revoked.IsZero(), !key.Expires.IsZero() && !time.Now().Before(key.Expires):
				state = "destroyed"
			case service.Disabled:
				state = "disabled"
			}
			rows = append(rows, keyRow{Name: "service/" + string(service.Name) + "/" + string(key.ID), Kind: "service", State: state,
				Owner: "service " + string(service.Name), Purpose: "lets the service begin connections and make handles",
				Created: stamp(key.Created), Changed: stamp(key.Revoked), Expires: stamp(key.Expires)})
		}
	}
	return rows, nil
}

// platformSecrets are the registrations' secrets, by the name of their key.
func platformSecrets(cfg *config.Config) map[string]config.Secret {
	all := map[string]config.Secret{}
	for name, app := range cfg.Apps {
		for field, s := range map[string]config.Secret{
			"client-secret": app.ClientSecret, "client-secret-previous": app.ClientSecretPrevious,
			"consumer-secret": app.ConsumerSecret, "consumer-secret-previous": app.ConsumerSecretPrevious,
		} {
			if !s.IsZero() {
				all["app/"+string(name)+"/"+field] = s
			}
		}
	}
	return all
}

// seeKeys notes since when the keys that others keep are what they are.
func seeKeys(ctx context.Context, p *parts) error {
	root := p.vault.RootID()
	values := map[string]secret.Text{"root/" + root: secret.New(root)}
	for name, s := range platformSecrets(p.cfg) {
		values[name] = s.Text()
	}
	return p.keys.See(ctx, values)
}

func keysList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List every key: age, version, state",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), o, func(p *parts) error {
				rows, err := inventory(c.Context(), p)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), rows)
				}
				var lines [][]string
				for _, r := range rows {
					lines = append(lines, []string{nameOf(r), r.State, ageOf(r), orDash(r.Used, 13), r.Purpose})
				}
				return table(c.OutOrStdout(), "There is no key.", []string{"KEY", "STATE", "AGE", "LAST USED", "PURPOSE"}, lines)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func nameOf(r keyRow) string {
	if r.Version == 0 {
		return r.Name
	}
	return fmt.Sprintf("%s@%d", r.Name, r.Version)
}

// ageOf is the age in days, of the key or of its being seen.
func ageOf(r keyRow) string {
	for _, text := range []string{r.Created, r.SeenSince} {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return strconv.Itoa(int(time.Since(at)/(24*time.Hour))) + "d"
		}
	}
	return "-"
}

func orDash(text string, most int) string {
	if text == "" {
		return "-"
	}
	return strings.Replace(text[:min(most, len(text))], "T", " ", 1) + "h"
}

func keysShow(o *options) *cobra.Command {
	var asJSON bool
	var last int
	c := &cobra.Command{
		Use:     "show KEY",
		Short:   "Show a key: what needs it, and its history from the log",
		Example: "  gatehouse keys show tokens\n  gatehouse keys show personal@1",
		Args:    one("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			if last < 1 {
				return usagef("--last: at least 1 entry")
			}
			return with(c.Context(), o, func(p *parts) error { return showKey(c, p, args[0], last, asJSON) })
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&last, "last", 20, "how many entries of the log to show")
	return c
}

// keyEvent is one entry of a key's history.
type keyEvent struct {
	When    string            `json:"when"`
	ID      string            `json:"id"`
	Action  string            `json:"action"`
	Facts   map[string]string `json:"facts,omitempty"`
	Verdict string            `json:"verdict"`
}

func showKey(c *cobra.Command, p *parts, wanted string, last int, asJSON bool) error {
	ctx, w := c.Context(), c.OutOrStdout()
	all, err := inventory(ctx, p)
	if err != nil {
		return err
	}
	var rows []keyRow
	for _, r := range all {
		if r.Name == wanted || nameOf(r) == wanted {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return fmt.Errorf("there is no key %q; 'gatehouse keys list' shows them: %w", wanted, gatehouse.ErrNotFound)
	}
	needed := map[string][]vault.Use{}
	for _, r := range rows {
		if r.Kind == "domain" && r.State != string(vault.Destroyed) && r.Name != string(vault.Derive) {
			if needed[nameOf(r)], err = p.keys.Uses(ctx, vault.Domain(r.Name), r.Version); err != nil {
				return err
			}
		}
	}
	history, err := keyHistory(ctx, p, wanted, last)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, map[string]any{"keys": rows, "needed_by": needed, "history": history})
	}
	for _, r := range rows {
		printKey(w, r, needed[nameOf(r)])
	}
	var lines [][]string
	for _, e := range history {
		var facts []string
		for _, name := range slices.Sorted(maps.Keys(e.Facts)) {
			facts = append(facts, name+"="+e.Facts[name])
		}
		lines = append(lines, []string{e.When, e.Action, strings.Join(facts, " "), e.ID})
	}
	return table(w, "The log has nothing about it.", []string{"WHEN", "ACTION", "FACTS", "ENTRY"}, lines)
}

func printKey(w io.Writer, r keyRow, needed []vault.Use) {
	fmt.Fprintf(w, "%s  %s\n", nameOf(r), r.State)
	for _, f := range []struct{ name, value string }{
		{"purpose", r.Purpose}, {"owner", r.Owner}, {"created", r.Created}, {"seen since", r.SeenSince}, {"state since", r.Changed},
		{"last used", r.Used}, {"expires", r.Expires}, {"destroyed at", r.DestroyAt}, {"wrapped by", r.WrappedBy}, {"reference", r.Reference},
	} {
		if f.value != "" {
			fmt.Fprintf(w, "  %-12s  %s\n", f.name, f.value)
		}
	}
	for _, use := range needed {
		fmt.Fprintf(w, "  %-12s  %s\n", "needed by", use.Text())
	}
	fmt.Fprintln(w)
}

// keyHistory reads the intents and events about a key from the log.
func keyHistory(ctx context.Context, p *parts, wanted string, last int) ([]keyEvent, error) {
	name, version, _ := strings.Cut(wanted, "@")
	about := func(facts map[string]string) bool {
		of := facts["key"]
		if of == "" && facts["root"] != "" {
			of = "root/" + facts["root"]
		}
		if strings.HasPrefix(name, "root/") {
			of = "root/" + facts["root"]
		}
		if strings.HasPrefix(name, "system/") {
			of = "system/" + facts["secret"]
		}
		if strings.HasPrefix(name, "service/") {
			return facts["key"] != "" && strings.Contains(name, "/"+facts["key"])
		}
		return of == name && (version == "" || facts["version"] == version)
	}
	found := []keyEvent{}
	for _, action := range audit.Actions() {
		if !strings.HasPrefix(action.Name, "keys.") && !strings.HasPrefix(action.Name, "service.key.") {
			continue
		}
		entries, err := p.listLogs(ctx, audit.Filter{Action: action.Name, Last: 1000})
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Kind != audit.KindOutcome && about(e.Facts) {
				found = append(found, keyEvent{stamp(e.When), e.ID, e.Action, e.Facts, e.Verdict})
			}
		}
	}
	slices.SortFunc(found, func(a, b keyEvent) int { return strings.Compare(a.ID, b.ID) })
	return found[max(0, len(found)-last):], nil
}

// openPrevious returns the previous root keys. A file that is gone is missed only
// if it still wraps something.
func openPrevious(cfg *config.Config) ([]vault.RootKey, error) {
	var previous []vault.RootKey
	for _, k := range cfg.Previous {
		key, err := openRoot(k.RootKey, k.Access)
		if errors.Is(err, gatehouse.ErrNotFound) && k.RootKey.Kind() == config.RootFile {
			continue
		}
		if err != nil {
			return nil, err
		}
		previous = append(previous, key)
	}
	return previous, nil
}

// keyringFile is where the daily key is kept: "" is the database. One node keeps
// it beside its database; several have to be told of a place that they all see.
func keyringFile(cfg *config.Config) string {
	if !cfg.Keys.Keyring.IsZero() {
		return cfg.Keys.Keyring.Path()
	}
	if file := storeFile(cfg); file != "" {
		return file + ".keyring"
	}
	return ""
}

// progressOn shows a walk's progress on a terminal, and nothing in a pipe.
func progressOn(w io.Writer) (vault.Progress, func()) {
	if !onTerminal(w) {
		return nil, func() {}
	}
	told := false
	return func(what string, done, total int64) {
			told = true
			of := ""
			if total > 0 {
				of = fmt.Sprintf(" of %d", total)
			}
			fmt.Fprintf(w, "\r%d%s %s moved", done, of, what)
		}, func() {
			if told {
				fmt.Fprintln(w)
			}
		}
}
