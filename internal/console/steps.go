package console

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Step is a part of long work.
type Step struct {
	// State is done, now, waiting or failed.
	State string
	Text  string
	// At is when it was done; Note says what it waits for.
	At   time.Time
	Note string
}

// briefLength is how much of an id is shown where there are many.
const briefLength = 12

// brief shortens an id: enough to tell it from its neighbours.
func brief(id string) string {
	if utf8.RuneCountInString(id) <= briefLength+2 {
		return id
	}
	return string([]rune(id)[:briefLength]) + "…"
}

// idCell is an identifier: shortened, whole in its title.
func idCell(id, href string) Cell {
	if id == "" {
		return textCell("")
	}
	return Cell{Kind: "id", Text: id, Href: href}
}

// wordOf is a word of ours as people read it.
func wordOf(s string) string { return strings.ReplaceAll(s, "_", " ") }

// actor is the account of whoever looks, as the log names it.
func (v *visit) actor() string {
	if v.who == nil {
		return ""
	}
	return string(v.who.ID)
}

// page returns the address of a page that is offered, or "".
func (v *visit) page(path string) string {
	if slices.ContainsFunc(v.console.routes, func(r route) bool { return r.pattern == "GET "+path && v.may(r.permission) }) {
		return path
	}
	return ""
}

// reach returns an address if whoever looks may open the page that it is on, and ""
// otherwise: a link that leads to a refusal helps nobody.
func (v *visit) reach(href string) string {
	path, _, _ := strings.Cut(href, "?")
	for _, g := range v.console.nav {
		for _, l := range g.Links {
			if path == l.Path || l.Path != "/" && strings.HasPrefix(path, l.Path+"/") {
				if v.may(l.permission) {
					return href
				}
				return ""
			}
		}
	}
	return ""
}
