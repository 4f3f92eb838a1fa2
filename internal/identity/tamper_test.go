package identity_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// changedStore is a store to which somebody wrote who has no root key.
type changedStore struct {
	identity.Store
	handle func(*identity.HandleRecord)
	key    func(*identity.ServiceKeyRecord)
}

func (s *changedStore) Handle(ctx context.Context, id gatehouse.HandleID) (identity.HandleRecord, error) {
	record, err := s.Store.Handle(ctx, id)
	if err == nil && s.handle != nil {
		s.handle(&record)
	}
	return record, err
}

func (s *changedStore) ServiceKey(ctx context.Context, id identity.ServiceKeyID) (identity.ServiceKeyRecord, error) {
	record, err := s.Store.ServiceKey(ctx, id)
	if err == nil && s.key != nil {
		s.key(&record)
	}
	return record, err
}

// Whoever writes to the database cannot make a handle or a key, nor point one that
// they have at another person, purpose or time, in either form.
func TestChangedRowsOpenNothing(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	handle, text := w.handle("con1")
	key, err := w.directory.NewServiceKey(ctx, handle.ServiceName)
	if err != nil {
		t.Fatal(err)
	}
	set, err := w.directory.OAuth1Set(ctx, handle.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*identity.HandleRecord){
		"connection": func(r *identity.HandleRecord) { r.Handle.Connection = "con2" },
		"person":     func(r *identity.HandleRecord) { r.Handle.Person = "per2" },
		"purpose":    func(r *identity.HandleRecord) { r.Handle.Purpose = "other" },
		"app":        func(r *identity.HandleRecord) { r.Handle.App = "other" },
		"platform":   func(r *identity.HandleRecord) { r.Handle.Platform = gatehouse.Facebook },
		"service":    func(r *identity.HandleRecord) { r.Handle.Service = "other" },
		"parent":     func(r *identity.HandleRecord) { r.Handle.Parent = "other" },
		"expiry":     func(r *identity.HandleRecord) { r.Handle.Expires = r.Handle.Expires.Add(time.Hour) },
		"plain hash": func(r *identity.HandleRecord) {
			r.Hash = sha256.Sum256([]byte(text.Reveal()))
			r.Handle.Purpose = "other"
		},
	} {
		changed := w.newDirectory(&changedStore{Store: w.db.Identity(), handle: change})
		_, err := changed.AuthenticateHandle(ctx, text)
		refused(t, name, err, "identity/handle-unknown")
		consumer := set.ConsumerKey
		if name == "service" {
			consumer = "other"
		}
		_, err = changed.AuthenticateOAuth1(ctx, consumer, set.Token, "nonce "+name, time.Now(), func(_, tokenSecret secret.Text) bool {
			return tokenSecret.Equal(set.TokenSecret)
		})
		refused(t, name+" with OAuth 1.0a", err, "identity/oauth1-signature")
	}
	for name, change := range map[string]func(*identity.ServiceKeyRecord){
		"plain hash": func(r *identity.ServiceKeyRecord) { r.Hash = sha256.Sum256([]byte(key.Reveal())) },
		"service":    func(r *identity.ServiceKeyRecord) { r.Service.Service.ID = "other" },
	} {
		_, err := w.newDirectory(&changedStore{Store: w.db.Identity(), key: change}).AuthenticateService(ctx, key)
		refused(t, "key, "+name, err, "identity/key-unknown")
	}
	_, bound, err := w.directory.MakeServiceKey(ctx, identity.KeyRequest{Service: handle.ServiceName, Purpose: "publish"})
	if err != nil {
		t.Fatal(err)
	}
	for _, purpose := range []gatehouse.PurposeName{"", "other", identity.NoPurpose} {
		changed := &changedStore{Store: w.db.Identity(), key: func(r *identity.ServiceKeyRecord) { r.Key.Purpose = purpose }}
		_, err := w.newDirectory(changed).AuthenticateService(ctx, bound)
		refused(t, "bound key, for "+string(purpose), err, "identity/key-unknown")
	}
	if _, err := w.directory.AuthenticateService(ctx, bound); err != nil {
		t.Errorf("the bound key as it was: %v", err)
	}
	if _, err := w.directory.AuthenticateHandle(ctx, text); err != nil {
		t.Errorf("the row as it was: %v", err)
	}
}
