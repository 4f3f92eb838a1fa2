package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/console"
)

// configurationSource tells the console which configuration is in force, by the log,
// and how the file is, as 'gatehouse config check --against' does.
type configurationSource struct{ *parts }

// maxApplied bounds how many entries are looked through for what nodes applied last
// whose configuration is not kept.
const maxApplied = 200

func (c configurationSource) Configuration(ctx context.Context) (console.ConfigurationView, error) {
	cfg := c.configured()
	view := console.ConfigurationView{Path: cfg.Path(), Hash: cfg.Hash(), Mode: "enforce", Node: c.cfg.Node}
	if cfg.Reporting(time.Now()) {
		view.Mode, view.Reports = "report", cfg.Until.End()
	}
	var err error
	if view.Nodes, err = c.applied(ctx); err != nil {
		return view, err
	}
	view.File = fileAgainst(cfg)
	return view, nil
}

// applied is what each node applied last, the newest first: as it was kept, and for those
// that run an older program as the log has it.
func (c configurationSource) applied(ctx context.Context) ([]console.AppliedLine, error) {
	kept, err := c.db.Configurations().List(ctx)
	if err != nil {
		return nil, err
	}
	ours, known := "", false
	if data := appliedText(c.configured()); data != "" {
		ours, known = data, true
	}
	var out []console.AppliedLine
	seen := map[int64]bool{}
	for i := range kept {
		k := &kept[i]
		seen[k.Log] = true
		if k.Log == c.own.Number && k.Hash == c.configured().Hash() && k.Text != "" {
			ours, known = k.Text, true
		}
	}
	for i := range kept {
		k := &kept[i]
		line := console.AppliedLine{Node: k.Node, Hash: k.Hash, Mode: k.Mode, Entry: k.Entry, At: k.At, Unknown: !known || k.Text == ""}
		if !line.Unknown && k.Hash != c.configured().Hash() {
			line.Lines, line.More = differingLines(ours, k.Text)
			if line.Differs, err = differingSections(ours, k.Text); err != nil {
				return nil, err
			}
		}
		out = append(out, line)
	}
	searcher, err := c.searcher(ctx)
	if err != nil {
		return nil, err
	}
	page, err := searcher.Search(ctx, audit.Query{Action: "config.apply"}, "", maxApplied)
	if err != nil {
		return nil, err
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		if seen[e.Log] || e.Verdict != "done" {
			continue
		}
		seen[e.Log] = true
		out = append(out, console.AppliedLine{Node: e.Node, Hash: e.Facts["sha256"], Mode: e.Facts["mode"], Entry: e.ID, At: e.When, Unknown: true})
	}
	slices.SortStableFunc(out, func(a, b console.AppliedLine) int { return b.At.Compare(a.At) })
	return out, nil
}

// differingSections returns the entries at the top of two configurations that do not say
// the same; both are configurations that were accepted.
func differingSections(one, other string) ([]string, error) {
	a, err := config.Sections([]byte(one))
	if err != nil {
		return nil, err
	}
	b, err := config.Sections([]byte(other))
	if err != nil {
		return nil, err
	}
	var out []string
	for name, text := range a {
		if b[name] != text {
			out = append(out, name)
		}
	}
	for name := range b {
		if _, has := a[name]; !has {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// fileAgainst says how the file is that a configuration was read from, and what it
// would change.
func fileAgainst(inForce *config.Config) console.ConfigurationFile {
	var file console.ConfigurationFile
	data, err := os.ReadFile(inForce.Path())
	if err != nil {
		file.Errors = []string{"It cannot be read: " + err.Error()}
		return file
	}
	next, warnings, err := config.Parse(inForce.Path(), data, resolver())
	for _, w := range warnings {
		file.Warnings = append(file.Warnings, w.String())
	}
	if err == nil {
		_, err = policySet(next, time.Now())
	}
	if list := (config.Errors)(nil); errors.As(err, &list) {
		for _, e := range list {
			file.Errors = append(file.Errors, e.Error())
		}
		return file
	} else if err != nil {
		file.Errors = []string{err.Error()}
		return file
	}
	file.Hash = next.Hash()
	for _, change := range config.Diff(inForce, next) {
		file.Changes = append(file.Changes, console.ConfigurationChange{Text: change, Restart: !live(change)})
	}
	if text := authorityChange(inForce, next); text != "" {
		file.Act = []string{text}
	}
	if file.Text, err = config.Text(data); err != nil {
		file.Text = ""
	}
	return file
}
