package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/identity/review"
)

// TestConsoleReview is a review in a real browser: a list is taken in, a review begun,
// decided, closed, and its evidence verified.
func TestConsoleReview(t *testing.T) {
	s := startShowcase(t)
	b := s.owner()
	lookAt(t, b, "reviews-empty", s.at("/reviews"))
	b.shows("Nothing was reviewed yet", "No list was imported")

	load := func(list string) {
		t.Helper()
		b.open(s.at("/reviews"))
		b.eval(`document.querySelector("details.card").open = true; ""`)
		b.fill("system", "github")
		b.eval(`document.querySelector("[name=list]").value = ` + strings.ReplaceAll("`"+list+"`", "\n", `\n`) + `; ""`)
		b.button("Take in")
	}
	b.allow("400")
	load("account,role\nada,\n")
	b.shows("The list was not taken in: line 2, column 5: the role is empty.")
	lookAt(t, b, "reviews-wrong", "")
	load("account,role,last_used\nada,admin,2020-01-31\n<img src=x onerror=alert(1)>,=cmd|calc,\n")
	b.shows("2 rights of github were taken in.")

	b.eval(`document.querySelector("form[action='/reviews/start']").closest("details").open = true; ""`)
	b.fill("typed", "begin")
	b.button("Begin the review")
	b.shows("The review has begun.", "14 d left", "not used since 2020-01-31", "<img src=x onerror=alert(1)>", "purpose")
	at := s.at(b.path())
	lookAt(t, b, "review", at)
	lookAt(t, b, "review-proposed", at+"?show=proposed")
	chosen := b.eval(`String(document.querySelectorAll("input[value=remove]:checked").length)`)
	if all := b.eval(`String(document.querySelectorAll("input[value=remove]").length)`); chosen != all || chosen == "0" {
		t.Errorf("%s removals of %s that are proposed are chosen beforehand", chosen, all)
	}
	b.open(at)
	b.fill("reason", "not in the team any more")
	b.button("Save, and keep the undecided others on this page")
	b.shows("rights were decided.", "not in the team any more")
	// One's own is not among the others; nobody else could decide about it here.
	b.eval(`String([...document.querySelectorAll(".rights li")].find((l) => l.textContent.includes("Your own")).querySelector("[value=keep]").click())`)
	b.button("Save what is chosen")
	b.shows("One right was decided.", "all decided", "(their own)")
	lookAt(t, b, "review-decided", "")
	b.fill("typed", "finish")
	b.button("Close the review")
	b.shows("The review is finished", "left to be removed elsewhere", "Download the signed evidence")
	lookAt(t, b, "review-finished", "")
	lookAt(t, b, "reviews-open", s.at("/reviews/open"))
	b.shows("remove the account's role in github")
	lookAt(t, b, "reviews", s.at("/reviews"))

	// What a browser downloads, anybody can check.
	text := b.eval(`fetch("` + strings.TrimPrefix(at, s.at("")) + `/evidence").then((r) => r.text())`)
	verifier, err := readVerifier(filepath.Join(s.ready.Dir, logKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	d, covered, err := review.Verify([]byte(text), verifier)
	if err != nil || !covered || !d.Alone || d.Counts.Removed != d.Counts.Proposed || d.Counts.OpenItems < 2 || fmt.Sprint(d.Counts.Removed) != chosen {
		t.Errorf("the evidence: %+v, %v", d, err)
	}
	table := b.eval(`fetch("` + strings.TrimPrefix(at, s.at("")) + `/table").then((r) => r.text())`)
	if !strings.Contains(table, "'=cmd|calc") || strings.Contains(table, ",=cmd") {
		t.Errorf("the table holds a formula: %s", table)
	}
	load("account,role\nbo,admin\n")
	b.open(s.at("/reviews/open"))
	if text := b.text(); strings.Contains(text, "github") {
		t.Errorf("what the new list does not have is still open:\n%s", text)
	}
}
