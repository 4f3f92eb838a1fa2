package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// example is what [Example] shows: the smallest file that uses each part.
func example() *Config {
	return &Config{
		Environment: "production",
		PublicURL:   "https://app.example.com",
		Listen:      Listen{App: "127.0.0.1:8100", Proxy: "127.0.0.1:8101", Console: "127.0.0.1:8102", Public: "127.0.0.1:8103"},
		Store:       DSN{written: "sqlite:/var/lib/gatehouse/gatehouse.db"},
		RootKey:     RootKey{written: "file:/etc/gatehouse/root.key"},
		TLS:         TLS{App: Certificate{Source: "local-ca"}},
		Apps: map[gatehouse.AppName]App{
			"main-x": {Platform: gatehouse.X, ClientID: Value{written: "env:X_CLIENT_ID"}, ClientSecret: Secret{ref: "file:/run/secrets/x"},
				ConsumerKey: Value{written: "env:X_KEY"}, ConsumerSecret: Secret{ref: "file:/run/secrets/x1"},
				Compliance: Compliance{Keep: 720 * time.Hour}},
			"pages": {Platform: gatehouse.Facebook, ClientID: Value{written: "env:META_APP_ID"}, ClientSecret: Secret{ref: "file:/run/secrets/meta"}, Version: "v25.0"},
		},
		Purposes: map[gatehouse.PurposeName]Purpose{
			"publish": {Why: "Publish what the user scheduled", App: "main-x", Scopes: []string{"tweet.read", "tweet.write", "users.read", "offline.access"},
				Calls: []Call{
					{Call: "POST /2/tweets", Body: map[string]Rule{"text": {Max: 280}}, Fields: []string{"id"}},
					{Call: "GET /2/users/me", Fields: []string{"id", "username"}},
					{Call: "GET /2/users/{id}/tweets", Params: map[string]Rule{"max_results": {Max: 100}},
						Fields: []string{"id", "text", "public_metrics.like_count"}},
				}},
			"page-insights": {Why: "Show page owners how their posts do", App: "pages", Scopes: []string{"pages_show_list", "pages_read_engagement"},
				Calls: []Call{{Call: "GET /me/accounts", Fields: []string{"id", "name", "access_token"}}, {Call: "GET /{page-id}/feed"}, {Call: "GET /{page-id}/insights"}}},
			"support": {Why: "Answer people who write to us", Keep: 720 * time.Hour},
		},
		Services: map[gatehouse.ServiceName]Service{
			"scheduler": {Purposes: []gatehouse.PurposeName{"publish", "support"}, Rate: Rate{50, time.Second}},
			"reports":   {Purposes: []gatehouse.PurposeName{"page-insights"}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		},
		ThirdParty: map[string]ThirdParty{
			"api.segment.io": {Purposes: []gatehouse.PurposeName{"page-insights"}, MayReceive: []string{"pseudonymous-id"}, Inspect: true},
		},
		Mode:    ModeEnforce,
		Returns: []string{"https://app.example.com/settings/connected"},
	}
}

// Example returns an annotated configuration, made from the structs and their
// doc tags. What is commented out is optional; the rest loads as it stands, once
// its references do.
func Example() string {
	p := &printer{told: map[string]bool{}}
	p.comment(0, "Gatehouse's configuration. Unknown entries are errors. Check a change with 'gatehouse config check'.")
	p.fields(reflect.ValueOf(example()).Elem(), 0, "")
	return p.b.String()
}

// printer writes a struct as annotated YAML.
type printer struct {
	b strings.Builder
	// told are the struct fields whose comment was printed already: the second app
	// need not repeat it.
	told map[string]bool
}

func (p *printer) line(indent int, text string) {
	p.b.WriteString(strings.Repeat("  ", indent) + text + "\n")
}

func (p *printer) comment(indent int, text string) {
	const width = 88
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width-2*indent && line != "#" {
			p.line(indent, line)
			line = "#"
		}
		line += " " + word
	}
	p.line(indent, line)
}

// fields prints the entries of a struct. dash is what stands before the first of
// them: "- " in a list.
func (p *printer) fields(v reflect.Value, indent int, dash string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		if name == "" || name == "-" {
			continue
		}
		id := v.Type().Name() + "." + name
		first := !p.told[id]
		p.told[id] = true
		value := v.Field(i)
		if value.IsZero() && (!hasFields(value.Type()) || !first) {
			if first && dash == "" {
				p.optional(indent, name, f.Tag.Get("doc"))
			}
			continue
		}
		if doc := f.Tag.Get("doc"); doc != "" && first && dash == "" {
			if indent == 0 {
				p.b.WriteString("\n")
			}
			p.comment(indent, doc)
		}
		switch {
		case dash != "":
			p.line(indent, dash+name+": "+flow(value))
			dash, indent = "", indent+1
		case hasFields(value.Type()):
			p.line(indent, commentedIf(value.IsZero())+name+":")
			p.fields(value, indent+1, "")
		case value.Kind() == reflect.Map:
			p.line(indent, name+":")
			p.entries(value, indent+1)
		case value.Kind() == reflect.Slice && hasFields(value.Type().Elem()):
			p.line(indent, name+":")
			for j := range value.Len() {
				p.fields(value.Index(j), indent+1, "- ")
			}
		default:
			p.line(indent, name+": "+flow(value))
		}
	}
}

// commentedIf comments out a block whose every entry is.
func commentedIf(zero bool) string {
	if zero {
		return "# "
	}
	return ""
}

func (p *printer) optional(indent int, name, doc string) {
	if doc == "" {
		p.line(indent, "# "+name+":")
		return
	}
	p.comment(indent, name+": "+doc)
}

func (p *printer) entries(v reflect.Value, indent int) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		p.line(indent, k.String()+":")
		p.fields(v.MapIndex(k), indent+1, "")
	}
}

// hasFields reports whether t is printed as a block of entries.
func hasFields(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			return true
		}
	}
	return false
}

// flow returns a value on one line.
func flow(v reflect.Value) string {
	if s, ok := written(v); ok {
		return quoteIfNeeded(s)
	}
	switch v.Kind() {
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = flow(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		items := make([]string, len(keys))
		for i, k := range keys {
			items[i] = k.String() + ": " + flow(v.MapIndex(k))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Struct:
		items := []string{}
		for i := range v.NumField() {
			if name := v.Type().Field(i).Tag.Get("yaml"); name != "" && name != "-" && !v.Field(i).IsZero() {
				items = append(items, name+": "+flow(v.Field(i)))
			}
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	default:
		return quoteIfNeeded(v.String())
	}
}

// written returns what stands in the file for a value of a type of ours.
func written(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case Secret:
		return x.ref, true
	case Document:
		return x.ref, true
	case fmt.Stringer:
		return x.String(), true
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		return string(text), err == nil
	}
	return "", false
}

// quoteIfNeeded quotes what YAML would read as something else. JSON's strings are
// YAML's.
func quoteIfNeeded(s string) string {
	if strings.ContainsAny(s, "{}[],&*#?|<>=!%@`\"'") || strings.HasPrefix(s, ":") || strings.HasPrefix(s, "-") ||
		strings.Contains(s, ": ") || s == "" || s == "true" || s == "false" || s == "off" || s == "null" {
		return strconv.Quote(s)
	}
	return s
}
