// Package kmstest plays the key management systems for tests: an independent idea
// of what Vault's transit engine, AWS KMS and Google Cloud KMS check and refuse. It
// imports nothing of ours, so that a mistake in package kms cannot confirm itself.
//
// A fake verifies everything that the real system verifies and a client could get
// wrong: tokens, signatures, key names, what a ciphertext is bound to, checksums.
// It must never be more lenient than the real system, and holds no real secret.
package kmstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Fault answers in place of a fake, or returns false to let the fake answer.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// server is what the fakes share: a listener on loopback, and a fault.
type server struct {
	http *httptest.Server
	// URL is where the fake listens.
	URL string

	mu    sync.Mutex
	fault Fault
	calls int
}

// serve starts a fake on loopback; tls makes it speak TLS with httptest's own
// certificate.
func (s *server) serve(handler http.Handler, tls bool) {
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls++
		fault := s.fault
		s.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		handler.ServeHTTP(w, r)
	})
	if tls {
		s.http = httptest.NewTLSServer(wrapped)
	} else {
		s.http = httptest.NewServer(wrapped)
	}
	s.URL = s.http.URL
}

// Close stops the fake.
func (s *server) Close() { s.http.Close() }

// CA is the certificate that a fake with TLS uses, DER.
func (s *server) CA() []byte { return s.http.Certificate().Raw }

// Break lets every request meet a fault; nil ends it.
func (s *server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Calls returns how many requests came.
func (s *server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// strict reads a JSON body of known members only.
func strict(r *http.Request, to any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return err
	}
	return strictJSON(body, to)
}

func strictJSON(body []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something behind the document")
	}
	return nil
}

// reply writes JSON.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// key is one version of a fake's key.
type key struct{ aead cipher.AEAD }

func newKey() key {
	material := make([]byte, 32)
	_, _ = rand.Read(material)
	block, err := aes.NewCipher(material)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return key{aead}
}

func (k key) seal(plaintext, bound []byte) []byte {
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return k.aead.Seal(nonce, nonce, plaintext, bound)
}

func (k key) open(sealed, bound []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("short")
	}
	return k.aead.Open(nil, sealed[:n], sealed[n:], bound)
}
