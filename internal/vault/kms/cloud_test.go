package kms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault/kms"
	"gatehouse/internal/vault/kms/kmstest"
)

func newAWS(t *testing.T, change func(f *kmstest.AWS, c *kms.AWSConfig)) (*kmstest.AWS, *kms.AWS, string) {
	t.Helper()
	f := kmstest.NewAWS(true)
	t.Cleanup(f.Close)
	arn := f.AddKey()
	c := kms.AWSConfig{
		Key: arn, Endpoint: f.URL, AccessKeyID: source(f.AccessKeyID), SecretAccessKey: source(f.SecretAccessKey), Network: local(t, f.CA()),
	}
	if change != nil {
		change(f, &c)
	}
	return f, must[*kms.AWS](t)(kms.NewAWS(c)), arn
}

// refuses demands a refusal of a kind that says what to do.
func refuses(t *testing.T, name string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) || !errors.Is(kind, gatehouse.ErrUnavailable) && errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("%s: %v, want %v", name, err, kind)
		return
	}
	for _, word := range append(words, "root key") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %q does not say %q", name, err, word)
		}
	}
	if strings.Contains(err.Error(), "nobody may repeat") {
		t.Errorf("%s: the error repeats the system's text: %v", name, err)
	}
}

func TestAWSAnswersForAnotherKeyAreNotUsed(t *testing.T) {
	f, root, arn := newAWS(t, nil)
	wrapped, err := root.Wrap(t.Context(), []byte("m"), []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	f.Pretend(strings.Replace(arn, "111122223333", "999999999999", 1))
	refuses(t, "Wrap", wrap(root, t), gatehouse.ErrConflict, "another key", arn)
	_, err = root.Unwrap(t.Context(), wrapped, []byte("p"))
	refuses(t, "Unwrap", err, gatehouse.ErrConflict, "another key", arn)
	f.Pretend("")
	if err := wrap(root, t); err != nil {
		t.Error(err)
	}
}

func TestAWSRefusals(t *testing.T) {
	f, root, arn := newAWS(t, nil)
	f.Disable(arn, true)
	refuses(t, "disabled", wrap(root, t), gatehouse.ErrDenied, "disabled", arn)
	f.Disable(arn, false)
	f.Expire(true)
	refuses(t, "expired", wrap(root, t), gatehouse.ErrDenied, "session token")
	f.Expire(false)
	f.Break(says(400, `{"__type":"SomethingNewException","message":"(and nobody may repeat this)"}`))
	refuses(t, "an error that is not known", wrap(root, t), gatehouse.ErrUnavailable)

	for name, c := range map[string]struct {
		change func(f *kmstest.AWS, c *kms.AWSConfig)
		word   string
	}{
		"another secret": {func(_ *kmstest.AWS, c *kms.AWSConfig) { c.SecretAccessKey = source("another") }, "secret_access_key"},
		"another id":     {func(_ *kmstest.AWS, c *kms.AWSConfig) { c.AccessKeyID = source("AKIAANOTHER") }, "access key"},
		"no session":     {func(f *kmstest.AWS, _ *kms.AWSConfig) { f.SessionToken = "needed" }, "access key"},
		"no such key":    {func(_ *kmstest.AWS, c *kms.AWSConfig) { c.Key = strings.Replace(c.Key, "key/", "key/0", 1) }, "no such key"},
		"another region": {func(_ *kmstest.AWS, c *kms.AWSConfig) { c.Key = strings.Replace(c.Key, "eu-central-1", "us-east-1", 1) }, "signature"},
	} {
		_, root, _ := newAWS(t, c.change)
		refuses(t, name, wrap(root, t), gatehouse.ErrDenied, c.word)
	}
	_, root, _ = newAWS(t, func(_ *kmstest.AWS, c *kms.AWSConfig) { c.AccessKeyID = source("two\nlines") })
	refuses(t, "an id of two lines", wrap(root, t), gatehouse.ErrInvalid)
	_, root, _ = newAWS(t, func(_ *kmstest.AWS, c *kms.AWSConfig) { c.SecretAccessKey = nil })
	refuses(t, "no secret", wrap(root, t), gatehouse.ErrInvalid, "secret_access_key")
}

func TestAWSKeysAreNamedByARN(t *testing.T) {
	for _, bad := range []string{
		"", "alias/root", "arn:aws:kms:eu-central-1:111122223333:alias/root", "arn:aws:s3:::bucket", "arn:aws:kms:eu-central-1:1:key/k",
		"arn:aws:kms:evil.test/:111122223333:key/k", "arn:aws:kms:eu-central-1:111122223333:key/k\n", "1234abcd-12ab-34cd-56ef-1234567890ab",
	} {
		if _, err := kms.NewAWS(kms.AWSConfig{Key: bad}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
	for _, good := range []string{"arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab", "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234"} {
		if _, err := kms.NewAWS(kms.AWSConfig{Key: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func newGCP(t *testing.T, change func(f *kmstest.GCP, c *kms.GCPConfig)) (*kmstest.GCP, *kms.GCP) {
	t.Helper()
	f := kmstest.NewGCP(true)
	t.Cleanup(f.Close)
	c := kms.GCPConfig{
		Key: f.AddKey(), Endpoint: f.URL, TokenEndpoint: f.URL + "/token", Credentials: source(f.Credentials()), Network: local(t, f.CA()),
	}
	if change != nil {
		change(f, &c)
	}
	return f, must[*kms.GCP](t)(kms.NewGCP(c))
}

func TestGCPAnswersThatDoNotFit(t *testing.T) {
	f, root := newGCP(t, nil)
	wrapped, err := root.Wrap(t.Context(), []byte("m"), []byte("p"))
	if err != nil || !strings.Contains(root.Detail(), "version 1") {
		t.Fatal(err, root.Detail())
	}
	f.Pretend("projects/other/locations/x/keyRings/r/cryptoKeys/k")
	refuses(t, "another key", wrap(root, t), gatehouse.ErrConflict, "another key")
	f.Pretend("")
	for _, about := range []string{"ciphertext", "verified", "aad"} {
		f.Lie(about)
		refuses(t, about, wrap(root, t), gatehouse.ErrUnavailable, "checksum")
	}
	f.Lie("plaintext")
	_, err = root.Unwrap(t.Context(), wrapped, []byte("p"))
	refuses(t, "plaintext", err, gatehouse.ErrUnavailable, "checksum")
	f.Lie("")
	f.Disable(true)
	_, err = root.Unwrap(t.Context(), wrapped, []byte("p"))
	refuses(t, "disabled", err, gatehouse.ErrDenied, "disabled")
	f.Disable(false)
	if got, err := root.Unwrap(t.Context(), wrapped, []byte("p")); err != nil || string(got) != "m" {
		t.Errorf("after all that: %q, %v", got, err)
	}
}

func TestGCPTokensAreKeptReplacedAndRefused(t *testing.T) {
	f, root := newGCP(t, nil)
	for range 3 {
		if err := wrap(root, t); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.Issued(); n != 1 {
		t.Errorf("%d tokens for three requests, want 1", n)
	}
	f.RevokeTokens()
	if err := wrap(root, t); err != nil || f.Issued() != 2 {
		t.Errorf("after its token was revoked: %v, %d tokens", err, f.Issued())
	}
	f.RevokeTokens()
	f.RevokeAccount(true)
	refuses(t, "the account's key is deleted", wrap(root, t), gatehouse.ErrDenied, "service account")
	f.RevokeAccount(false)
	if err := wrap(root, t); err != nil {
		t.Error(err)
	}
}

func TestGCPCredentialsGoToNobodyElse(t *testing.T) {
	var document string
	f, root := newGCP(t, func(f *kmstest.GCP, c *kms.GCPConfig) {
		document = f.Credentials()
		c.Credentials = func() (secret.Text, error) { return secret.New(document), nil }
	})
	good := document
	for name, bad := range map[string]string{
		"another endpoint": strings.Replace(good, f.URL+"/token", "https://evil.test/token", 1),
		"another type":     strings.Replace(good, "service_account", "authorized_user", 1),
		"not JSON":         "-----BEGIN PRIVATE KEY-----",
		"no private key":   strings.Replace(good, "private_key\"", "other_key\"", 1),
	} {
		document = bad
		err := wrap(root, t)
		refuses(t, name, err, gatehouse.ErrInvalid, "credentials")
		if strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: the error repeats the file: %v", name, err)
		}
	}
	if f.Calls() != 0 {
		t.Errorf("%d requests went out with bad credentials", f.Calls())
	}
	document = strings.Replace(good, "BEGIN PRIVATE KEY", "BEGIN NOTHING", 1)
	if err := wrap(root, t); err == nil || strings.Contains(err.Error(), "NOTHING") {
		t.Errorf("a damaged private key: %v", err)
	}
	document = good
	if err := wrap(root, t); err != nil {
		t.Error(err)
	}
}

func TestGCPOnAMachineOfGoogles(t *testing.T) {
	key := "projects/p/locations/l/keyRings/r/cryptoKeys/k"
	root := must[*kms.GCP](t)(kms.NewGCP(kms.GCPConfig{Key: key, Metadata: true}))
	text, ends, err := root.HookTestOnlyMachineToken(`{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}`)
	if err != nil || text != "ya29.x" || time.Until(ends) < 58*time.Minute || time.Until(ends) > time.Hour {
		t.Errorf("%q until %v, %v", text, ends, err)
	}
	if _, _, err := root.HookTestOnlyMachineToken(`<html>`); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("not JSON: %v", err)
	}
	for name, c := range map[string]kms.GCPConfig{
		"neither":        {Key: key},
		"both":           {Key: key, Metadata: true, Credentials: source("x")},
		"a version":      {Key: key + "/cryptoKeyVersions/1", Metadata: true},
		"a path":         {Key: "projects/p/locations/l/keyRings/r/cryptoKeys/../k", Metadata: true},
		"another server": {Key: "https://evil.test/" + key, Metadata: true},
	} {
		if _, err := kms.NewGCP(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestPKCS11Names(t *testing.T) {
	const good = "token=gate%20house;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so"
	if got, err := kms.HookTestOnlyParsePKCS11(good); err != nil || got != [3]string{"gate house", "root", "/usr/lib/softhsm/libsofthsm2.so"} {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{
		"", "token=a", "token=a;object=b", "token=a;object=b?module-path=lib.so", "token=a;token=b;object=c?module-path=/m", "token=;object=b?module-path=/m",
		"token=a;object=b;slot-id=1?module-path=/m", "token=a;object=b?module-path=/m&pin-value=1234", "token=%zz;object=b?module-path=/m",
		"token=" + strings.Repeat("a", 33) + ";object=b?module-path=/m",
	} {
		_, err := kms.HookTestOnlyParsePKCS11(bad)
		if !errors.Is(err, gatehouse.ErrInvalid) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

func FuzzPKCS11Name(f *testing.F) {
	f.Add("token=a;object=b?module-path=/m")
	f.Add("token=%41;object=b?module-path=/m&x=y")
	f.Fuzz(func(t *testing.T, uri string) {
		got, err := kms.HookTestOnlyParsePKCS11(uri)
		if err == nil && (got[0] == "" || got[1] == "" || !strings.HasPrefix(got[2], "/")) {
			t.Errorf("%q gives %q", uri, got)
		}
		if err != nil && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("error %v has no kind", err)
		}
	})
}
