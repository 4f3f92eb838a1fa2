package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/secret"

	"go.yaml.in/yaml/v3"
)

// Resolver is how references are followed. A nil function leaves the references
// of its kind unresolved, which is enough to check a file on another machine.
type Resolver struct {
	// LookupEnv is os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// ReadFile is os.ReadFile.
	ReadFile func(path string) ([]byte, error)
}

// maxReferenced bounds a file that a reference names.
const maxReferenced = 64 << 10

// isReference reports whether s has the form of one.
func isReference(s string) bool {
	return strings.HasPrefix(s, "env:") || strings.HasPrefix(s, "file:")
}

// follow returns the one line of text that the reference names. Its errors never
// hold what was read.
func (d *decoder) follow(ref string) (secret.Text, error) {
	text, err := d.followText(ref)
	if err == nil && strings.HasPrefix(ref, "file:") && strings.ContainsAny(text.Reveal(), "\r\n") {
		return secret.Text{}, fmt.Errorf("the file %s does not hold one line of text", d.resolvePath(strings.TrimPrefix(ref, "file:")))
	}
	return text, err
}

// followText is follow for what may have several lines.
func (d *decoder) followText(ref string) (secret.Text, error) {
	kind, name, _ := strings.Cut(ref, ":")
	if name == "" || strings.TrimSpace(name) != name || len(name) > 4096 {
		return secret.Text{}, fmt.Errorf("the reference names nothing: write env:NAME or file:/path")
	}
	if kind == "env" {
		for _, c := range []byte(name) {
			if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
				return secret.Text{}, fmt.Errorf("the reference does not name an environment variable: write env:NAME")
			}
		}
		if d.resolver.LookupEnv == nil {
			return secret.Text{}, nil
		}
		v, ok := d.resolver.LookupEnv(name)
		switch {
		case !ok:
			return secret.Text{}, fmt.Errorf("the environment variable %s is not set", name)
		case v == "":
			return secret.Text{}, fmt.Errorf("the environment variable %s is empty", name)
		}
		return secret.New(v), nil
	}
	path := d.resolvePath(name)
	if d.resolver.ReadFile == nil {
		return secret.Text{}, nil
	}
	data, err := d.resolver.ReadFile(path)
	if err != nil {
		return secret.Text{}, fmt.Errorf("reading the file it names: %w", pathError(err))
	}
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(data) > maxReferenced:
		return secret.Text{}, fmt.Errorf("the file %s is too large for a secret", path)
	case text == "":
		return secret.Text{}, fmt.Errorf("the file %s is empty", path)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return secret.Text{}, fmt.Errorf("the file %s does not hold one line of text", path)
	}
	return secret.New(text), nil
}

// pathError shortens an error of the file system to its path and reason.
func pathError(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// resolvePath makes a path absolute against the directory of the configuration.
func (d *decoder) resolvePath(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(d.file), path)
}

// Secret is a reference to a credential. The file never holds the credential.
type Secret struct {
	ref   string
	text  secret.Text
	again func() (secret.Text, error)
}

// Text returns the credential as it was when the file was loaded.
func (s Secret) Text() secret.Text { return s.text }

// Again follows the reference again: a credential that somebody renews in its file
// is found renewed. Without a reference it returns an error.
func (s Secret) Again() (secret.Text, error) {
	if s.again == nil {
		return secret.Text{}, fmt.Errorf("no reference is given: %w", gatehouse.ErrNotFound)
	}
	return s.again()
}

// Reference returns what stands in the file.
func (s Secret) Reference() string { return s.ref }

// IsZero reports whether the field was left out.
func (s Secret) IsZero() bool { return s.ref == "" }

func (s *Secret) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	if !isReference(text) {
		d.fail(n, path, "a secret does not belong into this file: put it into the environment or a file and write env:NAME or file:/path")
		return
	}
	s.follow(d, n, path, text, (*decoder).follow)
}

func (s *Secret) follow(d *decoder, n *yaml.Node, path, ref string, follow func(*decoder, string) (secret.Text, error)) {
	s.ref = ref
	later := &decoder{file: d.file, resolver: d.resolver}
	s.again = func() (secret.Text, error) { return follow(later, ref) }
	var err error
	if s.text, err = follow(d, ref); err != nil {
		d.fail(n, path, err.Error())
	}
}

// Value is a text that may be given by reference, but is no secret.
type Value struct{ written, text string }

// Text returns the value.
func (v Value) Text() string { return v.text }

// IsZero reports whether the field was left out.
func (v Value) IsZero() bool { return v.written == "" }

// String returns what stands in the file.
func (v Value) String() string { return v.written }

func (v *Value) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	v.written, v.text = text, text
	if !isReference(text) {
		return
	}
	value, err := d.follow(text)
	if err != nil {
		d.fail(n, path, err.Error())
		return
	}
	v.text = value.Reveal()
}

// DSN says where the store is.
type DSN struct {
	written string
	text    secret.Text
}

// Text returns the DSN as package store takes it; a path in it is absolute.
func (s DSN) Text() secret.Text { return s.text }

// IsZero reports whether the field was left out.
func (s DSN) IsZero() bool { return s.written == "" }

// String returns what stands in the file.
func (s DSN) String() string { return s.written }

func (s *DSN) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	s.written = text
	switch {
	case isReference(text):
		resolved, err := d.follow(text)
		if err != nil {
			d.fail(n, path, err.Error())
			return
		}
		s.text = resolved
		if resolved.IsZero() {
			return
		}
		if why := checkDSN(resolved.Reveal()); why != "" {
			d.fail(n, path, "what the reference names is no store: "+why)
		}
	default:
		if why := checkDSN(text); why != "" {
			s.written = ""
			d.fail(n, path, why)
			return
		}
		if u, err := url.Parse(text); err == nil && hasPassword(u) {
			s.written = ""
			d.fail(n, path, "a password does not belong into this file: put the whole DSN into the environment or a file and write env:NAME or file:/path")
			return
		}
		if file, isFile := strings.CutPrefix(text, "sqlite:"); isFile {
			text = "sqlite:" + d.resolvePath(file)
		}
		s.text = secret.New(text)
	}
}

func hasPassword(u *url.URL) bool {
	if _, has := u.User.Password(); has {
		return true
	}
	return u.Query().Has("password") || u.Query().Has("sslpassword")
}

func checkDSN(dsn string) string {
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		if path == "" || strings.ContainsAny(path, "?#\x00") {
			return "write sqlite: and the path of the database file"
		}
		return ""
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "write sqlite:/path/file.db or postgres://user@host/database"
	}
	return ""
}

// Keyring is where the keyring's daily key is kept. The zero value means that
// nothing was said.
type Keyring struct{ written, path string }

// Path returns the absolute path of the file, or "" for the database.
func (k Keyring) Path() string { return k.path }

// IsZero reports whether the field was left out.
func (k Keyring) IsZero() bool { return k.written == "" }

// String returns what stands in the file.
func (k Keyring) String() string { return k.written }

func (k *Keyring) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	file, isFile := strings.CutPrefix(text, "file:")
	switch {
	case text == "database":
	case isFile && file != "":
		k.path = d.resolvePath(file)
	default:
		d.fail(n, path, "write database, or file: and the path of the keyring file")
		return
	}
	k.written = text
}

// Dir is the path of a directory.
type Dir struct{ written, path string }

// Path returns the absolute path, or "".
func (v Dir) Path() string { return v.path }

// IsZero reports whether the field was left out.
func (v Dir) IsZero() bool { return v.written == "" }

// String returns what stands in the file.
func (v Dir) String() string { return v.written }

func (v *Dir) decode(d *decoder, n *yaml.Node, path string) {
	if text, ok := d.text(n, path); ok {
		v.written, v.path = text, d.resolvePath(text)
	}
}

// Certificate says where a listener's certificate comes from. The zero value
// means that nothing was said.
type Certificate struct {
	// Source is "local-ca", "off", "files" or "".
	Source string
	// Cert and Key are absolute paths, for "files".
	Cert, Key string
}

// String returns a short form for differences.
func (c Certificate) String() string {
	if c.Source == "files" {
		return "{cert: " + c.Cert + ", key: " + c.Key + "}"
	}
	return c.Source
}

// IsZero reports whether the field was left out.
func (c Certificate) IsZero() bool { return c.Source == "" }

func (c *Certificate) decode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		text, ok := d.text(n, path)
		if ok && text != "local-ca" && text != "off" {
			d.fail(n, path, "write local-ca, off, or {cert: FILE, key: FILE}")
			return
		}
		c.Source = text
		return
	}
	var files struct {
		Cert string `yaml:"cert"`
		Key  string `yaml:"key"`
	}
	d.decodeStruct(n, &files, path)
	if files.Cert == "" || files.Key == "" {
		d.fail(n, path, "both cert and key are needed")
		return
	}
	*c = Certificate{Source: "files", Cert: d.resolvePath(files.Cert), Key: d.resolvePath(files.Key)}
}

// Mode says what happens to what no purpose declares.
type Mode string

// The modes. The zero value means ModeEnforce.
const (
	ModeEnforce Mode = "enforce"
	ModeReport  Mode = "report"
)

// Date is a day, in UTC.
type Date struct{ t time.Time }

// End returns the last moment of the day.
func (t Date) End() time.Time { return t.t.AddDate(0, 0, 1).Add(-time.Microsecond) }

// IsZero reports whether the field was left out.
func (t Date) IsZero() bool { return t.t.IsZero() }

// String returns the day as 2006-01-02.
func (t Date) String() string {
	if t.IsZero() {
		return ""
	}
	return t.t.Format(time.DateOnly)
}

func (t *Date) decode(d *decoder, n *yaml.Node, path string) {
	// YAML calls a date a timestamp; its text is what counts.
	parsed, err := time.Parse(time.DateOnly, n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, path, "write a day as 2026-12-31")
		return
	}
	t.t = parsed
}

// Rate is a number of calls for a span of time. The zero value means no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// PerSecond returns the rate in calls for each second.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

// IsZero reports whether the field was left out.
func (r Rate) IsZero() bool { return r == Rate{} }

// String returns the rate as it is written.
func (r Rate) String() string {
	for unit, per := range rateUnits {
		if r.Per == per {
			return strconv.Itoa(r.Count) + "/" + unit
		}
	}
	return ""
}

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

func (r *Rate) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	number, unit, _ := strings.Cut(text, "/")
	count, err := strconv.Atoi(number)
	per, known := rateUnits[unit]
	if err != nil || !known || count <= 0 || count > 1_000_000 {
		d.fail(n, path, "write a rate as 50/s, 600/m or 1000/h")
		return
	}
	*r = Rate{Count: count, Per: per}
}

// Size is a number of bytes.
type Size int64

// String returns the size with the largest unit that fits.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (s *Size) decode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, has := strings.CutSuffix(text, u.name); has {
			text, unit = number, u.bytes
			break
		}
	}
	count, err := strconv.ParseInt(text, 10, 32)
	if err != nil || count <= 0 || count > (1<<40)/unit {
		d.fail(n, path, "write a size as 32MiB, 512KiB or a number of bytes")
		return
	}
	*s = Size(count * unit)
}
