package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func names(t *testing.T, d *identity.Directory) (enabled, disabled []gatehouse.ServiceName) {
	t.Helper()
	services, err := d.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		if service.Disabled {
			disabled = append(disabled, service.Name)
		} else {
			enabled = append(enabled, service.Name)
		}
	}
	return enabled, disabled
}

func TestServicesFollowTheConfiguration(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		before, err := w.directory.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		_, handle := w.handle("c1")

		// The scheduler leaves the configuration: its key and handles stop.
		if err := w.directory.EnsureServices(t.Context(), []gatehouse.ServiceName{"analytics", "crm"}); err != nil {
			t.Fatal(err)
		}
		enabled, disabled := names(t, w.directory)
		if diff := cmp.Diff([][]gatehouse.ServiceName{{"analytics", "crm"}, {"scheduler"}}, [][]gatehouse.ServiceName{enabled, disabled}); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
		_, err = w.directory.AuthenticateService(t.Context(), key)
		refused(t, "key of a disabled service", err, "identity/service-disabled", key.Reveal())
		_, err = w.directory.AuthenticateHandle(t.Context(), handle)
		refused(t, "handle of a disabled service", err, "identity/service-disabled", handle.Reveal())
		_, err = w.directory.NewServiceKey(t.Context(), "scheduler")
		refused(t, "new key for a disabled service", err, "identity/service-disabled")
		_, _, err = w.directory.NewHandle(t.Context(), w.request("c1"))
		refused(t, "new handle for a disabled service", err, "identity/service-disabled")

		// It comes back, as the same service.
		if err := w.directory.EnsureServices(t.Context(), []gatehouse.ServiceName{"analytics", "scheduler"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.directory.AuthenticateService(t.Context(), key); err != nil {
			t.Errorf("key of a service that came back: %v", err)
		}
		for action, want := range map[string]int{"service.create": 3, "service.disable": 2, "service.enable": 1} {
			if n := w.logged(`"action":"` + action + `"`); n != want {
				t.Errorf("%d entries of %s in the log, want %d", n, action, want)
			}
		}
		after, err := w.directory.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range after {
			for _, earlier := range before {
				if service.Name == earlier.Name && service != earlier {
					t.Errorf("service %+v has become %+v", earlier, service)
				}
			}
		}
	})
}

func TestServiceNamesAreChecked(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for _, name := range []gatehouse.ServiceName{"", "a b", "-a", "a/b", "é", gatehouse.ServiceName(strings.Repeat("a", 64))} {
		if err := w.directory.EnsureServices(t.Context(), []gatehouse.ServiceName{"scheduler", name}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("service %q: %v, want ErrInvalid", name, err)
		}
	}
	if enabled, disabled := names(t, w.directory); len(enabled) != 2 || len(disabled) != 0 {
		t.Errorf("after refused names: enabled %v, disabled %v", enabled, disabled)
	}
}

func TestAServiceKeyLivesUntilItIsRevoked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		key, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		other, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		if identity.Looks(key.Reveal()) != identity.KeyForm {
			t.Error("a service key does not look like one")
		}
		service, err := w.newDirectory(w.db.Identity()).AuthenticateService(t.Context(), key)
		if err != nil || service.Name != "scheduler" || service.ID == "" {
			t.Fatalf("AuthenticateService = %+v, %v; want the scheduler", service, err)
		}
		keys, err := w.directory.ServiceKeys(t.Context(), "scheduler")
		if err != nil || len(keys) != 2 || !keys[0].Revoked.IsZero() || keys[0].Service != "scheduler" || keys[0].Created.IsZero() {
			t.Fatalf("ServiceKeys = %+v, %v; want two valid keys", keys, err)
		}
		if !strings.Contains(key.Reveal(), string(keys[0].ID)) {
			keys[0], keys[1] = keys[1], keys[0]
		}
		for range 2 { // repeating it is no error
			if err := w.directory.RevokeServiceKey(t.Context(), keys[0].ID); err != nil {
				t.Fatalf("RevokeServiceKey: %v", err)
			}
		}
		_, err = w.directory.AuthenticateService(t.Context(), key)
		refused(t, "revoked key", err, "identity/key-revoked", key.Reveal())
		if _, err := w.directory.AuthenticateService(t.Context(), other); err != nil {
			t.Errorf("the other key: %v", err)
		}
		if err := w.directory.RevokeServiceKey(t.Context(), "nothing"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("revoking an unknown key: %v, want ErrNotFound", err)
		}
		if _, err := w.directory.NewServiceKey(t.Context(), "nobody"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("key for an unknown service: %v, want ErrNotFound", err)
		}
		if n := w.logged("service.key.create", `"kind":"intent"`, "scheduler"); n != 2 {
			t.Errorf("%d intents to make a key in the log, want 2", n)
		}
		if n := w.logged("service.key.revoke", `"kind":"intent"`); n != 2 {
			t.Errorf("%d intents to revoke a key in the log, want 2", n)
		}
	})
}

// The old keys of a service work beside a new one for the time of the overlap.
func TestOldServiceKeysEndAfterTheOverlap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		make := func(purpose gatehouse.PurposeName) (identity.ServiceKey, secret.Text) {
			t.Helper()
			key, text, err := w.directory.MakeServiceKey(t.Context(), identity.KeyRequest{Service: "scheduler", Purpose: purpose})
			if err != nil {
				t.Fatal(err)
			}
			return key, text
		}
		_, old := make("")
		_, bound := make("publish") // is for something else, and stays
		newest, next := make("")
		expire := func(after time.Duration, want int) {
			t.Helper()
			if n, err := w.directory.ExpireServiceKeys(t.Context(), newest, time.Now().Add(after)); err != nil || n != want {
				t.Errorf("ExpireServiceKeys = %d, %v; want %d", n, err, want)
			}
		}
		expire(time.Hour, 1)
		for name, key := range map[string]secret.Text{"old": old, "new": next, "bound": bound} {
			if _, err := w.directory.AuthenticateService(t.Context(), key); err != nil {
				t.Errorf("within the overlap, the %s key: %v", name, err)
			}
		}
		expire(2*time.Hour, 0) // it ends sooner already
		expire(0, 1)
		_, err := w.directory.AuthenticateService(t.Context(), old)
		refused(t, "after the overlap, the old key", err, "identity/key-expired", old.Reveal())
		if _, err := w.directory.AuthenticateService(t.Context(), next); err != nil {
			t.Errorf("after the overlap, the new key: %v", err)
		}
		if _, err := w.directory.AuthenticateService(t.Context(), bound); err != nil {
			t.Errorf("after the overlap, the bound key: %v", err)
		}
		if n := w.logged("service.key.expire", `"kind":"intent"`, "scheduler"); n != 2 {
			t.Errorf("%d intents to give a key an end in the log, want 2", n)
		}
	})
}

func TestRefusedServiceKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		key, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		_, handle := w.handle("c1")
		text := key.Reveal()
		rightIDWrongSecret := identity.HookTestOnlyCompose("gth_svc_", text[8:30], identity.HookTestOnlyRandom(43))
		for name, c := range map[string]struct{ key, rule string }{
			"nothing":              {"", "identity/key-malformed"},
			"anything":             {"hunter2hunter2hunter2hunter2", "identity/key-malformed"},
			"a handle":             {handle.Reveal(), "identity/key-malformed"},
			"cut":                  {text[:79], "identity/key-malformed"},
			"damaged":              {text[:40] + "!" + text[41:], "identity/key-malformed"},
			"never made":           {identity.HookTestOnlyCompose("gth_svc_", someID, someSecret), "identity/key-unknown"},
			"another secret":       {rightIDWrongSecret, "identity/key-unknown"},
			"padded with newlines": {text + "\n", "identity/key-malformed"},
		} {
			got, err := w.directory.AuthenticateService(t.Context(), secret.New(c.key))
			refused(t, name, err, c.rule, c.key)
			if got != (identity.Caller{}) {
				t.Errorf("%s: a service in spite of the refusal", name)
			}
		}
		w.raw.Exec("UPDATE services SET environment = 'staging'")
		_, err = w.directory.AuthenticateService(t.Context(), key)
		refused(t, "key of another environment", err, "identity/other-environment", text)
	})
}

func TestKeysAndHandlesAreStoredAsHashes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		key, err := w.directory.NewServiceKey(t.Context(), "scheduler")
		if err != nil {
			t.Fatal(err)
		}
		_, handle := w.handle("c1")
		for _, table := range []string{"service_keys", "handles", "services", "audit_entries"} {
			_, rows := w.raw.Query("SELECT * FROM " + table)
			for _, row := range rows {
				for _, value := range row {
					text := ""
					switch v := value.(type) {
					case string:
						text = v
					case []byte:
						text = string(v)
					}
					for _, presented := range []string{key.Reveal(), handle.Reveal()} {
						if strings.Contains(text, presented[31:74]) {
							t.Errorf("table %s holds the secret part of a key or handle", table)
						}
					}
				}
			}
		}
	})
}

func TestConfigMustBeComplete(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for name, change := range map[string]func(*identity.Config){
		"Store":       func(c *identity.Config) { c.Store = nil },
		"Log":         func(c *identity.Config) { c.Log = nil },
		"Derive":      func(c *identity.Config) { c.Derive = nil },
		"Environment": func(c *identity.Config) { c.Environment = "" },
		"life":        func(c *identity.Config) { c.HandleTTL = -1 },
		"maximum":     func(c *identity.Config) { c.MaxHandleTTL = identity.DefaultHandleTTL - 1 },
	} {
		config := w.config(w.db.Identity())
		change(&config)
		if _, err := identity.New(config); !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("bad %s: %v, want ErrInvalid that names it", name, err)
		}
	}
}
