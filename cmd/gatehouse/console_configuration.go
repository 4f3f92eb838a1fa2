package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/console"
)

// configurationSource tells the console which configuration is in force, by the log,
// and how the file is, as 'gatehouse config check --against' does.
type configurationSource struct{ *parts }

// maxApplied bounds how many entries are looked through for what nodes applied last.
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

// applied is what each node applied last, the newest first.
func (c configurationSource) applied(ctx context.Context) ([]console.AppliedLine, error) {
	searcher, err := c.searcher(ctx)
	if err != nil {
		return nil, err
	}
	own, ownErr := c.sectionsInShort(ctx, c.configured())
	page, err := searcher.Search(ctx, audit.Query{Action: "config.apply"}, "", maxApplied)
	if err != nil {
		return nil, err
	}
	var out []console.AppliedLine
	seen := map[int64]bool{}
	for i := range page.Entries {
		e := &page.Entries[i]
		if seen[e.Log] || e.Verdict != "done" {
			continue
		}
		seen[e.Log] = true
		line := console.AppliedLine{Node: e.Node, Hash: e.Facts["sha256"], Mode: e.Facts["mode"], Entry: e.ID, At: e.When}
		if text := e.Facts["sections"]; text != "" && ownErr == nil {
			line.Known, line.Differs = true, sectionsThatDiffer(own, text)
		}
		out = append(out, line)
	}
	return out, nil
}

// sectionLetters is how many letters of a section's keyed hash are written down: enough
// to tell two apart that are compared, and no way to what they are of.
const sectionLetters = 8

// sectionsInShort is a configuration as the log has it, to compare nodes by: each section
// with the beginning of its hash, which is keyed by the installation.
func (p *parts) sectionsInShort(ctx context.Context, cfg *config.Config) (string, error) {
	sections := cfg.Sections()
	words := make([]string, 0, len(sections))
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		hash, err := p.vault.Derive(ctx, "config/section", name, sections[name])
		if err != nil {
			return "", fmt.Errorf("hashing the configuration: %w", err)
		}
		words = append(words, name+"="+hash.Reveal()[:sectionLetters])
	}
	return strings.Join(words, " "), nil
}

// sectionsThatDiffer compares two configurations as the log has them.
func sectionsThatDiffer(one, other string) []string {
	read := func(text string) map[string]string {
		out := map[string]string{}
		for word := range strings.FieldsSeq(text) {
			name, hash, _ := strings.Cut(word, "=")
			out[name] = hash
		}
		return out
	}
	a, b := read(one), read(other)
	var out []string
	for name, hash := range a {
		if b[name] != hash {
			out = append(out, name)
		}
	}
	for name := range b {
		if _, has := a[name]; !has {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
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
