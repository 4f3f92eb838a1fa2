package stepup_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// dying is a store on which a process dies.
type dying struct {
	stepup.Store
	storetest.Death
}

func (s *dying) AddRequest(ctx context.Context, r *stepup.Request, subject []byte, keep int) error {
	return s.Write(func() error { return s.Store.AddRequest(ctx, r, subject, keep) })
}

func (s *dying) SaveRequest(ctx context.Context, r *stepup.Request) error {
	return s.Write(func() error { return s.Store.SaveRequest(ctx, r) })
}

func (s *dying) Enrol(ctx context.Context, r *stepup.Request, f stepup.Factor, codes []factor.RecoveryHash) error {
	return s.Write(func() error { return s.Store.Enrol(ctx, r, f, codes) })
}

func (s *dying) UseFactor(ctx context.Context, r *stepup.Request, f stepup.Factor) error {
	return s.Write(func() error { return s.Store.UseFactor(ctx, r, f) })
}

func (s *dying) UseRecovery(ctx context.Context, r *stepup.Request, hash factor.RecoveryHash) error {
	return s.Write(func() error { return s.Store.UseRecovery(ctx, r, hash) })
}

func (s *dying) Finish(ctx context.Context, r *stepup.Request) error {
	return s.Write(func() error { return s.Store.Finish(ctx, r) })
}

func (s *dying) Reset(ctx context.Context, person gatehouse.PersonID) (n int, err error) {
	err = s.Write(func() (err error) { n, err = s.Store.Reset(ctx, person); return err })
	return n, err
}

func (s *dying) Remember(ctx context.Context, b stepup.Browser, instead string, keep int) error {
	return s.Write(func() error { return s.Store.Remember(ctx, b, instead, keep) })
}

func (s *dying) Guess(ctx context.Context, person gatehouse.PersonID, hash string, now time.Time, every time.Duration, burst int) (next time.Time, err error) {
	err = s.Write(func() (err error) { next, err = s.Store.Guess(ctx, person, hash, now, every, burst); return err })
	return next, err
}

func (s *dying) Unguess(ctx context.Context, person gatehouse.PersonID, hash string, every time.Duration) error {
	return s.Write(func() error { return s.Store.Unguess(ctx, person, hash, every) })
}

// toldOf is how often the app was told of a type of event.
func (w *world) toldOf(kind string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.told {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// crashed is what a life hands on to whoever looks after its process has died.
type crashed struct {
	human *human
	// id, code and subject are of a redemption that was begun.
	id       string
	code     secret.Text
	redeemed bool
	// typed is the code that was typed, recovery the one that was.
	typed, recovery string
	proved, used    bool
}

// life is a person's first factor, a proof, a recovery code and a reset, in one process.
// It stops at the first error.
func (w *world) life(s *stepup.Stepups, c *crashed) error {
	ctx, h := w.t.Context(), c.human
	begin := func() (string, error) {
		b, err := s.Begin(ctx, ask("ada"))
		if err != nil {
			return "", err
		}
		v, err := s.Open(ctx, h.at(b.ID))
		if err == nil {
			h.took(b.ID, v)
		}
		return b.ID, err
	}
	redeem := func(id string, to string) error {
		c.id, c.code, c.redeemed = id, w.codeIn(to), false
		_, err := s.Redeem(ctx, "web", id, c.code, "ada")
		c.redeemed = err == nil
		return err
	}
	id, err := begin()
	if err != nil {
		return err
	}
	v, err := s.BeginTOTP(ctx, h.at(id))
	if err != nil {
		return err
	}
	h.totp = v.Page.Key.Reveal()
	if v, err = s.ConfirmTOTP(ctx, h.at(id), h.code(0)); err != nil {
		return err
	}
	h.took(id, v)
	if v, err = s.Continue(ctx, h.at(id)); err != nil {
		return err
	}
	if err := redeem(id, v.To); err != nil {
		return err
	}

	if id, err = begin(); err != nil {
		return err
	}
	c.typed = h.code(1)
	if v, err = s.Code(ctx, h.at(id), c.typed); err != nil {
		return err
	}
	c.proved = true
	h.took(id, v)
	if err := redeem(id, v.To); err != nil {
		return err
	}

	if id, err = begin(); err != nil {
		return err
	}
	c.recovery = h.codes[0].Reveal()
	if v, err = s.Code(ctx, h.at(id), c.recovery); err != nil {
		return err
	}
	c.used = true
	h.took(id, v)
	if err := redeem(id, v.To); err != nil {
		return err
	}
	_, err = s.ResetHolder(ctx, w.person("ada"), "")
	return err
}

// A process that dies at any write of a step-up, before or after it took effect, leaves
// nothing that counts twice, no factor that counts without a word, nobody locked out
// with codes in hand, and a way on for whoever comes next.
func TestDyingAtEachWriteOfAStepup(t *testing.T) {
	run := func(t *testing.T, n int, after bool) (writes int) {
		w := newWorld(t, storetest.SQLite(t), connecttest.Options{})
		ctx := t.Context()
		store := &dying{Store: w.DB.Stepup()}
		store.Die(n, after)
		c := &crashed{human: w.human("ada")}
		w.dying = store
		died := w.life(w.open(store), c)
		w.dying = nil
		if store.Died() != errors.Is(died, storetest.ErrDied) || !store.Died() && died != nil {
			t.Fatalf("the life ends with %v, dying at write %d", died, n)
		}
		writes = store.Writes()

		// The next process. What the app was not told of does not count.
		person := gatehouse.PersonID("")
		if store.Died() {
			var err error
			if person, err = w.records.PersonOfSubject(ctx, "ada", true); err != nil {
				t.Fatal(err)
			}
			factors, left, err := w.DB.Stepup().Factors(ctx, person)
			if err != nil {
				t.Fatal(err)
			}
			if len(factors) > 0 && w.toldOf("stepup.enrolled") == 0 {
				t.Error("a factor counts, and the app was not told")
			}
			if len(factors) == 0 && c.proved && w.toldOf("stepup.reset") == 0 {
				t.Error("a factor is gone without a word")
			}
			if (len(factors) > 0) != (left > 0) {
				t.Errorf("there are %d factors and %d recovery codes", len(factors), left)
			}
			// A result was taken once, or can be taken now, and never twice.
			if c.id != "" {
				_, first := w.stepups.Redeem(ctx, "web", c.id, c.code, "ada")
				if c.redeemed && first == nil {
					t.Error("a code is redeemed twice")
				}
				if _, second := w.stepups.Redeem(ctx, "web", c.id, c.code, "ada"); second == nil {
					t.Error("a code is redeemed twice by the next process")
				}
				if factors, _, err = w.DB.Stepup().Factors(ctx, person); err != nil {
					t.Fatal(err)
				}
			}
			if len(factors) > 0 {
				step := factors[0].Step
				// What was typed is taken at most once.
				for what, typed := range map[string]string{"a code": c.typed, "a recovery code": c.recovery} {
					if typed == "" {
						continue
					}
					if what == "a code" && c.proved || what == "a recovery code" && c.used {
						id, _ := c.human.begin(ask("ada"))
						if v, err := c.human.types(id, typed); err == nil && v.To != "" {
							t.Errorf("%s that was proved is taken again", what)
						}
					}
				}
				if factors, _, err = w.DB.Stepup().Factors(ctx, person); err != nil || len(factors) == 0 || factors[0].Step < step {
					t.Errorf("the newest step goes back: %+v, %v", factors, err)
				}
			}
		}

		// Whoever comes next gets on: with a recovery code, or by setting up anew.
		h := c.human
		id, v := h.begin(ask("ada"))
		switch v.Page.Step {
		case stepup.Setup:
			w.redeem(id, h.setUpTOTP(id), "ada")
		case stepup.Prove:
			v, err := h.types(id, h.codes[len(h.codes)-1].Reveal())
			if err != nil || v.To == "" {
				t.Fatalf("a recovery code that was kept: %+v, %v", v.Page, err)
			}
			w.redeem(id, v.To, "ada")
		default:
			t.Fatalf("the page is %+v", v.Page)
		}
		// A reset that was begun is finished by being ordered again, and told.
		if n, err := w.stepups.ResetHolder(ctx, w.person("ada"), ""); err != nil || n != 1 {
			t.Errorf("resetting: %d, %v", n, err)
		}
		if !slices.Contains(w.events(), "stepup.reset ada ") {
			t.Error("a reset is not told")
		}
		return writes
	}
	all := run(t, 0, false)
	if all < 20 {
		t.Fatalf("a life writes %d times only", all)
	}
	t.Logf("a life writes %d times", all)
	// Before a write is after the one before it.
	run(t, 1, false)
	for n := 1; n <= all; n++ {
		run(t, n, true)
	}
}
