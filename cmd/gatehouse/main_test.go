package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/vault/kms/kmstest"

	"github.com/rogpeppe/go-internal/testscript"
	"modernc.org/sqlite"
)

// asProgram makes the test binary behave as the program, so that tests can run
// the real main in a process of its own.
const asProgram = "GATEHOUSE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	// Some tests open a stopped program's database before any of them opens a
	// store, and SQLite's kind of lock is chosen before the first.
	if _, err := sqlite.OFDLocking(true); err != nil && !errors.Is(err, sqlite.ErrOFDLockingUnavailable) {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestScripts runs what a user does, one story to a file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// A fake key management system for those who name it, and a port of their own.
			f, token := kmstest.NewTransit(false)
			e.Defer(f.Close)
			f.AddKey("gatehouse")
			e.Values[transitOfScript{}] = f
			e.Setenv("TRANSIT", f.URL)
			e.Setenv("TRANSIT_TOKEN", token)
			port, err := ownPort()
			if err != nil {
				return err
			}
			e.Setenv("PORT", strconv.Itoa(port))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"flipbyte": flipByte,
			"status":   exitStatus,
			"sql":      runSQL,
			"health":   awaitHealth,
			"transit":  breakTransit,
		},
	})
}

var scriptPorts sync.Map // the ports that scripts have

// ownPort returns a port of a script's own, which nobody listens on, below those that the
// system hands out.
func ownPort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		if _, taken := scriptPorts.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, errors.New("no port is free")
}

// exitStatus runs a command that must end with the given status:
// "status 2 gatehouse frobnicate".
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
		}
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// flipByte changes one byte of one cell of a stopped Gatehouse's database:
// "flipbyte FILE TABLE COLUMN WHERE".
func flipByte(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: flipbyte file table column where")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	table, column, where := args[1], args[2], args[3]
	var cell []byte
	ts.Check(db.QueryRow("SELECT " + column + " FROM " + table + " WHERE " + where).Scan(&cell))
	if len(cell) == 0 {
		ts.Fatalf("%s.%s is empty", table, column)
	}
	cell[len(cell)/2] ^= 0x01
	result, err := db.Exec("UPDATE "+table+" SET "+column+" = $1 WHERE "+where, cell)
	ts.Check(err)
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		ts.Fatalf("changed %d rows (%v), want 1", n, err)
	}
}

// runSQL executes one statement: "sql FILE STATEMENT".
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql file statement")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

type transitOfScript struct{}

// breakTransit changes the fake key management system: "transit away|deny|works".
func breakTransit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: transit away|deny|works")
	}
	f, ok := ts.Value(transitOfScript{}).(*kmstest.Transit)
	if !ok {
		ts.Fatalf("there is no fake")
	}
	f.Deny(args[0] == "deny")
	f.Break(nil)
	if args[0] == "away" {
		f.Break(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	}
}

// awaitHealth waits until a running Gatehouse says what is wanted of itself:
// "health URL WORD".
func awaitHealth(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: health url word")
	}
	var last string
	for range 600 {
		if reply, err := http.Get(args[0] + "/gatehouse/v1/health"); err == nil {
			body, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			last = fmt.Sprint(reply.StatusCode, " ", string(body), err)
			if strings.Contains(last, args[1]) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("health never says %q; last: %s", args[1], last)
}
