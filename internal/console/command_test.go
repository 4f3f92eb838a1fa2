package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// order is a command with a field of each kind.
type order struct {
	name, kind string
	yes        bool
	many       []string
	until      time.Time
	secret     int
}

func (o *order) read(f *form) {
	o.name, o.kind, o.yes, o.many, o.until = f.need("name", 5), f.choice("kind", "", "a", "b"), f.yes("sure"), f.many("of", 2), f.day("until")
	o.secret = len(f.secret("password", 8).Reveal())
	f.typed("go")
}

func TestForm(t *testing.T) {
	read := func(query string) (order, error) {
		values, err := url.ParseQuery(query)
		must(t, err)
		var o order
		f := &form{values: values, taken: map[string]bool{}}
		o.read(f)
		return o, f.err()
	}
	const good = "name=+abc+&kind=b&sure=yes&of=1&of=2&until=2026-11-26&password=+s+&typed=go"
	o, err := read(good)
	if err != nil || o.name != "abc" || o.kind != "b" || !o.yes || len(o.many) != 2 || o.until.Format(time.DateOnly) != "2026-11-27" || o.secret != 3 {
		t.Fatalf("%+v, %v", o, err)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"doubled":           {"name=+abc+", "name=a&name=b", "name stands twice"},
		"empty":             {"name=+abc+", "name=++", "name is needed"},
		"long":              {"name=+abc+", "name=abcdef", "name is too long"},
		"control character": {"name=+abc+", "name=a%00", "name has characters that cannot be seen"},
		"turned around":     {"name=+abc+", "name=%E2%80%AE", "name has characters that cannot be seen"},
		"no UTF-8":          {"name=+abc+", "name=%FF", "name has characters that cannot be seen"},
		"other choice":      {"kind=b", "kind=c", "kind is none of what can be chosen"},
		"other yes":         {"sure=yes", "sure=on", "sure is none of what can be chosen"},
		"too many":          {"of=1", "of=1&of=3", "of has too many entries"},
		"long entry":        {"of=1", "of=" + strings.Repeat("x", 201), "of has an entry that is too long"},
		"no day":            {"2026-11-26", "2026-11-31", "until is not a day"},
		"long secret":       {"password=+s+", "password=123456789", "password is too long"},
		"other word":        {"typed=go", "typed=Go", "typed is not the word that was asked for"},
		"another field":     {"kind=b", "kind=b&%3Cscript%3E=1", "it has a field that does not belong there"},
	} {
		_, err := read(strings.Replace(good, test.old, test.new, 1))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "script") {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestWhatIsNoForm(t *testing.T) {
	done := 0
	page := Page{routes: []route{post("/do", healthRead, func(*visit, *nothing) (*outcome, error) {
		done++
		return goTo("https://evil.example/"), nil
	})}}
	d := newDesk(t, operator.Auditor, page)
	send := func(kind, body string) reply {
		r := newRequest(t, http.MethodPost, "/do", body)
		r.Header.Set("Content-Type", kind)
		return d.send(r)
	}
	for name, test := range map[string]struct {
		kind, body string
		want       int
	}{
		"JSON":       {"application/json", "{}", http.StatusUnsupportedMediaType},
		"none":       {"", "", http.StatusUnsupportedMediaType},
		"text":       {"text/plain", "", http.StatusUnsupportedMediaType},
		"a file":     {"multipart/form-data; boundary=x", "--x--", http.StatusUnsupportedMediaType},
		"broken":     {"application/x-www-form-urlencoded", "a=%zz", http.StatusBadRequest},
		"too large":  {"application/x-www-form-urlencoded", "a=" + strings.Repeat("x", 64<<10), http.StatusRequestEntityTooLarge},
		"semicolons": {"application/x-www-form-urlencoded", "a=1;b=2", http.StatusBadRequest},
	} {
		if r := send(test.kind, test.body); r.status != test.want || done != 0 {
			t.Errorf("%s: %d, want %d", name, r.status, test.want)
		}
	}
	// A near miss, whose answer stays on this host.
	send("application/x-www-form-urlencoded; charset=utf-8", "").goesTo(t, "/")
	if done != 1 {
		t.Error("a form was not taken")
	}
	// Fields in the address are not the form's.
	if r := d.do(http.MethodPost, "/do?a=1", url.Values{}, map[string]string{"Sec-Fetch-Site": "same-origin"}); r.status != 303 {
		t.Errorf("with a query: %d", r.status)
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"", "name=a", "name=a&name=b", "%", "name=%ff&typed=go", "until=2026-11-26"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		values, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		var o order
		in := &form{values: values, taken: map[string]bool{}}
		o.read(in)
		if in.err() != nil {
			return
		}
		if len(o.name) > 5 || o.name == "" || len(o.many) > 2 || o.secret > 8 || len(values["name"]) != 1 || values.Get("typed") == "" {
			t.Errorf("%q was accepted as %+v", body, o)
		}
	})
}

func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/", "/calls?x=1", "//evil", `/\evil`, "https://evil", "/%2f/evil", "/\x00"} {
		f.Add(seed)
	}
	base := mustURL(origin)
	f.Fuzz(func(t *testing.T, to string) {
		got := localPath(to)
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t") {
			t.Errorf("localPath(%q) = %q leads to %v", to, got, u)
		}
	})
}
