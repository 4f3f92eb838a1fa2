package console

import (
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
)

// navGroup is a heading of the navigation.
type navGroup struct {
	Name  string
	Links []navLink
}

// navLink is one page in the navigation. Whether it is shown depends on who looks.
type navLink struct {
	Name, Path string
	permission Permission
	Current    bool
}

// navigation is where pages stand. A page appears when a route is mounted at its path,
// to those who hold the route's permission.
var navigation = []navGroup{
	{"Watch", []navLink{{Name: "Overview", Path: "/"}, {Name: "Calls", Path: "/calls"}, {Name: "Flows", Path: "/flows"}, {Name: "Log", Path: "/log"}}},
	{"People", []navLink{{Name: "Connections", Path: "/connections"}, {Name: "People", Path: "/people"}, {Name: "Step-ups", Path: "/stepups"}}},
	{"Rules", []navLink{{Name: "Purposes", Path: "/purposes"}, {Name: "Services", Path: "/services"}, {Name: "Third parties", Path: "/destinations"}, {Name: "Configuration", Path: "/configuration"}}},
	{"House", []navLink{{Name: "Keys", Path: "/keys"}, {Name: "Operators", Path: "/operators"}, {Name: "Reviews", Path: "/reviews"}, {Name: "Health", Path: "/health"}}},
}

// homePath is where somebody who has signed in begins when there is no overview, or
// it is not for them.
const homePath = "/account"

// navigate returns the navigation's entries that have a page.
func navigate(routes []route) []navGroup {
	var out []navGroup
	for _, g := range navigation {
		links := []navLink{}
		for _, l := range g.Links {
			i := slices.IndexFunc(routes, func(r route) bool {
				return r.method() == "GET" && strings.TrimSuffix(r.path(), "{$}") == l.Path
			})
			if i >= 0 && routes[i].permission != self {
				l.permission = routes[i].permission
				links = append(links, l)
			}
		}
		if len(links) > 0 {
			out = append(out, navGroup{g.Name, links})
		}
	}
	return out
}

// navFor returns what of the navigation an operator sees from a page.
func (k *Console) navFor(a *operator.Account, path string, now time.Time) []navGroup {
	if a == nil {
		return nil
	}
	var out []navGroup
	for _, g := range k.nav {
		links := []navLink{}
		for _, l := range g.Links {
			if !a.May(l.permission, now) {
				continue
			}
			l.Current = path == l.Path || l.Path != "/" && strings.HasPrefix(path, l.Path+"/")
			links = append(links, l)
		}
		if len(links) > 0 {
			out = append(out, navGroup{g.Name, links})
		}
	}
	return out
}

// home returns where an operator begins.
func (k *Console) home(a *operator.Account, now time.Time) string {
	for _, g := range k.navFor(a, "", now) {
		for _, l := range g.Links {
			return l.Path
		}
	}
	return homePath
}
