package egress_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/egress"

	"github.com/google/go-cmp/cmp"
)

func newAuthority(t *testing.T, secrets egress.Secrets) *egress.Authority {
	t.Helper()
	a, err := egress.NewAuthority(egress.AuthorityConfig{Secrets: secrets, Environment: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// use gives an authority its hosts and returns the current one's fingerprint.
func use(t *testing.T, a *egress.Authority, hosts ...string) string {
	t.Helper()
	if err := a.Use(t.Context(), hosts); err != nil {
		t.Fatal(err)
	}
	if len(a.Trusted()) == 0 {
		return ""
	}
	return a.Trusted()[0].SHA256
}

func TestProcessesAgreeOnOneAuthority(t *testing.T) {
	secrets := &memorySecrets{}
	one, two := newAuthority(t, secrets), newAuthority(t, secrets)
	if _, err := one.Leaf("a.example"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("before there is one: %v", err)
	}
	// The other is faster, between the first one's look and its write.
	other := ""
	secrets.between = func() { other = use(t, two, "a.example") }
	first := use(t, one, "a.example")
	if first != other || first == "" {
		t.Errorf("one has %s, the other %s", first, other)
	}
	leaf, err := one.Leaf("a.example")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(two.Trusted()[0].PEM)
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "a.example"}); err != nil {
		t.Errorf("who trusts the one does not trust the other: %v", err)
	}

	// One process has a new configuration, the other still its old one.
	second := use(t, one, "a.example", "b.example")
	if second == first {
		t.Error("other hosts, and the same authority")
	}
	if _, err := two.Leaf("b.example"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a host that is not configured: %v", err)
	}
	if got := use(t, two, "b.example", "a.example"); got != second {
		t.Errorf("after its reload the other has %s, want %s", got, second)
	}
	if got := use(t, one); got != "" {
		t.Errorf("without hosts there is %s", got)
	}
	if _, err := one.Leaf("a.example"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("without hosts: %v", err)
	}
	if text, err := secrets.System(t.Context(), egress.SecretAuthority); err != nil || !text.IsZero() {
		t.Errorf("without hosts a key is kept (%v)", err)
	}
}

func TestAuthorityRenewsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := &memorySecrets{}
		one, two := newAuthority(t, secrets), newAuthority(t, secrets)
		first := use(t, one, "a.example")
		use(t, two, "a.example")
		for _, a := range []*egress.Authority{one, two} {
			go a.Run(t.Context())
		}
		time.Sleep(59 * 24 * time.Hour)
		if one.Trusted()[0].SHA256 != first {
			t.Error("renewed too early")
		}
		time.Sleep(2 * 24 * time.Hour)
		if len(one.Trusted()) != 2 || one.Trusted()[0].SHA256 == first || one.Trusted()[0].SHA256 != two.Trusted()[0].SHA256 {
			t.Error("after 61 days there is no successor that both have")
		}
		time.Sleep(15 * 24 * time.Hour)
		if len(one.Trusted()) != 1 {
			t.Error("the old authority is still shown after the overlap")
		}

		// A process with another configuration does not take over, nor give way.
		second := one.Trusted()[0].SHA256
		changed := use(t, two, "a.example", "b.example")
		time.Sleep(24 * time.Hour)
		if one.Trusted()[0].SHA256 != second || two.Trusted()[0].SHA256 != changed {
			t.Error("processes with different hosts replace each other's authority")
		}
	})
}

func TestAuthorityRefusesWhatIsNoHost(t *testing.T) {
	a := newAuthority(t, &memorySecrets{})
	use(t, a, "a.example")
	before := a.Trusted()
	if err := a.Use(t.Context(), []string{"*.example"}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if diff := cmp.Diff(before, a.Trusted()); diff != "" {
		t.Error(diff)
	}
	if _, err := egress.NewAuthority(egress.AuthorityConfig{}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("without a place for secrets: %v", err)
	}
	if _, err := egress.NewTerminate(egress.InspectConfig{}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("without an inspector: %v", err)
	}
}
