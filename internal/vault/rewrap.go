package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// RewrapOptions say how keys are moved.
type RewrapOptions struct {
	// Root moves domain keys to the root key that is configured now, and nothing
	// else.
	Root bool
	// Keyring makes every keyring key anew, and so rewraps the key of every person.
	Keyring bool
	// SetAside goes on without keys that do not open. They never will again.
	SetAside bool
	// Progress is told how far it is.
	Progress Progress
}

// Rewrap moves what stands under an older key under the one that replaced it, so
// that nothing needs the older one. It can be interrupted anywhere and run again,
// beside calls and beside other processes.
func (k *Keys) Rewrap(ctx context.Context, o RewrapOptions) (Turned, error) {
	var done Turned
	err := k.alone(ctx, func(w *walk) error {
		w.progress, w.setAside = o.Progress, o.SetAside
		defer func() { done = w.done }()
		if err := w.toRoot(ctx); err != nil || o.Root {
			return err
		}
		if err := w.system(ctx); err != nil {
			return err
		}
		if o.Keyring {
			if err := k.store().MarkKeyringErased(ctx, time.Now()); err != nil {
				return fmt.Errorf("marking the keyring: %w", err)
			}
		}
		return w.personal(ctx, true)
	})
	return done, err
}

// personal moves the keys of people under the keyring, and turns the keyring if
// that is due, or at all if now says so and anything is waiting.
func (w *walk) personal(ctx context.Context, now bool) error {
	rows, err := w.versions(ctx, Personal)
	if err != nil {
		return err
	}
	var failed error
	for _, row := range rows {
		if !row.State.opens() {
			continue
		}
		some, err := w.store().PersonKeysUnder(ctx, 0, row.Version, 1)
		if err != nil {
			return fmt.Errorf("reading keys of people: %w", err)
		}
		if len(some) > 0 {
			failed = errors.Join(failed, w.adopt(ctx, row.Version))
		}
	}
	newest, err := w.newest(ctx, Personal)
	if err != nil {
		return errors.Join(failed, err)
	}
	due, err := w.due(ctx, newest)
	if err == nil && !due && now {
		var sum KeyringSummary
		sum, err = w.store().KeyringSummary(ctx)
		due = sum.Dirty > 0
	}
	if err == nil && due {
		err = w.turn(ctx)
	}
	return errors.Join(failed, err)
}

// newest returns the active version of a domain.
func (k *Keys) newest(ctx context.Context, domain Domain) (uint32, error) {
	rows, err := k.versions(ctx, domain)
	if err != nil {
		return 0, err
	}
	var newest uint32
	for _, row := range rows {
		if row.State == Active {
			newest = row.Version
		}
	}
	return newest, nil
}

// toRoot rewraps each domain key that another root key wraps by the one that is
// configured now, one by one: each row is under either of them at every moment.
// Disabled and scheduled versions move too, so that the other root key can go.
func (w *walk) toRoot(ctx context.Context) error {
	rows, err := w.store().DomainKeys(ctx)
	if err != nil {
		return fmt.Errorf("reading the domain keys: %w", err)
	}
	root := w.vault.config.Root
	moved := int64(0)
	for i, row := range rows {
		if row.State == Destroyed || row.Root == root.ID() {
			continue
		}
		if err := w.extend(ctx); err != nil {
			return err
		}
		facts := keyFacts(row.Domain, row.Version)
		facts["root"] = root.ID()
		if err := w.did(ctx, actionRewrap, facts, func(audit.Receipt) error { return w.underRoot(ctx, row, root) }); err != nil {
			return fmt.Errorf("rewrapping domain key %s version %d from root key %s to %s (run it again, it goes on): %w", row.Domain, row.Version, row.Root, root.ID(), err)
		}
		moved++
		w.progress.tell("domain keys", int64(i+1), int64(len(rows)))
		w.step("root: stored")
	}
	if moved > 0 {
		return errors.Join(w.vault.Renew(ctx), w.store().Compact(ctx))
	}
	return nil
}

func (w *walk) underRoot(ctx context.Context, row DomainKey, root RootKey) error {
	if err := w.vault.check(row); err != nil {
		return err
	}
	at := domainContext(row.Environment, row.Domain, row.Version)
	material, err := w.vault.rootOf(row).Unwrap(ctx, row.Wrapped, at)
	if err != nil {
		return fmt.Errorf("unwrapping with root key %s: %w", row.Root, err)
	}
	defer clear(material)
	to := row
	to.Root = root.ID()
	if to.Wrapped, err = root.Wrap(ctx, material, at); err != nil {
		return fmt.Errorf("wrapping with root key %s: %w", root.ID(), err)
	}
	w.step("root: wrapped")
	// A provider that wraps and cannot unwrap must show before it is relied on.
	back, err := root.Unwrap(ctx, to.Wrapped, at)
	if err != nil {
		return fmt.Errorf("root key %s does not unwrap what it wrapped; nothing was changed: %w", root.ID(), err)
	}
	defer clear(back)
	if !bytes.Equal(back, material) {
		return wire.Refuse(gatehouse.ErrConflict, "keys/root-mismatch", fmt.Sprintf("The root key %s gives back something else than it wrapped. Nothing was changed; the old root key is still in use.", root.ID()))
	}
	if err := w.store().ChangeDomainKey(ctx, row, to); !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	// Another process was faster, or rotated: what it left is looked at next time.
	return nil
}

// Reseal returns a record of no person sealed anew under the newest version of
// Tokens, or as it is if it is under that already. It is for the owners of records
// that outlive a rotation; the plaintext does not leave the vault.
func (v *Vault) Reseal(ctx context.Context, r audit.Receipt, ref Ref, sealed []byte) ([]byte, error) {
	if ref.Person != "" {
		return nil, fmt.Errorf("sealing %s.%s anew: a person's record stays under the person's key: %w", ref.Table, ref.Column, gatehouse.ErrInvalid)
	}
	_, newest, err := v.sealer(ctx, Tokens)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(sealed, RecordHeader(newest)) {
		return sealed, nil
	}
	text, err := v.Open(ctx, r, ref, sealed)
	if err != nil {
		return nil, err
	}
	return v.Seal(ctx, ref, text)
}

// system seals the system secrets anew that an older version of System sealed.
func (w *walk) system(ctx context.Context) error {
	newest, err := w.newest(ctx, System)
	if err != nil {
		return err
	}
	records, err := w.store().SystemRecords(ctx)
	if err != nil {
		return fmt.Errorf("reading the system secrets: %w", err)
	}
	for _, record := range records {
		if bytes.HasPrefix(record.Sealed, RecordHeader(newest)) {
			continue
		}
		facts := keyFacts(System, newest)
		facts["secret"] = record.Name
		err := w.did(ctx, actionRewrap, facts, func(audit.Receipt) error { return w.vault.resealSystem(ctx, record) })
		if err != nil {
			return fmt.Errorf("sealing system secret %s anew: %w", record.Name, err)
		}
		w.step("system: stored")
	}
	return nil
}

func (v *Vault) resealSystem(ctx context.Context, record SystemRecord) error {
	plaintext, err := v.openDomain(ctx, System, record.Sealed, v.systemPlace(record.Name))
	if err != nil {
		return err
	}
	defer clear(plaintext)
	to := record
	if to.Sealed, err = v.sealDomain(ctx, System, plaintext, v.systemPlace(record.Name)); err != nil {
		return err
	}
	err = v.config.Store.ResealSystemRecord(ctx, record, to)
	if errors.Is(err, gatehouse.ErrConflict) {
		return nil // somebody stored another secret meanwhile, under the newest key
	}
	return err
}
