package identity_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func accept(_, _ secret.Text) bool { return true }

func TestASignedRequestIsAcceptedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		handle, _ := w.handle("c1")
		set, err := w.directory.OAuth1Set(t.Context(), handle.ID)
		if err != nil {
			t.Fatal(err)
		}
		if set.ConsumerKey != string(handle.Service) || set.Token != string(handle.ID) || set.ConsumerSecret.Equal(set.TokenSecret) {
			t.Errorf("set of consumer %q and token %q for handle %+v", set.ConsumerKey, set.Token, handle)
		}
		// Another process derives the same secrets: nothing is stored.
		other := w.newDirectory(w.db.Identity())
		verify := func(consumer, token secret.Text) bool {
			return consumer.Equal(set.ConsumerSecret) && token.Equal(set.TokenSecret)
		}
		at := time.Now()
		got, err := other.AuthenticateOAuth1(t.Context(), set.ConsumerKey, set.Token, "nonce-1", at, verify)
		if err != nil {
			t.Fatalf("AuthenticateOAuth1: %v", err)
		}
		if diff := cmp.Diff(handle, got); diff != "" {
			t.Errorf("handle (-made +authenticated):\n%s", diff)
		}
		_, err = w.directory.AuthenticateOAuth1(t.Context(), set.ConsumerKey, set.Token, "nonce-1", at, verify)
		refused(t, "the same request in another process", err, "identity/oauth1-replay", set.ConsumerSecret.Reveal(), set.TokenSecret.Reveal())
		for name, again := range map[string]struct {
			nonce string
			at    time.Time
		}{"another nonce": {"nonce-2", at}, "another time": {"nonce-1", at.Add(time.Second)}} {
			if _, err := w.directory.AuthenticateOAuth1(t.Context(), set.ConsumerKey, set.Token, again.nonce, again.at, verify); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		second, _ := w.handle("c1")
		secondSet, err := w.directory.OAuth1Set(t.Context(), second.ID)
		if err != nil || secondSet.TokenSecret.Equal(set.TokenSecret) || !secondSet.ConsumerSecret.Equal(set.ConsumerSecret) {
			t.Errorf("the sets of two handles of one service: %v", err)
		}
		if _, err := w.directory.AuthenticateOAuth1(t.Context(), set.ConsumerKey, secondSet.Token, "nonce-1", at, accept); err != nil {
			t.Errorf("the same nonce with another handle: %v", err)
		}
	})
}

func TestManyProcessesAcceptOneReplayOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		handle, _ := w.handle("c1")
		at := time.Now()
		var accepted atomic.Int64
		var group sync.WaitGroup
		for range 8 {
			d := w.newDirectory(w.db.Identity())
			group.Go(func() {
				_, err := d.AuthenticateOAuth1(t.Context(), string(handle.Service), string(handle.ID), "nonce", at, accept)
				if err == nil {
					accepted.Add(1)
					return
				}
				refused(t, "replay", err, "identity/oauth1-replay")
			})
		}
		group.Wait()
		if n := accepted.Load(); n != 1 {
			t.Errorf("accepted %d times, want once", n)
		}
	})
}

func TestRefusedSignatures(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	handle, _ := w.handle("c1")
	request := w.request("c1")
	request.Service = "analytics"
	other, _, err := w.directory.NewHandle(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	revoked, _ := w.handle("c2")
	if err := w.directory.RevokeHandle(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	reject := func(_, _ secret.Text) bool { return false }
	now := time.Now()
	ahead := now.Add(5 * time.Minute)
	consumer, token := string(handle.Service), string(handle.ID)
	for name, c := range map[string]struct {
		consumer, token, nonce string
		at                     time.Time
		verify                 func(_, _ secret.Text) bool
		rule                   string
	}{
		"wrong signature":             {consumer, token, "n", now, reject, "identity/oauth1-signature"},
		"another service's handle":    {consumer, string(other.ID), "n", now, accept, "identity/oauth1-signature"},
		"unknown handle":              {consumer, "nothing", "n", now, accept, "identity/oauth1-signature"},
		"unknown service":             {"nothing", token, "n", now, accept, "identity/oauth1-signature"},
		"nothing at all":              {"", "", "n", now, accept, "identity/oauth1-signature"},
		"revoked, wrong signature":    {consumer, string(revoked.ID), "n", now, reject, "identity/oauth1-signature"},
		"revoked":                     {consumer, string(revoked.ID), "n", now, accept, "identity/handle-revoked"},
		"no nonce":                    {consumer, token, "", now, accept, "identity/oauth1-nonce"},
		"a nonce too long":            {consumer, token, strings.Repeat("n", 257), now, accept, "identity/oauth1-nonce"},
		"too old":                     {consumer, token, "n", now.Add(-5*time.Minute - time.Second), accept, "identity/oauth1-timestamp"},
		"too far ahead":               {consumer, token, "n", ahead, accept, "identity/oauth1-timestamp"},
		"the beginning of time":       {consumer, token, "n", time.Unix(0, 0), accept, "identity/oauth1-timestamp"},
		"no timestamp":                {consumer, token, "n", time.Time{}, accept, "identity/oauth1-timestamp"},
		"the end of time, as a trick": {consumer, token, "n", time.Unix(1<<40, 0), accept, "identity/oauth1-timestamp"},
	} {
		if c.at.Equal(ahead) {
			c.at = time.Now().Add(5*time.Minute + 5*time.Second) // of the moment in which it is asked
		}
		_, err := w.directory.AuthenticateOAuth1(t.Context(), c.consumer, c.token, c.nonce, c.at, c.verify)
		refused(t, name, err, c.rule)
	}
	// None of them used up the nonce.
	if _, err := w.directory.AuthenticateOAuth1(t.Context(), consumer, token, "n", now, accept); err != nil {
		t.Errorf("the right request after all these: %v", err)
	}
	_, err = w.directory.OAuth1Set(t.Context(), revoked.ID)
	refused(t, "the set of a revoked handle", err, "identity/handle-revoked")
	w.raw.Exec("UPDATE services SET environment = 'staging'")
	_, err = w.directory.AuthenticateOAuth1(t.Context(), consumer, token, "n2", now, accept)
	refused(t, "another environment", err, "identity/other-environment")
}

func TestUnknownAndKnownHandlesTakeTheSameWay(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	verified := 0
	count := func(_, _ secret.Text) bool { verified++; return false }
	_, _ = w.directory.AuthenticateOAuth1(t.Context(), "nobody", "nothing", "n", time.Now(), count)
	if verified != 1 {
		t.Errorf("the signature of an unknown handle was computed %d times, want once", verified)
	}
}

func TestOldNoncesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, storetest.SQLite(t))
		handle, _ := w.handle("c1")
		stored := func() string {
			_, rows := w.raw.Query("SELECT count(*) FROM oauth1_nonces")
			return fmt.Sprint(rows[0][0])
		}
		d := w.newDirectory(w.db.Identity())
		use := func(from, to int) {
			for i := from; i < to; i++ {
				if _, err := d.AuthenticateOAuth1(t.Context(), string(handle.Service), string(handle.ID), fmt.Sprint("n", i), time.Now(), accept); err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
			}
		}
		use(0, 255)
		if got := stored(); got != "255" {
			t.Errorf("%s nonces are stored, want all 255", got)
		}
		time.Sleep(11 * time.Minute)
		use(255, 256)
		if got := stored(); got != "1" {
			t.Errorf("%s nonces are stored after a sweep, want the last one", got)
		}
	})
}

func TestOAuth1SecretsAreNotStored(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	handle, _ := w.handle("c1")
	set, err := w.directory.OAuth1Set(t.Context(), handle.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.ConsumerKey) != 22 || len(set.Token) != 22 || len(set.TokenSecret.Reveal()) != 64 {
		t.Errorf("set %q, %q and a secret of %d characters", set.ConsumerKey, set.Token, len(set.TokenSecret.Reveal()))
	}
	for _, table := range []string{"handles", "services", "vault_system", "audit_entries"} {
		_, rows := w.raw.Query("SELECT * FROM " + table)
		all := fmt.Sprintf("%s %x", rows, rows)
		for _, s := range []secret.Text{set.ConsumerSecret, set.TokenSecret} {
			if strings.Contains(all, s.Reveal()) {
				t.Errorf("table %s holds a derived secret", table)
			}
		}
	}
	_, err = w.directory.OAuth1Set(t.Context(), gatehouse.HandleID("nothing"))
	if err == nil {
		t.Error("an unknown handle has a set")
	}
}
