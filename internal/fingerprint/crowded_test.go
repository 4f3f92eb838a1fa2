package fingerprint_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// echoes are people who call themselves by one word, twice, three times and so on.
func echoes(people int) []owned {
	var all []owned
	for n := range people {
		all = append(all, owned{fingerprint.Owner(n + 1), gatehouse.PersonName, strings.TrimSpace(strings.Repeat("ada ", n+1))})
	}
	return all
}

// Where more values stand together than anybody writes, each counts: they are not
// compared. How the text is cut changes nothing, also at the edges of the crowd.
func TestCrowds(t *testing.T) {
	x := indexOf(t, echoes(12)...)
	const gap = 3000
	around := strings.Repeat(". ", gap/2)
	for name, test := range map[string]struct {
		text string
		want bool
	}{
		"a crowd":          {strings.Repeat("ada ", 200), true},
		"a crowd, and one": {strings.Repeat("ada ", 200) + strings.Repeat(". ", 300) + "ada,", true},
		"no crowd":         {strings.Repeat("ada|", 150), false},
		"one far away":     {"ada," + around, false},
	} {
		text := []byte(around + test.text + around)
		want := shown(search(x, text, whole))
		if (len(want) > 0) != test.want {
			t.Errorf("%s: %d hits", name, len(want))
		}
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, 1))
			if got := shown(search(x, text, func(int) int { return 1 + r.IntN(200) })); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, cut by %d: %d hits, want %d", name, seed, len(got), len(want))
			}
		}
	}
	hits := search(x, []byte(strings.Repeat("ada ", 200)+strings.Repeat(". ", 300)+"ada,"), whole)
	last := int64(0)
	for _, h := range hits {
		last = max(last, h.From)
		if len(h.Owners) == 0 {
			t.Fatalf("a hit of nobody's: %+v", h)
		}
	}
	if last != 800+600 {
		t.Errorf("the last hit is at %d, want the one beside the crowd", last)
	}
}
