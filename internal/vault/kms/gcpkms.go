package kms

import (
	"context"
	"fmt"
	"hash/crc32"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"gatehouse"
)

// GCPConfig describes a symmetric key of Google Cloud KMS.
type GCPConfig struct {
	// Key is projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version.
	Key string
	// Endpoint replaces https://cloudkms.googleapis.com.
	Endpoint string
	// Credentials reads the JSON key of a service account. Nil, with Metadata, means
	// the service account of the machine.
	Credentials Source
	// TokenEndpoint replaces Google's, which the JSON key must name.
	TokenEndpoint string
	// Metadata asks the machine's metadata server for a token.
	Metadata bool
	// Network says how to get there.
	Network Network
}

// GCP is a root key in Google Cloud KMS. It is safe for concurrent use.
type GCP struct {
	client   *client
	config   GCPConfig
	endpoint string

	mu      sync.Mutex
	token   googleToken // guarded by mu
	version string      // of the key that wrapped last; guarded by mu
}

const (
	googleKMS   = "https://cloudkms.googleapis.com"
	googleOAuth = "https://oauth2.googleapis.com/token"
)

var gcpKeyForm = regexp.MustCompile(`^projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)

// NewGCP checks the configuration. It asks nobody yet.
func NewGCP(c GCPConfig) (*GCP, error) {
	if !gcpKeyForm.MatchString(c.Key) {
		return nil, fmt.Errorf("root_key: a Google key is named gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version: %w", gatehouse.ErrInvalid)
	}
	if (c.Credentials == nil) != c.Metadata {
		return nil, fmt.Errorf("root key gcpkms:%s: root_key_access needs either credentials or metadata: %w", c.Key, gatehouse.ErrInvalid)
	}
	c.TokenEndpoint = orDefault(c.TokenEndpoint, googleOAuth)
	g := &GCP{config: c, endpoint: strings.TrimSuffix(orDefault(c.Endpoint, googleKMS), "/")}
	addresses := []string{g.endpoint, c.TokenEndpoint}
	if c.Metadata {
		addresses[1] = metadataBase
	}
	var err error
	g.client, err = newClient("gcpkms:"+c.Key, "Google Cloud KMS", c.Network, c.Metadata, addresses...)
	return g, err
}

// ID names the key by its resource name.
func (g *GCP) ID() string { return g.client.id }

// Detail says which key it is, and which version wrapped last.
func (g *GCP) Detail() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := "a key of Google Cloud KMS, " + g.config.Key
	if g.version != "" {
		text += ", version " + g.version
	}
	return text
}

// checksum is a CRC32C as the API spells it: an int64, in JSON a text.
type checksum string

func checksumOf(b []byte) checksum {
	return checksum(strconv.FormatUint(uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10))
}

type gcpRequest struct {
	Plaintext  []byte   `json:"plaintext,omitempty"`
	PlainSum   checksum `json:"plaintextCrc32c,omitempty"`
	Ciphertext []byte   `json:"ciphertext,omitempty"`
	CipherSum  checksum `json:"ciphertextCrc32c,omitempty"`
	Place      []byte   `json:"additionalAuthenticatedData"`
	PlaceSum   checksum `json:"additionalAuthenticatedDataCrc32c"`
}

type gcpReply struct {
	Name          string   `json:"name"`
	Plaintext     []byte   `json:"plaintext"`
	PlainSum      checksum `json:"plaintextCrc32c"`
	Ciphertext    []byte   `json:"ciphertext"`
	CipherSum     checksum `json:"ciphertextCrc32c"`
	VerifiedPlain bool     `json:"verifiedPlaintextCrc32c"`
	VerifiedPlace bool     `json:"verifiedAdditionalAuthenticatedDataCrc32c"`
}

// Wrap encrypts with the key's primary version.
func (g *GCP) Wrap(ctx context.Context, plaintext, place []byte) ([]byte, error) {
	reply, err := g.call(ctx, "encrypt", gcpRequest{
		Plaintext: plaintext, PlainSum: checksumOf(plaintext), Place: place, PlaceSum: checksumOf(place),
	})
	if err != nil {
		return nil, err
	}
	version, ours := strings.CutPrefix(reply.Name, g.config.Key+"/cryptoKeyVersions/")
	switch {
	case !ours:
		return nil, g.client.another()
	case !reply.VerifiedPlain || !reply.VerifiedPlace || reply.CipherSum != checksumOf(reply.Ciphertext):
		return nil, g.client.away("what was sent or what came back was damaged on the way (a checksum does not match)")
	case len(reply.Ciphertext) == 0 || len(reply.Ciphertext) > maxWrapped || len(version) > 20:
		return nil, g.client.away("its answer is not what its documentation says")
	}
	g.mu.Lock()
	g.version = version
	g.mu.Unlock()
	return reply.Ciphertext, nil
}

// Unwrap decrypts with the version that wrapped.
func (g *GCP) Unwrap(ctx context.Context, ciphertext, place []byte) ([]byte, error) {
	if err := g.client.bounded(ciphertext); err != nil {
		return nil, err
	}
	reply, err := g.call(ctx, "decrypt", gcpRequest{
		Ciphertext: ciphertext, CipherSum: checksumOf(ciphertext), Place: place, PlaceSum: checksumOf(place),
	})
	if err != nil {
		return nil, err
	}
	if reply.PlainSum != checksumOf(reply.Plaintext) {
		return nil, g.client.away("what came back was damaged on the way (a checksum does not match)")
	}
	return reply.Plaintext, nil
}

// call makes one request. A token that is no longer taken is replaced, once.
func (g *GCP) call(ctx context.Context, verb string, request gcpRequest) (gcpReply, error) {
	body := encode(request)
	defer clear(body)
	for again := false; ; again = true {
		token, err := g.bearer(ctx)
		if err != nil {
			return gcpReply{}, err
		}
		a, err := g.client.ask(ctx, http.MethodPost, g.endpoint+"/v1/"+g.config.Key+":"+verb, body, func(r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token.Reveal())
			return nil
		})
		if err != nil {
			return gcpReply{}, err
		}
		if a.status == http.StatusUnauthorized && !again {
			g.forget(token)
			continue
		}
		if a.status != http.StatusOK {
			return gcpReply{}, g.judge(a, verb)
		}
		var reply gcpReply
		return reply, g.client.decode(a, &reply)
	}
}

// judge says what an error means. Its message is not repeated.
func (g *GCP) judge(a answer, verb string) error {
	var e struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	if err := g.client.decode(a, &e); err != nil {
		return err
	}
	permission := map[string]string{"encrypt": "cloudkms.cryptoKeyVersions.useToEncrypt", "decrypt": "cloudkms.cryptoKeyVersions.useToDecrypt"}[verb]
	switch {
	case a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout:
		return g.client.away("it answers with status " + strconv.Itoa(a.status))
	case e.Error.Status == "PERMISSION_DENIED":
		return g.client.denied("the service account lacks " + permission + " on the key, or the API is not enabled")
	case e.Error.Status == "UNAUTHENTICATED":
		return g.client.denied("the access token is not taken")
	case e.Error.Status == "NOT_FOUND":
		return g.client.denied("there is no such key")
	case e.Error.Status == "FAILED_PRECONDITION":
		return g.client.denied("the key's version is disabled or destroyed")
	case e.Error.Status == "INVALID_ARGUMENT" && verb == "decrypt":
		return g.client.misfit()
	case a.status >= 400 && e.Error.Status != "":
		return g.client.denied("status " + strconv.Itoa(a.status))
	default:
		return g.client.away("its answer is not what its documentation says")
	}
}
