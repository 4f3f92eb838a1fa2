package observe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Declared is what the configuration declares.
type Declared struct {
	Purposes  []policy.Purpose
	Services  map[gatehouse.ServiceName][]gatehouse.PurposeName
	Platforms map[gatehouse.AppName]platform.Name
}

// Snapshot is what was observed up to a moment.
type Snapshot struct {
	// Since is when the observing began, or the day that was asked for.
	Since  time.Time
	calls  []Call
	fields []Field
}

// Load reads what was observed. A zero since means everything; otherwise what was
// not used any more since that day is left out. A service's name leaves out the
// others. ErrNotFound means that nothing has been observed yet.
func Load(ctx context.Context, s Store, since time.Time, service gatehouse.ServiceName) (*Snapshot, error) {
	begun, calls, fields, err := s.Uses(ctx)
	if err != nil {
		return nil, err
	}
	out := &Snapshot{Since: begun}
	first := Day(-1 << 40)
	if !since.IsZero() {
		if first = DayOf(since); since.After(begun) {
			out.Since = since
		}
	}
	for _, c := range calls {
		if c.Last >= first && (service == "" || c.Service == service) {
			out.calls = append(out.calls, c)
		}
	}
	for _, f := range fields {
		if f.Last >= first && (service == "" || f.Service == service) {
			out.fields = append(out.fields, f)
		}
	}
	return out, nil
}

// used is one operation as all services together used it for a purpose.
type used struct {
	Call
	services []string
	fields   map[Place]map[string]*Field
}

func (u *used) sorted(place Place) []*Field {
	out := make([]*Field, 0, len(u.fields[place]))
	for _, f := range u.fields[place] {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// has reports whether a name was seen in any of the places, or one below it.
func (u *used) has(name string, places ...Place) bool {
	for _, place := range places {
		if u.fields[place][name] != nil {
			return true
		}
		for other := range u.fields[place] {
			if strings.HasPrefix(other, name+".") {
				return true
			}
		}
	}
	return false
}

// seen says how often and when, for a comment.
func (u *used) seen() string {
	when := "on " + u.First.String()
	if u.First != u.Last {
		when = u.First.String() + " to " + u.Last.String()
	}
	return fmt.Sprintf("seen %s, %s, by %s", times(u.Calls), when, strings.Join(u.services, ", "))
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// of returns what was used for a purpose, by operation.
func (s *Snapshot) of(purpose gatehouse.PurposeName) map[gatehouse.Operation]*used {
	out := map[gatehouse.Operation]*used{}
	for _, c := range s.calls {
		if c.Purpose != purpose {
			continue
		}
		u := out[c.Operation]
		if u == nil {
			u = &used{Call: c, fields: map[Place]map[string]*Field{}}
			out[c.Operation] = u
		} else {
			u.add(c)
		}
		u.services = append(u.services, string(c.Service))
	}
	for _, f := range s.fields {
		u := out[f.Operation]
		if f.Purpose != purpose || u == nil {
			continue
		}
		names := u.fields[f.Place]
		if names == nil {
			names = map[string]*Field{}
			u.fields[f.Place] = names
		}
		if known := names[f.Name]; known != nil {
			known.add(f)
		} else {
			names[f.Name] = &f
		}
	}
	return out
}

// unknownSuffix ends the operation of calls that no document has.
const unknownSuffix = " unknown"

// covers reports whether declared paths deliver a path: one of them is it, or
// stands above it.
func covers(declared []string, path string) bool {
	for _, d := range declared {
		if d == path || strings.HasPrefix(path, d+".") {
			return true
		}
	}
	return false
}

// touches reports whether a path, or something below it, is among others.
func touches(others []string, path string) bool {
	for _, o := range others {
		if o == path || strings.HasPrefix(o, path+".") {
			return true
		}
	}
	return false
}

// alias spells the paths of X in one way: its document says posts in includes,
// its replies say tweets.
func alias(p platform.Name, path string) string {
	if rest, ok := strings.CutPrefix(path, "includes.posts"); ok && p == platform.X {
		return "includes.tweets" + rest
	}
	return path
}

// OwnScopes are those that Gatehouse itself asks for and needs, to see whose a
// grant is and to renew it.
func OwnScopes(p platform.Name) []string {
	switch p {
	case platform.X:
		return []string{"offline.access", "tweet.read", "users.read"}
	case platform.Facebook:
		return []string{"public_profile"}
	case platform.Instagram:
		return []string{"instagram_business_basic"}
	case platform.Threads:
		return []string{"threads_basic"}
	}
	return nil
}

// neededScopes are those that the documents demand for operations; nil where they
// say nothing of any.
func neededScopes(p platform.Name, uses map[gatehouse.Operation]*used) []string {
	if p != platform.X {
		return nil
	}
	needed := OwnScopes(p)
	for op, u := range uses {
		needed = append(needed, platform.Scopes(p, string(op))...)
		if u.has("confirmed_email", InReply) || u.has("confirmed_email", Asked) {
			needed = append(needed, "users.email")
		}
	}
	slices.Sort(needed)
	return slices.Compact(needed)
}
