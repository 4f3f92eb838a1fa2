package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is one process that stands between the load and the upstream.
type peer struct {
	name, url, bearer string
	pid               int
}

// stage is everything that runs during a measurement. The first peer is the
// bare proxy, which all ratios refer to.
type stage struct {
	dir, gatehouse string
	upstream       string
	upstreamPID    int
	certs          certFiles
	roots          *x509.CertPool
	peers          []peer
	started        []*exec.Cmd
	startUp        time.Duration
	idleMB         float64
	// config is Gatehouse's configuration file, redirect the callback that is
	// registered at X, app and key where and how the app's API is reached.
	config, redirect, app, key string
}

func (s *stage) close() {
	for i := len(s.started) - 1; i >= 0; i-- {
		_ = s.started[i].Process.Signal(syscall.SIGTERM)
		_ = s.started[i].Wait()
	}
	s.started = nil
}

// newStage starts the upstream: a TLS server that answers GET /2/users/me with
// 1 KiB of JSON, and is otherwise the sandbox's X.
func newStage(ctx context.Context, dir, gatehouse string) (*stage, error) {
	s := &stage{dir: dir, gatehouse: gatehouse}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	if s.certs, err = writeCerts(dir); err != nil {
		return s, err
	}
	up, err := s.start(ctx, self, "serve", "-upstream", "-cert", s.certs.cert, "-key", s.certs.key)
	if err != nil {
		return s, fmt.Errorf("starting the upstream: %w", err)
	}
	s.upstream, s.upstreamPID = up.line, up.pid
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(s.certs.caPEM)
	return s, nil
}

// client trusts the stage's authority.
func (s *stage) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16},
		Timeout:   time.Minute,
	}
}

// startPeers starts the bare proxy, Caddy and Gatehouse. All three speak TLS to
// the load and to the upstream.
func (s *stage) startPeers(ctx context.Context, caddy string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare, err := s.start(ctx, self, "serve", "-to", s.upstream, "-ca", s.certs.ca, "-cert", s.certs.cert, "-key", s.certs.key)
	if err != nil {
		return fmt.Errorf("starting the bare proxy: %w", err)
	}
	s.peers = append(s.peers, peer{"ReverseProxy", bare.line + "/2/users/me", "unused", bare.pid})

	caddyURL, pid, err := s.startCaddy(ctx, caddy, s.upstream, s.certs)
	if err != nil {
		return err
	}
	s.peers = append(s.peers, peer{"Caddy", caddyURL + "/2/users/me", "unused", pid})

	g, err := s.startGatehouse(ctx, s.upstream, s.certs)
	if err != nil {
		return err
	}
	s.peers = append(s.peers, g)
	return nil
}

// startInMemory adds a second Gatehouse, whose log is in a directory of a file system
// that is no disk.
func (s *stage) startInMemory(ctx context.Context, dir string) error {
	m := &stage{dir: dir, gatehouse: s.gatehouse, upstream: s.upstream, certs: s.certs, roots: s.roots}
	p, err := m.startGatehouse(ctx, s.upstream, s.certs)
	s.started = append(s.started, m.started...)
	if err != nil {
		return fmt.Errorf("starting Gatehouse without a disk: %w", err)
	}
	p.name = "Gatehouse, no disk"
	s.peers = append(s.peers, p)
	return nil
}

type process struct {
	line string // the first line it printed
	pid  int
}

// start runs a program until close and returns the first line of its output,
// which says where it listens.
func (s *stage) start(ctx context.Context, name string, args ...string) (process, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return process{}, err
	}
	if err := c.Start(); err != nil {
		return process{}, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = c.Wait()
		return process{}, fmt.Errorf("%s %s printed nothing: %w: %s", name, args, err, stderr.String())
	}
	s.started = append(s.started, c)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return process{strings.TrimSpace(line), c.Process.Pid}, nil
}

func (s *stage) startCaddy(ctx context.Context, caddy, upstream string, certs certFiles) (string, int, error) {
	port, err := freePort()
	if err != nil {
		return "", 0, err
	}
	up, err := url.Parse(upstream)
	if err != nil {
		return "", 0, err
	}
	file := filepath.Join(s.dir, "Caddyfile")
	// As its users run it, with the fixed header that a token would be.
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	log {
		level ERROR
	}
}
https://127.0.0.1:%d {
	tls %s %s
	reverse_proxy https://%s {
		header_up Host {upstream_hostport}
		header_up Authorization "Bearer a-fixed-token"
		transport http {
			tls_trust_pool file %s
		}
	}
}
`, port, certs.cert, certs.key, up.Host, certs.ca)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", 0, err
	}
	c := exec.CommandContext(ctx, caddy, "run", "--config", file, "--adapter", "caddyfile")
	c.Env = append(os.Environ(), "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		return "", 0, err
	}
	s.started = append(s.started, c)
	address := fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := s.await(ctx, address); err != nil {
		return "", 0, fmt.Errorf("starting caddy: %w: %s", err, stderr.String())
	}
	return address, c.Process.Pid, nil
}

// await returns once something answers TLS at address.
func (s *stage) await(ctx context.Context, address string) error {
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}}
	var err error
	for range 200 {
		conn, dialErr := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(address, "https://"))
		if dialErr == nil {
			return conn.Close()
		}
		err = dialErr
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// startGatehouse makes a Gatehouse whose X is the upstream, connects a person
// through the sandbox's consent, and returns a peer that calls with a handle.
func (s *stage) startGatehouse(ctx context.Context, upstream string, certs certFiles) (peer, error) {
	public, err := freePort()
	if err != nil {
		return peer{}, err
	}
	dir := filepath.Join(s.dir, "gatehouse-data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return peer{}, err
	}
	var apps struct {
		X struct {
			ClientID     string `json:"client_id"`
			ClientSecret string `json:"client_secret"`
		} `json:"x"`
	}
	client := s.client()
	if err := getJSON(client, upstream+"/_sandbox/apps", &apps); err != nil {
		return peer{}, err
	}
	back := fmt.Sprintf("http://127.0.0.1:%d", public)
	redirects := map[string][]string{"uris": {back + "/_gatehouse/connect/callback/main-x"}}
	if err := postJSON(client, upstream+"/_sandbox/redirects", "", redirects, nil); err != nil {
		return peer{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "x-secret"), []byte(apps.X.ClientSecret), 0o600); err != nil {
		return peer{}, err
	}
	config := filepath.Join(dir, "gatehouse.yaml")
	text := fmt.Sprintf(`environment: development
public_url: %[1]s
listen: {app: "127.0.0.1:0", public: "127.0.0.1:%[2]d"}
store: sqlite:gatehouse.db
root_key: file:root.key
tls: {app: {cert: %[3]s, key: %[4]s}}
sandbox: {x: %[5]s, ca_file: %[6]s}
returns: ["http://127.0.0.1:1/back"]
apps:
  main-x: {platform: x, client_id: %[7]q, client_secret: "file:x-secret"}
purposes:
  bench: {why: Measure, app: main-x, scopes: [tweet.read, users.read], calls: [{call: GET /2/users/me}]}
services:
  bench: {purposes: [bench]}
log: {level: error}
`, back, public, certs.cert, certs.key, upstream, certs.ca, apps.X.ClientID)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return peer{}, err
	}
	if b, err := exec.CommandContext(ctx, s.gatehouse, "init", "--config", config).CombinedOutput(); err != nil {
		return peer{}, fmt.Errorf("gatehouse init: %w: %s", err, b)
	}
	s.config, s.redirect = config, redirects["uris"][0]
	pid, err := s.runGatehouse(ctx)
	if err != nil {
		return peer{}, err
	}
	key, err := exec.CommandContext(ctx, s.gatehouse, "service", "key", "create", "bench", "--config", config).Output()
	if err != nil {
		return peer{}, fmt.Errorf("gatehouse service key create: %w", err)
	}
	s.key = strings.TrimSpace(string(key))
	handle, err := s.connect(client, s.app, s.key)
	if err != nil {
		return peer{}, err
	}
	return peer{"Gatehouse", s.app + "/x/2/users/me", handle, pid}, nil
}

// runGatehouse starts Gatehouse with its configuration and notes how long that
// took, where it listens, and how much memory it holds a moment later.
func (s *stage) runGatehouse(ctx context.Context) (pid int, err error) {
	begun := time.Now()
	running, err := s.start(ctx, s.gatehouse, "run", "--config", s.config, "--json")
	if err != nil {
		return 0, err
	}
	s.startUp = time.Since(begun)
	time.Sleep(time.Second)
	s.idleMB = residentMB(running.pid)
	var ready struct {
		App string `json:"app_listener"`
	}
	if err := json.Unmarshal([]byte(running.line), &ready); err != nil {
		return 0, fmt.Errorf("the ready line %q: %w", running.line, err)
	}
	s.app = ready.App
	return running.pid, nil
}

// stopLast stops the process that was started last.
func (s *stage) stopLast() {
	last := s.started[len(s.started)-1]
	s.started = s.started[:len(s.started)-1]
	_ = last.Process.Signal(syscall.SIGTERM)
	_ = last.Wait()
}

// connect walks one person through consent and returns a handle.
func (s *stage) connect(client *http.Client, app, key string) (string, error) {
	var begun struct {
		URL string `json:"url"`
	}
	err := postJSON(client, app+"/gatehouse/v1/connections", key, map[string]any{
		"app": "main-x", "subject": "bench", "purposes": []string{"bench"}, "return_to": "http://127.0.0.1:1/back",
	}, &begun)
	if err != nil {
		return "", err
	}
	var people []struct{ Username string }
	if err := getJSON(client, s.upstream+"/_sandbox/people", &people); err != nil {
		return "", err
	}
	person := people[0].Username
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	var code string
	browser := *client
	browser.Jar = jar
	browser.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(req.URL.Path, "/oauth2/authorize") {
			q := req.URL.Query()
			q.Set("sandbox_person", person)
			q.Set("sandbox_decision", "allow")
			req.URL.RawQuery = q.Encode()
		}
		if req.URL.Path == "/back" {
			code = req.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}
	res, err := browser.Get(begun.URL)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if code == "" {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return "", fmt.Errorf("consent ended at %s: %s", res.Request.URL.Path, b)
	}
	var con struct {
		ID string `json:"id"`
	}
	if err := postJSON(client, app+"/gatehouse/v1/connections/redeem", key, map[string]string{"code": code, "subject": "bench"}, &con); err != nil {
		return "", err
	}
	var handle struct {
		Handle string `json:"handle"`
	}
	err = postJSON(client, app+"/gatehouse/v1/handles", key, map[string]string{"connection": con.ID, "purpose": "bench"}, &handle)
	return handle.Handle, err
}

// size prints what one measures once: start-up, memory, the binary.
func (s *stage) size(w io.Writer) error {
	info, err := os.Stat(s.gatehouse)
	if err != nil {
		return err
	}
	memory := residentMB(s.peers[len(s.peers)-1].pid)
	_, err = fmt.Fprintf(w, "\nStart to ready line: %s. Resident idle: %.0f MB, after the load: %.0f MB. Binary: %.1f MB.\n",
		s.startUp.Round(time.Millisecond), s.idleMB, memory, float64(info.Size())/(1<<20))
	return err
}

func getJSON(c *http.Client, u string, out any) error {
	res, err := c.Get(u)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(out)
}

func postJSON(c *http.Client, u, key string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, u, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %s", u, res.Status, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}
