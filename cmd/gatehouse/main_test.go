package main

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"
)

// asProgram makes the test binary behave as the program, so that tests can run
// the real main in a process of its own.
const asProgram = "GATEHOUSE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestScripts runs what a user does, one story to a file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"flipbyte": flipByte,
			"status":   exitStatus,
			"sql":      runSQL,
		},
	})
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
