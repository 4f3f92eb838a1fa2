package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestBackup(t *testing.T) {
	for _, test := range []struct{ name, section, want string }{
		{"all of it", `{to: /mnt/b, every: 6h, keep: 168h, epoch_keys: /mnt/k, ledger_copies: [/mnt/w]}`, ""},
		{"the least", `{to: b, epoch_keys: k}`, ""},
		{"no place", `{epoch_keys: /mnt/k}`, "backup.to: is needed"},
		{"no keys", `{to: /mnt/b}`, "backup.epoch_keys: is needed"},
		{"kept for two days", `{to: /mnt/b, epoch_keys: /mnt/k, keep: 48h, every: 24h}`, ""},
		{"kept too short", `{to: /mnt/b, epoch_keys: /mnt/k, keep: 47h}`, "backup.keep: is at least 48h"},
		{"taken too seldom", `{to: /mnt/b, epoch_keys: /mnt/k, keep: 48h, every: 25h}`, "backup.every: is longer"},
		{"the default is longer", `{to: /mnt/b, epoch_keys: /mnt/k, every: 168h}`, ""},
		{"a copy where it is anyway", `{to: /mnt/b, epoch_keys: /mnt/k, ledger_copies: [/mnt/w, /mnt/b/]}`, "backup.ledger_copies[1]: is the directory of backups"},
		{"not a text", `{to: [a], epoch_keys: /mnt/k}`, "backup.to: a single value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(contract+"backup: "+test.section+"\n"), world())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if test.name == "the least" && (c.Backup.To.Path() != "/etc/gatehouse/b" || c.Backup.IsZero()) {
				t.Errorf("to is %q", c.Backup.To.Path())
			}
			if test.name == "all of it" && (c.Backup.Every != 6*time.Hour || c.Backup.LedgerCopies[0].Path() != "/mnt/w") {
				t.Errorf("%+v", c.Backup)
			}
		})
	}
	if c, _ := load(t, contract); !c.Backup.IsZero() {
		t.Error("no section is not zero")
	}
}
