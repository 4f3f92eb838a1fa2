package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgres is the server that this test binary started.
type postgres struct {
	dir  string
	port int
}

func (p *postgres) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

var (
	once    sync.Once
	started *postgres
	failed  error
)

// server starts PostgreSQL on first use.
func server(t testing.TB) *postgres {
	t.Helper()
	once.Do(func() { started, failed = start() })
	if failed != nil {
		t.Fatalf("starting PostgreSQL: %v", failed)
	}
	return started
}

// start makes a cluster in a temporary directory and starts a server on it.
//
// A test binary may end by os.Exit, a panic or a signal, and none of them runs
// clean-up code. So a small shell holds the read end of a pipe whose write end
// only this process has: when this process ends in whatever way, the shell
// reads end-of-file, stops the server and removes the directory.
func start() (*postgres, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-postgres-")
	if err != nil {
		return nil, err
	}
	var as []string
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		if as, err = give(dir); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	if out, err := command(as, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	for try := 0; ; try++ {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		p := &postgres{dir: dir, port: port}
		if err = p.run(bin, as, data); err == nil {
			return p, nil
		}
		// Another process may have taken the port in between.
		if try == 3 {
			return nil, err
		}
	}
}

// guard runs the server and stops it at the end of its input. Nothing of a
// test needs to survive a power failure, so the server does not wait for the
// disk.
const guard = `
"$@" &
server=$!
cat >/dev/null
kill -INT $server 2>/dev/null
wait $server
rm -rf "$GATEHOUSE_TEST_DIR"
`

func (p *postgres) run(bin string, as []string, data string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	args := slices.Concat([]string{"-c", guard, "sh"}, as, []string{filepath.Join(bin, "postgres"),
		"-D", data, "-p", strconv.Itoa(p.port), "-k", p.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200",
		"-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal"})
	c := exec.Command("/bin/sh", args...)
	c.Env = append(os.Environ(), "GATEHOUSE_TEST_DIR="+p.dir)
	c.Dir = p.dir
	c.Stdin = read
	var log bytes.Buffer
	c.Stderr = &log
	// An interrupt typed at the terminal is for the tests; the guard sees
	// their end.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return err
	}
	_ = read.Close()
	// Kept open, on purpose, until the process ends.
	hold = append(hold, write)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), time.Second)
		if err == nil {
			_ = conn.Close()
			if err = ready(p.dsn("postgres")); err == nil {
				return nil
			}
		}
		if time.Now().After(deadline) {
			_ = write.Close()
			return fmt.Errorf("the server does not answer: %w\n%s", err, log.String())
		}
	}
}

var hold []io.Closer

func ready(dsn string) error {
	ctx, cancel := timeout()
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// binaries finds the directory of PostgreSQL's programs, the newest first.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	for _, f := range found {
		bin := filepath.Dir(f)
		if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
			return bin, nil
		}
	}
	return "", fmt.Errorf("these tests run on PostgreSQL too, and it is not installed: apt-get install postgresql")
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// give hands the directory to the user postgres and returns the command that
// runs others as that user.
func give(dir string) ([]string, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("tests that run as root start PostgreSQL as the user postgres: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, err
	}
	return []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", "--"}, nil
}

func command(as []string, args ...string) *exec.Cmd {
	args = slices.Concat(as, args)
	c := exec.Command(args[0], args[1:]...)
	c.Dir = "/"
	return c
}

// freePort returns a port below the range that the system gives to outgoing
// connections, so that none of those takes it before the server does.
func freePort() (int, error) {
	first := 15000 + os.Getpid()*7%15000
	for i := range 1000 {
		port := 15000 + (first-15000+i)%15000
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no port between 15000 and 30000 is free")
}

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Second)
}
