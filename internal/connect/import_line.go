package connect

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// ImportLine is one line of the file in which tokens travel: what Import takes
// and Export gives. An ImportRequest's KeepCopies is not the line's to say.
type ImportLine struct {
	// ID is the file's own name for the line, for the Parent of others.
	ID string
	// Parent is the ID of an earlier line, or a connection that is there already.
	Parent string
	ImportRequest
}

// MaxImportLine bounds a line: two tokens and what goes with them.
const MaxImportLine = 64 << 10

// importMembers are the members of a line, each with how it is read.
var importMembers = map[string]func(raw json.RawMessage, l *ImportLine) bool{
	"id":            textMember(func(l *ImportLine, s string) { l.ID = s }),
	"app":           textMember(func(l *ImportLine, s string) { l.App = gatehouse.AppName(s) }),
	"service":       textMember(func(l *ImportLine, s string) { l.Service = gatehouse.ServiceName(s) }),
	"subject":       textMember(func(l *ImportLine, s string) { l.Subject = gatehouse.Subject(s) }),
	"person":        textMember(func(l *ImportLine, s string) { l.PlatformUser = s }),
	"kind":          textMember(func(l *ImportLine, s string) { l.Kind = Kind(s) }),
	"parent":        textMember(func(l *ImportLine, s string) { l.Parent = s }),
	"access_token":  textMember(func(l *ImportLine, s string) { l.Access = secret.New(s) }),
	"refresh_token": textMember(func(l *ImportLine, s string) { l.Refresh = secret.New(s) }),
	"token":         textMember(func(l *ImportLine, s string) { l.Access = secret.New(s) }),
	"token_secret":  textMember(func(l *ImportLine, s string) { l.Refresh = secret.New(s) }),
	"scopes":        func(raw json.RawMessage, l *ImportLine) bool { return json.Unmarshal(raw, &l.Scopes) == nil },
	"purposes":      func(raw json.RawMessage, l *ImportLine) bool { return json.Unmarshal(raw, &l.Purposes) == nil },
	"expires_at": func(raw json.RawMessage, l *ImportLine) bool {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return false
		}
		at, err := time.Parse(time.RFC3339, text)
		l.Expires = at
		return err == nil && at.Year() >= 2000 && at.Year() < 2200
	},
}

// importTypes are what a member must be, where it is not a string.
var importTypes = map[string]string{
	"scopes": "a list of strings", "purposes": "a list of strings", "expires_at": "a time such as 2026-01-31T12:00:00Z",
}

func textMember(set func(*ImportLine, string)) func(json.RawMessage, *ImportLine) bool {
	return func(raw json.RawMessage, l *ImportLine) bool {
		var s string
		if json.Unmarshal(raw, &s) != nil || s == "" {
			return false
		}
		set(l, s)
		return true
	}
}

// memberName is a name that can be repeated in an error: too short to be a
// credential.
var memberName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// ParseImportLine reads one line strictly: members by their exact names, each at
// most once. An error names the member and never repeats what stands in it.
func ParseImportLine(text []byte) (ImportLine, error) {
	var l ImportLine
	invalid := func(detail string) (ImportLine, error) {
		return ImportLine{}, wire.Refuse(gatehouse.ErrInvalid, "connect/import-line", detail)
	}
	const notJSON = "the line must be one JSON object in UTF-8"
	if len(text) > MaxImportLine {
		return invalid("the line is longer than 64 KiB")
	}
	if !utf8.Valid(text) || !json.Valid(text) {
		return invalid(notJSON)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return invalid(notJSON)
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		name, _ := key.(string)
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			return invalid(notJSON)
		}
		read, known := importMembers[name]
		switch {
		case !known && memberName.MatchString(name):
			return invalid(name + ": there is no such member")
		case !known:
			return invalid("there is a member whose name is not known")
		case seen[name]:
			return invalid(name + ": it is given twice")
		case string(raw) == "null" || !read(raw, &l):
			what := importTypes[name]
			if what == "" {
				what = "a string that is not empty"
			}
			return invalid(name + ": it must be " + what)
		}
		seen[name] = true
	}
	signed := l.Kind == KindOAuth1
	for name, of1 := range map[string]bool{"token": true, "token_secret": true, "access_token": false, "refresh_token": false} {
		if seen[name] && of1 != signed {
			return invalid(name + ": it does not go with this kind (oauth1 has token and token_secret, the others access_token and refresh_token)")
		}
	}
	return l, nil
}

// text is the line as ParseImportLine reads it. It holds tokens.
func (l ImportLine) text() ([]byte, error) {
	out := struct {
		ID       string                  `json:"id"`
		App      gatehouse.AppName       `json:"app"`
		Service  gatehouse.ServiceName   `json:"service"`
		Subject  gatehouse.Subject       `json:"subject"`
		Person   string                  `json:"person,omitempty"`
		Kind     Kind                    `json:"kind"`
		Parent   string                  `json:"parent,omitempty"`
		Access   string                  `json:"access_token,omitempty"`
		Refresh  string                  `json:"refresh_token,omitempty"`
		Token    string                  `json:"token,omitempty"`
		Secret   string                  `json:"token_secret,omitempty"`
		Scopes   []string                `json:"scopes,omitempty"`
		Purposes []gatehouse.PurposeName `json:"purposes"`
		Expires  string                  `json:"expires_at,omitempty"`
	}{
		ID: l.ID, App: l.App, Service: l.Service, Subject: l.Subject, Person: l.PlatformUser, Kind: l.Kind, Parent: l.Parent,
		Scopes: l.Scopes, Purposes: l.Purposes,
	}
	if l.Kind == KindOAuth1 {
		out.Token, out.Secret = l.Access.Reveal(), l.Refresh.Reveal()
	} else {
		out.Access, out.Refresh = l.Access.Reveal(), l.Refresh.Reveal()
	}
	if !l.Expires.IsZero() {
		out.Expires = l.Expires.UTC().Format(time.RFC3339)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(out)
	return []byte(strings.TrimSuffix(b.String(), "\n")), err
}
