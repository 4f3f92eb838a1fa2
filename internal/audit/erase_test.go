package audit_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// keyring stands for the vault: a key for each person, which can be destroyed.
type keyring struct {
	mu   sync.Mutex
	keys map[gatehouse.PersonID][]byte
}

func (k *keyring) aead(person gatehouse.PersonID) (cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[person]
	if !ok {
		return nil, fmt.Errorf("the person has no key: %w", gatehouse.ErrNotFound)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k *keyring) seal(_ context.Context, person gatehouse.PersonID, context string, plain []byte) ([]byte, error) {
	a, err := k.aead(person)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, plain, []byte(context)), nil
}

func (k *keyring) add(people ...gatehouse.PersonID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range people {
		k.keys[p] = make([]byte, 32)
		_, _ = rand.Read(k.keys[p])
	}
}

func (k *keyring) destroy(person gatehouse.PersonID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, person)
}

// live has a person do what leaves every kind of trace in the log.
func live(t *testing.T, log *audit.Log, n int) (ids map[string]string, entries []string) {
	t.Helper()
	ids = map[string]string{
		"person": fmt.Sprintf("person-%08d", n), "connection": fmt.Sprintf("con-%08d", n), "handle": fmt.Sprintf("handle-%08d", n),
		"subject": fmt.Sprintf("customer-%08d", n), "event": fmt.Sprintf("event-%08d", n), "duty": fmt.Sprintf("duty-%08d", n),
	}
	person := gatehouse.PersonID(ids["person"])
	personal := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, name := range names {
			m[name] = ids[name]
		}
		return m
	}
	for range 3 {
		e := call()
		e.Person, e.Personal, e.Search = person, personal("connection", "handle"), ids["connection"]
		r, err := log.Intent(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		// The gateway's outcomes hold nothing that is sealed.
		e.Person, e.Personal, e.Verdict, e.Status = "", nil, "done", 200
		log.Outcome(r, e)
		entries = append(entries, r.ID())
	}
	for _, e := range []audit.Entry{
		{Action: "handle.create", Personal: personal("connection", "handle"), Facts: map[string]string{"kind": "handle"}},
		{Action: "seal", Personal: personal("subject"), Facts: map[string]string{"values": "1"}},
		{Action: "event.ack", Personal: personal("event"), Facts: map[string]string{"type": "connection.health", "attempts": "1"}},
		{Action: "duty.open", Personal: personal("duty"), Facts: map[string]string{"kind": "erasure", "origin": "app"}},
	} {
		e.Person = person
		id, err := log.Record(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, id)
	}
	entries = append(entries, log.Refusal(audit.Entry{
		Action: "call", Person: person, Personal: personal("connection", "handle"), Rule: "publish/undeclared", Service: "scheduler",
	}))
	return ids, entries
}

// ringed runs a log whose fields are sealed with the keys of a keyring.
func ringed(t *testing.T, db *store.DB) (ring *keyring, log *audit.Log, verifier note.Verifier, stop func() error) {
	t.Helper()
	private, verifier := newKey(t)
	ring = &keyring{keys: map[gatehouse.PersonID][]byte{}}
	c := config(t, db.Audit(), private)
	c.Seal = ring.seal
	log, stop = run(t, c)
	return ring, log, verifier, stop
}

// TestNothingLinksAnErasedPerson is the attacker who holds the whole database, every
// key that remains (that of the index and the log's) and all ids of the person, as
// the app or the platform still knows them.
func TestNothingLinksAnErasedPerson(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		ring, log, verifier, stop := ringed(t, db)
		const people, erased = 20, 7
		all, entries := make([]map[string]string, people), make([][]string, people)
		for n := range people {
			ring.add(gatehouse.PersonID(fmt.Sprintf("person-%08d", n)))
			all[n], entries[n] = live(t, log, n)
		}
		// A call that is under way while its person is erased.
		late := call()
		late.Person, late.Personal, late.Search = gatehouse.PersonID(all[erased]["person"]), map[string]string{"connection": all[erased]["connection"]}, all[erased]["connection"]
		receipt, err := log.Intent(t.Context(), late)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		proof := proofOf(t, db, verifier, entries[erased][0])
		if traces(t, raw, all[erased]) == 0 {
			t.Fatal("before the erasure the attacker finds nothing: this test would prove nothing")
		}

		person := gatehouse.PersonID(all[erased]["person"])
		ring.destroy(person)
		if err := log.ForgetPerson(t.Context(), person, gatehouse.ConnectionID(all[erased]["connection"])); err != nil {
			t.Fatal(err)
		}
		log.Outcome(receipt, audit.Entry{Search: all[erased]["connection"], Status: 200})
		if err := stop(); err != nil {
			t.Fatal(err)
		}

		if n := traces(t, raw, all[erased]); n != 0 {
			t.Errorf("%d traces of the erased person are left", n)
		}
		for name, kind := range map[string]string{"person": "", "connection": "connection", "handle": "handle"} {
			f := audit.Found{Hash: index, Person: person, Kind: kind, Value: all[erased][name]}
			if found, err := audit.List(t.Context(), db.Audit(), audit.Filter{Last: 1000, Found: f}); err != nil || len(found) != 0 {
				t.Errorf("%d entries are found by the %s: %v", len(found), name, err)
			}
		}
		// The others' are all there.
		for n := range people {
			want := 11
			if n == erased {
				want = 0
			}
			f := audit.Found{Hash: index, Person: gatehouse.PersonID(all[n]["person"])}
			if found, err := audit.List(t.Context(), db.Audit(), audit.Filter{Last: 1000, Found: f}); err != nil || len(found) != want {
				t.Errorf("person %d is found in %d entries, want %d: %v", n, len(found), want, err)
			}
		}
		_, rows := sound(t, db.Audit(), verifier)
		unlinked(t, rows, entries[erased])
		if n := guessed(t, rows, ring, all[erased]); n != 0 {
			t.Errorf("%d commitments are opened by guessing", n)
		}
		// The proof that was made before still holds.
		if _, err := audit.CheckProof(proof, verifier); err != nil {
			t.Errorf("a proof from before the erasure: %v", err)
		}
		// It may be repeated, and so it must after a crash.
		if err := audit.Forget(t.Context(), db.Audit(), index, person); err != nil {
			t.Errorf("forgetting again: %v", err)
		}
	})
}

// TestErasingOneOfTenThousand: of ten thousand people one is erased. Nothing of that one
// is found by any search, nor in what is exported, nor in the database; everybody else
// is found; and every proof that was made before still holds.
func TestErasingOneOfTenThousand(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		ring, log, verifier, stop := ringed(t, db)
		const people, erased = 10_000, 4_711
		ids, entries := map[string]string{}, []string(nil)
		others := make([]string, people)
		for n := range people {
			person := gatehouse.PersonID(fmt.Sprintf("person-%08d", n))
			ring.add(person)
			if n == erased {
				ids, entries = live(t, log, n)
				continue
			}
			e := call()
			e.Verdict, e.Person, e.Search = "refuse", person, fmt.Sprintf("con-%08d", n)
			e.Personal = map[string]string{"connection": e.Search, "handle": fmt.Sprintf("handle-%08d", n)}
			others[n] = log.Refusal(e)
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var proofs [][]byte
		for _, id := range entries {
			proofs = append(proofs, proofOf(t, db, verifier, id))
		}
		for n := 0; n < people; n += 100 {
			proofs = append(proofs, proofOf(t, db, verifier, others[n]))
		}
		if traces(t, raw, ids) == 0 {
			t.Fatal("before the erasure nothing is found: this test would prove nothing")
		}

		person := gatehouse.PersonID(ids["person"])
		ring.destroy(person)
		if err := log.ForgetPerson(t.Context(), person, gatehouse.ConnectionID(ids["connection"])); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}

		if n := traces(t, raw, ids); n != 0 {
			t.Errorf("%d traces of the erased person are left in the database", n)
		}
		s := audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()})
		finds := func(f audit.Found) int {
			page, err := s.Search(t.Context(), audit.Query{Found: []audit.Found{f}}, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Entries)
		}
		for name, kind := range map[string]string{"person": "", "connection": "connection", "handle": "handle", "subject": "subject"} {
			if n := finds(audit.Found{Hash: index, Person: person, Kind: kind, Value: ids[name]}); n != 0 {
				t.Errorf("a search by the %s finds %d entries", name, n)
			}
		}
		for n := 0; n < people; n += 97 {
			if n != erased && finds(audit.Found{Hash: index, Person: gatehouse.PersonID(fmt.Sprintf("person-%08d", n))}) != 1 {
				t.Errorf("person %d is not found any more", n)
			}
		}
		for at := int64(0); ; {
			rows, err := db.Audit().Exported().Leaves(t.Context(), at, 1000, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				for kind, id := range ids {
					if bytes.Contains(r.Leaf, []byte(id)) || bytes.Contains(r.Leaf, index(kind, id)[:8]) {
						t.Errorf("entry %d is exported with the %s", r.Index, kind)
					}
				}
				at = r.Index + 1
			}
		}
		_, rows := sound(t, db.Audit(), verifier)
		// With every salt that is known each commitment is tried: of these, a hundred.
		rows = slices.DeleteFunc(rows, func(r audit.Row) bool {
			return !slices.Contains(entries, r.ID) && !slices.Contains(others[:100], r.ID)
		})
		if n := guessed(t, rows, ring, ids); n != 0 || len(rows) != len(entries)+100 {
			t.Errorf("%d commitments of %d entries are opened by guessing", n, len(rows))
		}
		for i, proof := range proofs {
			if _, err := audit.CheckProof(proof, verifier); err != nil {
				t.Errorf("proof %d of before the erasure: %v", i, err)
			}
		}
	})
}

// traces counts how often an id, or its keyed hash, stands anywhere in the tables of
// the log. Who was forgotten stands in a list of its own, which leads to no entry.
func traces(t *testing.T, raw *storetest.Raw, ids map[string]string) (n int) {
	t.Helper()
	for _, table := range []string{"audit_entries", "audit_search", "audit_tiles", "audit_head", "audit_checkpoints"} {
		columns, rows := raw.Query("SELECT * FROM " + table)
		for _, row := range rows {
			for i, value := range row {
				text := fmt.Appendf(nil, "%v", value)
				if b, ok := value.([]byte); ok {
					text = b
				}
				for kind, id := range ids {
					if bytes.Contains(text, []byte(id)) || bytes.Contains(text, index(kind, id)[:8]) {
						n++
						t.Logf("%s.%s holds the %s", table, columns[i], kind)
					}
				}
			}
		}
	}
	return n
}

// unlinked wants nothing in the leaves of a person to be the same in two of them, or
// to be of a form, that does not stand in others' too.
func unlinked(t *testing.T, rows []audit.Row, own []string) {
	t.Helper()
	mine := map[string]bool{}
	for _, id := range own {
		mine[id] = true
	}
	type value struct{ member, text string }
	count, others, lengths := map[value]int{}, map[value]bool{}, map[int]bool{}
	for _, r := range rows {
		var leaf map[string]any
		if err := json.Unmarshal(r.Leaf, &leaf); err != nil {
			t.Fatal(err)
		}
		for member, v := range flat("", leaf) {
			if mine[r.ID] {
				count[value{member, v}]++
			} else {
				others[value{member, v}] = true
			}
		}
		if !mine[r.ID] {
			lengths[len(r.Personal)] = true
		}
	}
	for v, n := range count {
		if n > 1 && !others[v] {
			t.Errorf("%s = %s stands in %d entries of the erased person and in nobody else's", v.member, v.text, n)
		}
	}
	ciphertexts := map[string]bool{}
	for _, r := range rows {
		if mine[r.ID] && len(r.Personal) > 0 {
			if !lengths[len(r.Personal)] {
				t.Errorf("only the erased person's sealed fields have %d bytes", len(r.Personal))
			}
			if ciphertexts[string(r.Personal)] {
				t.Error("two sealed fields of the erased person are the same")
			}
			ciphertexts[string(r.Personal)] = true
		}
	}
}

func flat(prefix string, members map[string]any) map[string]string {
	all := map[string]string{}
	for name, v := range members {
		if inner, ok := v.(map[string]any); ok {
			for k, w := range flat(prefix+name+".", inner) {
				all[k] = w
			}
			continue
		}
		all[prefix+name] = fmt.Sprint(v)
	}
	return all
}

// guessed counts the commitments that are opened by the person's ids and any salt that
// the attacker knows: none, zeros, and those of everybody whose key is left.
func guessed(t *testing.T, rows []audit.Row, ring *keyring, ids map[string]string) (n int) {
	t.Helper()
	salts := [][]byte{nil, make([]byte, 16), make([]byte, 32)}
	for _, r := range rows {
		leaf, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		for person := range ring.keys {
			a, err := ring.aead(person)
			if err != nil {
				t.Fatal(err)
			}
			text, err := a.Open(nil, nil, r.Personal, []byte(audit.SealContext(r.ID)))
			if err != nil {
				continue
			}
			fields, err := audit.OpenFields(leaf, text)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range fields {
				salts = append(salts, o.Salt)
			}
		}
	}
	if len(salts) < 100 {
		t.Fatalf("only %d salts are known", len(salts))
	}
	for _, r := range rows {
		leaf, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		for name, commitment := range leaf.Personal {
			for _, salt := range salts {
				if audit.Commitment(name, audit.Opened{Salt: salt, Value: ids[name]}) == commitment {
					n++
				}
			}
		}
	}
	return n
}

// TestEntriesThatWaitWhileTheirPersonIsErased: another process holds an entry that it
// could not write yet; it knows nothing of the erasure.
func TestEntriesThatWaitWhileTheirPersonIsErased(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, other, raw := storetest.Open(t, dsn), storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		private, verifier := newKey(t)
		log, _ := run(t, config(t, db.Audit(), private))
		held, stop := run(t, config(t, other.Audit(), private))
		for _, l := range []*audit.Log{log, held} {
			if _, err := l.Record(t.Context(), call()); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := log.ForgetPerson(t.Context(), "person-1"); err != nil {
				t.Fatal(err)
			}
			stranger := call()
			stranger.Person = "person-2"
			for _, e := range []audit.Entry{call(), stranger} {
				if _, err := held.Record(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if _, rows := raw.Query("SELECT seq FROM audit_search WHERE person = $1", index("person", "person-1")[:16]); len(rows) != 0 {
			t.Errorf("%d entries of the erased person are found", len(rows))
		}
		if _, rows := raw.Query("SELECT seq FROM audit_search WHERE person = $1", index("person", "person-2")[:16]); len(rows) != 2 {
			t.Errorf("%d entries of the other person are found, want 2", len(rows))
		}
		sound(t, db.Audit(), verifier)
		if err := log.ForgetPerson(t.Context(), ""); err == nil {
			t.Error("nobody was forgotten without an error")
		}
	})
}

// oldLog is a log that a program wrote that knew only leaves of version 1.
type oldLog struct {
	PrivateKey, Key, Note string
	Rows                  []struct {
		ID, Leaf string
		Personal []byte
		Search   string
	}
}

func openOld(t *testing.T, db *store.DB) (old oldLog) {
	t.Helper()
	if err := json.Unmarshal(read(t, "testdata/log-v1.json"), &old); err != nil {
		t.Fatal(err)
	}
	b := audit.Batch{Note: []byte(old.Note)}
	for i, r := range old.Rows {
		hash := audit.LeafHash([]byte(r.Leaf))
		b.Rows = append(b.Rows, audit.Row{Seq: int64(i), ID: r.ID, Leaf: []byte(r.Leaf), Hash: hash[:], Personal: r.Personal, SearchV1: r.Search})
	}
	if err := db.Audit().Append(t.Context(), audit.Head{Kept: -1}, b); err != nil {
		t.Fatal(err)
	}
	return old
}

// TestLogOfTheFirstVersion verifies, goes on, is found by connections across both
// versions, and can be erased from.
func TestLogOfTheFirstVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		old := openOld(t, db)
		verifier := mustVerifier(t, old.Key)
		sound(t, db.Audit(), verifier)
		log, stop := run(t, config(t, db.Audit(), old.PrivateKey))
		id, err := log.Record(t.Context(), call())
		if err != nil {
			t.Fatal(err)
		}
		found, err := audit.List(t.Context(), db.Audit(), audit.Filter{Found: connection("person-1", "connection-1")})
		if err != nil || len(found) != 5 || found[0].Version != 1 || found[0].SearchV1 != "connection-1" || found[4].ID != id {
			t.Errorf("of the connection: %+v, %v; want four entries of version 1 and the new one", found, err)
		}
		text := bytes.SplitN(found[0].Sealed[16:], []byte("|"), 3)[2]
		if fields, err := audit.OpenFields(&found[0].Leaf, text); err != nil || fields["handle"].Value != "handle-1" || fields["handle"].Salt != nil {
			t.Errorf("opened %v, %v", fields, err)
		}
		// A change beside a leaf of version 1 is found as before.
		raw.Exec("UPDATE audit_entries SET search = 'connection-3' WHERE seq = 4")
		if report := verifyLog(t, db.Audit(), verifier); report.OK() || !strings.HasPrefix(report.Problems[0].Where, "entry 4 ") {
			t.Errorf("a changed connection: %+v", report.Problems)
		}
		raw.Exec("UPDATE audit_entries SET search = NULL WHERE seq = 4")
		if report := verifyLog(t, db.Audit(), verifier); report.OK() {
			t.Error("a connection was removed, and the sealed fields left, unnoticed")
		}
		raw.Exec("UPDATE audit_entries SET search = 'connection-2' WHERE seq = 4")
		for range 2 {
			if err := log.ForgetPerson(t.Context(), "person-1", "connection-1", "connection-unheard"); err != nil {
				t.Fatal(err)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		report, rows := sound(t, db.Audit(), verifier)
		if report.Erased != 4 || report.Size != 8 {
			t.Errorf("%d of %d entries are erased, want 4 of 8", report.Erased, report.Size)
		}
		for _, r := range rows {
			if bytes.Contains(r.Personal, []byte("connection-1")) && r.ID != id || r.SearchV1 == "connection-1" {
				t.Errorf("entry %d still holds the connection", r.Seq)
			}
		}
		if rows[4].SearchV1 != "connection-2" || rows[4].Personal == nil {
			t.Error("another person's fields are gone as well")
		}
	})
}

// TestFieldsOpenOneByOne: a field that is given away with its salt is checked, and says
// nothing about the others.
func TestFieldsOpenOneByOne(t *testing.T) {
	good := audit.Opened{Salt: bytes.Repeat([]byte{1}, 16), Value: "connection-1"}
	leaf := audit.Leaf{Version: 2, Personal: map[string]string{
		"connection": audit.Commitment("connection", good), "handle": audit.Commitment("handle", audit.Opened{Salt: bytes.Repeat([]byte{2}, 16), Value: "handle-1"}),
	}}
	if !good.Opens(&leaf, "connection") {
		t.Error("the field does not open its commitment")
	}
	longer := append(bytes.Clone(good.Salt), 'g')
	for name, evil := range map[string]struct {
		field string
		o     audit.Opened
	}{
		"another name":        {"handle", good},
		"a name unheard":      {"subject", good},
		"another value":       {"connection", audit.Opened{Salt: good.Salt, Value: "connection-2"}},
		"another salt":        {"connection", audit.Opened{Salt: bytes.Repeat([]byte{3}, 16), Value: good.Value}},
		"no salt":             {"connection", audit.Opened{Value: good.Value}},
		"a border moved":      {"connection", audit.Opened{Salt: longer, Value: good.Value}},
		"a line in the value": {"connection", audit.Opened{Salt: good.Salt, Value: "\n" + good.Value}},
	} {
		if evil.o.Opens(&leaf, evil.field) {
			t.Errorf("%s opens a commitment", name)
		}
	}
	salt := base64.StdEncoding.EncodeToString(good.Salt)
	for name, text := range map[string]string{
		"a field too few": `{"connection":{"salt":"` + salt + `","value":"connection-1"}}`,
		"nothing":         `{}`,
		"no JSON":         `{`,
		"another field":   `{"connection":{"salt":"` + salt + `","value":"connection-1"},"subject":{"salt":"` + salt + `","value":"x"}}`,
	} {
		if _, err := audit.OpenFields(&leaf, []byte(text)); err == nil {
			t.Errorf("%s is taken for the fields", name)
		}
	}
}
