package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/config"

	"github.com/google/go-cmp/cmp"
)

// world answers every reference with a canary.
func world() config.Resolver {
	return config.Resolver{
		LookupEnv: func(name string) (string, bool) { return "env-value-of-" + name, true },
		ReadFile:  func(path string) ([]byte, error) { return []byte("file-value-of-" + path + "\n"), nil },
	}
}

// contract is the example of the product's contracts, to the letter.
const contract = `environment: production
public_url: https://app.example.com
listen: {app: 127.0.0.1:8100, proxy: 127.0.0.1:8101, console: 127.0.0.1:8102, public: ":443"}
store: sqlite:/var/lib/gatehouse/gatehouse.db
root_key: file:/etc/gatehouse/root.key
tls: {app: local-ca}
apps:
  main-x: {platform: x, client_id: env:X_CLIENT_ID, client_secret: file:/run/secrets/x, consumer_key: env:X_KEY, consumer_secret: file:/run/secrets/x1}
  pages:  {platform: facebook, client_id: env:META_APP_ID, client_secret: file:/run/secrets/meta, version: v25.0}
purposes:
  publish:
    why: Publish what the user scheduled
    app: main-x
    scopes: [tweet.read, tweet.write, users.read]
    calls:
      - {call: POST /2/tweets, body: {text: {max: 280}}}
      - {call: GET /2/users/me, fields: [id, username]}
  analytics:
    why: Count what is read
    app: pages
    calls:
      - {call: "GET /{page-id}/insights"}
services:
  scheduler: {purposes: [publish, analytics], rate: 50/s}
third_parties:
  api.segment.io: {purposes: [analytics], may_receive: [pseudonymous-id], inspect: true}
`

// load parses text as /etc/gatehouse/gatehouse.yaml.
func load(t *testing.T, text string) (*config.Config, []config.Warning) {
	t.Helper()
	c, warnings, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(text), world())
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c, warnings
}

func TestTheContractsExampleLoads(t *testing.T) {
	c, warnings := load(t, contract)

	if got := c.Apps["main-x"].ClientSecret.Text().Reveal(); got != "file-value-of-/run/secrets/x" {
		t.Errorf("client_secret resolves to %q", got)
	}
	if got := c.Apps["main-x"].ClientID.Text(); got != "env-value-of-X_CLIENT_ID" {
		t.Errorf("client_id resolves to %q", got)
	}
	if got := c.Store.Text().Reveal(); got != "sqlite:/var/lib/gatehouse/gatehouse.db" {
		t.Errorf("store = %q", got)
	}
	if got := c.RootKey.Path(); got != "/etc/gatehouse/root.key" {
		t.Errorf("root_key = %q", got)
	}
	if got := c.Purposes["publish"].Calls[0].Body["text"].Max; got != 280 {
		t.Errorf("body rule max = %d, want 280", got)
	}
	if got := c.Purposes["analytics"].Calls[0].Operation; got != "GET /{id}/insights" {
		t.Errorf("operation = %q, want the platform's own name", got)
	}
	if got := c.Services["scheduler"].Rate; got != (config.Rate{Count: 50, Per: time.Second}) {
		t.Errorf("rate = %v", got)
	}
	if c.Reporting(time.Now()) {
		t.Error("report mode is in force without being asked for")
	}
	said := ""
	for _, w := range warnings {
		said += w.String() + "\n"
	}
	for _, want := range []string{
		"gatehouse.yaml:16:9: purposes.publish.calls[0]: declares no fields: replies are not narrowed",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no warning %q in:\n%s", want, said)
		}
	}
}

func TestThirdParties(t *testing.T) {
	c, _ := load(t, contract)
	d := c.ThirdParty["api.segment.io"].Destination("api.segment.io")
	if d.Host != "api.segment.io" || len(d.Purposes) != 1 || d.Purposes[0] != "analytics" || len(d.MayReceive) != 1 || d.MayReceive[0] != gatehouse.PseudonymousID || !d.Inspect {
		t.Errorf("the destination is %+v", d)
	}
	if c.ProxyCertificate().Source != "local-ca" {
		t.Errorf("the proxy's certificate is %+v", c.ProxyCertificate())
	}
	c, warnings := load(t, minimal+"third_parties: {a.example: {purposes: [read], private: true, ca_file: ca.pem, ports: [8443]}}\nlimits: {tunnels: 7, tunnel_idle: 1m, tunnel_time: 1h}\n")
	if p := c.ThirdParty["a.example"]; p.CAFile != "/etc/gatehouse/ca.pem" || p.Destination("a.example").Ports[0] != 8443 {
		t.Errorf("%+v", p)
	}
	if l := c.Limits.WithDefaults(); l.Tunnels != 7 || l.TunnelIdle != time.Minute || l.TunnelTime != time.Hour {
		t.Errorf("%+v", l)
	}
	if text := fmt.Sprint(warnings); !strings.Contains(text, "third_parties: is enforced by the proxy only, and listen.proxy is not set") {
		t.Errorf("no warning about the proxy that is missing: %s", text)
	}
	_, warnings = load(t, strings.Replace(minimal, `app: "127.0.0.1:8100"`, `app: "127.0.0.1:8100", proxy: "127.0.0.1:8101"`, 1))
	if text := fmt.Sprint(warnings); !strings.Contains(text, "listen.proxy: lets nothing out") {
		t.Errorf("no warning about the proxy without third parties: %s", text)
	}
	before, _ := load(t, minimal)
	if diff := config.Diff(before, c); !slices.Contains(diff, "third_parties.a.example is added") || !slices.Contains(diff, "third_parties.a.example.ports gains 8443") {
		t.Errorf("the difference is %q", diff)
	}
}

func TestTheAnnotatedExampleLoads(t *testing.T) {
	text := config.Example()
	c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(text), world())
	if err != nil {
		t.Fatalf("the example does not load: %v\n%s", err, text)
	}
	if len(c.Apps) != 2 || len(c.Services) != 2 {
		t.Errorf("the example has %d apps and %d services", len(c.Apps), len(c.Services))
	}
	if !strings.Contains(text, "\n\n# production, staging or development.") {
		t.Errorf("the example has no comments before its entries:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if len(line) > 100 {
			t.Errorf("a line of the example is %d bytes long: %s", len(line), line)
		}
	}
	for _, field := range []string{"sandbox", "limits", "upstream_timeout", "sources", "revoke_url", "until"} {
		if !strings.Contains(text, field) {
			t.Errorf("the example does not mention %s:\n%s", field, text)
		}
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	_, _, err := config.Parse("/g.yaml", []byte(`environment: prod
public_url: http://app.example.com
listen: {app: 8100}
store: sqlite:g.db
root_key: file:root.key
purposs: {}
apps:
  x: {platform: twitter, client_id: a, client_secret: env:S}
`), world())
	want := strings.TrimSpace(`
/g.yaml:1:14: environment: is none of production, staging, development
/g.yaml:2:13: public_url: must be https (http is for loopback addresses only)
/g.yaml:3:15: listen.app: is not an address: write host:port, such as 127.0.0.1:8100 or unix:/path
/g.yaml:6:1: purposs: unknown entry; did you mean purposes?
/g.yaml:8:17: apps.x.platform: is none of x, facebook, instagram, threads, oauth2`)
	if err == nil || err.Error() != want {
		t.Errorf("errors (-want +got):\n%s", cmp.Diff(want, errText(err)))
	}
	if !errors.Is(err, gatehouse.ErrInvalid) {
		t.Error("the error is not ErrInvalid")
	}
}

func errText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}

// minimal is a valid file that the cases below change in one place.
const minimal = `environment: development
public_url: http://127.0.0.1:8103
listen: {app: "127.0.0.1:8100", public: "127.0.0.1:8103"}
store: sqlite:gatehouse.db
root_key: file:root.key
apps:
  ax: {platform: x, client_id: id, client_secret: env:SECRET}
  fb: {platform: facebook, client_id: 1234567890, client_secret: env:SECRET, version: v25.0}
purposes:
  read: {why: Show the profile, app: ax, scopes: [tweet.read, users.read], calls: [{call: GET /2/users/me}]}
  page: {why: Show the page, app: fb, calls: [{call: GET /me/accounts}]}
services:
  web: {purposes: [read, page]}
`

func TestRefusals(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown entry in an app", "client_id: id,", "client_id: id, clientsecret: x,", "ax.clientsecret: unknown entry; did you mean client_secret?"},
		{"doubled entry", "store: sqlite:gatehouse.db", "store: sqlite:gatehouse.db\nstore: sqlite:b.db", "5:1: store: stands here twice; the first is in line 4"},
		{"doubled app", "  fb: {", "  ax: {platform: x}\n  fb: {", "apps.ax: stands here twice"},
		{"no environment", "environment: development\n", "", "environment: is needed"},
		{"null", "environment: development", "environment:", "environment: has no value"},
		{"number where text is", "environment: development", "environment: 1.5", "environment: YAML reads this as something else than text"},
		{"no public_url", "public_url: http://127.0.0.1:8103\n", "", "public_url: is needed"},
		{"public_url with a path", "public_url: http://127.0.0.1:8103", "public_url: https://a.example/app", "public_url: has a path"},
		{"public_url with a password", "public_url: http://127.0.0.1:8103", "public_url: https://u:p@a.example", "public_url: holds a user name or password"},
		{"public_url with a query", "public_url: http://127.0.0.1:8103", "public_url: https://a.example?x=1", "public_url: has a query"},
		{"public_url relative", "public_url: http://127.0.0.1:8103", "public_url: a.example", "public_url: is not a complete URL"},
		{"public_url with a fragment", "public_url: http://127.0.0.1:8103", "public_url: https://a.example#x", "public_url: has a fragment"},
		{"no app listener", `app: "127.0.0.1:8100", `, "", "listen.app: is needed"},
		{"listener without port", `"127.0.0.1:8100"`, "localhost", "listen.app: is not an address"},
		{"same address twice", `public: "127.0.0.1:8103"`, `public: "127.0.0.1:8100"`, "listen.public: is the same address as listen.app"},
		{"socket for the public", `public: "127.0.0.1:8103"`, `public: "unix:/s"`, "listen.public: only the app can be listened to on a Unix socket"},
		{"relative socket", `app: "127.0.0.1:8100"`, `app: "unix:s"`, "listen.app: a Unix socket's path is absolute"},
		{"any port on all interfaces", `app: "127.0.0.1:8100"`, `app: ":0"`, "listen.app: port 0 (any) is for loopback only"},
		{"plain public", `public: "127.0.0.1:8103"}`, "public: \":443\"}\ntls: {public: off}", "tls.public: off (plain http)"},
		{"plain public on loopback", `public: "127.0.0.1:8103"}`, "public: \"127.0.0.1:8103\"}\ntls: {public: off}", ""},
		{"certified name with a port", "services:", "tls: {names: [\"api.x.com:443\"]}\nservices:", "tls.names[0]: is not a host name"},
		{"certified name of another's certificate", "services:", "tls: {app: off, names: [api.x.com]}\nservices:", "tls.names[0]: is for the local CA"},
		{"certified name", "services:", "tls: {names: [api.x.com]}\nservices:", ""},
		{"plain app on loopback", "store: sqlite", "tls: {app: off}\nstore: sqlite", ""},
		{"http on localhost", "public_url: http://127.0.0.1:8103", "public_url: http://localhost:8103", ""},
		{"plain app on a Unix socket", `app: "127.0.0.1:8100"`, `app: "unix:/run/gatehouse.sock"`, ""},
		{"return below a path", "services:", "returns: [\"https://a.example/connected/*\"]\nservices:", ""},
		{"source as an address", "{purposes: [read, page]}", "{purposes: [read, page], sources: [10.1.2.3, \"2001:db8::1\"]}", ""},
		{"oauth1 alone", "client_id: id, client_secret: env:SECRET", "consumer_key: k, consumer_secret: env:SECRET", ""},
		{"public X app", "client_id: id, client_secret: env:SECRET", "client_id: id, public: true", ""},
		{"no store", "store: sqlite:gatehouse.db\n", "", "store: is needed"},
		{"strange store", "sqlite:gatehouse.db", "mysql://h/db", "store: write sqlite:/path"},
		{"store without file", "sqlite:gatehouse.db", "'sqlite:'", "store: write sqlite: and the path"},
		{"no root key", "root_key: file:root.key\n", "", "root_key: is needed"},
		{"root key by value", "file:root.key", "abcdef", "root_key: write file: and the path"},
		{"tls misspelt", "store: sqlite", "tls: {app: localca}\nstore: sqlite", "tls.app: write local-ca, off, or"},
		{"tls without key", "store: sqlite", "tls: {app: {cert: a.pem}}\nstore: sqlite", "tls.app: both cert and key are needed"},
		{"app without platform", "{platform: x, client_id: id", "{client_id: id", "apps.ax.platform: is needed"},
		{"app without id", "{platform: x, client_id: id, ", "{platform: x, ", "apps.ax.client_id: is needed"},
		{"app without secret", "client_id: id, client_secret: env:SECRET}", "client_id: id}", "apps.ax.client_secret: is needed"},
		{"public app with secret", "client_id: id,", "client_id: id, public: true,", "apps.ax.public: a public client has no client_secret"},
		{"public Facebook app", "client_id: 1234567890,", "client_id: 1234567890, public: true,", "apps.fb.public: does not apply to platform facebook"},
		{"consumer key alone", "client_id: id,", "client_id: id, consumer_key: k,", "apps.ax.consumer_secret: is needed beside consumer_key"},
		{"consumer secret alone", "client_id: id,", "client_id: id, consumer_secret: env:K,", "apps.ax.consumer_key: is needed beside consumer_secret"},
		{"version for X", "client_id: id,", "client_id: id, version: v25.0,", "apps.ax.version: does not apply to platform x"},
		{"proof for X", "client_id: id,", "client_id: id, proof: timed,", "apps.ax.proof: does not apply to platform x"},
		{"compliance", "client_id: id, client_secret: env:SECRET", "client_id: id, client_secret: env:SECRET, consumer_key: k, consumer_secret: env:S, compliance: {keep: 24h, every: 15m, max_ids: 5}", ""},
		{"compliance by default each day", "client_id: id, client_secret: env:SECRET", "consumer_key: k, consumer_secret: env:S, compliance: {keep: 24h}", ""},
		{"compliance without keep", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, compliance: {every: 1h},", "apps.ax.compliance.keep: is needed"},
		{"compliance without a consumer key", "client_id: id,", "client_id: id, compliance: {keep: 24h},", "apps.ax.consumer_key: is needed beside compliance"},
		{"compliance too seldom", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, compliance: {keep: 48h, every: 25h},", "apps.ax.compliance.every: must be between"},
		{"compliance too often", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, compliance: {keep: 48h, every: 14m},", "apps.ax.compliance.every: must be between"},
		{"compliance kept too short", "client_id: id,", "client_id: id, consumer_key: k, consumer_secret: env:S, compliance: {keep: 23h},", "apps.ax.compliance.keep: is shorter"},
		{"compliance of Facebook", "client_id: 1234567890,", "client_id: 1234567890, compliance: {keep: 24h},", "apps.fb.compliance: does not apply to platform facebook"},
		{"proof misspelt", "version: v25.0", "version: v25.0, proof: time", "apps.fb.proof: is none of timed, plain, off; did you mean timed?"},
		{"version misspelt", "version: v25.0", "version: \"25\"", "apps.fb.version: write a version as v25.0"},
		{"oauth2 without endpoints", "{platform: x, client_id: id,", "{platform: oauth2, client_id: id,", "apps.ax.authorize_url: is needed"},
		{"oauth2 calls", "{platform: x, client_id: id,", "{platform: oauth2, authorize_url: https://a.example, token_url: https://a.example, user_info_url: https://a.example, user_id_path: id, client_id: id,", "purposes.read.calls: the gateway has no calls for platform oauth2"},
		{"oauth2 over http", "{platform: x, client_id: id,", "{platform: oauth2, authorize_url: http://a.example, client_id: id,", "apps.ax.authorize_url: must be https"},
		{"app's name", "  ax: {", "  Ax: {", "apps.Ax: a name is made of"},
		{"purpose without why", "why: Show the profile, ", "", "purposes.read.why: is needed"},
		{"purpose without app", "app: ax, ", "", "purposes.read.app: is needed"},
		{"purpose with scopes and without app", "app: ax, scopes: [tweet.read, users.read], calls: [{call: GET /2/users/me}]", "scopes: [users.read]", "purposes.read.app: is needed"},
		{"purpose for the app's own data", "app: ax, scopes: [tweet.read, users.read], calls: [{call: GET /2/users/me}]", "keep: 720h", ""},
		{"keep in days", "app: ax, ", "app: ax, keep: 30d, ", "purposes.read.keep: write a span of time as"},
		{"purpose of an unknown app", "app: ax, ", "app: axx, ", "purposes.read.app: there is no app of this name; did you mean ax?"},
		{"scopes in one text", "scopes: [tweet.read, users.read]", "scopes: [users.read tweet.read]", "purposes.read.scopes[0]: is not one scope"},
		{"scopes as a text", "scopes: [tweet.read, users.read]", "scopes: users.read", "purposes.read.scopes: a list is needed"},
		{"scope twice", "scopes: [tweet.read, users.read]", "scopes: [users.read, users.read]", "purposes.read.scopes[1]: stands in the list twice"},
		{"unknown call", "GET /2/users/me", "GET /2/user/me", "purposes.read.calls[0].call: "},
		{"call without path", "{call: GET /2/users/me}", "{fields: [id]}", "purposes.read.calls[0].call: is needed"},
		{"call twice", "{call: GET /2/users/me}", "{call: GET /2/users/me}, {call: get /2/users/me}", "purposes.read.calls[1].call: is the same call as calls[0]"},
		{"field name", "{call: GET /2/users/me}", "{call: GET /2/users/me, fields: ['a b']}", "calls[0].fields[0]: is not the name of a field"},
		{"body name", "{call: GET /2/users/me}", "{call: GET /2/users/me, body: {'a b': {max: 1}}}", "calls[0].body.a b: is not the name of a field"},
		{"body bounds", "{call: GET /2/users/me}", "{call: GET /2/users/me, body: {a: {max: 1, min: 2}}}", "calls[0].body.a.min: is greater than max"},
		{"body pattern", "{call: GET /2/users/me}", "{call: GET /2/users/me, body: {a: {pattern: '('}}}", "calls[0].body.a.pattern: is not a regular expression"},
		{"body rule", "{call: GET /2/users/me}", "{call: GET /2/users/me, body: {a: {maximum: 1}}}", "calls[0].body.a.maximum: unknown entry"},
		{"body number", "{call: GET /2/users/me}", "{call: GET /2/users/me, body: {a: {max: many}}}", "calls[0].body.a.max: a whole number is needed"},
		{"service without purposes", "{purposes: [read, page]}", "{rate: 50/s}", "services.web.purposes: is needed"},
		{"service of an unknown purpose", "[read, page]", "[red, page]", "services.web.purposes[0]: there is no purpose of this name; did you mean read?"},
		{"purpose twice", "[read, page]", "[read, page, read]", "services.web.purposes[2]: stands in the list twice"},
		{"rate", "{purposes: [read, page]}", "{purposes: [read, page], rate: 50}", "services.web.rate: write a rate as 50/s"},
		{"accept", "{purposes: [read, page]}", "{purposes: [read, page], accept: [barer]}", "services.web.accept[0]: is none of bearer, query, form, batch, oauth1; did you mean bearer?"},
		{"source", "{purposes: [read, page]}", "{purposes: [read, page], sources: [10.0.0.0/33]}", "services.web.sources[0]: write a network as"},
		{"source with host bits", "{purposes: [read, page]}", "{purposes: [read, page], sources: [10.1.2.3/8]}", "services.web.sources[0]: the address has bits beyond the network's length; write 10.0.0.0/8"},
		{"source everywhere", "{purposes: [read, page]}", "{purposes: [read, page], sources: [0.0.0.0/0]}", "services.web.sources[0]: is the whole internet"},
		{"open listener without sources", `app: "127.0.0.1:8100"`, `app: "10.0.0.1:8100"`, "services.web.sources: is needed because the app listener is not on loopback"},
		{"third party", "services:", "third_parties: {\"https://a.example\": {}}\nservices:", "third_parties.https://a.example: is not a host name"},
		{"third party in capitals", "services:", "third_parties: {A.example: {purposes: [read]}}\nservices:", "third_parties.A.example: is not the form that is compared: write a.example"},
		{"third party with a last dot", "services:", "third_parties: {a.example.: {purposes: [read]}}\nservices:", "third_parties.a.example.: is not the form that is compared: write a.example"},
		{"third party in other letters", "services:", "third_parties: {bücher.example: {purposes: [read]}}\nservices:", "is not a host name or address: the host's name is not in ASCII; write it as xn--…"},
		{"third party as punycode", "services:", "third_parties: {xn--bcher-kva.example: {purposes: [read]}}\nservices:", ""},
		{"third party with a port", "services:", "third_parties: {\"a.example:443\": {purposes: [read]}}\nservices:", "third_parties.a.example:443: is not a host name"},
		{"third party with a wildcard", "services:", "third_parties: {\"*.example\": {purposes: [read]}}\nservices:", "third_parties.*.example: is not a host name"},
		{"third party by address", "services:", "third_parties: {1.1.1.1: {purposes: [read]}}\nservices:", ""},
		{"third party by IPv6 address", "services:", "third_parties: {\"2606:4700::1111\": {purposes: [read]}}\nservices:", ""},
		{"third party by a number", "services:", "third_parties: {\"2130706433\": {purposes: [read]}}\nservices:", "ends in a number"},
		{"third party that is a platform", "services:", "third_parties: {api.x.com: {purposes: [read]}}\nservices:", "third_parties.api.x.com: is a platform's host"},
		{"third party that is ourselves", "services:", "third_parties: {127.0.0.1: {purposes: [read]}}\nservices:", "third_parties.127.0.0.1: is public_url's host"},
		{"third party without purposes", "services:", "third_parties: {a.example: {inspect: true}}\nservices:", "third_parties.a.example.purposes: is needed"},
		{"third party's purpose", "services:", "third_parties: {a.example: {purposes: [ads]}}\nservices:", "purposes[0]: there is no purpose"},
		{"third party's kind", "services:", "third_parties: {a.example: {purposes: [read], may_receive: [\"all of it\"]}}\nservices:", "may_receive[0]: is none of pseudonymous-id,"},
		{"third party's kind, mistyped", "services:", "third_parties: {a.example: {purposes: [read], may_receive: [emial]}}\nservices:", "/etc/g.yaml:12:61: third_parties.a.example.may_receive[0]: is none of pseudonymous-id, username, name, email, phone, profile-link, post-id, message-id; did you mean email?"},
		{"third party's kinds", "services:", "third_parties: {a.example: {purposes: [read], may_receive: [email, pseudonymous-id]}}\nservices:", ""},
		{"third party's kind twice", "services:", "third_parties: {a.example: {purposes: [read], may_receive: [email, email]}}\nservices:", "may_receive[1]: stands in the list twice"},
		{"third party and secrets", "services:", "third_parties: {a.example: {purposes: [read], may_receive: [secret]}}\nservices:", "may_receive[0]: tokens, keys and other secrets are nobody's"},
		{"third party's port", "services:", "third_parties: {a.example: {purposes: [read], ports: [70000]}}\nservices:", "ports[0]: is no port"},
		{"third party's port 0", "services:", "third_parties: {a.example: {purposes: [read], ports: [0]}}\nservices:", "ports[0]: is no port"},
		{"third party's port twice", "services:", "third_parties: {a.example: {purposes: [read], ports: [8443, 8443]}}\nservices:", "ports[1]: stands in the list twice"},
		{"third party's ports", "services:", "third_parties: {a.example: {purposes: [read], ports: [8443, 65535]}}\nservices:", ""},
		{"third party elsewhere", "services:", "third_parties: {a.example: {purposes: [read], address: \"10.0.0.1:1\"}}\nservices:", "address: is a loopback address and a port"},
		{"third party by name", "services:", "third_parties: {a.example: {purposes: [read], address: \"localhost:1\"}}\nservices:", "address: is a loopback address and a port"},
		{"third party on loopback", "services:", "third_parties: {a.example: {purposes: [read], address: \"127.0.0.1:9443\", ca_file: ca.pem}}\nservices:", ""},
		{"third party at our listener", "services:", "third_parties: {a.example: {purposes: [read], address: \"127.0.0.2:8100\"}}\nservices:", "address: has the port of a listener"},
		{"third party, private, elsewhere", "services:", "third_parties: {a.example: {purposes: [read], address: \"127.0.0.1:9443\", private: true}}\nservices:", "address: and private exclude each other"},
		{"third party's authority", "services:", "third_parties: {a.example: {purposes: [read], ca_file: ca.pem}}\nservices:", "ca_file: is for a host of your own"},
		{"private third party's authority", "services:", "third_parties: {a.example: {purposes: [read], private: true, ca_file: ca.pem}}\nservices:", ""},
		{"third party's address in production", "environment: development", "environment: production\nthird_parties: {a.example: {purposes: [read], address: \"127.0.0.1:9443\"}}", "address: is refused in production"},
		{"open proxy without sources", `app: "127.0.0.1:8100"`, `app: "127.0.0.1:8100", proxy: "10.0.0.1:8101"`, "services.web.sources: is needed because the proxy listener is not on loopback"},
		{"plain proxy in the open", `public: "127.0.0.1:8103"}`, `public: "127.0.0.1:8103", proxy: "10.0.0.1:8101"}` + "\ntls: {proxy: off}", "tls.proxy: off (plain http) is for loopback addresses only"},
		{"plain proxy on loopback", `public: "127.0.0.1:8103"}`, `public: "127.0.0.1:8103", proxy: "127.0.0.1:8101"}` + "\ntls: {proxy: off}", ""},
		{"proxy on a socket", `app: "127.0.0.1:8100"`, `app: "127.0.0.1:8100", proxy: "unix:/run/g.sock"`, "listen.proxy: only the app can be listened to on a Unix socket"},
		{"mode", "services:", "mode: log\nservices:", "mode: is none of enforce, report"},
		{"report without end", "services:", "mode: report\nservices:", "mode: report mode needs its last day"},
		{"until alone", "services:", "until: 2099-01-01\nservices:", "until: belongs to mode: report"},
		{"until", "services:", "mode: report\nuntil: tomorrow\nservices:", "until: write a day as 2026-12-31"},
		{"sandbox in production", "environment: development", "environment: production\nsandbox: {x: \"http://127.0.0.1:1\"}", "sandbox: is refused in production"},
		{"sandbox elsewhere", "services:", "sandbox: {x: \"https://x.example\"}\nservices:", "sandbox.x: must be a loopback address"},
		{"sandbox with a path", "services:", "sandbox: {x: \"https://127.0.0.1/x\"}\nservices:", "sandbox.x: has a path"},
		{"empty sandbox", "services:", "sandbox: {ca_file: ca.pem}\nservices:", "sandbox: names neither x nor meta"},
		{"return", "services:", "returns: [\"http://a.example/\"]\nservices:", "returns[0]: must be https"},
		{"a duty's day", "services:", "duties: {x: 24h, meta: 2160h, other: 1h}\nservices:", ""},
		{"a duty of minutes", "services:", "duties: {x: 59m}\nservices:", "duties.x: is less than an hour"},
		{"a duty for ever", "services:", "duties: {meta: 2161h}\nservices:", "duties.meta: is more than 2160h"},
		{"events over http", "services:", "events: {url: \"http://app.example/e\"}\nservices:", "events.url: must be https"},
		{"events over http on loopback", "services:", "events: {url: \"http://127.0.0.1:9000/e\"}\nservices:", ""},
		{"events to a private network", "services:", "events: {url: \"https://10.0.0.5:8443/e\", services: [web], give_up_after: 24h, ca_file: ca.pem}\nservices:", ""},
		{"events with a password", "services:", "events: {url: \"https://u:p@app.example/e\"}\nservices:", "events.url: holds a user name or password"},
		{"events with a query", "services:", "events: {url: \"https://app.example/e?key=1\"}\nservices:", "events.url: has a query"},
		{"events in capitals", "services:", "events: {url: \"https://App.example/e\"}\nservices:", "events.url: write the host in lower-case"},
		{"events for an unknown service", "services:", "events: {services: [wep]}\nservices:", "events.services[0]: there is no service of this name; did you mean web?"},
		{"the log for an unknown service", "services:", "audit: {readers: [wep]}\nservices:", "audit.readers[0]: there is no service of this name; did you mean web?"},
		{"the log for a service twice", "services:", "audit: {readers: [web, web]}\nservices:", "audit.readers[1]: stands in the list twice"},
		{"events for a service twice", "services:", "events: {services: [web, web]}\nservices:", "events.services[1]: stands in the list twice"},
		{"events given up at once", "services:", "events: {give_up_after: 59s}\nservices:", "events.give_up_after: must be from 1m to 720h"},
		{"events never given up", "services:", "events: {give_up_after: 721h}\nservices:", "events.give_up_after: must be from 1m to 720h"},
		{"events' authority alone", "services:", "events: {ca_file: ca.pem}\nservices:", "events.ca_file: is for the endpoint at events.url"},
		{"events misspelt", "services:", "events: {uri: x}\nservices:", "events.uri: unknown entry; did you mean url?"},
		{"size", "services:", "limits: {body: 1XB}\nservices:", "limits.body: write a size as 32MiB"},
		{"span of time", "services:", "limits: {upstream_timeout: 30}\nservices:", "limits.upstream_timeout: write a span of time as 30s"},
		{"large body", "services:", "limits: {body: 5GiB}\nservices:", "limits.body: is more than 4GiB"},
		{"handle life", "services:", "limits: {handle_ttl: 9000h}\nservices:", "limits.handle_ttl: is longer than handle_max_ttl"},
		{"rotation by the hour", "services:", "keys: {rotate_after: 23h}\nservices:", "keys.rotate_after: is less than a day"},
		{"rotation by the day", "services:", "keys: {rotate_after: 24h, destroy_after: 24h}\nservices:", ""},
		{"destruction by the hour", "services:", "keys: {destroy_after: 1h}\nservices:", "keys.destroy_after: is less than a day"},
		{"keyring somewhere", "services:", "keys: {keyring: somewhere}\nservices:", "keys.keyring: write database, or file:"},
		{"keyring in a file", "services:", "keys: {keyring: file:keyring}\nservices:", ""},
		{"keyring in the database", "services:", "keys: {keyring: database}\nservices:", ""},
		{"previous root key", "services:", "previous_root_keys: [{root_key: file:old.key}]\nservices:", ""},
		{"the root key before itself", "services:", "previous_root_keys: [{root_key: file:root.key}]\nservices:", "previous_root_keys[0]: is the root_key itself"},
		{"previous secret", "client_secret: env:SECRET, version", "client_secret: env:SECRET, client_secret_previous: env:SECRET, version", ""},
		{"previous secret written out", "client_secret: env:SECRET, version", "client_secret: env:SECRET, client_secret_previous: abc, version", "a secret does not belong into this file"},
		{"previous secret alone", "client_id: id, client_secret: env:SECRET", "client_id: id, client_secret_previous: env:SECRET, public: true", "apps.ax.client_secret: is needed beside client_secret_previous"},
		{"previous consumer secret elsewhere", "client_secret: env:SECRET, version", "client_secret: env:SECRET, consumer_secret_previous: env:SECRET, version", "consumer_secret_previous: does not apply to platform facebook"},
		{"keys in memory", "services:", "limits: {hold_domain_keys: 48h}\nservices:", "limits.hold_domain_keys: is longer than a day"},
		{"log level", "services:", "log: {level: trace}\nservices:", "log.level: is none of debug, info, warn, error"},
		{"log format", "services:", "log: {format: xml}\nservices:", "log.format: is none of text, json"},
		{"anchor", "environment: development", "environment: &e development", "environment: anchors and aliases are not accepted"},
		{"tag", "environment: development", "environment: !!str development", "environment: YAML tags are not accepted"},
		{"merge", "  web: {", "  web: {<<: {rate: 1/s}, ", "services.web.<<: unknown entry"},
		{"boolean", "client_id: id, client_secret: env:SECRET", "client_id: id, public: yes", "apps.ax.public: write true or false"},
		{"list for a text", "environment: development", "environment: [development]", "environment: a single value is needed here"},
		{"text for entries", "services:\n  web: {purposes: [read, page]}", "services: web", "services: entries are needed here"},
		{"line break in a text", "environment: development", "environment: \"a\\nb\"", "environment: holds a control character"},
		{"entry name as a list", "services:", "? [a]\n: b\nservices:", "the entry's name is not a plain text"},
		{"syntax", "environment: development", "environment: [", "not valid YAML"},
		{"second document", "environment: development", "a: b\n---\nenvironment: development", "more than one YAML document"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(minimal, test.old, test.new, 1)
			if text == minimal {
				t.Fatalf("the case changes nothing: %q is not in the file", test.old)
			}
			_, _, err := config.Parse("/etc/g.yaml", []byte(text), world())
			if test.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v\nwant it to contain %q", err, test.want)
			}
		})
	}
}

// What the refusals above change is accepted as it is.
func TestTheUnchangedFileIsAccepted(t *testing.T) {
	if _, _, err := config.Parse("/etc/g.yaml", []byte(minimal), world()); err != nil {
		t.Errorf("the unchanged file is refused: %v", err)
	}
}

func TestPlainListenerBeyondLoopbackIsRefused(t *testing.T) {
	text := strings.Replace(minimal, `app: "127.0.0.1:8100"`, `app: "10.0.0.1:8100"`, 1) + "tls: {app: off}\n"
	_, _, err := config.Parse("/g.yaml", []byte(text), world())
	if want := "tls.app: off (plain http) is for loopback"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestHugeEmptyAndBinaryFilesAreRefused(t *testing.T) {
	for _, test := range []struct{ name, data, want string }{
		{"huge", strings.Repeat("# x\n", 1<<19), "larger than 1 MiB"},
		{"empty", "", "empty"},
		{"only a comment", "# nothing\n", "empty"},
		{"list for the environment and nothing else wrong", "environment: [a]\n", "environment: a single value is needed here"},
		{"binary", "\xff\xfe\x00", "not UTF-8"},
		{"alias bomb", "returns: &a [x,x]\nlog: &b [*a,*a]\napps: {a: *b}\n", "anchors and aliases are not accepted"},
		{"alias that could be a secret", "client_secret: *hunter2\n", "an alias without an anchor"},
	} {
		_, _, err := config.Parse("/g.yaml", []byte(test.data), world())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %.300v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats the value: %v", test.name, err)
		}
	}
}

func TestOneMistakeIsOneError(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"services:\n  web: {", "services:\n  web: {sources: [[a]], ", "services.web.sources[0]: a single value"},
		{"services:\n  web: {", "services:\n  web: {rate: [a], ", "services.web.rate: a single value"},
		{"services:", "limits: {handle_ttl: [a]}\nservices:", "limits.handle_ttl: a single value"},
		{"services:", "limits: {body: [a]}\nservices:", "limits.body: a single value"},
		{"client_secret: env:SECRET", "client_secret: [a]", "apps.ax.client_secret: a single value"},
		{"client_id: id", "client_id: [a]", "apps.ax.client_id: a single value"},
		{"sqlite:gatehouse.db", "[a]", "store: a single value"},
		{"file:root.key", "[a]", "root_key: a single value"},
		{"services:", "tls: {app: [a]}\nservices:", "tls.app: a single value"},
		{"platform: x,", "platform: [x],", "apps.ax.platform: a single value"},
		{"why: Show the profile", "why: [a]", "purposes.read.why: a single value"},
		{"app: ax", "app: [a]", "purposes.read.app: a single value"},
		{"[{call: GET /2/users/me}]", "[{call: [a]}]", "purposes.read.calls[0].call: a single value"},
		{"[{call: GET /2/users/me}]", "[{cal: a, call: GET /2/users/me}]", "purposes.read.calls[0].cal: unknown entry; did you mean call?"},
		{"environment: development", "\"a\\nb\": 1\nenvironment: development", "\"a\\nb\": unknown entry"},
	} {
		_, _, err := config.Parse("/g.yaml", []byte(strings.Replace(minimal, test.old, test.new, 1)), world())
		var list config.Errors
		if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(list[0].Error(), test.want) {
			t.Errorf("%s:\n%v\nwant one error with %q", test.new, err, test.want)
		}
	}
}

func TestManyMistakesAreCutShort(t *testing.T) {
	text := minimal
	for i := range 120 {
		text += fmt.Sprintf("unknown%d: x\n", i)
	}
	_, _, err := config.Parse("/g.yaml", []byte(text), world())
	var list config.Errors
	if !errors.As(err, &list) || len(list) != 51 || !strings.Contains(err.Error(), "and 70 more errors") {
		t.Errorf("%d errors: %.200v", len(list), err)
	}
}

func TestASyntaxErrorHasItsLine(t *testing.T) {
	_, _, err := config.Parse("/g.yaml", []byte("environment: a\nlisten: [\napps: }\n"), world())
	var list config.Errors
	if !errors.As(err, &list) || list[0].Line < 2 || strings.Contains(err.Error(), "yaml: ") {
		t.Errorf("error = %v", err)
	}
}

// A secret that somebody wrote into the file must not be repeated by the error
// that says so, wherever in the file it was written.
func TestASecretInTheFileIsRefusedAndNotRepeated(t *testing.T) {
	const canary = "hunter2-7f3a1c9e55"
	for _, test := range []struct{ old, new string }{
		{"client_secret: env:SECRET", "client_secret: " + canary},
		{"client_secret: env:SECRET", "client_secret: [" + canary + "]"},
		{"client_secret: env:SECRET", "client_secret: " + canary + ": x"},
		{"client_secret: env:SECRET", "client_secret: 'env:" + canary + " '"},
		{"client_secret: env:SECRET", "client_secret: !" + canary + " x"},
		{"client_secret: env:SECRET", "client_secret: *" + canary},
		{"client_secret: env:SECRET", "client_secret: \"\\q" + canary + "\""},
		{"sqlite:gatehouse.db", "postgres://u:" + canary + "@h/db"},
		{"sqlite:gatehouse.db", "postgres://h/db?password=" + canary},
		{"sqlite:gatehouse.db", canary},
		{"environment: development", "environment: " + canary},
		{"platform: x", "platform: " + canary},
		{"version: v25.0", "version: " + canary},
		{"file:root.key", canary},
	} {
		_, _, err := config.Parse("/g.yaml", []byte(strings.Replace(minimal, test.old, test.new, 1)), world())
		if err == nil {
			t.Errorf("%q is accepted", test.new)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("the error for %q repeats the secret: %v", test.old, err)
		}
	}
}

func TestReferencesThatCannotBeFollowed(t *testing.T) {
	r := config.Resolver{
		LookupEnv: func(name string) (string, bool) { return "", name == "EMPTY" },
		ReadFile: func(path string) ([]byte, error) {
			switch path {
			case "/etc/empty":
				return []byte("\n"), nil
			case "/etc/two":
				return []byte("a\nb\n"), nil
			case "/etc/big":
				return make([]byte, 1<<17), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
	for ref, want := range map[string]string{
		"env:MISSING": "the environment variable MISSING is not set",
		"env:EMPTY":   "the environment variable EMPTY is empty",
		"'env:'":      "the reference names nothing",
		"env:A=b":     "does not name an environment variable",
		"file:gone":   "reading the file it names: /etc/gone: file does not exist",
		"file:empty":  "the file /etc/empty is empty",
		"file:two":    "the file /etc/two does not hold one line",
		"file:big":    "the file /etc/big is too large",
	} {
		text := strings.ReplaceAll(minimal, "env:SECRET", ref)
		_, _, err := config.Parse("/etc/g.yaml", []byte(text), r)
		if err == nil || !strings.Contains(err.Error(), "apps.ax.client_secret: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want %q", ref, err, want)
		}
	}
	if _, _, err := config.Parse("/etc/g.yaml", []byte(minimal), config.Resolver{}); err != nil {
		t.Errorf("checking without following references: %v", err)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	text := minimal + "tls: {app: {cert: tls/a.pem, key: /abs/a.key}}\nsandbox: {x: \"http://127.0.0.1:1\", ca_file: ca.pem}\n"
	text = strings.Replace(text, "id, client_secret: env:SECRET", "id, client_secret: file:s/x", 1)
	c, _ := load(t, text)
	for name, pair := range map[string][2]string{
		"store":    {c.Store.Text().Reveal(), "sqlite:/etc/gatehouse/gatehouse.db"},
		"root key": {c.RootKey.Path(), "/etc/gatehouse/root.key"},
		"cert":     {c.TLS.App.Cert, "/etc/gatehouse/tls/a.pem"},
		"key":      {c.TLS.App.Key, "/abs/a.key"},
		"ca":       {c.Sandbox.CAFile, "/etc/gatehouse/ca.pem"},
		"secret":   {c.Apps["ax"].ClientSecret.Text().Reveal(), "file-value-of-/etc/gatehouse/s/x"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %q, want %q", name, pair[0], pair[1])
		}
	}
}

func TestWarnings(t *testing.T) {
	soon := time.Now().AddDate(0, 0, 3).UTC().Format(time.DateOnly)
	far := time.Now().AddDate(0, 0, 200).UTC().Format(time.DateOnly)
	for _, test := range []struct{ name, old, new, want string }{
		{"retired version", "version: v25.0", "version: v19.0", "apps.fb.version: is not a version that this Gatehouse knows"},
		{"proof off", "version: v25.0", "version: v25.0, proof: off", "apps.fb.proof: off"},
		{"unused purpose", "[read, page]", "[read]", "purposes.page: no service has this purpose"},
		{"unused app", "app: fb,", "app: ax,", ""},
		{"report mode", "services:", "mode: report\nuntil: " + soon + "\nservices:", "mode: report: what no purpose declares is allowed until the end of " + soon},
		{"report that ended", "services:", "mode: report\nuntil: 2020-01-01\nservices:", "until: has passed"},
		{"long report mode", "services:", "mode: report\nuntil: " + far + "\nservices:", "until: is more than 90 days away"},
		{"console at an address", "listen: {", "console: {url: \"http://127.0.0.1:8102\"}\nlisten: {console: \"127.0.0.1:8102\", ", "console.url: is an address, and passkeys need a name"},
		{"console's local CA", "listen: {", "console: {url: \"https://ops.example.com\"}\nlisten: {console: \"10.0.0.1:8102\", ", "tls.console: browsers do not trust"},
		{"local CA for browsers", "services:", "tls: {public: local-ca}\nservices:", "tls.public: people's browsers and the platforms do not trust"},
		{"public without a certificate", `public: "127.0.0.1:8103"`, `public: ":443"`, "tls.public: people's browsers and the platforms do not trust"},
		{"unknown scope", "tweet.read, users.read", "tweet.read, users.read, user.read", "purposes.read.scopes[2]: is not a scope that x documents; did you mean users.read?"},
		{"missing scope", "{call: GET /2/users/me}", "{call: POST /2/tweets}", "purposes.read.calls[0].call: demands the scope tweet.write, which the purpose does not ask for"},
		{"no calls", ", calls: [{call: GET /me/accounts}]", "", "purposes.page: declares no calls"},
		{"no services", "services:\n  web: {purposes: [read, page]}\n", "", "services: none is declared"},
	} {
		if test.want == "" {
			continue
		}
		_, warnings := load(t, strings.Replace(minimal, test.old, test.new, 1))
		found := false
		for _, w := range warnings {
			found = found || strings.Contains(w.String(), test.want)
		}
		if !found {
			t.Errorf("%s: no warning %q in %v", test.name, test.want, warnings)
		}
	}
	if _, warnings := load(t, minimal[:strings.Index(minimal, "apps:")]); len(warnings) != 2 || !strings.Contains(warnings[0].String(), "apps: none is declared") {
		t.Errorf("a file without apps: %v", warnings)
	}
	if _, warnings := load(t, minimal); len(warnings) != 0 {
		t.Errorf("the minimal file has warnings: %v", warnings)
	}
}

func TestReportModeEnds(t *testing.T) {
	day := time.Now().AddDate(0, 0, 3).UTC().Truncate(24 * time.Hour)
	c, _ := load(t, minimal+"mode: report\nuntil: "+day.Format(time.DateOnly)+"\n")
	if !c.Reporting(day.Add(23 * time.Hour)) {
		t.Error("report mode is over on its last day")
	}
	if c.Reporting(day.Add(24 * time.Hour)) {
		t.Error("report mode is in force after its last day")
	}
	if c, _ := load(t, minimal+"mode: report\nuntil: 2020-01-01\n"); c.Reporting(time.Now()) {
		t.Error("report mode is in force in a file whose day has passed")
	}
}

func TestLoadFromDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gatehouse.yaml")
	if _, _, err := config.Load(path, world()); !errors.Is(err, gatehouse.ErrNotFound) || !strings.Contains(err.Error(), "gatehouse init") {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(path, world())
	if err != nil {
		t.Fatal(err)
	}
	// sha256sum of the same bytes is the operator's way to compare.
	again, _, err := config.Parse(path, []byte(minimal), world())
	if err != nil {
		t.Fatal(err)
	}
	if c.Hash() != again.Hash() || len(c.Hash()) != 64 {
		t.Errorf("hashes differ: %s, %s", c.Hash(), again.Hash())
	}
	other, _ := load(t, minimal+"# a comment\n")
	if other.Hash() == c.Hash() {
		t.Error("a changed file has the same hash")
	}
}

func TestDiffSaysWhatChanges(t *testing.T) {
	before, _ := load(t, minimal)
	text := strings.NewReplacer(
		"client_secret: env:SECRET}", "client_secret: env:NEWSECRET}",
		"[{call: GET /2/users/me}]", "[{call: GET /2/users/me}, {call: POST /2/tweets}]",
		"127.0.0.1:8100", "127.0.0.1:8200",
		"{purposes: [read, page]}", "{purposes: [read, page], rate: 5/s}\n  bot: {purposes: [read]}\nevents: {url: \"https://app.example/e\", services: [web], give_up_after: 24h}",
	).Replace(minimal)
	after, _ := load(t, text)
	want := []string{
		"listen.app changes from 127.0.0.1:8100 to 127.0.0.1:8200",
		"apps.ax.client_secret changes from env:SECRET to env:NEWSECRET",
		"purposes.read.calls gains {call: POST /2/tweets}",
		"services.bot is added",
		"services.bot.purposes gains read",
		"services.web.rate is set to 5/s",
		"events.url is set to https://app.example/e",
		"events.services gains web",
		"events.give_up_after is set to 24h0m0s",
	}
	if diff := cmp.Diff(want, config.Diff(before, after)); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	if got := config.Diff(before, before); len(got) != 0 {
		t.Errorf("Diff of a file with itself: %v", got)
	}
	back := config.Diff(after, before)
	if !strings.Contains(strings.Join(back, "\n"), "services.bot is removed") || !strings.Contains(strings.Join(back, "\n"), "services.web.rate is removed (was 5/s)") {
		t.Errorf("Diff back: %v", back)
	}
	if !strings.Contains(strings.Join(back, "\n"), "purposes.read.calls loses {call: POST /2/tweets}") {
		t.Errorf("Diff back: %v", back)
	}
	if got := config.Diff(nil, before); !strings.Contains(strings.Join(got, "\n"), "environment is set to development") {
		t.Errorf("Diff from nothing: %v", got)
	}
	if got := config.Diff(before, nil); !strings.Contains(strings.Join(got, "\n"), "environment is removed (was development)") {
		t.Errorf("Diff to nothing: %v", got)
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	c, _ := load(t, minimal+"limits: {body: 1MiB, calls: 7}\n")
	l := c.Limits.WithDefaults()
	if l.Body != 1<<20 || l.Calls != 7 || l.Streams != 64 || l.HandleTTL != 24*time.Hour {
		t.Errorf("limits = %+v", l)
	}
	if got := l.Body.String(); got != "1MiB" {
		t.Errorf("size prints as %q", got)
	}
}

// Whatever the bytes: no panic, an error that is ErrInvalid, and what is accepted
// is accepted again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(contract))
	f.Add([]byte(minimal))
	f.Add([]byte(config.Example()))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("apps: {x: {platform: oauth2, scopes: [a]}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := config.Parse("/g.yaml", data, world())
		if err != nil {
			if !errors.Is(err, gatehouse.ErrInvalid) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		config.Diff(nil, c)
		if _, _, err := config.Parse("/g.yaml", data, world()); err != nil {
			t.Fatalf("accepted once, then refused: %v", err)
		}
	})
}
