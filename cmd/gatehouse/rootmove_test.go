package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/vault/kms/kmstest"
)

// rootLines are what a configuration says of root keys.
var rootLines = regexp.MustCompile(`(?m)^(root_key|root_key_access|previous_root_keys):.*\n`)

// rootKeys configures a root key and those before it.
func (h *house) rootKeys(lines string) {
	h.t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	text = append(rootLines.ReplaceAll(text, nil), lines...)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// The root key moves from a file to Vault's transit engine and from there to AWS,
// while calls are made: the move is killed again and again, the program is restarted
// for each new configuration, callers try again when a connection breaks, and no
// call that is answered fails. At the end neither earlier root key opens anything.
func TestRootKeyMovesUnderTraffic(t *testing.T) {
	transit, token := kmstest.NewTransit(false)
	t.Cleanup(transit.Close)
	transit.AddKey("gatehouse")
	aws := kmstest.NewAWS(false)
	t.Cleanup(aws.Close)
	arn := aws.AddKey()
	t.Setenv("TEST_TRANSIT_TOKEN", token)
	t.Setenv("TEST_AWS_ID", aws.AccessKeyID)
	t.Setenv("TEST_AWS_KEY", aws.SecretAccessKey)
	inFile := `root_key: file:root.key`
	inTransit := `root_key: transit:` + transit.URL + `/transit/keys/gatehouse`
	transitAccess := `root_key_access: {token: env:TEST_TRANSIT_TOKEN}`
	inAWS := `root_key: awskms:` + arn
	awsAccess := fmt.Sprintf(`root_key_access: {access_key_id: env:TEST_AWS_ID, secret_access_key: env:TEST_AWS_KEY, endpoint: %q}`, aws.URL)

	h := newHouse(t)
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	listener := h.ready["app_listener"]
	ctx, stop := context.WithCancel(t.Context())
	var answered, failed atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, listener+"/x/2/users/me", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+grant.Handle)
			res, err := h.client.Do(req)
			if err != nil { // while it restarts
				time.Sleep(20 * time.Millisecond)
				continue
			}
			res.Body.Close()
			switch res.StatusCode {
			case http.StatusOK:
				answered.Add(1)
			default:
				failed.Add(1)
				t.Errorf("a call during the move is answered %d", res.StatusCode)
			}
			time.Sleep(3 * time.Millisecond)
		}
	}()
	move := func(now, before string) {
		t.Helper()
		if code := h.stop(); code != exitDone {
			t.Fatalf("exit status %d\n%s", code, h.stderr)
		}
		h.rootKeys(now + "\nprevious_root_keys: [" + before + "]\n")
		h.start()
		for range 6 {
			c := exec.Command(os.Args[0], "keys", "rewrap", "--root", "--config", h.config)
			c.Env = append(os.Environ(), asProgram+"=1")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
			_ = c.Process.Kill()
			_ = c.Wait() // killed, or done before that
			h.letGo()
		}
		eventually(t, "the root key before is not needed any more", func() bool {
			if out, errOut, code := h.gatehouse("keys", "rewrap", "--root"); code != 0 && !strings.Contains(errOut, "Another process") {
				t.Fatalf("keys rewrap --root: %d %s%s", code, out, errOut)
			}
			out, _, code := h.gatehouse("keys", "status")
			return code == 0 && strings.Contains(out, "is not needed any more")
		})
	}
	move(inTransit+"\n"+transitAccess, `{`+inFile+`}`)
	move(inAWS+"\n"+awsAccess, `{`+inTransit+`, `+transitAccess+`}`)
	before := answered.Load()
	eventually(t, "calls go on", func() bool { return answered.Load() > before+20 })
	stop()
	<-done
	if failed.Load() > 0 || answered.Load() < 50 {
		t.Errorf("%d calls were answered and %d failed", answered.Load(), failed.Load())
	}
	if code := h.stop(); code != exitDone {
		t.Errorf("exit status %d\n%s", code, h.stderr)
	}
	// With AWS alone it starts; with either of the others alone it does not.
	h.rootKeys(inAWS + "\n" + awsAccess + "\n")
	if out, errOut, code := h.gatehouse("connect", "list", "--json"); code != exitDone || !strings.Contains(out, `"ada"`) {
		t.Errorf("with the new root key alone: %d %s%s", code, out, errOut)
	}
	if out, errOut, code := h.gatehouse("audit", "verify"); code != exitDone {
		t.Errorf("audit verify: %d %s%s", code, out, errOut)
	}
	for _, old := range []string{inFile, inTransit + "\n" + transitAccess} {
		h.rootKeys(old + "\n")
		if out, errOut, code := h.gatehouse("connect", "list", "--json"); code != exitFailed {
			t.Errorf("with %.20s… alone: %d %s%s", old, code, out, errOut)
		}
	}
	noTokensInFiles(t, h.box, h.dir)
}
