package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
)

// finding is one line of the doctor's report.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"` // what to do about it
}

func newDoctor(o *options) *cobra.Command {
	var asJSON, atRest bool
	var also []string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what usually goes wrong, and say what to do",
		Long: `Looks at the configuration, the files beside it, the database, the keys, the
listeners and the clock, without changing anything; a row that somebody else altered
is recorded in the log. For the clock, each configured platform is asked for its
time, without any credential. Exit status 1 means that something needs attention.

With --at-rest it looks for secrets where they may not stand in plain: it plants
markers, reads the database's rows, files and logs, searches them for the markers,
for every secret that it can open, and for the shapes of tokens, in the forms in
which programs write them, and takes the markers away. --also names more to read,
such as backups, journals and the app's own dump. It says where something stands,
never what. Run it as the user that runs gatehouse, while that runs.`,
		Example: "  gatehouse doctor --at-rest --also /var/backups/app.sql --also /var/log/app",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if atRest {
				return doctorAtRest(c, o, atRestOptions{asJSON: asJSON, also: also})
			}
			if len(also) > 0 {
				return usagef("--also goes with --at-rest")
			}
			findings := examine(c.Context(), o)
			healthy := true
			for _, f := range findings {
				healthy = healthy && f.OK
			}
			out := c.OutOrStdout()
			if asJSON {
				if err := printJSON(out, findings); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					mark := "ok  "
					if !f.OK {
						mark = "FAIL"
					}
					fmt.Fprintf(out, "%s  %-14s %s\n", mark, f.Check, f.Text)
					if f.Next != "" {
						fmt.Fprintf(out, "%21s→ %s\n", "", f.Next)
					}
				}
			}
			if !healthy {
				return &wantingError{}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&atRest, "at-rest", false, "look for secrets in plain in databases, logs and backups")
	c.Flags().StringArrayVar(&also, "also", nil, "with --at-rest: read this file or directory too (may be repeated)")
	return c
}

// examine makes every check that still makes sense after the ones before it.
func examine(ctx context.Context, o *options) []finding {
	var out []finding
	add := func(check string, err error, text, next string) bool {
		f := finding{Check: check, OK: err == nil, Text: text}
		if err != nil {
			f.Text, f.Next = err.Error(), next
		}
		out = append(out, f)
		return err == nil
	}
	cfg, warnings, err := config.Load(o.config, resolver())
	if !add("configuration", err, o.config, "correct what is named above; an env: reference must be set in this shell too; 'gatehouse config example' shows every entry") {
		return out
	}
	for _, w := range warnings {
		out = append(out, finding{Check: "configuration", OK: true, Text: "warning: " + w.String()})
	}
	root, err := openRootKey(cfg)
	detail := ""
	if err == nil {
		detail, err = vault.Probe(ctx, root)
	}
	haveRoot := add("root key", err, detail+": wraps, unwraps, and refuses what was moved", rootAdvice(cfg))
	_, err = os.Stat(beside(cfg, logKeyFile))
	add("log key", err, beside(cfg, logKeyFile), "gatehouse init makes one; once there is a log, restore your copy: it cannot be verified without")
	db, err := openStore(ctx, cfg)
	if !add("database", err, cfg.Store.String()+", environment "+string(cfg.Environment), "gatehouse init makes one") {
		return out
	}
	if err := db.Close(); err != nil {
		add("database", err, "", "")
	}
	if !haveRoot {
		return out
	}
	p, err := assembleUnder(ctx, cfg, root, quiet())
	if !add("vault and log", err, "open with this root key", "the root key and the database must belong together") {
		return out
	}
	defer func() {
		if err := p.Close(); err != nil {
			out = append(out, finding{Check: "closing", Text: err.Error()})
		}
	}()
	add("log", checkLog(p), "can be written", "gatehouse audit verify; docs/audit-log.md says what each condition means")
	reconciled, err := checkReconciled(ctx, p)
	add("reconciliation", err, reconciled, "gatehouse audit show --action reconcile.difference --people; docs/reconciliation.md says what each difference means and what to do")
	exported, err := checkExports(ctx, p)
	add("log exports", err, exported, "gatehouse audit export status says what went wrong; docs/log-export.md")
	archived, err := checkArchives(p)
	add("log archives", err, archived, "make the directory of audit.archive writable for this user: until then no old segment goes")
	add("operators", checkRows(ctx, p), "roles, passkeys, sessions, approvals and reviews are as they were written", "find out who writes to the database: gatehouse audit show --action operator.altered; docs/operators.md says how to put each right")
	out = append(out, recoveryFinding(ctx, p))
	add("keyring", checkKeyring(ctx, p), "has forgotten everybody who was erased more than a day ago", "start gatehouse run, which sees to it, or: gatehouse keys rewrap")
	add("local CA", checkCA(ctx, p), "ca.pem matches and covers the listeners", "restart gatehouse: it renews the CA at a start; then give clients the new ca.pem")
	inspected, err := checkInspection(ctx, p)
	add("inspection CA", err, inspected, "reload or restart gatehouse run: it makes the authority anew; then give clients the new one: gatehouse egress ca")
	measuring, cancel := context.WithTimeout(ctx, clockTime)
	defer cancel()
	add("listeners", checkListeners(cfg), "free, or in use by a running Gatehouse", "change listen in the configuration, or stop the other program")
	measured, err := checkMetrics(cfg)
	add("metrics", err, measured, "see docs/metrics.md for what metrics.listen and metrics.otlp need")
	out = append(out, clockFindings(p.connect.MeasureClocks(measuring))...)
	out = append(out, serviceKeyFindings(ctx, p, time.Now())...)
	out = append(out, scimFindings(ctx, p, time.Now())...)
	out = append(out, backupFindings(ctx, p, time.Now())...)
	add("file modes", checkModes(cfg), "nobody else can read the keys and the database", "chmod 600 the file")
	return out
}

// clockTime bounds how long the platforms are asked for their time.
const clockTime = 5 * time.Second

// clockFindings says how this machine's clock agrees with each platform's. One
// that cannot be reached from here is no fault of the clock.
func clockFindings(clocks []connect.Clock) []finding {
	var out []finding
	for _, k := range clocks {
		name := string(k.Platform)
		if k.App != "" {
			name = string(k.App)
		}
		f := finding{Check: "clock", OK: true, Text: "agrees with that of " + name}
		switch off := k.Offset.Round(time.Second); {
		case !k.Known:
			f.Text = name + " did not answer from here, so its time is not known"
		case k.Large:
			f.OK, f.Text = false, fmt.Sprintf("this machine is %s %s", off.Abs(), aheadOrBehind(off)+" "+name)
			f.Next = "set this machine's clock, and have a time service (chrony, systemd-timesyncd) keep it: signatures are refused and tokens taken for expired"
		case off != 0:
			f.Text = fmt.Sprintf("this machine is %s %s, which is allowed for", off.Abs(), aheadOrBehind(off)+" "+name)
		}
		out = append(out, f)
	}
	return out
}

// aheadOrBehind is where this machine is when a platform is ahead of it by off.
func aheadOrBehind(off time.Duration) string {
	if off > 0 {
		return "behind"
	}
	return "ahead of"
}

// checkKeyring reports erasures that storage could still undo.
func checkKeyring(ctx context.Context, p *parts) error {
	s, err := p.keys.Status(ctx)
	if err != nil {
		return err
	}
	if !s.Keyring.Erased.IsZero() && time.Since(s.Keyring.Erased) > forgetWithin {
		return fmt.Errorf("an erasure of %s is not forgotten yet", when(s.Keyring.Erased))
	}
	return nil
}

// rootAdvice says what to do about a root key that does not serve.
func rootAdvice(cfg *config.Config) string {
	if cfg.RootKey.Path() != "" {
		return "gatehouse init makes one; restore your copy if the database exists already; its mode is 0600"
	}
	return "see docs/keys.md for what it needs; while its system is away, a running Gatehouse serves on for limits.keep_without_kms (" + cfg.Limits.WithDefaults().KeepWithoutRoot.String() + "), and none can start"
}

// checkCA compares the CA that clients trust with the one that is used.
func checkCA(ctx context.Context, p *parts) error {
	if !usesCA(p.cfg) {
		return nil
	}
	cert, err := p.vault.System(ctx, secretCACert)
	if err != nil {
		return err
	}
	key, err := p.vault.System(ctx, secretCAKey)
	if err != nil {
		return err
	}
	if !serves(p.cfg, []byte(cert.Reveal()), key) {
		return errors.New("the local CA ends soon or does not cover the address of the app or the proxy listener")
	}
	have, err := os.ReadFile(beside(p.cfg, caFile))
	if err != nil {
		return err
	}
	if string(have) != cert.Reveal() {
		return fmt.Errorf("%s is not the CA in use", beside(p.cfg, caFile))
	}
	return nil
}

// checkListeners reports an address that cannot be bound although nothing
// answers there.
func checkListeners(cfg *config.Config) error {
	var errs []error
	for name, addr := range map[string]string{
		"listen.app": cfg.Listen.App, "listen.proxy": cfg.Listen.Proxy, "listen.public": cfg.Listen.Public, "listen.console": cfg.Listen.Console, "metrics.listen": cfg.Metrics.Listen,
	} {
		if addr == "" || strings.HasPrefix(addr, "unix:") {
			continue
		}
		l, err := wire.Listen(wire.ServerConfig{Addr: addr, AllowPlain: true, Handler: http.NotFoundHandler()})
		if err == nil {
			errs = append(errs, l.Close())
			continue
		}
		conn, dialErr := net.DialTimeout("tcp", addr, time.Second)
		if dialErr != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// checkModes reports files that others could read.
func checkModes(cfg *config.Config) error {
	var errs []error
	for _, path := range []string{cfg.RootKey.Path(), storeFile(cfg), keyringFile(cfg)} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			errs = append(errs, fmt.Errorf("%s has mode %#o: %w", path, info.Mode().Perm(), gatehouse.ErrDenied))
		}
	}
	return errors.Join(errs...)
}
