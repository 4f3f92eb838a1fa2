package meta_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/meta"
)

// The published vectors, and a check against the reference file where it is at
// hand.
func TestSignatureVectors(t *testing.T) {
	const secret, token, payload = "app-secret-demo", "EAAB-demo-token", `{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"218471"}`
	raw := []byte(`{"text":"caf\u00e9"}`)
	got := map[string]string{
		"plain":  meta.AppSecretProof(secret, token, ""),
		"timed":  meta.AppSecretProof(secret, token, "1700000000"),
		"signed": meta.SignRequest(secret, []byte(payload)),
		"hub":    meta.HubSignature(secret, raw),
	}
	want := map[string]string{
		"plain":  "8043ffdc9e58a98ca2b220204d0f40024c3e4cf9ee9c171fdd0ee73cb933e7c2",
		"timed":  "925f4c7f9935c9e63d7e24eedab9677c461d6ac4d020e33eda56b5de6b573f7e",
		"signed": "hwWF5NbORS769CAtPRO6hA97S5_nbAebr5z5MJlJhsg.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImlzc3VlZF9hdCI6MTcwMDAwMDAwMCwidXNlcl9pZCI6IjIxODQ3MSJ9",
		"hub":    "sha256=df8968b58c4a0ffef96396324bad2acc1eea95302dda6751376976db539b2c74",
	}
	if text, err := os.ReadFile(referenceVectors()); err == nil {
		var file map[string]json.RawMessage
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for name, key := range map[string]string{"plain": "meta appsecret_proof plain", "timed": "meta appsecret_proof timed 1700000000"} {
			if reference := string(file[key]); reference != `"`+want[name]+`"` {
				t.Errorf("%s: the reference says %s, this test %s", key, reference, want[name])
			}
		}
		for name, key := range map[string]string{"signed": "meta signed_request", "hub": "meta X-Hub-Signature-256"} {
			if reference := string(file[key]); !strings.Contains(reference, `"`+want[name]+`"`) {
				t.Errorf("%s: the reference says %s, this test %s", key, reference, want[name])
			}
		}
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got %s, want %s", name, got[name], want[name])
		}
	}
	// A webhook body on the wire already has Graph's escapes, so the encoder and
	// the signature agree on the bytes.
	if wire := string(meta.Encode(map[string]string{"text": "café"})); wire != string(raw) {
		t.Errorf("encoded %s, want %s", wire, raw)
	}
}

func referenceVectors() string {
	root := os.Getenv("GATEHOUSE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared")
	}
	return filepath.Join(root, "platforms", "vectors.json")
}

func TestSignedRequestIsVerifiedBeforeItIsRead(t *testing.T) {
	good := meta.SignRequest("s", []byte(`{"algorithm":"hmac-sha256","user_id":"7"}`))
	fields, err := meta.ParseSignedRequest("s", good)
	if err != nil || fields["user_id"] != "7" {
		t.Fatalf("got %v, %v", fields, err)
	}
	bad := map[string]string{
		"two parts":          "abc",
		"does not match":     meta.SignRequest("x", []byte(`{"algorithm":"HMAC-SHA256"}`)),
		"algorithm":          meta.SignRequest("s", []byte(`{"algorithm":"none"}`)),
		"reading":            meta.SignRequest("s", []byte(`nothing`)),
		"match":              good + "A",
		"signature is not b": "=" + good,
	}
	for why, text := range bad {
		if fields, err := meta.ParseSignedRequest("s", text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, %v", why, fields, err)
		}
	}
}

func TestEncodeWritesGraphsEscapes(t *testing.T) {
	got := string(meta.Encode(map[string]any{"a": "é/👍 <&> \"\\ \u2028", "b": []any{1, true, nil}}))
	want := `{"a":"\u00e9\/\ud83d\udc4d <&> \"\\ \u2028","b":[1,true,null]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzSignedRequest(f *testing.F) {
	f.Add("s", meta.SignRequest("s", []byte(`{"algorithm":"HMAC-SHA256","user_id":"1"}`)))
	f.Add("s", "a.b")
	f.Add("", "..")
	f.Fuzz(func(t *testing.T, secret, text string) {
		fields, err := meta.ParseSignedRequest(secret, text)
		if err == nil && fields == nil {
			t.Error("accepted without fields")
		}
	})
}

// Whatever is encoded reads back as the same value.
func FuzzEncode(f *testing.F) {
	f.Add("a/b é <>& \u2028 👍 \\")
	f.Fuzz(func(t *testing.T, text string) {
		encoded := meta.Encode([]string{text})
		for _, c := range encoded {
			if c >= 0x80 {
				t.Fatalf("byte %x left unescaped in %s", c, encoded)
			}
		}
		var back []string
		if err := json.Unmarshal(encoded, &back); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		plain, err := json.Marshal([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if back[0] != want[0] {
			t.Fatalf("got %q, want %q", back[0], want[0])
		}
	})
}
