package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// terminal returns both ends of a pseudo-terminal: ours, and the program's.
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	var number, unlock uint32
	for request, at := range map[uintptr]*uint32{0x40045431: &unlock, 0x80045430: &number} { // TIOCSPTLCK, TIOCGPTN
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, ours.Fd(), request, uintptr(unsafe.Pointer(at))); errno != 0 {
			t.Fatal(errno)
		}
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}

// typing runs a command whose standard input is a terminal, at which somebody types.
func (h *house) typing(line string, args ...string) (out, errOut string, code int) {
	h.t.Helper()
	ours, theirs := terminal(h.t)
	c := exec.Command(os.Args[0], append(args, "--config", h.config)...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = theirs, &stdout, &stderr
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	if _, err := ours.WriteString(line + "\n"); err != nil {
		h.t.Fatal(err)
	}
	_ = c.Wait()
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

// TestAccountCommandsAsk: at a terminal, what takes an account away asks for its name; in
// a pipe, and with --yes, it does not.
func TestAccountCommandsAsk(t *testing.T) {
	h := newHouse(t)
	for _, who := range []string{"ada", "bob", "cleo"} {
		h.must("account", "invite", who+"@example.com", "--role", "auditor")
	}
	for _, args := range [][]string{
		{"account", "remove", "ada@example.com"}, {"account", "invite", "--again", "ada@example.com"}, {"account", "hand-over", "ada@example.com", "bob@example.com"},
	} {
		for _, wrong := range []string{"", "yes", "bob@example.com"} {
			if _, errOut, code := h.typing(wrong, args...); code != exitUsage || !strings.Contains(errOut, "nothing was done") || !strings.Contains(errOut, "type ada@example.com: ") {
				t.Errorf("%v, typed %q: exit status %d\n%s", args, wrong, code, errOut)
			}
		}
	}
	if out := h.must("account", "list", "--json"); strings.Contains(out, "removed") {
		t.Errorf("somebody was removed: %s", out)
	}
	if _, errOut, code := h.typing("ada@example.com", "account", "invite", "--again", "ada@example.com"); code != exitDone {
		t.Errorf("invite --again with the name: exit status %d\n%s", code, errOut)
	}
	if _, errOut, code := h.typing("ada@example.com", "account", "remove", "ada@example.com"); code != exitDone {
		t.Errorf("remove with the name: exit status %d\n%s", code, errOut)
	}
	if _, errOut, code := h.typing("", "account", "remove", "bob@example.com", "--yes"); code != exitDone || strings.Contains(errOut, "type") {
		t.Errorf("remove --yes: exit status %d\n%s", code, errOut)
	}
	h.must("account", "remove", "cleo@example.com")
}
