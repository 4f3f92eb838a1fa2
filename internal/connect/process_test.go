package connect_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/x"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// Some tests need a process that can be killed. This test binary then starts
// itself again with a description of the world in this variable.
const processVariable = "GATEHOUSE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(processVariable); text != "" {
		if err := serveOrders(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// place is what a process needs to work beside others on one database.
type place struct {
	DSN, RootKey, SignerKey, XURL string
	App                           x.App
	Hurry                         time.Duration
	Tend                          bool // run the background work
}

// order is one line on a process's standard input.
type order struct {
	Call gatehouse.ConnectionID `json:"call"`
	Kill string                 `json:"kill,omitempty"` // the step at which to die
}

// reply is the line that answers an order.
type reply struct {
	Call   gatehouse.ConnectionID `json:"call"`
	Status int                    `json:"status"`
	Rule   string                 `json:"rule,omitempty"`
}

// serveOrders is the other process: it makes the calls it is told to.
func serveOrders(text string, in *os.File, out *os.File) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, log, egress, err := p.open(ctx)
	if err != nil {
		return err
	}
	var killAt sync.Map
	c.OnStep(func(step string) {
		if _, now := killAt.Load(step); now {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	var background sync.WaitGroup
	if p.Tend {
		background.Go(func() { _ = c.Run(ctx) })
	}
	var mu sync.Mutex
	answer := json.NewEncoder(out)
	fmt.Fprintln(out, "{}")
	for lines := bufio.NewScanner(in); lines.Scan(); { // until the test closes it, or ends
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if o.Kill != "" {
			killAt.Store(o.Kill, true)
		}
		if o.Call == "" {
			continue
		}
		background.Go(func() {
			r := reply{Call: o.Call}
			r.Status, r.Rule = p.call(ctx, c, log, egress, o.Call)
			mu.Lock()
			defer mu.Unlock()
			_ = answer.Encode(r)
		})
	}
	stop()
	background.Wait()
	return nil
}

// open opens the registry as the program does.
func (p place) open(ctx context.Context) (*connect.Connections, *audit.Log, *wire.Egress, error) {
	db, err := store.Open(ctx, p.DSN)
	if err != nil {
		return nil, nil, nil, err
	}
	root, err := vault.NewFileRootKey(p.RootKey)
	if err != nil {
		return nil, nil, nil, err
	}
	v, err := vault.Open(ctx, vault.Config{Root: root, Store: db.Vault(), Environment: "development"})
	if err != nil {
		return nil, nil, nil, err
	}
	signer, err := note.NewSigner(p.SignerKey)
	if err != nil {
		return nil, nil, nil, err
	}
	log, err := audit.Open(ctx, audit.Config{
		Store: db.Audit(), Signer: signer, Environment: "development", Seal: v.SealPersonal, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, nil, err
	}
	go func() { _ = log.Run(ctx) }()
	egress, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{strings.TrimPrefix(p.XURL, "http://")}, AllowLoopback: true, AllowPlainLoopback: true})
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := connect.New(connect.Config{
		Store: db.Connect(), Log: log, Vault: v, Egress: egress, PublicURL: connecttest.PublicURL,
		Apps: []connect.App{{
			Name: "main-x", Platform: gatehouse.X, ClientID: p.App.ClientID, ClientSecret: secret.New(p.App.ClientSecret),
			Endpoints: connect.Endpoints{
				Authorize: p.XURL + "/i/oauth2/authorize", Token: p.XURL + "/2/oauth2/token", Revoke: p.XURL + "/2/oauth2/revoke", API: p.XURL,
			},
		}},
		Scopes:        func([]gatehouse.PurposeName) ([]string, error) { return nil, nil },
		RevokeHandles: func(context.Context, gatehouse.ConnectionID) error { return nil },
	})
	if err == nil {
		c.Hurry(p.Hurry)
	}
	return c, log, egress, err
}

// call makes one call to X and returns its status, or the rule of what went
// wrong before.
func (p place) call(ctx context.Context, c *connect.Connections, log *audit.Log, egress *wire.Egress, id gatehouse.ConnectionID) (int, string) {
	fail := func(err error) (int, string) {
		if rule := wire.RuleOf(err); rule != "" {
			return 0, rule
		}
		return 0, err.Error()
	}
	receipt, err := log.Intent(ctx, audit.Entry{Action: "call", Service: "scheduler"})
	if err != nil {
		return fail(err)
	}
	k, err := c.Credential(ctx, receipt, id)
	if err != nil {
		return fail(err)
	}
	for again := false; ; again = true {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.XURL+"/2/users/me", nil)
		if err != nil {
			return fail(err)
		}
		if err := k.Authorize(req); err != nil {
			return fail(err)
		}
		r, err := egress.RoundTrip(req)
		if err != nil {
			return fail(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusUnauthorized || again {
			return r.StatusCode, ""
		}
		// As the gateway does: the token may have expired on its way.
		fresh, err := c.Replace(ctx, receipt, k)
		if fresh == nil && err == nil {
			return r.StatusCode, ""
		}
		if err != nil {
			return fail(err)
		}
		k = fresh
	}
}

// process is a running one, seen from the test.
type process struct {
	t       *testing.T
	command *exec.Cmd
	in      *json.Encoder
	close   func() error
	died    chan struct{} // closed when it has ended and every reply is delivered
	mu      sync.Mutex
	waiting map[gatehouse.ConnectionID][]chan reply
}

// start starts a process on the world's database and waits until it is ready.
func start(t *testing.T, w *connecttest.World, hurry time.Duration, tend bool) *process {
	t.Helper()
	text := must(json.Marshal(place{
		DSN: w.DSN, RootKey: w.RootKey, SignerKey: w.SignerKey, XURL: w.XURL, App: w.X.App(), Hurry: hurry, Tend: tend,
	}))(t)
	p := &process{t: t, command: exec.Command(os.Args[0], "-test.run=^$"), died: make(chan struct{}), waiting: map[gatehouse.ConnectionID][]chan reply{}}
	p.command.Env = append(os.Environ(), processVariable+"="+string(text))
	p.command.Stderr = os.Stderr
	stdin := must(p.command.StdinPipe())(t)
	stdout := must(p.command.StdoutPipe())(t)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.in, p.close = json.NewEncoder(stdin), stdin.Close
	ready := make(chan struct{})
	go func() {
		defer close(p.died)
		lines := bufio.NewScanner(stdout)
		if lines.Scan() {
			close(ready)
		}
		for lines.Scan() {
			var r reply
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				continue
			}
			p.mu.Lock()
			if list := p.waiting[r.Call]; len(list) > 0 {
				list[0] <- r
				p.waiting[r.Call] = list[1:]
			}
			p.mu.Unlock()
		}
		_ = p.command.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, list := range p.waiting {
			for _, one := range list {
				close(one)
			}
		}
		p.waiting = nil
	}()
	t.Cleanup(p.end)
	select {
	case <-ready:
	case <-p.died:
		t.Fatal("the process ended at once")
	}
	return p
}

// kill ends the process as a power failure does.
func (p *process) kill() { _ = p.command.Process.Kill() }

// end lets the process finish.
func (p *process) end() {
	_ = p.close()
	<-p.died
}

// errDied means that the process ended instead of answering.
var errDied = errors.New("the process died")

// tell gives an order that has no answer.
func (p *process) tell(o order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.in.Encode(o)
}

// order has the process make a call.
func (p *process) order(o order) (reply, error) {
	answer := make(chan reply, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return reply{}, errDied
	}
	p.waiting[o.Call] = append(p.waiting[o.Call], answer)
	err := p.in.Encode(o)
	p.mu.Unlock()
	if err != nil {
		return reply{}, errDied
	}
	r, ok := <-answer
	if !ok {
		return reply{}, errDied
	}
	return r, nil
}
