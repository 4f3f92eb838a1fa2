package atrest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/atrest"
)

// machine makes a /proc and /sys of these files. A value that begins with "->" is
// a symbolic link.
func machine(t *testing.T, files map[string]string) atrest.Machine {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		if target, link := strings.CutPrefix(content, "->"); link {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, filepath.Join(root, path), []byte(content))
	}
	return atrest.Machine{Root: root}
}

const mountinfo = `22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 253:1 / /var/lib rw,relatime - ext4 /dev/mapper/vg-data rw
31 22 0:50 / /tank rw - zfs tank/data rw
32 22 253:7 / /with\040space rw - xfs /dev/mapper/luks-x rw
33 22 0:51 / /cow rw - btrfs /dev/nowhere rw
34 22 0:52 / /secret rw - ecryptfs /srv/.x rw
35 22 253:9 / /half rw - ext4 /dev/mapper/vg-half rw
`

func TestDiskEncryption(t *testing.T) {
	files := func(virtual string) map[string]string {
		return map[string]string{
			"/proc/self/mountinfo": mountinfo,
			"/proc/cpuinfo":        "processor: 0\nflags\t\t: fpu vme " + virtual + "\n",

			"/sys/dev/block/259:2/size": "1",
			// LVM on LUKS on a partition.
			"/sys/dev/block/253:1/dm/uuid":     "LVM-abc",
			"/sys/dev/block/253:1/slaves/dm-0": "->../../253:0",
			"/sys/dev/block/253:0/dm/uuid":     "CRYPT-LUKS2-abc-luks",
			"/sys/dev/block/253:7/dm/uuid":     "CRYPT-LUKS2-def-luks",
			// LVM over an encrypted and a plain disk.
			"/sys/dev/block/253:9/dm/uuid":          "LVM-half",
			"/sys/dev/block/253:9/slaves/dm-0":      "->../../253:0",
			"/sys/dev/block/253:9/slaves/nvme0n1p2": "->../../259:2",
		}
	}
	for _, c := range []struct {
		path, virtual string
		want          atrest.State
	}{
		{"/var/lib/gatehouse/gatehouse.db", "", atrest.OK},
		{"/with space/gatehouse.db", "", atrest.OK},
		{"/secret/gatehouse.db", "", atrest.OK},
		{"/var/library/gatehouse.db", "", atrest.Wanting}, // not below /var/lib
		{"/half/gatehouse.db", "", atrest.Wanting},
		{"/srv/gatehouse.db", "", atrest.Wanting},
		{"/srv/gatehouse.db", "hypervisor", atrest.Unknown},
		{"/var/lib/gatehouse.db", "hypervisor", atrest.OK},
		{"/tank/gatehouse.db", "", atrest.Unknown},
		{"/cow/gatehouse.db", "", atrest.Unknown},
	} {
		m := machine(t, files(c.virtual))
		f := m.DiskEncryption(c.path)
		if f.State != c.want || f.Evidence == "" || (f.Next == "") != (c.want == atrest.OK) {
			t.Errorf("%s %s: %+v, want %s", c.path, c.virtual, f, c.want)
		}
	}
	if f := machine(t, nil).DiskEncryption("/x"); f.State != atrest.Unknown {
		t.Errorf("without a mount table: %+v", f)
	}
	m := machine(t, files(""))
	if same, known := m.SameDisk("/var/lib/a", "/var/lib/b"); !same || !known {
		t.Error("two paths on one mount are not on one disk")
	}
	if same, _ := m.SameDisk("/var/lib/a", "/srv/b"); same {
		t.Error("two paths on two mounts are on one disk")
	}
}

func TestSwap(t *testing.T) {
	const header = "Filename\tType\tSize\tUsed\tPriority\n"
	for name, c := range map[string]struct {
		swaps string
		want  atrest.State
	}{
		"none":              {header, atrest.OK},
		"zram":              {header + "/dev/zram0 partition 1 0 100\n", atrest.OK},
		"file on LUKS":      {header + "/var/lib/swap file 1 0 -2\n", atrest.OK},
		"file on a disk":    {header + "/swapfile file 1 0 -2\n", atrest.Wanting},
		"a device not seen": {header + "/dev/sdz9 partition 1 0 -2\n", atrest.Unknown},
		"the worst counts":  {header + "/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n", atrest.Wanting},
	} {
		m := machine(t, map[string]string{
			"/proc/swaps": c.swaps, "/proc/self/mountinfo": mountinfo, "/proc/cpuinfo": "flags : fpu\n",
			"/sys/dev/block/259:2/size": "1", "/sys/dev/block/253:1/dm/uuid": "CRYPT-LUKS2-x",
		})
		if f := m.Swap(); f.State != c.want || (f.Next == "") != (c.want == atrest.OK) {
			t.Errorf("%s: %+v, want %s", name, f, c.want)
		}
	}
	if f := machine(t, nil).Swap(); f.State != atrest.Unknown {
		t.Errorf("unreadable: %+v", f)
	}
}

func TestCoreDumps(t *testing.T) {
	limit := func(n string) string {
		return "Limit                     Soft Limit           Hard Limit           Units\nMax core file size        " + n + "                    unlimited            bytes\n"
	}
	for name, c := range map[string]struct {
		pattern, limits string
		want            atrest.State
	}{
		"no core":            {"core", limit("0"), atrest.OK},
		"core":               {"core", limit("unlimited"), atrest.Wanting},
		"piped in spite":     {"|/usr/lib/systemd/systemd-coredump %P", limit("0"), atrest.Wanting},
		"limits not visible": {"core", "", atrest.Unknown},
	} {
		files := map[string]string{"/proc/sys/kernel/core_pattern": c.pattern, "/proc/7/status": "Name:\tx\nUid:\t0\t0\t0\t0\n"}
		if c.limits != "" {
			files["/proc/7/limits"] = c.limits
		}
		if f := machine(t, files).CoreDumps([]atrest.Process{{PID: 7}}); f.State != c.want {
			t.Errorf("%s: %+v, want %s", name, f, c.want)
		}
	}
	if f := (atrest.Machine{}).CoreDumps(nil); f.State != atrest.Unknown {
		t.Errorf("without a process: %+v", f)
	}
}

// The program finds processes of itself by their command line, and the files that
// they write to.
func TestRunning(t *testing.T) {
	dir := t.TempDir()
	m := machine(t, map[string]string{
		"/proc/self/exe": "->/bin/gatehouse", dir + "/log": "x",
		"/proc/7/exe": "->/bin/gatehouse (deleted)", "/proc/7/cmdline": "gatehouse\x00run\x00", "/proc/7/cwd": "->/srv",
		"/proc/7/fd/1": "->/dev/null", "/proc/7/fd/2": "->" + dir + "/log",
		"/proc/8/exe": "->/bin/other", "/proc/8/cmdline": "gatehouse\x00run\x00",
		"/proc/9/exe": "->/bin/gatehouse", "/proc/9/cmdline": "gatehouse\x00doctor\x00",
	})
	got := m.Running(func(args []string, directory string) bool {
		return len(args) == 2 && args[1] == "run" && directory == "/srv"
	})
	if len(got) != 1 || got[0].PID != 7 || len(got[0].Logs) != 1 || got[0].Logs[0] != dir+"/log" {
		t.Errorf("running: %+v, want process 7 with one log", got)
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	key, config := write(t, filepath.Join(dir, "key"), nil), write(t, filepath.Join(dir, "config"), nil)
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key, config os.FileMode
		want        atrest.State
	}{{0o600, 0o644, atrest.OK}, {0o640, 0o644, atrest.Wanting}, {0o600, 0o664, atrest.Wanting}} {
		chmod(key, c.key)
		chmod(config, c.config)
		if f := atrest.Modes([]string{key}, []string{config}); f.State != c.want {
			t.Errorf("key %#o, configuration %#o: %+v, want %s", c.key, c.config, f, c.want)
		}
	}
	chmod(config, 0o600)
	if f := atrest.Modes([]string{key, filepath.Join(dir, "none")}, nil); f.State != atrest.Unknown {
		t.Errorf("a file that is not there: %+v", f)
	}
}

func TestDatabaseTLS(t *testing.T) {
	for _, c := range []struct {
		server atrest.Server
		want   atrest.State
	}{
		{atrest.Server{Engine: "sqlite", Local: true}, atrest.OK},
		{atrest.Server{Engine: "postgres", Local: true}, atrest.OK},
		{atrest.Server{Engine: "postgres", TLS: "TLSv1.3"}, atrest.OK},
		{atrest.Server{Engine: "postgres"}, atrest.Wanting},
	} {
		if f := atrest.DatabaseTLS(c.server); f.State != c.want {
			t.Errorf("%+v: %+v, want %s", c.server, f, c.want)
		}
	}
}
