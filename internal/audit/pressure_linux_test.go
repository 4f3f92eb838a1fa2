package audit_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// mounting gives a child mounts of its own, which end with it.
func mounting(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

func mountTmpfs(dir, size string) error {
	// What happens here is not to be seen elsewhere.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		return fmt.Errorf("mounting a small disk: %w", err)
	}
	return nil
}

// fillUp writes a file until the disk is full.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for size := 1 << 20; size >= 512; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return f.Close()
}

// storeSomething makes a row and changes another one.
func storeSomething(ctx context.Context, db *store.DB, n int) error {
	now := time.Now().UTC()
	id := gatehouse.ServiceID(fmt.Sprintf("srv%023d", n))
	return db.Identity().SyncServices(ctx, []identity.ServiceRecord{{
		Service: identity.Service{ID: id, Name: gatehouse.ServiceName(fmt.Sprint("service-", n)), Created: now}, Environment: "production",
	}}, now)
}

// TestSmallDisk runs a child on a disk that gets full; see smallDisk.
func TestSmallDisk(t *testing.T) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	c := command("small disk", t.TempDir(), private)
	c.Env = append(c.Env, publicVariable+"="+public)
	mounting(c)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v (it needs to mount a tmpfs: root, or user namespaces)\n%s", err, out)
	}
	t.Log(strings.TrimSpace(string(out)))
}

// publicVariable names the log's public key.
const publicVariable = "GATEHOUSE_TEST_AUDIT_PUBLIC"

func init() { roles["small disk"] = smallDisk }

// smallDisk fills a disk under a log. Calls are refused; what takes access away
// works and is in the log at once, out of what is held back; that nothing else
// uses it up; and when there is room again, everything goes on by itself.
func smallDisk() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := os.Getenv(dsnVariable)
	if err := mountTmpfs(dir, "24m"); err != nil {
		return err
	}
	if err := os.Setenv(dsnVariable, "sqlite:"+filepath.Join(dir, "gatehouse.db")); err != nil {
		return err
	}
	if err := store.Create(ctx, os.Getenv(dsnVariable)); err != nil {
		return err
	}
	const reserve = 4 << 20
	aside := filepath.Join(dir, "gatehouse.db-log")
	db, log, err := childLog(ctx, audit.Config{Aside: aside, Reserve: reserve})
	if err != nil {
		return err
	}
	if err := log.Prepare(); err != nil {
		return err
	}
	var acknowledged []string
	refused := 0
	intents := func() error {
		for range 100 {
			r, err := log.Intent(ctx, call())
			if err != nil {
				refused++
				return err
			}
			acknowledged = append(acknowledged, r.ID())
			log.Outcome(r, audit.Entry{Verdict: "done"})
		}
		return nil
	}
	if err := intents(); err != nil {
		return err
	}
	if err := fillUp(filepath.Join(dir, "ballast")); err != nil {
		return err
	}
	for {
		if err := intents(); err != nil {
			if wire.RuleOf(err) != "log/full" {
				return fmt.Errorf("the refusal has rule %q: %w", wire.RuleOf(err), err)
			}
			break
		}
	}
	// Two hundred people are cut off: each takes a row of its own and two entries.
	began := time.Now()
	for i := range 200 {
		r, err := log.Reduce(ctx, audit.Entry{Action: "handle.revoke", Person: "person-1", Personal: map[string]string{"handle": fmt.Sprint(i)}})
		if err != nil {
			return fmt.Errorf("cutting off on a full disk, for the %dth time: %w", i, err)
		}
		if err := storeSomething(ctx, db, i); err != nil {
			return fmt.Errorf("storing it, for the %dth time: %w", i, err)
		}
		log.Outcome(r, audit.Entry{Verdict: "done"})
		acknowledged = append(acknowledged, r.ID())
		if err := intents(); wire.RuleOf(err) != "log/full" {
			return fmt.Errorf("a call on a full disk: %w", err)
		}
	}
	took := time.Since(began)
	// They get into the log itself while the disk is full, as does the refusal.
	for {
		missing, closed := 0, false
		for _, id := range acknowledged {
			if _, err := db.Audit().Find(ctx, id); err != nil {
				missing++
			}
		}
		list, err := db.Audit().Before(ctx, 1<<40, 2000)
		if err != nil {
			return err
		}
		for _, r := range list {
			closed = closed || strings.Contains(string(r.Leaf), `"rule":"log/full"`)
		}
		if missing == 0 && closed {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d acknowledged entries are not in the log while the disk is full; the refusal is: %v", missing, closed)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s := log.State(); s.Condition != audit.Full || s.Reserve {
		return fmt.Errorf("%+v, want full, and nothing held back", s)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		return err
	}
	for log.State() != (audit.State{Condition: audit.Writable, Reserve: true}) {
		if ctx.Err() != nil {
			return fmt.Errorf("no recovery: %+v", log.State())
		}
		time.Sleep(time.Millisecond)
	}
	if err := intents(); err != nil {
		return fmt.Errorf("after the recovery: %w", err)
	}
	if err := log.Flush(ctx); err != nil {
		return err
	}
	opened := false
	list, err := db.Audit().Before(ctx, 1<<40, 2000)
	if err != nil {
		return err
	}
	for _, r := range list {
		opened = opened || strings.Contains(string(r.Leaf), `"action":"log.open"`) && strings.Contains(string(r.Leaf), fmt.Sprintf(`"refused":"%d"`, refused-1))
	}
	if !opened {
		return fmt.Errorf("the log does not say that it is open again, and that %d intents were refused", refused-1)
	}
	verifier, err := note.NewVerifier(os.Getenv(publicVariable))
	if err != nil {
		return err
	}
	report, err := audit.Verify(ctx, db.Audit(), verifier, audit.VerifyOptions{})
	if err != nil || !report.OK() {
		return fmt.Errorf("the log does not verify: %+v %w", report, err)
	}
	for _, id := range acknowledged {
		if _, err := db.Audit().Find(ctx, id); err != nil {
			return fmt.Errorf("an acknowledged entry is not in the log: %w", err)
		}
	}
	fmt.Printf("%d intents acknowledged, %d refused, 200 cut off on the full disk in %s\n", len(acknowledged)-200, refused, took.Round(time.Millisecond))
	return db.Close()
}
