package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/atrest"
	"gatehouse/internal/store/storetest"
)

// atRest runs the search and returns its report.
func (h *house) atRest(args ...string) *atrest.Report {
	h.t.Helper()
	out, errOut, code := h.gatehouse(append([]string{"doctor", "--at-rest", "--json"}, args...)...)
	r := new(atrest.Report)
	if err := json.Unmarshal([]byte(out), r); err != nil {
		h.t.Fatalf("doctor --at-rest: %d, %v\n%s%s", code, err, out, errOut)
	}
	if wanting := r.Verdict == atrest.Found || r.Verdict == atrest.Lacking; (code == 1) != wanting || code > 1 {
		h.t.Errorf("exit status %d with verdict %q", code, r.Verdict)
	}
	for _, c := range r.Controls {
		if !c.OK {
			h.t.Errorf("the canary of %s was seen sealed only in %q", c.Road, c.SeenIn)
		}
	}
	if len(r.Controls) != 4 {
		h.t.Errorf("%d controls, want 4", len(r.Controls))
	}
	noTokens(h.t, h.box, "the report", []byte(out+errOut))
	return r
}

// issued returns the last secret of a kind that the sandbox issued.
func (h *house) issued(kind string) string {
	h.t.Helper()
	last := ""
	for _, i := range h.box.Ledger() {
		if i.Kind == kind {
			last = i.Value
		}
	}
	if last == "" {
		h.t.Fatalf("the sandbox issued no %s", kind)
	}
	return last
}

// finds demands a finding of this kind in a place of this name, and that there is
// one at all only if what is "".
func finds(t *testing.T, when string, r *atrest.Report, what atrest.What, kind, place string) {
	t.Helper()
	if what == "" {
		if ours := ours(r); len(ours) > 0 || r.More > 0 {
			t.Errorf("%s: found %+v, want nothing", when, ours)
		}
		return
	}
	if r.Verdict != atrest.Found || !slices.ContainsFunc(r.Found, func(f atrest.Finding) bool {
		return f.What.Base() == what && f.Kind == kind && strings.Contains(f.Place, place)
	}) {
		t.Errorf("%s: verdict %s, found %+v, want %s in %s %s", when, r.Verdict, r.Found, what, kind, place)
	}
}

// ours leaves out the shapes of tokens in the PostgreSQL server's files: other tests
// use the same server.
func ours(r *atrest.Report) []atrest.Finding {
	return slices.DeleteFunc(slices.Clone(r.Found), func(f atrest.Finding) bool {
		return f.Kind == atrest.KindServer && slices.Contains(atrest.Shapes(), f.What)
	})
}

// traffic connects people and makes calls.
func (h *house) traffic() {
	h.t.Helper()
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	meta := h.connectPerson(demoFacebook, "grace", h.box.People()[1])
	for _, call := range []struct{ method, path, handle string }{
		{http.MethodGet, "/x/2/users/me", x.Handle}, {http.MethodGet, "/x/2/dm_events", x.Handle},
		{http.MethodGet, "/meta/v25.0/me/accounts?fields=id,access_token", meta.Handle},
	} {
		if _, _, err := h.call(h.t.Context(), call.method, call.path, call.handle, nil); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestAtRest is a house after traffic, on both engines: nothing stands in plain;
// then a token is put into each kind of place, in one form or another, and found
// there, while what only resembles it is not.
func TestAtRest(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { atRestStory(t, "sqlite:gatehouse.db") })
	t.Run("postgres", func(t *testing.T) { atRestStory(t, storetest.EmptyPostgres(t)) })
}

func atRestStory(t *testing.T, dsn string) {
	h := newHouseOn(t, dsn)
	logFile := filepath.Join(h.dir, "gatehouse.log")
	h.startWith("/bin/sh", "-c", `log=$0; exec "$@" 2>>"$log"`, logFile, os.Args[0])
	h.traffic()
	// Of a process that is not dumpable only root sees where its log goes.
	asLog, logArgs := atrest.KindLog, []string(nil)
	if os.Geteuid() != 0 {
		asLog, logArgs = atrest.KindAlso, []string{"--also", logFile}
	}
	r := h.atRest()
	finds(t, "after traffic", r, "", "", "")
	if r.Sought.Connections < 3 || r.Sought.Unreadable != 0 || r.Sought.Secrets < 12 {
		t.Errorf("looked for %+v", r.Sought)
	}
	for _, kind := range wantKinds(dsn) {
		if !slices.ContainsFunc(r.LookedAt, func(l atrest.Look) bool { return l.Kind == kind && l.Bytes > 0 }) {
			t.Errorf("no %s was looked at: %+v, %+v", kind, r.LookedAt, r.Gaps)
		}
	}
	if by := r.Residue.UselessBy; len(r.Residue.Remains) == 0 || r.Residue.Why == "" || by == nil || time.Until(*by) > forgetWithin {
		t.Errorf("residue %+v: SQLite and PostgreSQL keep what was overwritten", r.Residue)
	}

	token := h.issued("x refresh token")
	nearly := []byte(token)
	nearly[40] ^= 1
	sum := sha256.Sum256([]byte(token))
	hashed := hex.EncodeToString(sum[:])

	plain, err := os.OpenFile(logFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := plain.WriteString(text + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	write(`level=WARN msg="near" hash=` + hashed)
	finds(t, "a hash in the log", h.atRest(logArgs...), "", "", "")
	write(`level=WARN msg="leak" token=` + token)
	finds(t, "in the log", h.atRest(logArgs...), atrest.RefreshToken, asLog, "gatehouse.log")
	if err := plain.Truncate(0); err != nil {
		t.Fatal(err)
	}

	raw := storetest.OpenRaw(t, h.load().Store.Text().Reveal())
	const insert = "INSERT INTO meta (name, value) VALUES ($1, $2)"
	raw.Exec(insert, "near", hashed)
	finds(t, "a hash in a row", h.atRest(), "", "", "")
	raw.Exec(insert, "leak", `{"t":"`+token+`"}`)
	r = h.atRest()
	finds(t, "in a row", r, atrest.RefreshToken, atrest.KindRows, "meta")
	onDisk := wantKinds(dsn)[0]
	finds(t, "in a row's file", r, atrest.RefreshToken, onDisk, "")
	// The row goes; the disk still has it.
	raw.Exec("DELETE FROM meta WHERE name = 'leak'")
	r = h.atRest()
	finds(t, "deleted", r, atrest.RefreshToken, onDisk, "")
	if slices.ContainsFunc(r.Found, func(f atrest.Finding) bool { return f.Kind == atrest.KindRows }) {
		t.Errorf("a deleted row is found: %+v", r.Found)
	}
	if strings.HasPrefix(dsn, "sqlite:") {
		if code := h.stop(); code != 0 {
			t.Fatalf("stopping: %d", code)
		}
		raw.ExecUncounted(insert, "leak", token)
		raw.Query("PRAGMA wal_checkpoint(TRUNCATE)")
		finds(t, "in the database's file", h.atRest(), atrest.RefreshToken, atrest.KindDatabase, "gatehouse.db")
	}
}

// wantKinds are the kinds of places that a running house has, beginning with the
// one where a row is on a disk first.
func wantKinds(dsn string) []string {
	if strings.HasPrefix(dsn, "sqlite:") {
		return []string{atrest.KindWAL, atrest.KindDatabase, atrest.KindRows, atrest.KindConfig}
	}
	return []string{atrest.KindServer, atrest.KindRows, atrest.KindConfig}
}

// What the operator names is read in whatever form the secret stands there. Files
// that hold secrets by their purpose are left out; copies of them are not.
func TestAtRestAlso(t *testing.T) {
	h := newHouse(t)
	h.start()
	h.traffic()
	token, bearer := h.issued("x access token"), h.issued("facebook user token")
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	packed := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(strings.Repeat("INSERT INTO users VALUES (1);\n", 100) + text))
		_ = w.Close()
		return b.Bytes()
	}
	changed := strings.Map(func(c rune) rune {
		if c == 'a' {
			return 'b'
		}
		return c
	}, token)
	filler := strings.Repeat("x", 300_000)
	for _, c := range []struct {
		name    string
		content []byte
		what    atrest.What
	}{
		{"dump.sql", []byte("COPY users FROM stdin;\n1\tada\t" + token + "\n"), atrest.AccessToken},
		{"base64", []byte(filler + base64.StdEncoding.EncodeToString([]byte(`{"access_token":"`+token+`"}`))), atrest.AccessToken},
		{"hex", fmt.Appendf(nil, "\\x%x", "id="+bearer), atrest.AccessToken},
		{"dump.sql.gz", packed(token), atrest.AccessToken},
		{"near.sql", []byte(changed[:45] + " " + changed[45:]), ""},
		{"near.sql.gz", packed("nothing"), ""},
		{"shape.log", []byte("got " + bearer[:len(bearer)-4] + "0000"), atrest.ShapeMeta},
		{"handle.env", []byte("TOKEN=" + h.key), atrest.ShapeGatehouse},
	} {
		path := file(c.name, c.content)
		finds(t, c.name, h.atRest("--also", path), c.what, atrest.KindAlso, c.name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}

	r := h.atRest("--also", h.dir)
	finds(t, "the configuration's directory", r, "", "", "")
	left := 0
	for _, g := range r.Gaps {
		if g.Meant {
			left++
		}
	}
	if left != 4 { // the root key, two secrets for X, one for Facebook
		t.Errorf("%d files are left out by their purpose, want 4: %+v", left, r.Gaps)
	}
	for name, what := range map[string]atrest.What{"root.key": atrest.KeyMaterial, "x-secret": atrest.ClientSecret} {
		content, err := os.ReadFile(filepath.Join(h.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		path := file(name+".copy", content)
		finds(t, "a copy of "+name, h.atRest("--also", dir), what, atrest.KindAlso, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}

	// What cannot be seen into is said, and makes the search wanting; what is not
	// there, too.
	zip := file("dump.zip", []byte("PK\x03\x04 and so on"))
	for _, path := range []string{zip, filepath.Join(dir, "nothing")} {
		r := h.atRest("--also", path)
		if r.Verdict != atrest.Lacking || !slices.ContainsFunc(r.Gaps, func(g atrest.Gap) bool { return g.Asked && strings.HasPrefix(g.Place, path) }) {
			t.Errorf("%s: verdict %s, gaps %+v", path, r.Verdict, r.Gaps)
		}
	}
	if _, errOut, code := h.gatehouse("doctor", "--also", zip); code != exitUsage || !strings.Contains(errOut, "--at-rest") {
		t.Errorf("--also alone: %d %s", code, errOut)
	}
}

// Gatehouse's own secrets are looked for: its signing keys, in the text they are
// handled in and as raw bytes, and the password of its database.
func TestAtRestLooksForItsOwnSecrets(t *testing.T) {
	const password = "a-password-of-a-database"
	address := filepath.Join(t.TempDir(), "dsn")
	dsn := strings.Replace(storetest.EmptyPostgres(t), "postgres@", "postgres:"+password+"@", 1)
	if err := os.WriteFile(address, []byte(dsn), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouseOn(t, "file:"+address)
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	events, _, err := p.outbox.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := p.vault.System(t.Context(), secretLogKey)
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := p.vault.System(t.Context(), secretCAKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(caKey.Reveal()))
	// PRIVATE+KEY+name+hash+key, and the key is base64, which may hold a + of its own.
	inLog := strings.SplitN(logKey.Reveal(), "+", 5)[4]
	for name, text := range map[string]string{
		"the secret that signs events": events.Reveal(), "the log's key": logKey.Reveal(), "the log's key alone": inLog,
		"the CA's key in DER": string(block.Bytes), "the CA's key": caKey.Reveal(), "the database's password": "postgres://u:" + password + "@h/",
	} {
		path := filepath.Join(t.TempDir(), "leak")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &atRestSearch{parts: p, round: atRestRound, also: []string{path, filepath.Dir(address)}}
		r, err := s.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		finds(t, name, r, atrest.SystemSecret, atrest.KindAlso, path)
		for _, f := range ours(r) {
			if f.Place != path {
				t.Errorf("%s: also found %+v", name, f)
			}
		}
	}
}

// More secrets than one walk looks for are looked for in several, and the places
// are listed once.
func TestAtRestInRounds(t *testing.T) {
	h := newHouse(t)
	h.start()
	h.traffic()
	kinds := []string{"x access token", "x refresh token", "facebook user token", "facebook page token"}
	path := filepath.Join(t.TempDir(), "leak")
	var leak strings.Builder
	for _, kind := range kinds {
		fmt.Fprintf(&leak, "%q\n", h.issued(kind))
	}
	if err := os.WriteFile(path, []byte(leak.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, round := range []int{1, atRestRound} {
		s := &atRestSearch{parts: p, round: round, also: []string{path}}
		r, err := s.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		known, looks := 0, 0
		for _, f := range r.Found {
			if f.What == atrest.AccessToken || f.What == atrest.RefreshToken {
				known += int(f.Count)
			}
		}
		for _, l := range r.LookedAt {
			if l.Place == path {
				looks++
			}
		}
		if known != len(kinds) || looks != 1 {
			t.Errorf("in rounds of %d: %d tokens found, want %d; the file is listed %d times\n%+v", round, known, len(kinds), looks, r.Found)
		}
	}
}

// A canary that stands in plain is found; that is what it is for. Afterwards
// nothing of what was planted is left but tombstones, and the log has the intent,
// the openings and the verdict.
func TestCanariesInPlainAreFound(t *testing.T) {
	h := newHouse(t)
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	planted, _, err := plant(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := storetest.OpenRaw(t, h.load().Store.Text().Reveal())
	for road, marker := range planted.markers {
		raw.Exec("INSERT INTO meta (name, value) VALUES ($1, $2)", road, "x"+marker.Reveal())
	}
	s := &atRestSearch{parts: p, round: atRestRound}
	if err := s.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	roads, err := s.search(t.Context(), planted)
	if err != nil {
		t.Fatal(err)
	}
	s.report.Fill(&s.survey, roads)
	for road := range planted.markers {
		for _, kind := range []string{atrest.KindRows, atrest.KindWAL} {
			if !slices.ContainsFunc(s.report.Found, func(f atrest.Finding) bool { return f.What == atrest.Canary.Of(road) && f.Kind == kind }) {
				t.Errorf("the canary of %s is not found in the %s: %+v", road, kind, s.report.Found)
			}
		}
	}
	if err := planted.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"SELECT id FROM connect_attempts", "SELECT label FROM records", "SELECT person FROM vault_person_keys WHERE state <> 'destroyed'"} {
		if _, rows := raw.Query(query); len(rows) != 0 {
			t.Errorf("%s: %v is left", query, rows)
		}
	}
	raw.Exec("DELETE FROM meta WHERE name <> 'environment'")
	raw.Query("PRAGMA wal_checkpoint(TRUNCATE)")
	if r := h.atRest(); r.Verdict == atrest.Found {
		t.Errorf("the canaries of an earlier search are found: %+v", r.Found)
	}
	out, _, code := h.gatehouse("audit", "show", "-n", "20", "--json")
	if code != 0 || strings.Count(out, "doctor.at-rest") < 3 || !strings.Contains(out, `"result"`) {
		t.Errorf("the log after a search: %d\n%s", code, out)
	}
	if _, errOut, code := h.gatehouse("audit", "verify"); code != 0 {
		t.Errorf("audit verify: %d %s", code, errOut)
	}
}
