package meta_test

import (
	"strings"
	"testing"

	"gatehouse/internal/sandbox/meta"
)

func TestFieldExpansion(t *testing.T) {
	same := map[string]string{
		"":                                   "",
		"id,name":                            "id,name",
		" id , name, ":                       "id,name",
		"a,b{c,d}":                           "a,b{c,d}",
		"posts.limit(5){message,from{name}}": "posts.limit(5){message,from{name}}",
		"posts{message}.limit(5)":            "posts.limit(5){message}",
		"feed.fields(message,from).limit(3)": "feed.limit(3){message,from}",
		"accounts.as(pages).limit(1){access_token}": "accounts.as(pages).limit(1){access_token}",
		"likes.summary(true).limit(0)":              "likes.limit(0).summary(true)",
		"a{b{c{d}}}":                                "a{b{c{d}}}",
	}
	for text, want := range same {
		if got, err := meta.ParseFields(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"a{", "a}", "a{}", ",a", "a.limit", "a.limit(5", "a.(5)", "a b", "{a}", "a{b,,c}", "a.as(é)", "\xff", strings.Repeat("a{", 40) + "b" + strings.Repeat("}", 40), strings.Repeat("a,", 3000) + "a"} {
		if got, err := meta.ParseFields(text); err == nil {
			t.Errorf("%.40q: accepted as %.40q", text, got)
		} else if !strings.Contains(err.Error(), "Syntax error") {
			t.Errorf("%.40q: refused with %v", text, err)
		}
	}
}

// What parses writes itself so that it parses to the same again.
func FuzzParseFields(f *testing.F) {
	for _, seed := range []string{"id,name", "a,b{c.limit(3).as(x),d}.order(chronological)", "accounts{access_token,instagram_business_account{media.limit(2)}}", "a.fields(b{c})", "a{", "(((", "a.limit(\x00)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, err := meta.ParseFields(text)
		if err != nil {
			return
		}
		twice, err := meta.ParseFields(once)
		if err != nil || once != twice {
			t.Fatalf("%q became %q, then %q (%v)", text, once, twice, err)
		}
	})
}

func TestFieldsOnTheGraph(t *testing.T) {
	s := start(t)
	user := s.long(s.people[0], pageScopes)
	page, token := s.page(user)

	s.get("/v25.0/me", "access_token", user, "fields", "id,shoe_size").refused(100, 0)
	s.get("/v25.0/me", "access_token", user, "fields", "id,name{").refused(2500, 0)

	a := s.get("/v25.0/me", "access_token", user, "fields", "first_name,accounts.limit(1).as(pages){id,posts.limit(2){message,from{name},comments.limit(1).summary(true){message,from},likes.summary(true).limit(0)},instagram_business_account{username,media.limit(1){caption}}}").ok()
	post := []string{"pages", "data", "0", "posts", "data", "0"}
	if got := a.text("pages", "data", "0", "id"); got != page {
		t.Errorf("nested page is %q, want %s", got, page)
	}
	if a.text(append(post, "message")...) == "" || a.text(append(post, "from", "name")...) == "" {
		t.Errorf("no nested post in %s", a.raw)
	}
	if got := a.list(append(post, "comments", "data")...); len(got) != 1 {
		t.Errorf("%d nested comments, want 1", len(got))
	}
	if a.at(append(post, "comments", "summary", "total_count")...) != 2.0 {
		t.Errorf("no summary of comments in %s", a.raw)
	}
	if a.at(append(post, "likes", "summary", "total_count")...) == nil {
		t.Errorf("no summary of likes in %s", a.raw)
	}
	if a.text("pages", "data", "0", "instagram_business_account", "media", "data", "0", "caption") == "" {
		t.Errorf("no nested media in %s", a.raw)
	}
	// Members come in the order asked for, and the id last when it was not.
	if !strings.HasPrefix(a.raw, `{"first_name":`) || !strings.HasSuffix(strings.TrimSpace(a.raw), `"id":"`+a.text("id")+`"}`) {
		t.Errorf("order of members: %s", a.raw)
	}
	// A nested list pages on by itself.
	next := a.text("pages", "data", "0", "posts", "paging", "next")
	more := s.get(next).ok()
	if len(more.list("data")) != 2 || more.text("data", "0", "from", "name") == "" {
		t.Errorf("the nested list's next page lost its fields: %s", more.raw)
	}
	// Posts lead to their page and back; asking for all of it in one breath is
	// refused before it takes the machine's memory.
	loop := strings.Repeat("posts{from{", 6) + "id" + strings.Repeat("}}", 6)
	s.get("/v25.0/me", "access_token", token, "fields", loop).refused(1, 0)
	if b := s.get("/v25.0/me", "access_token", token, "fields", "id,access_token").ok(); b.text("id") != page || b.text("access_token") != token {
		t.Errorf("me of a page token is %s", b.raw)
	}
}
