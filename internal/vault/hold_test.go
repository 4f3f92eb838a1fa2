package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

var (
	errAway    = fmt.Errorf("nobody answers: %w", gatehouse.ErrUnavailable)
	errRefused = fmt.Errorf("you may not: %w", gatehouse.ErrDenied)
)

// holding is an open vault with a hold of a minute and a keep of an hour, whose root
// key can fail.
type holding struct {
	t     *testing.T
	root  *countingRoot
	store *faultyStore
	vault *vault.Vault
	log   bytes.Buffer
	told  []vault.RootStatus
}

// hold runs story in a bubble of its own time.
func hold(t *testing.T, story func(t *testing.T, h *holding)) {
	t.Helper()
	dsn, root := storetest.SQLite(t), newRoot(t)
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, dsn)
		h := &holding{t: t, root: &countingRoot{RootKey: root}, store: &faultyStore{Store: db.Vault()}}
		config := vault.Config{
			Root: h.root, Store: h.store, Environment: production, HoldDomainKeys: time.Minute, KeepWithoutRoot: time.Hour,
			Log: slog.New(slog.NewTextHandler(&h.log, nil)), OnRoot: func(s vault.RootStatus) { h.told = append(h.told, s) },
		}
		if err := vault.Init(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		var err error
		if h.vault, err = vault.Open(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		defer h.vault.Close()
		story(t, h)
	})
}

func (h *holding) use(ctx context.Context) error {
	_, err := h.vault.SealPersonal(ctx, "", "entry/1", []byte("x"))
	return err
}

// works demands that the vault seals now, and how the root key stands.
func (h *holding) works(when string, state vault.RootState) {
	h.t.Helper()
	if err := h.use(h.t.Context()); err != nil {
		h.t.Errorf("%s: %v", when, err)
	}
	if s := h.vault.RootStatus(); s.State != state || s.Root != h.root.ID() {
		h.t.Errorf("%s: the root key %q %s, want that it %s", when, s.Root, s.State, state)
	}
}

func (h *holding) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheRootKeyIsAskedAgainAfterEachHold(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		first := h.root.unwraps.Load()
		h.pass(59 * time.Second)
		h.works("within a hold", vault.RootAnswers)
		if n := h.root.unwraps.Load(); n != first {
			t.Errorf("within a hold it was asked %d times", n-first)
		}
		h.pass(2 * time.Second)
		h.works("after a hold", vault.RootAnswers)
		if n := h.root.unwraps.Load(); n != 2*first {
			t.Errorf("after a hold it was asked %d times, want %d", n-first, first)
		}
		h.vault.Close()
		if h.vault.HookTestOnlyHolds() {
			t.Error("a closed vault holds domain keys")
		}
		h.pass(5 * time.Minute)
		if n := h.root.unwraps.Load(); n != 2*first {
			t.Error("a closed vault goes on asking")
		}
		if len(h.told) != 0 {
			t.Errorf("told %v although nothing changed", h.told)
		}
	})
}

// The loss of a key management system for an hour stops no call, and is told at
// once and once.
func TestHeldKeysServeWhileTheRootKeyIsAway(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.pass(30 * time.Second)
		h.root.fail(errAway)
		h.works("before the hold is over", vault.RootAnswers)
		h.pass(31 * time.Second)
		h.works("a second after the hold", vault.RootLost)
		if len(h.told) != 1 || h.told[0].State != vault.RootLost || !errors.Is(h.told[0].Err, gatehouse.ErrUnavailable) ||
			h.told[0].Until.Sub(h.told[0].Asked) != 59*time.Minute {
			t.Errorf("told %+v, want once that it is lost, and until when", h.told)
		}
		if !strings.Contains(h.log.String(), "level=WARN") || !strings.Contains(h.log.String(), h.root.ID()) {
			t.Errorf("the operator's log has no warning that names the key:\n%s", h.log.String())
		}
		asked := h.root.unwraps.Load()
		h.pass(58 * time.Minute)
		h.works("after most of an hour", vault.RootLost)
		if n := h.root.unwraps.Load() - asked; n < 200 || n > 240 {
			t.Errorf("asked %d times in 58 minutes, want every 15 s", n)
		}
		h.root.fail(nil)
		h.pass(15 * time.Second)
		h.works("when it is back", vault.RootAnswers)
		if len(h.told) != 2 || h.told[1].State != vault.RootAnswers || h.told[1].Err != nil {
			t.Errorf("told %+v, want that it is back", h.told)
		}
		h.pass(59 * time.Minute)
		h.works("an hour later", vault.RootAnswers)
	})
}

func TestHeldKeysAreDroppedWhenTheRootKeyStaysAway(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.root.fail(errAway)
		h.pass(time.Hour - time.Second)
		h.works("just before the end", vault.RootLost)
		h.pass(2 * time.Second)
		if h.vault.HookTestOnlyHolds() {
			t.Error("keys are held beyond the end")
		}
		asked := h.root.unwraps.Load()
		var waiting sync.WaitGroup
		for range 50 {
			waiting.Go(func() {
				if err := h.use(t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) {
					t.Errorf("after the end: %v, want ErrUnavailable", err)
				}
			})
		}
		waiting.Wait()
		if n := h.root.unwraps.Load() - asked; n > 1 {
			t.Errorf("50 calls at once asked %d times, want once", n)
		}
		h.root.fail(nil)
		h.pass(time.Second)
		h.works("when it is back", vault.RootAnswers)
	})
}

// An operator closes the gates from outside by saying no at the key management
// system.
func TestARefusalDropsTheHeldKeys(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.root.fail(errRefused)
		h.works("within the hold", vault.RootAnswers)
		h.pass(time.Minute)
		// To the caller it is no denial of what they asked for.
		if err := h.use(t.Context()); wire.StatusOf(err) != http.StatusServiceUnavailable || errors.Is(err, gatehouse.ErrDenied) || h.vault.HookTestOnlyHolds() {
			t.Errorf("after the hold: %v, want that it is unavailable and nothing held", err)
		}
		if len(h.told) != 1 || h.told[0].State != vault.RootRefuses || !errors.Is(h.told[0].Err, gatehouse.ErrDenied) || !h.told[0].Until.IsZero() {
			t.Errorf("told %+v", h.told)
		}
		h.root.fail(nil)
		h.pass(time.Second)
		h.works("allowed again", vault.RootAnswers)
	})
	// Lost first, then refused: a refusal ends what the loss kept alive.
	hold(t, func(t *testing.T, h *holding) {
		h.root.fail(errAway)
		h.pass(5 * time.Minute)
		h.works("lost", vault.RootLost)
		h.root.fail(errRefused)
		h.pass(15 * time.Second)
		if err := h.use(t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) || h.vault.HookTestOnlyHolds() {
			t.Errorf("refused after a loss: %v", err)
		}
	})
}

func TestAStoreThatCannotBeReadDropsNothing(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.store.unreadable = true
		h.pass(10 * time.Minute)
		h.works("unreadable", vault.RootAnswers)
		h.store.unreadable = false
		h.pass(15 * time.Second)
		h.works("readable", vault.RootAnswers)
		if len(h.told) != 0 {
			t.Errorf("told %v of a root key that always answered", h.told)
		}
	})
}

func TestACallerWhoHangsUpSaysNothingAboutTheRootKey(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.vault.Close()
		gone, hangUp := context.WithCancel(t.Context())
		h.root.asked = hangUp
		if err := h.use(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("hung up: %v", err)
		}
		h.root.asked = nil
		h.works("the next caller", vault.RootAnswers)
		if len(h.told) != 0 {
			t.Errorf("told %v", h.told)
		}
	})
}

// A timer that fired while the vault was closed finds nothing to do.
func TestATimerThatIsLateBringsNothingBack(t *testing.T) {
	hold(t, func(t *testing.T, h *holding) {
		h.vault.HookTestOnlyLateTimer()
		if h.vault.HookTestOnlyHolds() {
			t.Error("a closed vault holds domain keys again")
		}
	})
}
