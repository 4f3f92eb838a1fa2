package connect_test

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"
)

// Every token that a connection holds is given to a search, in batches of which
// each has its intent, and one that does not open is counted and stops nothing.
func TestTokensAreGivenToASearch(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := connecttest.New(t, dsn, connecttest.Options{})
	ada := w.Connect("ada", "publish", connecttest.Person(0))
	w.Connect("grace", "pages", connecttest.Person(1))

	patterns := atrest.NewPatterns()
	var after gatehouse.ConnectionID
	for n := 1; ; n++ {
		opened, err := w.Connections.AddTokens(t.Context(), patterns, after, 1)
		if err != nil || opened.Connections > 1 || opened.Unreadable != 0 {
			t.Fatalf("batch %d: %+v, %v", n, opened, err)
		}
		if after = opened.Next; after == "" {
			break
		}
	}
	if patterns.Len() != 3 { // X's access and refresh token, Facebook's
		t.Errorf("%d tokens are looked for, want 3", patterns.Len())
	}
	var issued strings.Builder
	for _, i := range w.Tokens() {
		if strings.HasSuffix(i.Kind, " token") {
			issued.WriteString(i.Value + "\n")
		}
	}
	found := 0
	scanner := patterns.Search(false).Scanner(func(atrest.Match) { found++ })
	_, _ = scanner.Write([]byte(issued.String()))
	_ = scanner.Close()
	if found != 3 {
		t.Errorf("%d of the tokens that the platforms issued are found, want 3", found)
	}

	storetest.OpenRaw(t, dsn).Exec("UPDATE connections SET refresh = access WHERE id = $1", string(ada.ID))
	opened, err := w.Connections.AddTokens(t.Context(), patterns, "", 100)
	if err != nil || opened.Connections != 2 || opened.Unreadable != 1 || opened.Next != "" || patterns.Len() != 1 {
		t.Errorf("with a damaged row: %+v, %v, %d tokens; want the other's", opened, err, patterns.Len())
	}

	intents := 0
	_, rows := storetest.OpenRaw(t, dsn).Query("SELECT leaf FROM audit_entries")
	for _, row := range rows {
		leaf := fmt.Sprintf("%s", row[0])
		if strings.Contains(leaf, `"doctor.at-rest"`) && strings.Contains(leaf, `"intent"`) && strings.Contains(leaf, `"connections"`) {
			intents++
		}
	}
	if intents != 3 {
		t.Errorf("the log has %d intents, want one for each of 3 batches", intents)
	}
}
