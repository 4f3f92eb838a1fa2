package kms_test

import (
	"errors"
	"testing"

	"gatehouse"
	"gatehouse/internal/vault"
)

// FuzzReplies lets a system answer anything: an answer is used, refused or taken for
// a system that is away, and never repeated.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"ciphertext":"vault:v1:QUFBQQ==","key_version":1,"plaintext":"bQ=="}}`, `{"errors":["no"]}`,
		`{"KeyId":"k","CiphertextBlob":"bQ==","Plaintext":"bQ=="}`, `{"__type":"AccessDeniedException"}`,
		`{"name":"n","ciphertext":"bQ==","ciphertextCrc32c":"1"}`, `{"access_token":"a","expires_in":9e99}`, `{"error":{"status":"NOT_FOUND"}}`,
		`null`, `{"data":null}`, `{"auth":null}`,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	all := remotes(f)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		for name, r := range all {
			r.fake.Break(says(status, body))
			_, wrapErr := r.root.Wrap(t.Context(), []byte("m"), []byte("p"))
			_, unwrapErr := r.root.Unwrap(t.Context(), []byte("vault:v1:QUFBQQ=="), []byte("p"))
			for _, err := range []error{wrapErr, unwrapErr} {
				if err != nil && gatehouse.Kind(err) == nil && !errors.Is(err, vault.ErrMisfit) {
					t.Errorf("%s: error %v has no kind", name, err)
				}
			}
		}
	})
}
