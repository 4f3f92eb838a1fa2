package egress_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// curl is what an app that is not ours looks like.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal("curl is not installed: scripts/setup")
	}
	for name, flag := range map[string]string{"http/1.1": "--http1.1", "h2": "--http2"} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echo)), nil)
			dir := t.TempDir()
			ca, large := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "large")
			for path, data := range map[string][]byte{ca: l.caFile, large: []byte(strings.Repeat("text ", 400_000))} {
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func(args ...string) (string, error) {
				t.Helper()
				c := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--max-time", "30", flag, "--proxy", l.proxy.String(), "-w", "\n%{http_code} %{http_version} %{num_connects}"}, args...)...)
				c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
				out, err := c.CombinedOutput()
				return string(out), err
			}
			version := map[string]string{"http/1.1": "1.1", "h2": "2"}[name]
			out, err := run("--cacert", ca, base+"/a?b=c")
			if err != nil || !strings.Contains(out, "GET /a?b=c") || !strings.Contains(out, "\n200 "+version) {
				t.Errorf("GET: %v, %s", err, out)
			}
			// Larger than a megabyte: curl asks before it sends.
			out, err = run("--cacert", ca, "-H", "Expect: 100-continue", "--data-binary", "@"+large, base+"/up")
			if err != nil || strings.Count(out, "text ") != 400_000 || !strings.Contains(out, "\n200 "+version) {
				t.Errorf("POST: %v, %.100s…%s", err, out, out[max(len(out)-20, 0):])
			}
			out, err = run("--cacert", ca, "--data", "to="+adasAddress, base)
			if err != nil || !strings.Contains(out, `"rule":"egress/personal-data"`) || !strings.Contains(out, "\n403 "+version) {
				t.Errorf("what may not be sent: %v, %s", err, out)
			}
			if out, err = run(base); err == nil || !strings.Contains(out, "certificate") {
				t.Errorf("without the authority: %v, %s", err, out)
			}
		})
	}
}
