package atrest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// State is what is thought of a fact. Unknown is never well.
type State string

// The states of a fact.
const (
	OK      State = "ok"
	Wanting State = "wanting"
	Unknown State = "unknown"
)

// A Fact is something about the machine that protection at rest depends on.
type Fact struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	Evidence string `json:"evidence"`
	Next     string `json:"next,omitempty"` // what to do about it
}

// Machine reads the facts of a Linux system. Root is put before /proc and /sys;
// "" is this machine.
type Machine struct{ Root string }

func (m Machine) read(path string) (string, error) {
	b, err := os.ReadFile(m.Root + path)
	return strings.TrimSpace(string(b)), err
}

// mount is one line of mountinfo.
type mount struct{ device, point, kind, source string }

// mountOf returns the mount that holds path.
func (m Machine) mountOf(path string) (mount, bool) {
	text, err := m.read("/proc/self/mountinfo")
	if err != nil {
		return mount{}, false
	}
	var best mount
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(strings.TrimSpace(line), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(rest) < 2 {
			continue
		}
		point := unescapeMount(fields[4])
		if !within(path, point) || len(point) < len(best.point) {
			continue
		}
		best = mount{device: fields[2], point: point, kind: rest[0], source: unescapeMount(rest[1])}
	}
	return best, best.point != ""
}

func within(path, directory string) bool {
	return path == directory || directory == "/" || strings.HasPrefix(path, directory+"/")
}

// unescapeMount undoes the kernel's octal escapes for white space and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// DiskEncryption says whether the disk below path is encrypted.
func (m Machine) DiskEncryption(path string) Fact {
	state, evidence := m.encrypted(path)
	f := Fact{Name: "disk encryption", State: state, Evidence: path + ": " + evidence}
	switch state {
	case Wanting:
		f.Next = "put the data on an encrypted volume (LUKS/dm-crypt)"
	case Unknown:
		f.Next = "find out whether the layer below encrypts (the host, the provider's volume), and keep the evidence"
	}
	return f
}

func (m Machine) encrypted(path string) (State, string) {
	at, ok := m.mountOf(path)
	if !ok {
		return Unknown, "the mount table does not show where it lies"
	}
	where := at.kind + " on " + at.source
	switch at.kind {
	case "ecryptfs":
		return OK, where + " encrypts files"
	case "tmpfs", "ramfs":
		return Unknown, where + " is memory: it may be swapped out, and is gone after a restart"
	case "zfs", "overlay", "nfs", "nfs4", "cifs", "9p", "virtiofs", "fuse", "fuseblk":
		return Unknown, where + " does not show the disk below"
	}
	device := at.device
	if strings.HasPrefix(device, "0:") { // btrfs and others have no device of their own
		if device, ok = m.number(at.source); !ok {
			return Unknown, where + " does not show the disk below"
		}
	}
	return m.device(device, where)
}

// number returns "major:minor" of a block device.
func (m Machine) number(path string) (string, bool) {
	info, err := os.Stat(m.Root + path)
	if err != nil {
		return "", false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeDevice == 0 {
		return "", false
	}
	rdev := stat.Rdev
	return fmt.Sprintf("%d:%d", rdev>>8&0xfff|rdev>>32&^0xfff, rdev&0xff|rdev>>12&0xffffff00), true
}

// device says whether a block device is encrypted: by itself, or because all of
// those below it are.
func (m Machine) device(number, where string) (State, string) {
	dir := m.Root + "/sys/dev/block/" + number
	if _, err := os.Stat(dir); err != nil {
		return Unknown, where + " (" + number + ") is not shown by the kernel"
	}
	if plain, depth := m.plain(dir, 0); !plain && depth < 8 {
		return OK, where + " lies on dm-crypt"
	} else if depth >= 8 {
		return Unknown, where + " lies on more layers than are followed"
	}
	if m.virtual() {
		return Unknown, where + " has no dm-crypt in this machine, which is virtual: its host may encrypt"
	}
	return Wanting, where + " has no dm-crypt"
}

// plain reports whether data reaches a disk below dir without dm-crypt.
func (m Machine) plain(dir string, depth int) (bool, int) {
	if depth >= 8 {
		return true, depth
	}
	if id, err := os.ReadFile(filepath.Join(dir, "dm", "uuid")); err == nil && bytes.HasPrefix(id, []byte("CRYPT-")) {
		return false, depth
	}
	below, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil || len(below) == 0 {
		return true, depth
	}
	for _, b := range below {
		if plain, at := m.plain(filepath.Join(dir, "slaves", b.Name()), depth+1); plain {
			return true, at
		}
	}
	return false, depth
}

// virtual reports whether a hypervisor is below.
func (m Machine) virtual() bool {
	text, err := m.read("/proc/cpuinfo")
	if err != nil {
		return true // then a disk is not called plain
	}
	for line := range strings.Lines(text) {
		if name, flags, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "flags" {
			return slices.Contains(strings.Fields(flags), "hypervisor")
		}
	}
	return false
}

// Swap says whether memory can reach a disk in plain.
func (m Machine) Swap() Fact {
	f := Fact{Name: "swap", State: OK, Evidence: "there is none"}
	text, err := m.read("/proc/swaps")
	if err != nil {
		return Fact{Name: "swap", State: Unknown, Evidence: "the kernel does not show it", Next: "look at it yourself"}
	}
	lines := strings.Split(text, "\n")
	var seen []string
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		path := unescapeMount(fields[0])
		state, evidence := OK, "is in memory"
		switch number, ok := m.number(path); {
		case strings.HasPrefix(filepath.Base(path), "zram"):
		case fields[1] == "file":
			state, evidence = m.encrypted(path)
		case ok:
			state, evidence = m.device(number, fields[1])
		default:
			state, evidence = Unknown, "does not show the disk below"
		}
		seen = append(seen, path+": "+evidence)
		f.State = worse(f.State, state)
	}
	if len(seen) > 0 {
		f.Evidence = strings.Join(seen, "; ")
	}
	if f.State != OK {
		f.Next = "swapoff, or swap on an encrypted volume: keys in memory can be written there"
	}
	return f
}

// worse returns the worse of two states.
func worse(a, b State) State {
	order := []State{OK, Unknown, Wanting}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// Process is a running program, as far as it can be seen.
type Process struct {
	PID  int
	Logs []string // regular files that it writes its output to
}

// CoreDumps says whether the memory of these processes can be written to a file.
func (m Machine) CoreDumps(processes []Process) Fact {
	pattern, err := m.read("/proc/sys/kernel/core_pattern")
	if err != nil {
		pattern = "unknown"
	}
	f := Fact{Name: "core dumps", State: OK, Evidence: "core_pattern " + strconv.Quote(pattern)}
	if len(processes) == 0 {
		f.State, f.Evidence = Unknown, "no running gatehouse is seen; "+f.Evidence
		f.Next = "run this while gatehouse runs, as its user or as root"
		return f
	}
	for _, p := range processes {
		state, evidence := m.dumps(p.PID, strings.HasPrefix(pattern, "|"))
		f.State = worse(f.State, state)
		f.Evidence += fmt.Sprintf("; process %d: %s", p.PID, evidence)
	}
	if f.State != OK {
		f.Next = "set LimitCORE=0 in the unit (ulimit -c 0), and kernel.core_pattern to a program that keeps nothing"
	}
	return f
}

func (m Machine) dumps(pid int, piped bool) (State, string) {
	directory := fmt.Sprintf("/proc/%d", pid)
	if m.protected(pid) {
		return OK, "not dumpable"
	}
	text, err := m.read(directory + "/limits")
	if err != nil {
		return Unknown, "its limits cannot be read"
	}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max core file size")
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 {
			continue
		}
		switch limit := "core limit " + fields[0]; {
		case piped:
			return Wanting, limit + ", which does not bind a core_pattern that is a program"
		case fields[0] == "0":
			return OK, limit
		default:
			return Wanting, limit
		}
	}
	return Unknown, "it shows no limit"
}

// protected reports whether the kernel shows that a process is not dumpable: its
// files in /proc then belong to root although it runs as somebody else. A process
// of root's does not show it.
func (m Machine) protected(pid int) bool {
	directory := fmt.Sprintf("/proc/%d", pid)
	status, err := m.read(directory + "/status")
	if err != nil {
		return false
	}
	info, err := os.Stat(m.Root + directory)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, "Uid:"); found {
			fields := strings.Fields(rest)
			return ok && len(fields) > 1 && fields[1] != "0" && stat.Uid == 0
		}
	}
	return false
}

// Running returns the processes that run the same program as this one and whose
// command line is wanted. Of one that is not dumpable only root sees the program,
// its directory ("" here) and its files: then the program's name has to do.
func (m Machine) Running(wanted func(args []string, directory string) bool) []Process {
	own, err := os.Readlink(m.Root + "/proc/self/exe")
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(m.Root + "/proc")
	if err != nil {
		return nil
	}
	// After an upgrade the old program is deleted and still runs.
	program := func(link string) string { return strings.TrimSuffix(link, " (deleted)") }
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		directory := m.Root + "/proc/" + e.Name()
		exe, err := os.Readlink(directory + "/exe")
		hidden := errors.Is(err, os.ErrPermission)
		if err != nil && !hidden || err == nil && program(exe) != program(own) {
			continue
		}
		line, err := os.ReadFile(directory + "/cmdline")
		if err != nil {
			continue
		}
		cwd, _ := os.Readlink(directory + "/cwd") // "" fits absolute paths only
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if hidden && filepath.Base(args[0]) != filepath.Base(program(own)) || !wanted(args, cwd) {
			continue
		}
		p := Process{PID: pid}
		for _, fd := range []string{"1", "2"} {
			if target, err := os.Readlink(directory + "/fd/" + fd); err == nil && strings.HasPrefix(target, "/") && !slices.Contains(p.Logs, target) {
				if info, err := os.Stat(m.Root + target); err == nil && info.Mode().IsRegular() {
					p.Logs = append(p.Logs, target)
				}
			}
		}
		all = append(all, p)
	}
	return all
}

// Modes says whether somebody else can reach files. Secret ones nobody else may
// read; of the others nobody else may change any.
func Modes(secret, others []string) Fact {
	f := Fact{Name: "file modes and owners", State: OK}
	var wrong, fine []string
	check := func(path string, forbidden os.FileMode) {
		info, err := os.Stat(path)
		if err != nil {
			f.State = worse(f.State, Unknown)
			wrong = append(wrong, err.Error())
			return
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode()
		evidence := fmt.Sprintf("%s %#o", path, mode.Perm())
		sticky := mode&os.ModeSticky != 0 && mode.IsDir()
		switch {
		case mode.Perm()&forbidden != 0 && !sticky:
			f.State = Wanting
			wrong = append(wrong, evidence)
		case ok && stat.Uid != 0 && int64(stat.Uid) != int64(os.Geteuid()):
			f.State = worse(f.State, Unknown)
			wrong = append(wrong, fmt.Sprintf("%s belongs to user %d, and this runs as %d", evidence, stat.Uid, os.Geteuid()))
		default:
			fine = append(fine, evidence)
		}
	}
	for _, path := range secret {
		check(path, 0o077)
	}
	for _, path := range others {
		check(path, 0o022)
	}
	f.Evidence = strings.Join(append(wrong, fine...), "; ")
	if f.State != OK {
		f.Next = "chmod 600 keys, secrets and databases, chmod go-w the rest; run this as the user that runs gatehouse"
	}
	return f
}

// DatabaseTLS says how the store is reached.
func DatabaseTLS(s Server) Fact {
	f := Fact{Name: "database connection", State: OK}
	switch {
	case s.Engine == "sqlite":
		f.Evidence = "a file, no network"
	case s.TLS != "":
		f.Evidence = s.TLS
	case s.Local:
		f.Evidence = "in plain, within this machine"
	default:
		f.State, f.Evidence = Wanting, "in plain, over the network"
		f.Next = "put sslmode=verify-full into the store's address"
	}
	return f
}

// SameDisk reports whether two paths lie on one mounted file system.
func (m Machine) SameDisk(a, b string) (same, known bool) {
	x, ok := m.mountOf(a)
	y, also := m.mountOf(b)
	return x.device == y.device, ok && also
}
