package kms_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/vault/kms"
	"gatehouse/internal/vault/kms/kmstest"
)

// remote is one root key over the network, with the fake that plays its system.
type remote struct {
	root vault.RootKey
	// hasty is the same one, which waits for no more than quick.
	hasty vault.RootKey
	fake  interface{ Break(kmstest.Fault) }
	close func()
	deny  func(bool)
	// secrets must stand in no error.
	secrets []string
}

const quick = time.Second

func remotes(t testing.TB) map[string]remote {
	t.Helper()
	transit, token := kmstest.NewTransit(true)
	transit.AddKey("one")
	aws, gcp := kmstest.NewAWS(true), kmstest.NewGCP(true)
	ofAWS, ofGCP := aws.AddKey(), gcp.AddKey()
	waiting := func(timeout time.Duration) map[string]vault.RootKey {
		network := func(ca []byte) kms.Network {
			n := local(t, ca)
			n.Timeout = timeout
			return n
		}
		return map[string]vault.RootKey{
			"transit": must[*kms.Transit](t)(kms.NewTransit(kms.TransitConfig{
				Key: transit.URL + "/transit/keys/one", Auth: kms.TransitAuth{Token: source(token)}, Network: network(transit.CA()),
			})),
			"awskms": must[*kms.AWS](t)(kms.NewAWS(kms.AWSConfig{
				Key: ofAWS, Endpoint: aws.URL, AccessKeyID: source(aws.AccessKeyID), SecretAccessKey: source(aws.SecretAccessKey), Network: network(aws.CA()),
			})),
			"gcpkms": must[*kms.GCP](t)(kms.NewGCP(kms.GCPConfig{
				Key: ofGCP, Endpoint: gcp.URL, TokenEndpoint: gcp.URL + "/token", Credentials: source(gcp.Credentials()), Network: network(gcp.CA()),
			})),
		}
	}
	roots, hasty := waiting(time.Minute), waiting(quick)
	all := map[string]remote{
		"transit": {roots["transit"], hasty["transit"], transit, transit.Close, transit.Deny, []string{token}},
		"awskms":  {roots["awskms"], hasty["awskms"], aws, aws.Close, aws.Deny, []string{aws.AccessKeyID, aws.SecretAccessKey}},
		"gcpkms":  {roots["gcpkms"], hasty["gcpkms"], gcp, gcp.Close, gcp.Deny, []string{"PRIVATE KEY", "ya29."}},
	}
	for _, r := range all {
		t.Cleanup(r.close)
	}
	return all
}

// says answers everything with a status and a text that must not be repeated.
func says(status int, body string) kmstest.Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

const private = "what-they-sent"

// A system that cannot be reached, or makes no sense, is away: what is held serves
// on. Each error names the key and repeats nothing.
func TestASystemThatIsAwayOrMakesNoSense(t *testing.T) {
	faults := map[string]struct {
		fault kmstest.Fault
		say   string // what its error must say
	}{
		"status 500":       {says(500, `{"errors":["`+private+`"]}`), "500"},
		"status 503":       {says(503, `{"errors":["`+private+`"],"error":{"status":"UNAVAILABLE"}}`), "503"},
		"status 429":       {says(429, `{"errors":["`+private+`"],"__type":"ThrottlingException","error":{"status":"RESOURCE_EXHAUSTED"}}`), "429"},
		"not JSON":         {says(200, "<html>"+private), "not what its documentation says"},
		"half an answer":   {says(200, `{"data":{"ciphertext":"`+private), "not what its documentation says"},
		"an empty answer":  {says(200, ``), "not what its documentation says"},
		"another document": {says(200, `[1,2]`), "not what its documentation says"},
		"too large":        {says(200, `{"data":"`+strings.Repeat(private, 10000)), "too large"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://"+private+".test/", http.StatusTemporaryRedirect)
			return true
		}, "redirect"},
		"no answer in time": {func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice a hang-up
			<-r.Context().Done()
			return true
		}, "in time"},
		"half of one, then nothing": {func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"data":{`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}, "in time"},
		"a broken connection": {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "connection fails"},
	}
	for provider, r := range remotes(t) {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			wrapped, err := r.root.Wrap(t.Context(), []byte("material"), []byte("place"))
			if err != nil {
				t.Fatal(err)
			}
			// The first answer brings a token with it where there are any.
			for deadline := time.Now().Add(time.Minute); ; {
				if _, err := r.hasty.Unwrap(t.Context(), wrapped, []byte("place")); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			for name, f := range faults {
				r.fake.Break(f.fault)
				root := r.root
				if f.say == "in time" {
					root = r.hasty
				}
				for verb, ask := range map[string]func() error{
					"Wrap":   func() error { _, err := root.Wrap(t.Context(), []byte("material"), []byte("place")); return err },
					"Unwrap": func() error { _, err := root.Unwrap(t.Context(), wrapped, []byte("place")); return err },
				} {
					start := time.Now()
					err := ask()
					if !errors.Is(err, gatehouse.ErrUnavailable) {
						t.Errorf("%s, %s: %v, want ErrUnavailable", name, verb, err)
						continue
					}
					for _, word := range []string{r.root.ID(), f.say} {
						if !strings.Contains(err.Error(), word) {
							t.Errorf("%s, %s: error %q does not say %q", name, verb, err, word)
						}
					}
					for _, never := range append([]string{private, "material"}, r.secrets...) {
						if strings.Contains(err.Error(), never) {
							t.Errorf("%s, %s: error %q repeats %q", name, verb, err, never)
						}
					}
					if took := time.Since(start); took > 30*quick {
						t.Errorf("%s, %s took %v", name, verb, took)
					}
				}
				r.fake.Break(nil)
			}
			if got, err := r.root.Unwrap(t.Context(), wrapped, []byte("place")); err != nil || string(got) != "material" {
				t.Errorf("after all that: %q, %v", got, err)
			}
			r.close()
			if _, err := r.root.Unwrap(t.Context(), wrapped, []byte("place")); !errors.Is(err, gatehouse.ErrUnavailable) {
				t.Errorf("nobody listens: %v, want ErrUnavailable", err)
			}
		})
	}
}

// A system that says no is not away, and its error says what to do.
func TestASystemThatDenies(t *testing.T) {
	for provider, r := range remotes(t) {
		wrapped, err := r.root.Wrap(t.Context(), []byte("material"), []byte("place"))
		if err != nil {
			t.Fatal(err)
		}
		r.deny(true)
		_, wrapErr := r.root.Wrap(t.Context(), []byte("material"), []byte("place"))
		_, unwrapErr := r.root.Unwrap(t.Context(), wrapped, []byte("place"))
		for _, err := range []error{wrapErr, unwrapErr} {
			if !errors.Is(err, gatehouse.ErrDenied) || errors.Is(err, gatehouse.ErrUnavailable) || !strings.Contains(err.Error(), r.root.ID()) {
				t.Errorf("%s: denied: %v, want ErrDenied that names the key", provider, err)
			}
		}
		r.deny(false)
		if _, err := r.root.Unwrap(t.Context(), wrapped, []byte("place")); err != nil {
			t.Errorf("%s: allowed again: %v", provider, err)
		}
	}
}

func TestAWrongCertificateIsAway(t *testing.T) {
	aws := kmstest.NewAWS(true)
	t.Cleanup(aws.Close)
	root := must[*kms.AWS](t)(kms.NewAWS(kms.AWSConfig{
		Key: aws.AddKey(), Endpoint: aws.URL, AccessKeyID: source("a"), SecretAccessKey: source("b"),
	}))
	if _, err := root.Wrap(t.Context(), []byte("m"), []byte("p")); !errors.Is(err, gatehouse.ErrUnavailable) || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	if aws.Calls() != 0 {
		t.Error("a request went to a server whose certificate was not verified")
	}
}

// A credential that cannot be read at the moment, because an agent is writing it,
// is no refusal.
func TestACredentialThatIsMissingIsAway(t *testing.T) {
	aws := kmstest.NewAWS(true)
	t.Cleanup(aws.Close)
	there := false
	root := must[*kms.AWS](t)(kms.NewAWS(kms.AWSConfig{
		Key: aws.AddKey(), Endpoint: aws.URL, AccessKeyID: source(aws.AccessKeyID), Network: local(t, aws.CA()),
		SecretAccessKey: func() (secret.Text, error) {
			if !there {
				return secret.Text{}, errors.New("no such file")
			}
			return secret.New(aws.SecretAccessKey), nil
		},
	}))
	if _, err := root.Wrap(t.Context(), []byte("m"), []byte("p")); !errors.Is(err, gatehouse.ErrUnavailable) || !strings.Contains(err.Error(), "secret_access_key") {
		t.Errorf("missing: %v", err)
	}
	there = true
	if _, err := root.Wrap(t.Context(), []byte("m"), []byte("p")); err != nil {
		t.Errorf("there again: %v", err)
	}
}

func TestAddressesThatAreNotServersAreRefused(t *testing.T) {
	try := func(address string) error {
		_, err := kms.NewAWS(kms.AWSConfig{Key: "arn:aws:kms:eu-central-1:111122223333:key/k", Endpoint: address})
		return err
	}
	for _, address := range []string{
		"http://kms.example.com", "https://user:pw@kms.example.com", "https://kms.example.com/?a=b", "ftp://kms.example.com", "kms.example.com",
		"http://10.1.2.3", "http://127.0.0.1.evil.test", "http://169.254.169.254",
	} {
		if err := try(address); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", address, err)
		}
	}
	for _, address := range []string{
		"https://kms.example.com", "https://vpce-1.kms.example.com:8443/", "https://10.1.2.3", "http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost",
	} {
		if err := try(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
