package audit_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/wire"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"golang.org/x/mod/sumdb/note"
)

// faulty is a file system that passes everything on, until it is told to do as a disk
// does that the kernel has made read-only after an error, whose controller fails, or
// that does not answer.
type faulty struct {
	fuse.RawFileSystem
	mu    sync.Mutex
	fault string
	// changed is closed when there is another fault.
	changed chan struct{}
}

func newFaulty(dir string) (*faulty, error) {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return nil, err
	}
	return &faulty{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), changed: make(chan struct{})}, nil
}

func (f *faulty) set(fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	close(f.changed)
	f.changed = make(chan struct{})
}

// change is what becomes of a change to what is stored.
func (f *faulty) change() fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.fault {
	case "read-only":
		return fuse.EROFS
	case "full":
		return fuse.Status(syscall.ENOSPC)
	case "failing":
		return fuse.EIO
	}
	return fuse.OK
}

func (f *faulty) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if s := f.change(); s != fuse.OK {
		return 0, s
	}
	return f.RawFileSystem.Write(cancel, in, data)
}

func (f *faulty) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS // then it comes to Write
}

func (f *faulty) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := f.change(); s != fuse.OK {
		return s
	}
	s := f.RawFileSystem.Create(cancel, in, name, out)
	out.OpenFlags &^= fuse.FOPEN_PASSTHROUGH
	return s
}

func (f *faulty) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s := f.RawFileSystem.Open(cancel, in, out)
	out.OpenFlags &^= fuse.FOPEN_PASSTHROUGH // or the kernel writes past us
	return s
}

func (f *faulty) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := f.change(); s != fuse.OK {
		return s
	}
	return f.RawFileSystem.SetAttr(cancel, in, out)
}

func (f *faulty) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if s := f.change(); s != fuse.OK {
		return s
	}
	return f.RawFileSystem.Fallocate(cancel, in)
}

func (f *faulty) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if s := f.change(); s != fuse.OK && s != fuse.Status(syscall.ENOSPC) {
		return s
	}
	return f.RawFileSystem.Unlink(cancel, in, name)
}

func (f *faulty) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	for {
		f.mu.Lock()
		changed := f.changed
		hangs := f.fault == "hanging"
		f.mu.Unlock()
		if !hangs {
			break
		}
		select {
		case <-changed:
		case <-cancel: // the process that waits was ended
			return fuse.EINTR
		}
	}
	if s := f.change(); s == fuse.EIO {
		return s
	}
	return f.RawFileSystem.Fsync(cancel, in)
}

func init() {
	roles["faulty disk"] = faultyDisk
	roles["on a faulty disk"] = onFaultyDisk
}

// TestFaultyDisk runs a log on a real file system that fails in every way that is
// named in it, one after the other; see onFaultyDisk.
func TestFaultyDisk(t *testing.T) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	c := command("faulty disk", t.TempDir(), private)
	c.Env = append(c.Env, publicVariable+"="+public)
	mounting(c)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v (it needs to mount a FUSE file system: root, or user namespaces)\n%s", err, out)
	}
	t.Log(strings.TrimSpace(string(out)))
}

// faultyDisk serves the file system to a child and does what it is told: each line
// that the child writes is a fault, and is answered when it is there.
func faultyDisk() error {
	dir := os.Getenv(dsnVariable)
	below, mounted := filepath.Join(dir, "below"), filepath.Join(dir, "disk")
	if err := errors.Join(os.Mkdir(below, 0o700), os.Mkdir(mounted, 0o700)); err != nil {
		return err
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	disk, err := newFaulty(below)
	if err != nil {
		return err
	}
	server, err := fuse.NewServer(disk, mounted, &fuse.MountOptions{Name: "faulty", DirectMountStrict: true})
	if err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	if err := closeOnExec("/dev/fuse"); err != nil {
		return err
	}
	orders, toUs, err := os.Pipe()
	if err != nil {
		return err
	}
	fromUs, answers, err := os.Pipe()
	if err != nil {
		return err
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"=on a faulty disk", dsnVariable+"="+mounted, "TMPDIR="+dir)
	c.ExtraFiles = []*os.File{toUs, fromUs}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	_ = toUs.Close()
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		disk.set(lines.Text())
		if _, err := io.WriteString(answers, "\n"); err != nil {
			return err
		}
	}
	disk.set("") // or what still waits is never unmounted
	return errors.Join(c.Wait(), server.Unmount())
}

// closeOnExec keeps a child from getting a file that is open here: as long as one
// holds the device, the kernel waits for answers.
func closeOnExec(path string) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || to != path {
			continue // err: the one of the directory itself
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fd)
	}
	return nil
}

// onFaultyDisk writes a log and breaks its disk. Whatever the disk does: nobody is
// told that an entry is there which is not, calls are refused with the reason, and
// when the disk works again so does everything else, by itself.
func onFaultyDisk() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	orders, answers := os.NewFile(3, "orders"), bufio.NewReader(os.NewFile(4, "answers"))
	disk := func(fault string) error {
		_, err := io.WriteString(orders, fault+"\n")
		if err == nil {
			_, err = answers.ReadString('\n')
		}
		return err
	}
	dir := os.Getenv(dsnVariable)
	if err := os.Setenv(dsnVariable, "sqlite:"+filepath.Join(dir, "gatehouse.db")); err != nil {
		return err
	}
	if err := store.Create(ctx, os.Getenv(dsnVariable)); err != nil {
		return err
	}
	db, log, err := childLog(ctx, audit.Config{Aside: filepath.Join(dir, "gatehouse.db-log"), Reserve: 1 << 20, Patience: 2 * time.Second})
	if err != nil {
		return err
	}
	if err := log.Prepare(); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(os.Getenv(publicVariable))
	if err != nil {
		return err
	}
	var acknowledged []string
	intent := func() error {
		r, err := log.Intent(ctx, call())
		if err == nil {
			acknowledged = append(acknowledged, r.ID())
			log.Outcome(r, audit.Entry{Verdict: "done"})
		}
		return err
	}
	for _, c := range []struct {
		fault, rule string
	}{
		{"read-only", "log/unwritable"},
		{"hanging", "log/slow"},
		{"failing", "log/unwritable"},
		{"full", "log/full"},
	} {
		for range 20 {
			if err := intent(); err != nil {
				return fmt.Errorf("before %s: %w", c.fault, err)
			}
		}
		if err := disk(c.fault); err != nil {
			return err
		}
		for {
			if err := intent(); err != nil {
				if wire.RuleOf(err) != c.rule {
					return fmt.Errorf("%s: the refusal has rule %q: %w", c.fault, wire.RuleOf(err), err)
				}
				break
			}
		}
		began := time.Now()
		for range 50 {
			if err := intent(); wire.RuleOf(err) != c.rule {
				return fmt.Errorf("%s: the next refusal has rule %q: %w", c.fault, wire.RuleOf(err), err)
			}
		}
		// The disk's two seconds are waited for once, not by everybody.
		if took := time.Since(began); took > 50*time.Second {
			return fmt.Errorf("%s: 50 refusals took %s", c.fault, took)
		}
		// Taking access away does not wait for the disk for ever, either, and whoever
		// asks is told that nothing of it is durable. In the log it gets all the same.
		r, cut := log.Reduce(ctx, audit.Entry{Action: "handle.revoke"})
		if !errors.Is(cut, gatehouse.ErrUnavailable) || r.Valid() {
			return fmt.Errorf("%s: taking access away: valid %v, %w", c.fault, r.Valid(), cut)
		}
		acknowledged = append(acknowledged, r.ID())
		log.Outcome(r, audit.Entry{Verdict: "done"})
		if err := disk("none"); err != nil {
			return err
		}
		for log.State().Condition != audit.Writable {
			if ctx.Err() != nil {
				return fmt.Errorf("no recovery from %s: %+v", c.fault, log.State())
			}
			time.Sleep(time.Millisecond)
		}
		if err := intent(); err != nil {
			return fmt.Errorf("after %s: %w", c.fault, err)
		}
		if err := log.Flush(ctx); err != nil {
			return fmt.Errorf("after %s: %w", c.fault, err)
		}
		report, err := audit.Verify(ctx, db.Audit(), verifier, audit.VerifyOptions{})
		if err != nil || !report.OK() {
			return fmt.Errorf("after %s the log does not verify: %+v %w", c.fault, report, err)
		}
		for _, id := range acknowledged {
			if _, err := db.Audit().Find(ctx, id); err != nil {
				return fmt.Errorf("after %s an acknowledged entry is not in the log: %w", c.fault, err)
			}
		}
	}
	if err := noteLate(ctx, disk); err != nil {
		return err
	}
	fmt.Printf("%d entries acknowledged, all of them in the log\n", len(acknowledged))
	return db.Close()
}

// noteLate has something noted that is to be done, beside a log that works, on a disk
// that hangs: it is not waited for, and done when the disk answers.
func noteLate(ctx context.Context, disk func(string) error) error {
	aside := filepath.Join(os.Getenv(dsnVariable)[len("sqlite:"):]+"-log", "second")
	if err := os.Setenv(dsnVariable, "sqlite:"+filepath.Join(os.Getenv("TMPDIR"), "second.db")); err != nil {
		return err
	}
	if err := store.Create(ctx, os.Getenv(dsnVariable)); err != nil {
		return err
	}
	db, log, err := childLog(ctx, audit.Config{Aside: aside, Reserve: 1, Patience: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := log.Prepare(); err != nil {
		return err
	}
	done := make(chan audit.Deed, 1)
	log.Redo(ctx, func(_ context.Context, d audit.Deed) error {
		if s := log.State(); s.Condition != audit.Owing {
			return fmt.Errorf("%+v while something is owed", s)
		}
		done <- d
		return nil
	})
	if err := disk("hanging"); err != nil {
		return err
	}
	broken := fmt.Errorf("the database: %w", gatehouse.ErrUnavailable)
	if err := log.Defer(broken, audit.Deed{Kind: "handle", Target: "h1"}, audit.Entry{Action: "handle.revoke"}); !errors.Is(err, broken) || wire.RuleOf(err) != "" {
		return fmt.Errorf("what could not be noted yet: %w", err)
	}
	if err := disk("none"); err != nil {
		return err
	}
	select {
	case d := <-done:
		if d.Target != "h1" {
			return fmt.Errorf("%+v was done, want what was noted", d)
		}
	case <-ctx.Done():
		return errors.New("what was noted late is not done")
	}
	for log.State().Condition != audit.Writable {
		if ctx.Err() != nil {
			return fmt.Errorf("after it was done: %+v", log.State())
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := log.Intent(ctx, call()); err != nil {
		return fmt.Errorf("after it was done: %w", err)
	}
	return db.Close()
}
