package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// tunneller is a forward proxy that the load goes through.
type tunneller struct {
	name  string
	host  string // what the app calls the upstream
	proxy *url.URL
	roots *x509.CertPool // what the app trusts behind it
	pid   int
}

// tunnels measures Gatehouse's forward proxy (a service's key, a declared
// destination, an address that was judged, a durable intent, an outcome) beside a
// bare CONNECT proxy and smokescreen: requests in tunnels that stay open, and a
// tunnel for each request. All are reached in plain on loopback, and the load
// speaks TLS with the same upstream through them.
func tunnels(ctx context.Context, d time.Duration, rounds int) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log.Print("building gatehouse and smokescreen …")
	gatehouse, smokescreen := filepath.Join(dir, "gatehouse"), filepath.Join(dir, "smokescreen")
	if err := errors.Join(build(ctx, "..", gatehouse, "./cmd/gatehouse"), build(ctx, ".", smokescreen, "./smokescreen")); err != nil {
		return err
	}
	s, err := newStage(ctx, dir, gatehouse)
	defer s.close()
	if err != nil {
		return err
	}
	peers, err := s.startTunnellers(ctx, smokescreen)
	if err != nil {
		return err
	}
	fmt.Printf("\nForward proxies, TLS through a CONNECT tunnel to the same upstream. Machine: %s.\n\n", describe())
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	for _, kept := range []bool{true, false} {
		what := "a tunnel for each request"
		if kept {
			what = "requests in open tunnels"
		}
		fmt.Fprintf(out, "| %s, connections\t| peer\t| requests/s, ratio to bare\t| requests/s\t| p50\t| p99\t| added p50\t| added p99\t| CPU/request\t|\n", what)
		fmt.Fprintln(out, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
		for _, conns := range connections {
			seen := map[string][]result{}
			for range rounds {
				for _, p := range peers {
					if p.name == inspected && !kept {
						continue // it is a matter of handshakes
					}
					r, err := p.load(ctx, s.upstream, kept, conns, d)
					if err != nil {
						return fmt.Errorf("measuring %s at %d connections: %w", p.name, conns, err)
					}
					seen[p.name] = append(seen[p.name], r)
				}
			}
			for _, p := range peers {
				if len(seen[p.name]) > 0 {
					report(out, conns, p.name, seen[p.name], seen[peers[0].name])
				}
			}
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

// The name of the peer that looks into what is sent, and the host that is
// configured so.
const (
	inspected     = "Gatehouse, inspecting"
	inspectedHost = "inspected.localhost"
)

// load has conns callers send requests through the proxy.
func (p *tunneller) load(ctx context.Context, upstream string, kept bool, conns int, d time.Duration) (result, error) {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(upstream, "https://"))
	if err != nil {
		return result{}, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyURL(p.proxy),
		TLSClientConfig:     &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: conns,
		MaxConnsPerHost:     conns,
		DisableKeepAlives:   !kept,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	one := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+net.JoinHostPort(p.host, port)+"/v1/track", strings.NewReader(event))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, body)
		}
		return err
	}
	return drive(conns, d, func() time.Duration { return processCPU(p.pid) }, one)
}

// event is what an app tells its analytics: 1 KiB.
var event = `{"event":"post_scheduled","userId":"u_5f2c8d1b","properties":{"length":214,"media":2,"client":"web","note":"` +
	strings.Repeat("lorem ipsum dolor sit amet ", 32) + `"},"timestamp":"2026-11-26T08:00:00Z"}`

// startTunnellers starts the bare proxy, smokescreen and Gatehouse, which counts
// twice: with and without looking into what is sent.
func (s *stage) startTunnellers(ctx context.Context, smokescreen string) ([]tunneller, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	bare, err := s.start(ctx, self, "serve", "-connect")
	if err != nil {
		return nil, fmt.Errorf("starting the bare proxy: %w", err)
	}
	address, err := url.Parse(bare.line)
	if err != nil {
		return nil, err
	}
	peers := []tunneller{{"bare CONNECT", "localhost", address, s.roots, bare.pid}}
	smoke, err := s.startSmokescreen(ctx, smokescreen)
	if err != nil {
		return nil, err
	}
	own, err := s.startForward(ctx)
	return append(append(peers, smoke), own...), err
}

// startSmokescreen lets one role reach localhost, and that at loopback.
func (s *stage) startSmokescreen(ctx context.Context, program string) (tunneller, error) {
	port, err := freePort()
	if err != nil {
		return tunneller{}, err
	}
	acl := filepath.Join(s.dir, "acl.yaml")
	text := "version: v1\nservices:\n  - name: bench\n    project: bench\n    action: enforce\n    allowed_domains: [localhost]\n"
	if err := os.WriteFile(acl, []byte(text), 0o600); err != nil {
		return tunneller{}, err
	}
	c := exec.CommandContext(ctx, program, "--listen-ip", "127.0.0.1", "--listen-port", fmt.Sprint(port), "--egress-acl-file", acl, "--allow-range", "127.0.0.0/8")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Start(); err != nil { // its log goes nowhere, as with the others
		return tunneller{}, err
	}
	s.started = append(s.started, c)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for range 200 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return tunneller{"smokescreen", "localhost", &url.URL{Scheme: "http", Host: address}, s.roots, c.Process.Pid}, err
}

// startForward starts a Gatehouse whose services may send to the upstream, under
// one name as it is and under another to be looked into.
func (s *stage) startForward(ctx context.Context) ([]tunneller, error) {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.upstream, "https://"))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "forward")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "gatehouse.yaml")
	text := fmt.Sprintf(`environment: development
public_url: http://127.0.0.1:1
listen: {app: "127.0.0.1:0", proxy: "127.0.0.1:0"}
store: sqlite:gatehouse.db
root_key: file:root.key
tls: {proxy: off}
purposes:
  analytics: {why: Measure}
services:
  bench: {purposes: [analytics]}
third_parties:
  localhost: {purposes: [analytics], ports: [%[1]s], address: "127.0.0.1:%[1]s"}
  %[2]s: {purposes: [analytics], ports: [%[1]s], address: "127.0.0.1:%[1]s", ca_file: %[3]q, inspect: true}
log: {level: error}
`, port, inspectedHost, s.certs.ca)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	run := func(args ...string) ([]byte, error) {
		out, err := exec.CommandContext(ctx, s.gatehouse, append(args, "--config", config)...).Output()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("gatehouse %s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
		}
		return out, err
	}
	if _, err := run("init"); err != nil {
		return nil, err
	}
	running, err := s.start(ctx, s.gatehouse, "run", "--config", config, "--json")
	if err != nil {
		return nil, err
	}
	var ready struct {
		Proxy string `json:"proxy_listener"`
	}
	if err := json.Unmarshal([]byte(running.line), &ready); err != nil {
		return nil, fmt.Errorf("the ready line %q: %w", running.line, err)
	}
	key, err := run("service", "key", "create", "bench")
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(ready.Proxy)
	if err != nil {
		return nil, err
	}
	address.User = url.UserPassword("analytics", strings.TrimSpace(string(key)))
	authority, err := run("egress", "ca", "--pem")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("gatehouse egress ca --pem printed no certificate")
	}
	return []tunneller{
		{"Gatehouse", "localhost", address, s.roots, running.pid},
		{inspected, inspectedHost, address, roots, running.pid},
	}, nil
}
