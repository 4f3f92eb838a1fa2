package audit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// archive returns an archive of entries of a log.
func archive(t testing.TB, db *store.DB, private string, v note.Verifier, first, last int64) []byte {
	t.Helper()
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := &audit.Archiver{Rows: db.Audit(), Source: audit.NewSource(db.Audit()), Signer: signer, Verifier: v}
	if _, err := a.Write(t.Context(), &b, first, last); err != nil {
		t.Fatalf("archiving entries %d to %d: %v", first, last, err)
	}
	return b.Bytes()
}

// A member is a file of an archive.
type member struct {
	name string
	data []byte
}

func unpacked(t testing.TB, data []byte) (all []member) {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(zipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, member{h.Name, content})
	}
}

func packed(t testing.TB, all []member) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	out := tar.NewWriter(zipped)
	for _, m := range all {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.data)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(out.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestArchive archives parts of logs of all kinds of sizes, and checks them with
// nothing but the key.
func TestArchive(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, verifier := newKey(t)
		log, _ := run(t, config(t, db.Audit(), private))
		size := int64(0)
		for _, more := range []int{1, 200, 55, 1, 255, 300, 3000} {
			fillTree(t, log, more)
			size += int64(more)
			for _, c := range [][2]int64{{0, size - 1}, {0, 0}, {size - 1, size - 1}, {size / 2, size/2 + min(300, size/2-1)}} {
				if c[1] < c[0] {
					continue
				}
				data := archive(t, db, private, verifier, c[0], c[1])
				next := c[0] &^ 255
				a := &audit.Archive{Verifier: verifier, Each: func(index int64, leaf []byte, l *audit.Leaf, sealed []byte) error {
					row, err := db.Audit().Entry(t.Context(), l.ID)
					if err != nil || index != next || row.Seq != index || !bytes.Equal(row.Leaf, leaf) || !bytes.Equal(row.Personal, sealed) || sealed == nil {
						t.Errorf("entry %d of the archive is not the log's entry %d (%v)", index, next, err)
					}
					next++
					return nil
				}}
				if err := a.Check(t.Context(), bytes.NewReader(data)); err != nil {
					t.Fatalf("%d to %d of %d: %v", c[0], c[1], size, err)
				}
				if want := min(c[1]|255, size-1); next != want+1 || a.Manifest.Last != want || a.Manifest.Checkpoint != size {
					t.Errorf("%d to %d of %d: shown up to %d, %+v", c[0], c[1], size, next-1, a.Manifest)
				}
			}
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][2]int64{{-1, 5}, {5, 4}, {0, size}} {
			a := &audit.Archiver{Rows: db.Audit(), Source: audit.NewSource(db.Audit()), Signer: signer, Verifier: verifier}
			if _, err := a.Write(t.Context(), io.Discard, c[0], c[1]); !errors.Is(err, gatehouse.ErrInvalid) {
				t.Errorf("entries %d to %d of %d: %v", c[0], c[1], size, err)
			}
		}
	})
}

// TestArchiveTampering changes an archive in every part.
func TestArchiveTampering(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, _ := run(t, config(t, db.Audit(), private))
	fillTree(t, log, 700)
	data := archive(t, db, private, verifier, 0, 520)
	check := func(data []byte) error {
		return (&audit.Archive{Verifier: verifier}).Check(t.Context(), bytes.NewReader(data))
	}
	refused := func(what string, data []byte) {
		t.Helper()
		if err := check(data); !errors.Is(err, audit.ErrTampered) && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := check(data); err != nil {
		t.Fatal(err)
	}
	all := unpacked(t, data)
	if err := check(packed(t, all)); err != nil {
		t.Fatalf("packed anew: %v", err)
	}
	for i, m := range all {
		changed := slices.Clone(all)
		for _, at := range []int{0, len(m.data) / 2, len(m.data) - 1} {
			other := bytes.Clone(m.data)
			other[at] ^= 1
			changed[i] = member{m.name, other}
			refused(fmt.Sprintf("byte %d of %s changed", at, m.name), packed(t, changed))
		}
		changed[i] = member{m.name, m.data[:len(m.data)-1]}
		refused("the end of "+m.name+" cut off", packed(t, changed))
		changed[i] = member{m.name, append(bytes.Clone(m.data), 0)}
		refused("a byte added to "+m.name, packed(t, changed))
		refused(m.name+" removed", packed(t, slices.Delete(slices.Clone(all), i, i+1)))
		refused(m.name+" twice", packed(t, slices.Insert(slices.Clone(all), i, m)))
		if i > 0 {
			changed = slices.Clone(all)
			changed[i], changed[i-1] = changed[i-1], changed[i]
			if strings.HasPrefix(m.name, "tile/") && strings.HasPrefix(all[i-1].name, "tile/") && !strings.Contains(m.name, "entries") && i < 6 {
				continue // The tiles that lead to the checkpoint may stand in any order.
			}
			refused(m.name+" moved", packed(t, changed))
		}
	}
	refused("another tile added", packed(t, slices.Insert(slices.Clone(all), 3, member{"tile/3/007", make([]byte, 32)})))
	refused("the last bundle removed", packed(t, all[:len(all)-3]))
	padded := func(n int) []byte {
		zipped, err := gzip.NewReader(bytes.NewReader(packed(t, all)))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zipped)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		again := gzip.NewWriter(&b)
		_, _ = again.Write(append(plain, make([]byte, n)...))
		_ = again.Close()
		return b.Bytes()
	}
	if err := check(padded(10240)); err != nil {
		t.Errorf("filled up, as some programs do: %v", err)
	}
	refused("filled up without end", padded(2<<20))
	refused("nothing", nil)
	refused("no archive", []byte("hello"))
	for _, n := range []int{1, 100, len(data) / 2, len(data) - 1} {
		refused(fmt.Sprintf("%d bytes of it", n), data[:n])
	}
	_, other := newKey(t)
	if err := (&audit.Archive{Verifier: other}).Check(t.Context(), bytes.NewReader(data)); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("with another key: %v", err)
	}
}

// TestArchiveOfAnErasedPerson: what an archive holds of somebody is sealed under their
// key, and with that it is gone.
func TestArchiveOfAnErasedPerson(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	ring := &keyring{keys: map[gatehouse.PersonID][]byte{}}
	c := config(t, db.Audit(), private)
	c.Seal = ring.seal
	log, _ := run(t, c)
	ring.add("person-00000000", "person-00000001")
	erased, _ := live(t, log, 0)
	other, _ := live(t, log, 1)
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, err := db.Audit().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := archive(t, db, private, verifier, 0, head.Size-1)
	opens := func(person gatehouse.PersonID) (opened int) {
		a := &audit.Archive{Verifier: verifier, Each: func(_ int64, _ []byte, l *audit.Leaf, sealed []byte) error {
			key, err := ring.aead(person)
			if err != nil || sealed == nil {
				return nil
			}
			if _, err := key.Open(nil, nil, sealed, []byte(audit.SealContext(l.ID))); err == nil {
				opened++
			}
			return nil
		}}
		if err := a.Check(t.Context(), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return opened
	}
	if opens("person-00000000") == 0 {
		t.Fatal("before the erasure nothing is opened: this test would prove nothing")
	}
	ring.destroy("person-00000000")
	if n := opens("person-00000000") + opens("nobody"); n > 0 {
		t.Errorf("%d entries of an erased person are opened", n)
	}
	if opens("person-00000001") == 0 {
		t.Error("the other person's entries cannot be opened any more")
	}
	hash := func(id string) []byte { return index("person", id)[:8] }
	for _, m := range unpacked(t, data) {
		for _, ids := range []map[string]string{erased, other} {
			for kind, id := range ids {
				if bytes.Contains(m.data, []byte(id)) {
					t.Errorf("%s holds a %s in clear", m.name, kind)
				}
			}
			if bytes.Contains(m.data, hash(ids["person"])) {
				t.Errorf("%s holds what a person is found by", m.name)
			}
		}
	}
}

// TestArchiveOfTheFirstVersion leaves out what lies beside entries of version 1: of it, an
// erasure could not take everything.
func TestArchiveOfTheFirstVersion(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	old := openOld(t, db)
	verifier := mustVerifier(t, old.Key)
	data := archive(t, db, old.PrivateKey, verifier, 0, int64(len(old.Rows))-1)
	if err := (&audit.Archive{Verifier: verifier}).Check(t.Context(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	sealed := 0
	for _, r := range old.Rows {
		if r.Personal == nil {
			continue
		}
		sealed++
		for _, m := range unpacked(t, data) {
			if bytes.Contains(m.data, r.Personal) || r.Search != "" && bytes.Contains(m.data, []byte(r.Search)) {
				t.Errorf("%s holds what lies beside entry %s", m.name, r.ID)
			}
		}
	}
	if sealed == 0 {
		t.Error("the old log has nothing sealed")
	}
}

// TestPeriod finds entries by their time.
func TestPeriod(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	log, _ := run(t, config(t, db.Audit(), private))
	fillTree(t, log, 300)
	now := time.Now()
	for _, c := range []struct {
		from, to    time.Time
		first, last int64
	}{
		{time.Time{}, time.Time{}, 0, 299},
		{now.Add(-time.Hour), now.Add(time.Hour), 0, 299},
		{time.Time{}, now, 0, 299}, // within the minute
		{now.Add(time.Hour), time.Time{}, -1, -1},
		{time.Time{}, now.Add(-time.Hour), -1, -1},
	} {
		first, last, err := audit.Period(t.Context(), db.Audit(), c.from, c.to)
		if c.first < 0 {
			if !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("%v to %v: %d to %d, %v", c.from, c.to, first, last, err)
			}
			continue
		}
		if err != nil || first != c.first || last != c.last {
			t.Errorf("%v to %v: %d to %d, %v", c.from, c.to, first, last, err)
		}
	}
}

func FuzzArchive(f *testing.F) {
	db := storetest.Open(f, storetest.SQLite(f))
	private, verifier := newKey(f)
	log, _ := run(f, config(f, db.Audit(), private))
	for range 3 {
		if _, err := log.Record(f.Context(), call()); err != nil {
			f.Fatal(err)
		}
	}
	all := unpacked(f, archive(f, db, private, verifier, 0, 2))
	for i := range all {
		f.Add(i, all[i].name, all[i].data)
	}
	f.Add(0, "manifest", []byte(nil))
	f.Fuzz(func(t *testing.T, i int, name string, data []byte) {
		if i < 0 || i >= len(all) || len(name) > 90 {
			return
		}
		changed := slices.Clone(all)
		changed[i] = member{name, data}
		var b bytes.Buffer
		zipped := gzip.NewWriter(&b)
		out := tar.NewWriter(zipped)
		for _, m := range changed {
			if out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.data))}) != nil {
				return
			}
			_, _ = out.Write(m.data)
		}
		_, _ = out.Close(), zipped.Close()
		if key, err := audit.ArchiveKey(bytes.NewReader(b.Bytes()), []note.Verifier{verifier}); (key != nil) != (err == nil) {
			t.Errorf("member %d as %q: the key is %v, %v", i, name, key, err)
		}
		err := (&audit.Archive{Verifier: verifier}).Check(t.Context(), &b)
		if same := name == all[i].name && bytes.Equal(data, all[i].data); (err == nil) != same && i != 1 {
			// The checkpoint may carry signatures of others.
			t.Errorf("member %d as %q: %v", i, name, err)
		}
	})
}

// TestArchiveKey: an archive says itself of which log it is.
func TestArchiveKey(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	_, other := newKey(t)
	log, _ := run(t, config(t, db.Audit(), private))
	if _, err := log.Record(t.Context(), call()); err != nil {
		t.Fatal(err)
	}
	file := archive(t, db, private, verifier, 0, 0)
	if key, err := audit.ArchiveKey(bytes.NewReader(file), []note.Verifier{other, verifier}); err != nil || key != verifier {
		t.Errorf("the key is %v, %v", key, err)
	}
	for what, data := range map[string][]byte{"another log's": file, "cut off": file[:40], "no archive": []byte("gatehouse"), "empty": nil} {
		keys := []note.Verifier{other}
		if what != "another log's" {
			keys = append(keys, verifier)
		}
		if key, err := audit.ArchiveKey(bytes.NewReader(data), keys); key != nil || err == nil {
			t.Errorf("%s: the key is %v, %v", what, key, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	private, verifier := newKey(f)
	signer, err := note.NewSigner(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`gatehouse archive 1` + "\n" + `{"checkpoint":512,"first":256,"from":1,"last":511,"origin":"` + origin + `","to":2,"v":1}` + "\n")
	f.Add("gatehouse archive 1\n{}\n")
	f.Fuzz(func(t *testing.T, text string) {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			return
		}
		m, err := audit.ParseManifest(signed, verifier)
		if err == nil && (m.First < 0 || m.First%256 != 0 || m.Last < m.First || m.Last >= m.Checkpoint || m.Origin != origin) {
			t.Errorf("%q is taken for %+v", text, m)
		}
	})
}
