package vault_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"testing"

	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

var sizes = []int{100, 1 << 10, 64 << 10}

// BenchmarkRecord compares the sealed record with bare AES-256-GCM that draws
// its nonces in the same way: "bare" makes the cipher once, "bare, new key" for
// each record, as a vault must that keeps no person's key.
func BenchmarkRecord(b *testing.B) {
	key := bytes.Repeat([]byte{7}, 32)
	ref := refOf("ADAADAADAADAADAADAADAADAAD")
	bare := func() cipher.AEAD {
		block, err := aes.NewCipher(key)
		if err != nil {
			b.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		return gcm
	}
	seal := func(gcm cipher.AEAD, plaintext, at []byte) []byte {
		nonce := make([]byte, 12, 12+len(plaintext)+16)
		_, _ = rand.Read(nonce)
		return gcm.Seal(nonce, nonce, plaintext, at)
	}
	for _, size := range sizes {
		plaintext := make([]byte, size)
		at := []byte("connections.access_token of c1 in production for this person only, 80 bytes of it")
		gcm := bare()
		sealed := seal(gcm, plaintext, at)
		record, err := vault.HookTestOnlySealRecord(key, production, ref, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		run := func(name string, f func() error) {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("seal/bare", func() error { seal(gcm, plaintext, at); return nil })
		run("seal/bare, new key", func() error { seal(bare(), plaintext, at); return nil })
		run("seal/record", func() error {
			_, err := vault.HookTestOnlySealRecord(key, production, ref, plaintext)
			return err
		})
		run("open/bare", func() error { _, err := gcm.Open(nil, sealed[:12], sealed[12:], at); return err })
		run("open/bare, new key", func() error { _, err := bare().Open(nil, sealed[:12], sealed[12:], at); return err })
		run("open/record", func() error {
			_, err := vault.HookTestOnlyOpenRecord(key, production, ref, record)
			return err
		})
	}
}

// BenchmarkVault is a whole Seal and Open: reading and unwrapping the person's
// key included.
func BenchmarkVault(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	ref, receipt := refOf(w.person()), w.receipt()
	text := secret.New(string(make([]byte, 1<<10)))
	sealed := w.seal(ref, text.Reveal())
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.vault.Seal(b.Context(), ref, text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.vault.Open(b.Context(), receipt, ref, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("select only", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.db.Vault().PersonKey(b.Context(), ref.Person, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
