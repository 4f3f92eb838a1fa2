package console

import (
	"context"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// configuration is a source of the page about it.
type configuration struct{ view ConfigurationView }

func (c *configuration) Configuration(context.Context) (ConfigurationView, error) { return c.view, nil }

func TestConfiguration(t *testing.T) {
	from := &configuration{ConfigurationView{Path: "/etc/gatehouse.yaml", Hash: "aaa", Mode: "report", Reports: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Node: "n1", File: ConfigurationFile{Hash: "aaa", Text: "store: env:DSN"}}}
	d := newDesk(t, operator.Developer, Configuration(from))
	d.get("/configuration").shows(t, "the file is applied", "report until 1 Dec 2026", "The log has none yet", "store: env:DSN", "It is what is in force.")

	from.view.Nodes = []AppliedLine{{Node: "n1", Hash: "aaa", Mode: "enforce", Entry: "e1", At: time.Now()}, {Hash: "bbb", Entry: "e2", Unknown: true}, {Node: "n3", Hash: "ccc"}, {Node: "n4", Hash: "ddd", Differs: []string{"listen", "node"}}, {Node: "n5", Hash: "eee", Differs: []string{"listen", "purposes", "services"}}}
	from.view.File = ConfigurationFile{Hash: "ccc", Changes: []ConfigurationChange{{Text: "mode changes from report to enforce"}, {Text: "store changes", Restart: true}}, Act: []string{"Hand out the authority."}, Warnings: []string{"line 3: a warning"}}
	d.get("/configuration").shows(t, "the file is not applied", "the same file", "another file", "the same but for comments or layout", "the same but for listen, node", "differs: purposes, services", "without a name", "mode changes from report to enforce", `<span class="badge warn">restart</span> store changes`, "Hand out the authority.", "line 3: a warning", "!It is what is in force.")
	from.view.Nodes = from.view.Nodes[:2]
	from.view.Nodes[1].Unknown = false
	from.view.Nodes[1].Lines = []DifferingLine{{Both, "listen:"}, {Ours, "  app: " + hostileText}, {Theirs, "  app: other"}, {Left, ""}}
	r := d.get("/configuration")
	r.inert(t)
	r.shows(t, "How the node without a name differs from this one", "\n&#43;   app: other", "-   app: ", "⋮", "!The first lines", "!is not kept", "!How n1 differs")
	from.view.Nodes[1].More = true
	d.get("/configuration").shows(t, "The first lines")
	from.view.Nodes[1] = AppliedLine{Hash: "bbb", Unknown: true}
	d.get("/configuration").shows(t, "is not kept", "!there only")
	from.view.File.Changes = nil
	d.get("/configuration").shows(t, "differs in comments or layout alone")
	from.view.File = ConfigurationFile{Errors: []string{"line 1: unknown key"}}
	d.get("/configuration").shows(t, "the file cannot be applied", "line 1: unknown key", "what is in force stays", "!differs in comments")

	none := d.house.join("None", operator.Auditor)
	none.get("/configuration").shows(t, "line 1: unknown key")
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), none.account.ID, operator.Auditor))
	if r := none.get("/configuration"); r.status != 403 {
		t.Errorf("without the permission: status %d", r.status)
	} else {
		r.shows(t, "!line 1")
	}
}
