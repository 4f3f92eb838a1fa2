package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/public"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// The demo's app registrations.
const (
	demoX        = "demo-x"
	demoFacebook = "demo-facebook"
)

func newDemo() *cobra.Command {
	o := demoOptions{pause: 5 * time.Second}
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work: sandboxed X and Meta, Gatehouse, an app, traffic",
		Long: `Starts everything on loopback: sandboxes of X and Meta, Gatehouse, and a small app
whose people connect by OAuth and which then calls both platforms with handles.
Each call is shown as it is written in the log. People come and go, one asks for
deletion, another has to connect again, and a review of access begins, so that the
console's pages have something to show. Nothing leaves this machine.

It runs until Ctrl-C. The data directory is temporary unless --dir names one.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if o.life > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, o.life)
				defer cancel()
			}
			o.out, o.err = c.OutOrStdout(), c.ErrOrStderr()
			return o.run(ctx)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print one line of JSON when ready; log to standard error")
	c.Flags().DurationVar(&o.life, "for", 0, "stop after this long, such as 20s")
	c.Flags().StringVar(&o.dir, "dir", "", "keep the data in this directory")
	c.Flags().BoolVar(&o.still, "still", false, "only calls happen by themselves: nobody comes or goes, no review begins")
	c.Flags().DurationVar(&o.xTokenTTL, "x-token-ttl", 0, "lifetime of the sandbox's X access tokens (default: X's two hours)")
	return c
}

type demoOptions struct {
	json      bool
	life      time.Duration
	dir       string
	still     bool          // nothing happens beside the calls
	pause     time.Duration // between what happens otherwise; calls come seven times as often
	xTokenTTL time.Duration
	firstPort int // of those that are tried first; zero means 8100
	xFactor   int // multiplies X's documented limits; zero means one, negative: no limits
	out, err  io.Writer
}

// demoReady is the demo's ready line. Its keys are a contract.
type demoReady struct {
	Dir     string `json:"dir"`
	Config  string `json:"config"`
	App     string `json:"app_listener"`
	Proxy   string `json:"proxy_listener"`
	Public  string `json:"public"`
	Console string `json:"console"`
	// Operator signs a browser in to the console, once.
	Operator    string     `json:"operator_link"`
	SandboxX    string     `json:"sandbox_x"`
	SandboxMeta string     `json:"sandbox_meta"`
	XHandle     string     `json:"x_handle"`
	MetaHandle  string     `json:"meta_handle"`
	XOAuth1     *oauth1Set `json:"x_oauth1"`
	ServiceKey  string     `json:"service_key"`
	CAFile      string     `json:"ca_file"`
	// DemoApp is the small app's own address.
	DemoApp string `json:"demo_app"`
	// Metrics is where figures are had.
	Metrics string `json:"metrics"`
	person  string // one of the sandbox's people who connected Facebook
}

// run starts everything, and stops it in reverse order when ctx ends.
func (o *demoOptions) run(ctx context.Context) (err error) {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "gatehouse-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	box, err := o.startSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	// A port that was free when it was chosen may be another demo's by now.
	for attempt := 0; ; attempt++ {
		cfg, err := o.configure(box)
		if err != nil {
			return err
		}
		if err := o.serve(ctx, cfg, box); !errors.Is(err, syscall.EADDRINUSE) || attempt == 3 {
			return err
		}
	}
}

// serve serves a configuration of configure until ctx ends.
func (o *demoOptions) serve(ctx context.Context, cfg *config.Config, box *sandbox.Server) error {
	if err := initialise(ctx, cfg, io.Discard); err != nil {
		return err
	}
	logger := slog.New(slog.DiscardHandler)
	if o.json {
		logger = newLogger(config.Log{Level: "info", Format: "json"})
	}
	err := serve(ctx, cfg, logger, func(s *server) error {
		return o.play(ctx, s, box)
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program took a port that was free a moment ago; start the demo again, which looks for other ports: %w", err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // told to stop: by a signal, or by --for
	}
	return err
}

// startSandbox starts both platforms, on plain http: a person's browser goes
// there for consent and would not trust a certificate of ours. (Calls to the
// sandbox over TLS are what the gateway's tests and the benchmark do.)
func (o *demoOptions) startSandbox(ctx context.Context) (*sandbox.Server, error) {
	return sandbox.Start(ctx, sandbox.Config{XTokenTTL: o.xTokenTTL, XRateFactor: o.xFactor})
}

// configure writes the demo's configuration, the way a user would, and the
// registrations' secrets into files beside it.
func (o *demoOptions) configure(box *sandbox.Server) (*config.Config, error) {
	apps := box.Apps()
	for name, value := range map[string]string{
		"x-secret": apps.X.ClientSecret, "x-consumer-secret": apps.X.ConsumerSecret, "facebook-secret": apps.Facebook.AppSecret,
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(value), 0o600); err != nil {
			return nil, err
		}
	}
	first := o.firstPort
	if first == 0 {
		first = 8100
	}
	ports := map[string]int{"app": first, "proxy": first + 1, "console": first + 2, "public": first + 3, "demo": first + 4, "party": first + 5, "metrics": first + 6}
	if err := freePorts(ports); err != nil {
		return nil, err
	}
	// By its name: browsers make no passkeys for an address in numbers.
	public := "http://localhost:" + strconv.Itoa(ports["public"])
	box.SetRedirectURIs([]string{
		public + "/_gatehouse/connect/callback/" + demoX, public + "/_gatehouse/connect/callback/" + demoFacebook,
	})
	text := fmt.Sprintf(demoConfig, ports["app"], ports["public"], ports["demo"], public, box.XURL, box.MetaURL,
		apps.X.ClientID, apps.X.ConsumerKey, apps.Facebook.AppID, ports["proxy"], ports["party"], ports["console"], ports["metrics"])
	path := filepath.Join(o.dir, "gatehouse.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, _, err := config.Load(path, resolver())
	return cfg, err
}

// demoConfig is what a team's own file looks like, with two sandboxes in place
// of the platforms.
const demoConfig = `# Written by gatehouse demo.
environment: development
public_url: %[4]s
listen: {app: "127.0.0.1:%[1]d", proxy: "127.0.0.1:%[10]d", console: "127.0.0.1:%[12]d", public: "127.0.0.1:%[2]d"}
store: sqlite:gatehouse.db
root_key: file:root.key
tls: {app: local-ca, public: off}
sandbox: {x: %[5]q, meta: %[6]q}
metrics: {listen: "127.0.0.1:%[13]d"}
returns: ["http://127.0.0.1:%[3]d/connected"]
apps:
  demo-x: {platform: x, client_id: %[7]q, client_secret: "file:x-secret", consumer_key: %[8]q, consumer_secret: "file:x-consumer-secret", compliance: {keep: 720h}}
  demo-facebook: {platform: facebook, client_id: %[9]q, client_secret: "file:facebook-secret", version: v25.0}
purposes:
  publish:
    why: Publish what the person scheduled, and show how it went
    app: demo-x
    scopes: [tweet.read, tweet.write, users.read, follows.read, offline.access]
    calls:
      - {call: GET /2/users/me}
      - {call: POST /2/tweets, fields: [id, text]}
      - {call: "GET /2/tweets/{id}"}
      - {call: GET /2/tweets/search/recent}
      - {call: "GET /2/users/{id}/followers", params: {max_results: {max: 1000}}, fields: [id, name, username]}
  pages:
    why: Publish to the person's pages, and show how it went
    app: demo-facebook
    scopes: [public_profile, pages_show_list, pages_read_engagement, pages_manage_posts]
    calls:
      - {call: GET /me}
      - {call: GET /me/accounts}
      - {call: "GET /{page-id}"}
      - {call: "GET /{page-id}/feed"}
      - {call: "POST /{page-id}/feed", fields: [id]}
      - {call: "DELETE /me/permissions"}
services:
  demo: {purposes: [publish, pages], rate: 200/s}
third_parties:
  collector.example: {purposes: [publish], may_receive: [pseudonymous-id], address: "127.0.0.1:%[11]d"}
events: {url: "http://127.0.0.1:%[3]d/gatehouse/events", services: [demo]}
stepup: {services: [demo], returns: ["http://127.0.0.1:%[3]d/confirmed"], name: A small app}
`

// play sets the small app up and lets its story run beside the server.
func (o *demoOptions) play(ctx context.Context, s *server, box *sandbox.Server) error {
	key, err := s.identity.NewServiceKey(ctx, "demo")
	if err != nil {
		return err
	}
	client, err := demoClient(s.cfg)
	if err != nil {
		return err
	}
	secret, _, err := s.outbox.Secret(ctx)
	if err != nil {
		return err
	}
	app := &demoApp{
		eventSecret: secret.Reveal(),
		api:         &apiClient{base: s.app.URL(), key: key.Reveal(), http: client},
		purposes:    map[string]string{demoX: "publish", demoFacebook: "pages"},
		sessions:    map[string]string{},
		stepups:     map[string]demoStepup{}, duties: map[string]time.Time{},
	}
	door, err := newDemoDoor(ctx, s)
	if err != nil {
		return err
	}
	address := strings.TrimPrefix(strings.TrimSuffix(s.cfg.Returns[0], "/connected"), "http://")
	site, err := wire.Listen(wire.ServerConfig{Addr: address, Handler: door.before(app.Handler())})
	if err != nil {
		return err
	}
	app.self, door.at = site.URL(), site.URL()
	party, err := newDemoParty(s.cfg.ThirdParty[demoParty].Address)
	if err != nil {
		return err
	}
	// The server answers once this function has returned; what calls it runs
	// beside it.
	s.beside = func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return site.Run(ctx) })
		group.Go(func() error { return party.Run(ctx) })
		group.Go(func() error { return o.perform(ctx, s, box, app, door, client) })
		return group.Wait()
	}
	return nil
}

// perform is the demo's story: people connect, the ready line, traffic.
func (o *demoOptions) perform(ctx context.Context, s *server, box *sandbox.Server, app *demoApp, door *demoDoor, client *http.Client) error {
	// What an operator fills in at the platforms: where they leave their notices.
	hook := s.public.URL() + public.WebhooksPath
	if _, err := s.connect.XWebhook(ctx, demoX, hook+"x"); err != nil {
		return err
	}
	box.Meta.SetCallbacks("facebook", hook+"facebook", s.public.URL()+public.DeletionPath+"facebook")
	people := box.People()
	for i, subject := range []string{"ada", "grace", "linus"} {
		for _, registration := range []string{demoX, demoFacebook} {
			if registration == demoFacebook && i > 1 {
				continue
			}
			jar, err := cookiejar.New(nil)
			if err != nil {
				return err
			}
			browser := *client
			browser.Jar = jar
			if err := app.consentAs(ctx, &browser, registration, subject, people[i]); err != nil {
				return err
			}
		}
	}
	x, meta := app.granted(demoX)[0], app.granted(demoFacebook)[0]
	ready := demoReady{
		Dir: o.dir, Config: s.cfg.Path(), App: s.app.URL(), Proxy: s.proxy.URL(), Public: s.cfg.PublicURL, Console: s.cfg.ConsoleURL(), Operator: door.link(), SandboxX: box.XURL, SandboxMeta: box.MetaURL,
		XHandle: x.Handle, MetaHandle: meta.Handle, XOAuth1: x.OAuth1, ServiceKey: app.api.key, CAFile: beside(s.cfg, caFile), DemoApp: app.self, Metrics: s.figures.URL() + "/metrics",
		person: people[0],
	}
	if o.json {
		if err := json.NewEncoder(o.out).Encode(ready); err != nil {
			return err
		}
	} else if err := welcome(o.out, ready); err != nil {
		return err
	}
	if _, err := s.log.Record(ctx, audit.Entry{Action: "demo.start", Verdict: "done"}); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	outside, err := throughProxy(client, s.proxy.URL(), app.api.key)
	if err != nil {
		return err
	}
	traffic := &demoTraffic{app: app, outside: outside, pause: o.pause / 7}
	group.Go(func() error { return traffic.Run(ctx) })
	group.Go(func() error { return door.colleagues(ctx) })
	if !o.still {
		story := &demoStory{app: app, box: box, reviews: s.reviews, browser: *client, pause: o.pause, tokens: map[int][]string{}}
		app.deliberate(deletionSteps * o.pause)
		group.Go(func() error { return story.Run(ctx) })
	}
	group.Go(func() error { return app.holders(ctx, s.stepup) })
	if !o.json {
		group.Go(func() error { return follow(ctx, o.out, s.parts) })
	}
	return group.Wait()
}

// demoClient trusts the local CA, as the app's clients do.
func demoClient(cfg *config.Config) (*http.Client, error) {
	pem, err := os.ReadFile(beside(cfg, caFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 8},
	}, nil
}

// freePorts puts in the place of each port on which somebody listens another one that was
// free a moment ago.
func freePorts(ports map[string]int) error {
	listen := func(port int) (*wire.Server, error) {
		return wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:" + strconv.Itoa(port), Handler: http.NotFoundHandler()})
	}
	var taken []string
	for name, wanted := range ports {
		// All are held until all are chosen: the system gives a port that was let go again.
		l, err := listen(wanted)
		if err != nil {
			taken = append(taken, name)
			continue
		}
		defer l.Close()
	}
	for _, name := range taken {
		l, err := listen(0)
		if err != nil {
			return fmt.Errorf("no port is free on loopback: %w", gatehouse.ErrUnavailable)
		}
		defer l.Close()
		_, text, err := net.SplitHostPort(strings.TrimPrefix(l.URL(), "http://"))
		if err != nil {
			return err
		}
		if ports[name], err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	return nil
}

// welcome prints what runs where, and what to try.
func welcome(w io.Writer, r demoReady) error {
	bold, dim, off := "\x1b[1m", "\x1b[2m", "\x1b[0m"
	if !onTerminal(w) {
		bold, dim, off = "", "", ""
	}
	oauth1, err := json.Marshal(r.XOAuth1)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `
%[1]sGatehouse demo%[3]s  everything on this machine, nothing leaves it

  app listener  %[4]s      your X or Meta client talks to this
  proxy         %[17]s      your app talks to everybody else through this
  public pages  %[5]s       browsers come here to connect
  demo app      %[6]s       open it: connect an account by hand
  sandbox X     %[7]s
  sandbox Meta  %[8]s
  console       %[20]s       what operators look at; signs you in, once:
                %[21]s
  metrics       %[22]s   what Prometheus reads
  data          %[9]s

%[1]sTry it%[3]s  (handles, not tokens: worthless anywhere else)

  export GATEHOUSE_URL=%[4]s CA=%[10]s
  export X_HANDLE=%[11]s
  export META_HANDLE=%[12]s
  export X_OAUTH1='%[15]s'

  curl --cacert $CA -H "Authorization: Bearer $X_HANDLE" $GATEHOUSE_URL/x/2/users/me
  curl --cacert $CA "$GATEHOUSE_URL/meta/v25.0/me/accounts?access_token=$META_HANDLE"
  curl --cacert $CA -H "Authorization: Bearer $X_HANDLE" $GATEHOUSE_URL/x/2/dm_events   %[2]s# not declared: refused%[3]s

  export KEY=%[18]s
  curl --proxy-cacert $CA --proxy https://publish:$KEY@%[19]s http://collector.example/track -d '{"event":"mine"}'
  curl --proxy-cacert $CA --proxy https://publish:$KEY@%[19]s https://example.com/   %[2]s# not declared: refused%[3]s

  %[14]s audit verify --config %[13]s

%[1]sWhose data went where%[3]s  the app tells nobody; Gatehouse knew it again when it left

  %[14]s lineage person subject:ada --config %[13]s
  %[14]s lineage destination collector.example --config %[13]s   %[2]s# ids may go there; names were stopped%[3]s
  %[14]s lineage diagram --svg flows.svg --config %[13]s

%[1]sBe a person who leaves%[3]s  remove the app, and ask for deletion: the app is told, and you get a page

  %[8]s/settings/apps?person=%[16]s
  %[14]s case list --config %[13]s

%[1]sThe log%[3]s  (Ctrl-C ends the demo)

`, bold, dim, off, r.App, r.Public, r.DemoApp, r.SandboxX, r.SandboxMeta, r.Dir, r.CAFile, r.XHandle, r.MetaHandle, r.Config, os.Args[0], oauth1, r.person, r.Proxy, r.ServiceKey, strings.TrimPrefix(r.Proxy, "https://"), r.Console, r.Operator, r.Metrics)
	return err
}
