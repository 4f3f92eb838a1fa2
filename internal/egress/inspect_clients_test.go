package egress_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeProgram asks the proxy in HTTPS_PROXY for a tunnel, as libraries for Node do, and
// trusts what NODE_EXTRA_CA_CERTS says.
const nodeProgram = `
const http = require("node:http"), https = require("node:https");
const proxy = new URL(process.env.HTTPS_PROXY), [to, body] = process.argv.slice(2), url = new URL(to);
http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: url.hostname + ":443", headers: { Host: url.hostname + ":443" } })
  .on("connect", (reply, socket) => {
    const request = https.request(url, { method: "POST", socket, agent: false, servername: url.hostname }, async (answer) => {
      let text = "";
      for await (const chunk of answer) text += chunk;
      console.log(answer.statusCode, text);
    });
    request.on("error", (e) => { console.log("error", e.code); process.exit(1); });
    request.end(body);
  })
  .end();
`

// pythonProgram leaves all of it to urllib and ssl: HTTPS_PROXY and SSL_CERT_FILE.
const pythonProgram = `
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], data=sys.argv[2].encode()) as reply:
        print(reply.status, reply.read().decode())
except urllib.error.HTTPError as e:
    print(e.code, e.read().decode())
except urllib.error.URLError as e:
    print("error", e.reason)
    sys.exit(1)
`

// What gatehouse egress ca --for says of Node and Python is what they do.
func TestClientsTrustTheAuthority(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echo)), nil)
	dir := t.TempDir()
	ca := filepath.Join(dir, "inspection-ca.pem")
	if err := os.WriteFile(ca, l.caFile, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]struct {
		trust, file, text string
	}{
		"node":    {"NODE_EXTRA_CA_CERTS", "client.js", nodeProgram},
		"python3": {"SSL_CERT_FILE", "client.py", pythonProgram},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(name + " is not installed: scripts/setup")
			}
			file := filepath.Join(dir, client.file)
			if err := os.WriteFile(file, []byte(client.text), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(body string, trust ...string) (string, error) {
				c := exec.CommandContext(t.Context(), program, file, base+"/a?b=c", body)
				c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HTTPS_PROXY=" + l.proxy.String()}, trust...)
				out, err := c.CombinedOutput()
				return string(out), err
			}
			if out, err := run("hello", client.trust+"="+ca); err != nil || !strings.HasPrefix(out, "200 ") || !strings.Contains(out, "hello") {
				t.Errorf("what may be sent: %v, %s", err, out)
			}
			if out, err := run(adasAddress, client.trust+"="+ca); err != nil || !strings.HasPrefix(out, "403 ") || !strings.Contains(out, "egress/personal-data") {
				t.Errorf("what may not be sent: %v, %s", err, out)
			}
			if out, err := run("hello"); err == nil || !strings.HasPrefix(out, "error") {
				t.Errorf("without the authority: %v, %s", err, out)
			}
		})
	}
}
