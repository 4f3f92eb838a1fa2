package factor_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"gatehouse/internal/identity/factor"
	"gatehouse/internal/secret"
)

// However many strangers wait, whoever is known gets a turn.
func TestStrangersKeepNobodyWaitingWhoIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := factor.NewPasswords(factor.PasswordConfig{Hashes: 2})
		if err != nil {
			t.Fatal(err)
		}
		password := secret.New("twelve chars")
		release := factor.HoldTurn(p) // the only one that strangers have
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 33 {
			group.Go(func() {
				if err := p.Waste(ctx, password); !errors.Is(err, context.Canceled) {
					t.Errorf("a stranger has a turn that is kept: %v", err)
				}
			})
		}
		synctest.Wait()
		if err := p.Waste(t.Context(), password); !errors.Is(err, factor.ErrBusy) {
			t.Errorf("one more stranger: %v", err)
		}
		if err := p.Waste(factor.Known(t.Context()), password); !errors.Is(err, factor.ErrWrong) {
			t.Errorf("somebody who is known: %v", err)
		}
		cancel()
		group.Wait()
		release()
		if err := p.Waste(t.Context(), password); !errors.Is(err, factor.ErrWrong) {
			t.Errorf("a stranger when there is room again: %v", err)
		}

		// With one turn for all, whoever is known waits for the one that has it, and no
		// longer.
		if p, err = factor.NewPasswords(factor.PasswordConfig{Hashes: 1}); err != nil {
			t.Fatal(err)
		}
		release = factor.HoldTurn(p)
		ctx, cancel = context.WithCancel(t.Context())
		for range 16 {
			group.Go(func() { _ = p.Waste(ctx, password) })
		}
		done := make(chan error, 1)
		go func() { done <- p.Waste(factor.Known(t.Context()), password) }()
		synctest.Wait()
		release()
		if err := <-done; !errors.Is(err, factor.ErrWrong) {
			t.Errorf("somebody who is known, with one turn for all: %v", err)
		}
		cancel()
		group.Wait()
	})
}
