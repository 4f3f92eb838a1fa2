package platform_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func TestParseFields(t *testing.T) {
	f := func(name string, below ...platform.Field) platform.Field {
		return platform.Field{Name: name, Fields: below, Expanded: len(below) > 0}
	}
	for _, test := range []struct {
		in   string
		want []platform.Field
	}{
		{"", nil},
		{"id", []platform.Field{f("id")}},
		{" id , name,", []platform.Field{f("id"), f("name")}},
		{"feed{message,comments{from{id}}},id", []platform.Field{f("feed", f("message"), f("comments", f("from", f("id")))), f("id")}},
		{"feed.fields(message)", []platform.Field{f("feed", f("message"))}},
		{"feed{}", []platform.Field{{Name: "feed", Expanded: true}}},
		{`photos.limit(2).as(p){id}`, []platform.Field{{Name: "photos", Modifiers: []platform.Modifier{{"limit", "2"}, {"as", "p"}}, Fields: []platform.Field{f("id")}, Expanded: true}}},
		{`insights.metric(a,b).filtering([{"field":"x)","value":'}'}])`, []platform.Field{{Name: "insights", Modifiers: []platform.Modifier{{"metric", "a,b"}, {"filtering", `[{"field":"x)","value":'}'}]`}}}}},
	} {
		got, err := platform.ParseFields(test.in)
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", test.in, d)
		}
	}
	if fields, _ := platform.ParseFields("a.as(b),c"); fields[0].Alias() != "b" || fields[1].Alias() != "" {
		t.Errorf("aliases %q, %q", fields[0].Alias(), fields[1].Alias())
	}
}

func TestParseFieldsRefuses(t *testing.T) {
	for _, in := range []string{"{", "a{", "a}", "a{b", "a.limit", "a.limit(", "a.limit(1", "a.(1)", "a b", "a.limit(1]", `["id"]`, "a{b}c", "a\x00", "a.x('"} {
		if got, err := platform.ParseFields(in); !errors.Is(err, platform.ErrSyntax) {
			t.Errorf("%q = %v, %v; want a syntax error", in, got, err)
		}
	}
	for _, in := range []string{strings.Repeat("a{", 20) + strings.Repeat("}", 20), strings.Repeat("a,", 3000), strings.Repeat("a", 70_000)} {
		if _, err := platform.ParseFields(in); !errors.Is(err, platform.ErrTooLarge) {
			t.Errorf("%.20q…: %v, want too large", in, err)
		}
	}
	if _, err := platform.Classify(platform.Facebook, "GET", "/me", query(t, "fields=a%7B")); !errors.Is(err, platform.ErrSyntax) {
		t.Errorf("a call with fields that cannot be understood: %v", err)
	}
}

func FuzzParseFields(f *testing.F) {
	for _, s := range []string{"id,name", "feed.limit(3){message,comments{from}}", `a.b("c{")`, "a{b}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fields, err := platform.ParseFields(s)
		if err != nil {
			return
		}
		var names func([]platform.Field)
		names = func(list []platform.Field) {
			for _, field := range list {
				if field.Name == "" || !strings.Contains(s, field.Name) {
					t.Fatalf("%q has a field %q", s, field.Name)
				}
				names(field.Fields)
			}
		}
		names(fields)
	})
}
