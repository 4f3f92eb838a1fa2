package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// errNoPostgres means that the machine has no PostgreSQL to start.
var errNoPostgres = errors.New("PostgreSQL is not installed (apt-get install postgresql), and no -postgres address is given")

// startPostgres starts a server in a new directory, with the settings that
// PostgreSQL comes with: it waits for its disk. It returns the address of an empty
// database, and a function that stops the server and removes the directory.
func startPostgres(ctx context.Context) (dsn string, stop func(), err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return "", nil, errNoPostgres
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "gatehouse-bench-postgres-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	var as []string
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		if as, err = giveToPostgres(dir); err != nil {
			remove()
			return "", nil, err
		}
	}
	command := func(args ...string) *exec.Cmd {
		args = slices.Concat(as, args)
		c := exec.Command(args[0], args[1:]...)
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for us first
		return c
	}
	data := filepath.Join(dir, "data")
	if out, err := command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		remove()
		return "", nil, err
	}
	server := command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "log_min_messages=fatal")
	var stderr bytes.Buffer
	server.Stderr = &stderr
	if err := server.Start(); err != nil {
		remove()
		return "", nil, err
	}
	stop = func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
		remove()
	}
	dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	for range 300 {
		var c *pgx.Conn
		if c, err = pgx.Connect(ctx, dsn); err == nil {
			return dsn, stop, c.Close(ctx)
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("starting PostgreSQL: %w: %s", err, stderr.String())
}

// giveToPostgres hands a directory to the user postgres and returns the command
// that runs another as that user.
func giveToPostgres(dir string) ([]string, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("root starts PostgreSQL as the user postgres: %w", err)
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

// databaseBytes is what a database takes on the disk.
func databaseBytes(ctx context.Context, dsn string) (int64, error) {
	if path, sqlite := cutSQLite(dsn); sqlite {
		var sum int64
		for _, suffix := range []string{"", "-wal"} {
			info, err := os.Stat(path + suffix)
			if err != nil && !os.IsNotExist(err) {
				return 0, err
			}
			if err == nil {
				sum += info.Size()
			}
		}
		return sum, nil
	}
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(ctx) }()
	var size int64
	err = c.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&size)
	return size, err
}

// analyze brings the engine's statistics up to date, as PostgreSQL's own
// autovacuum does some time after many rows have come.
func analyze(ctx context.Context, dsn string) error {
	if _, sqlite := cutSQLite(dsn); sqlite {
		return nil
	}
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, "VACUUM ANALYZE connections")
	return err
}
