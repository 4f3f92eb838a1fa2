package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/google/go-cmp/cmp"
)

// full has every field, with text that JSON has to escape or must not.
var full = audit.Leaf{
	Action: "call", App: "main-x", Bytes: 1 << 40, Environment: "production",
	Facts: map[string]string{"b": "2", "a": "quote\" back\\ tab\t newline\n nul\x00 bell\x07 del\x7f", "c": "<&>\u2028 ünï 🦊"},
	ID:    "06h0dyxv57fwk89q3fc77fzqtw", Intent: "06h0dyxv57fwk89q3fc77fzqtx", Kind: audit.KindOutcome,
	Operation: "GET /2/users/{id}", Personal: map[string]string{"connection": aHash, "handle": aHash}, SealedHash: aHash, Platform: gatehouse.X, Purpose: "publish",
	Rule: "publish/1", Service: "scheduler", Status: 200, Time: 1795000000123456, Version: 2, Verdict: "done",
}

// fullV1 has every field of the first version.
var fullV1 = func() audit.Leaf {
	l := full
	l.Personal, l.SealedHash, l.PersonalHash, l.Version = nil, "", strings.Repeat("ab", 32), 1
	return l
}()

var aHash = strings.Repeat("a0", 32)

// canonical is the form of RFC 8785, by way of package encoding/json: its keys
// are in order because the struct's are, and it can be told not to escape what
// need not be.
func canonical(t *testing.T, l *audit.Leaf) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(l); err != nil {
		t.Fatal(err)
	}
	// These two it escapes always.
	text := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(b.String())
	return []byte(strings.TrimSuffix(text, "\n"))
}

func TestLeafIsCanonicalJSON(t *testing.T) {
	for name, l := range map[string]audit.Leaf{
		"full":               full,
		"full, version 1":    fullV1,
		"least":              {Action: "init", ID: "x", Kind: audit.KindEvent, Version: 2},
		"least of version 1": {Action: "init", ID: "x", Kind: audit.KindEvent, Version: 1},
	} {
		got, want := audit.AppendLeaf(nil, &l), canonical(t, &l)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-encoding/json +ours):\n%s", name, diff)
		}
		back, err := audit.DecodeLeaf(got)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(&l, back); diff != "" {
			t.Errorf("%s, there and back (-want +got):\n%s", name, diff)
		}
	}
}

func TestOnlyTheCanonicalFormIsRead(t *testing.T) {
	good := string(audit.AppendLeaf(nil, &full))
	v1 := string(audit.AppendLeaf(nil, &fullV1))
	p := full
	p.Facts = map[string]string{"a": "1", "b": "2"}
	plain := string(audit.AppendLeaf(nil, &p))
	if _, err := audit.DecodeLeaf([]byte(plain)); err != nil || !audit.IsScanned([]byte(plain)) {
		t.Fatal("the plain leaf is not read the fast way", err)
	}
	for name, evil := range map[string]string{
		"nothing":            "",
		"space":              " " + good,
		"space at the end":   good + "\n",
		"a second value":     good + "{}",
		"unknown member":     strings.Replace(good, `{"action"`, `{"aa":1,"action"`, 1),
		"twice the same":     strings.Replace(good, `,"app":`, `,"app":"other","app":`, 1),
		"other order":        strings.Replace(strings.Replace(good, `,"v":2`, "", 1), `{"action"`, `{"v":2,"action"`, 1),
		"empty member":       strings.Replace(good, `,"rule":"publish/1"`, `,"rule":""`, 1),
		"escaped letter":     strings.Replace(good, `"done"`, `"d\u006fne"`, 1),
		"number with dot":    strings.Replace(good, `"status":200`, `"status":200.0`, 1),
		"other case":         strings.Replace(good, `"action"`, `"Action"`, 1),
		"not UTF-8":          strings.Replace(good, `"done"`, "\"\xff\"", 1),
		"another version":    strings.Replace(good, `"v":2`, `"v":3`, 1),
		"version 0":          strings.Replace(good, `"v":2`, `"v":0`, 1),
		"2 that says 1":      strings.Replace(good, `"v":2`, `"v":1`, 1),
		"1 that says 2":      strings.Replace(v1, `"v":1`, `"v":2`, 1),
		"fields unsealed":    strings.Replace(good, `,"sealed_sha256":"`+aHash+`"`, "", 1),
		"a short hash":       strings.Replace(good, aHash, aHash[1:], 1),
		"an odd hash":        strings.Replace(good, aHash, aHash[:63]+"g", 1),
		"a hash in capitals": strings.Replace(good, aHash, strings.ToUpper(aHash), 1),
		"a name in capitals": strings.Replace(good, `"handle":`, `"Handle":`, 1),
		"an array":           "[" + good + "]",
		"null":               "null",
		"a zero in front":    strings.Replace(plain, `"status":200`, `"status":0200`, 1),
		"0 where none is":    strings.Replace(plain, `"status":200`, `"status":0`, 1),
		"a sign before 0":    strings.Replace(plain, `"time":1795000000123456`, `"time":-0`, 1),
		"no number":          strings.Replace(plain, `"status":200`, `"status":`, 1),
		"too great":          strings.Replace(plain, `"status":200`, `"status":99999999999999999999`, 1),
		"facts in disorder":  strings.Replace(plain, `{"a":"1","b":"2"}`, `{"b":"2","a":"1"}`, 1),
		"facts twice":        strings.Replace(plain, `{"a":"1","b":"2"}`, `{"a":"1","a":"2"}`, 1),
		"no facts":           strings.Replace(plain, `{"a":"1","b":"2"}`, `{}`, 1),
		"a control":          strings.Replace(plain, `"done"`, "\"do\x1fe\"", 1),
		"a needless escape":  strings.Replace(plain, `"done"`, `"do\/ne"`, 1),
		"too long":           strings.Replace(good, `"done"`, `"`+strings.Repeat("d", 65536)+`"`, 1),
	} {
		if _, err := audit.DecodeLeaf([]byte(evil)); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func FuzzDecodeLeaf(f *testing.F) {
	f.Add(audit.AppendLeaf(nil, &full))
	f.Add(audit.AppendLeaf(nil, &fullV1))
	f.Add([]byte(`{"action":"init","id":"x","kind":"event","time":0,"v":1}`))
	p := full
	p.Facts = map[string]string{"a": "1", "b": ""}
	f.Add(audit.AppendLeaf(nil, &p))
	f.Add([]byte(`{"action":"\ud800","facts":{"":""},"id":"","kind":"","time":-1,"v":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := audit.DecodeLeaf(data)
		slow, wrong := audit.DecodeSlowly(data)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%q: read one way, %v, the other, %v", data, err, wrong)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(slow, l); diff != "" {
			t.Errorf("%q is read in two ways:\n%s", data, diff)
		}
		// One content, one encoding: what is accepted is exactly what we write.
		if again := audit.AppendLeaf(nil, l); !bytes.Equal(again, data) {
			t.Errorf("accepted %q and wrote %q", data, again)
		}
		if !json.Valid(data) {
			t.Errorf("accepted what is not JSON: %q", data)
		}
	})
}
