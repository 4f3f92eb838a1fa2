package gatehouse_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/metrics"

	"go.yaml.in/yaml/v3"
)

// metricsDocument is docs/metrics.md without its tables.
const metricsDocument = `# Figures

What an operator watches: calls, refusals, latencies, connections, duties, keys, the log. Gatehouse
shows them in the console, to Prometheus, and to an OpenTelemetry collector. The tables below are
generated from the registry in ` + "`internal/metrics` by `make gen`" + `; a name never gets a second meaning.

Most are counted from the entries of the audit log as they are written, so a figure and a search of the
log agree: the column *entries* says which search. A process counts from its start, its own calls;
what stands in the database (connections, duties, events, sinks, keys) is the same on every node.

No label holds a text that somebody chose: services, purposes, apps, sinks and destinations are the
configuration's names, and everything else is ` + "`(other)` or `(undeclared)`" + `. People, handles, tokens and
addresses are in no figure and no trace.

## Prometheus

` + "```yaml" + `
metrics:
  listen: 127.0.0.1:8104
` + "```" + `

answers ` + "`GET /metrics`" + ` in Prometheus' text format or OpenMetrics, and nothing else. The address of the
listener is on ` + "`gatehouse run`" + `'s ready line. Without ` + "`token`" + ` and certificate it answers by an address or as
` + "`localhost`" + ` only: any page in a browser on the machine can have another name lead there. Elsewhere than on loopback it needs a certificate, and scrapers
a token or a certificate of their own:

` + "```yaml" + `
metrics:
  listen: 10.0.0.5:8104
  tls: {cert: /etc/gatehouse/metrics.pem, key: /etc/gatehouse/metrics.key}   # client_ca_file: for certificates
  token: file:/run/secrets/scrape
` + "```" + `

` + "```yaml" + `
# prometheus.yml
scrape_configs:
  - job_name: gatehouse
    scheme: https
    authorization: {credentials_file: /etc/prometheus/gatehouse-token}
    tls_config: {ca_file: /etc/prometheus/gatehouse-ca.pem}
    static_configs: [{targets: ["10.0.0.5:8104"]}]
rule_files: [gatehouse-alerts.yaml]
` + "```" + `

At most four scrapes are answered at once. A scrape reads memory, never the database: what stands there
is read on a schedule, and absent when it could not be. ` + "`gatehouse doctor`" + ` says what the listener lacks.

[prometheus-alerts.yaml](prometheus-alerts.yaml) holds alert rules, and
[grafana-dashboard.json](grafana-dashboard.json) a dashboard to import; both expect the job's name
` + "`gatehouse`" + `. Every test run checks that each metric and label in them exists; ` + "`make test-rules`" + `
has Prometheus' own parsers read them. Nobody has tried them against your Grafana.

## OpenTelemetry

` + "```yaml" + `
metrics:
  otlp:
    url: https://collector.example.com:4318
    headers: {Authorization: file:/run/secrets/otlp}
    every: 1m             # figures
    sample_percent: 5     # traces; the default 0 sends none
    onward: false         # true tells the platform the trace, too
` + "```" + `

Figures go to ` + "`/v1/metrics`" + ` under the names below, counters and histograms cumulative. Traces go to
` + "`/v1/traces`" + `: one span for each call that is traced, and one for each part that it reached (judge, log,
credential, upstream, relay). A call of a known caller that comes with a W3C ` + "`traceparent`" + ` belongs to the caller's trace, and
is traced if that says so; of others, and of all whose handle is not taken, so many of a hundred are. The span names service, purpose, platform,
app, operation, verdict, rule, status, and the id of the call's entry in the log
(` + "`gatehouse audit show --id`" + `). It holds no address, no header, no body, nobody's id. ` + "`tracestate` and `baggage`" + `
are neither kept nor passed on; with ` + "`onward`" + ` the platform gets a ` + "`traceparent`" + ` with the trace's id, which the
caller may have chosen.

A collector never delays a call: 2048 traces wait in memory, more are dropped and counted. Traces are sent
up to three times; figures that are not taken are in the next ones. gRPC is not spoken.

The log itself goes to a collector with ` + "`audit.export`" + ` ([log-export.md](log-export.md)).

## In the console

A day in steps of a minute and two hours in steps of ten seconds are kept in memory for the columns *kept*,
by the labels named there (others are added up), at most 600 series of 9 kB. A restart empties them: what has
to last belongs in Prometheus.

## What it costs

Counting a call with its two entries takes no allocation and no lock; ` + "`make bench`" + ` has the row
` + "(`go test ./internal/metrics -run '^$' -bench MeasuredCall -cpu 1,2`: 0.3 to 0.4 µs for a call on two shared cores)" + `.

## The instruments

`

// TestGeneratedMetrics holds docs/metrics.md to the registry.
func TestGeneratedMetrics(t *testing.T) {
	var b strings.Builder
	b.WriteString(metricsDocument)
	b.WriteString("| name | type, unit | labels | kept | meaning | what to do | entries |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	for _, i := range metrics.Instruments() {
		kept := "–"
		if by, ok := i.Kept(); ok {
			if kept = "yes"; len(by) > 0 {
				kept = "by " + strings.Join(by, ", ")
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s, %s | %s | %s | %s | %s | %s |\n", i.Name, i.Type, i.Unit, strings.Join(i.Labels, ", "), kept, cell(i.Meaning), cell(i.Bad), cell(i.Entries))
	}
	b.WriteString("\nBeside them `/metrics` shows what client_golang says of the Go runtime (`go_…`) and the process\n(`process_…`), memory and file descriptors among them.\n")
	generated(t, filepath.Join("docs", "metrics.md"), b.String())
}

// shown are the labels of every metric that Gatehouse shows, by the name of the metric or
// of a histogram's series.
func shown(t *testing.T) map[string][]string {
	t.Helper()
	m, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{"up": nil}
	for _, f := range families {
		all[f.GetName()] = nil // of the runtime and the process, which have none that we use
	}
	for _, i := range metrics.Instruments() {
		all[i.Name] = i.Labels
		if i.Type == metrics.Histogram {
			delete(all, i.Name)
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				all[i.Name+suffix] = append([]string{"le"}, i.Labels...)
			}
		}
	}
	return all
}

var (
	promString   = regexp.MustCompile(`"[^"]*"`)
	promName     = regexp.MustCompile(`\b(up|(?:gatehouse|go|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?`)
	promMatcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	promGrouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// wrongIn says what of an expression is about nothing that is shown. It is no parser;
// `make test-rules` has Prometheus' own.
func wrongIn(expr string, all map[string][]string) (wrong []string) {
	plain := promString.ReplaceAllString(expr, `""`)
	has := []string{"instance", "job"}
	names := promName.FindAllStringSubmatch(plain, -1)
	if len(names) == 0 {
		wrong = append(wrong, "it names no metric")
	}
	for _, n := range names {
		labels, ok := all[n[1]]
		if !ok {
			wrong = append(wrong, n[1]+" is not shown")
			continue
		}
		has = append(has, labels...)
		for _, m := range promMatcher.FindAllStringSubmatch(n[2], -1) {
			if m[1] != "instance" && m[1] != "job" && !slices.Contains(labels, m[1]) {
				wrong = append(wrong, n[1]+" has no label "+m[1])
			}
		}
	}
	for _, g := range promGrouping.FindAllStringSubmatch(plain, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(has, strings.TrimSpace(label)) {
				wrong = append(wrong, "nothing in it has the label "+label)
			}
		}
	}
	if strings.Count(plain, "(") != strings.Count(plain, ")") || strings.Count(plain, "{") != strings.Count(plain, "}") {
		wrong = append(wrong, "its brackets are not closed")
	}
	return wrong
}

// The dashboard and the alerts name nothing that is not shown, and show most of what is.
func TestDashboardAndRules(t *testing.T) {
	all := shown(t)
	for expr, want := range map[string]string{
		`sum by (service) (rate(gatehouse_calls_total{outcome="x"}[5m]))`: "", `gatehouse_call_total`: "is not shown", `gatehouse_calls_total{result="x"}`: "no label result",
		`sum by (rule) (gatehouse_calls_total)`: "has the label rule", `rate(gatehouse_call_duration_seconds[5m])`: "is not shown", `(up`: "brackets", `1`: "names no metric",
	} {
		if wrong := strings.Join(wrongIn(expr, all), "; "); (wrong == "") != (want == "") || !strings.Contains(wrong, want) {
			t.Errorf("of %s the check says %q, want %q", expr, wrong, want)
		}
	}
	var exprs []string
	text, err := os.ReadFile(filepath.Join("docs", "prometheus-alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			exprs = append(exprs, r.Expr)
			if !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s does not say how bad it is, or what to do", r.Alert)
			}
		}
	}
	if len(exprs) < 15 {
		t.Errorf("%d rules", len(exprs))
	}
	board, err := os.ReadFile(filepath.Join("docs", "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(board, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	everything := strings.Join(exprs, "\n")
	for _, expr := range exprs {
		for _, wrong := range wrongIn(expr, all) {
			t.Errorf("%s: %s", expr, wrong)
		}
	}
	for _, i := range metrics.Instruments() {
		if !strings.Contains(everything, i.Name) && !slices.Contains([]string{"gatehouse_build_info", "gatehouse_export_lag_seconds", "gatehouse_root_key_serves_until_timestamp_seconds", "gatehouse_log_reserve_held"}, i.Name) {
			t.Errorf("neither the dashboard nor a rule uses %s", i.Name)
		}
	}
	commandsExist(t, string(text))
}

// commandsExist checks that the commands which the registry and the alerts tell people
// to run are there.
func commandsExist(t *testing.T, alerts string) {
	t.Helper()
	commands, err := os.ReadFile(filepath.Join("docs", "commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	texts := alerts
	for _, i := range metrics.Instruments() {
		texts += "\n" + i.Meaning + "\n" + i.Bad
	}
	found := regexp.MustCompile("`gatehouse ([a-z -]+?)(?: --.*?)?(?: [A-Z]+)?`").FindAllStringSubmatch(texts, -1)
	if len(found) < 10 {
		t.Errorf("%d commands are named", len(found))
	}
	for _, f := range found {
		if !strings.Contains(string(commands), "\n## gatehouse "+f[1]+"\n") {
			t.Errorf("people are told to run gatehouse %s, which docs/commands.md does not have", f[1])
		}
	}
}
