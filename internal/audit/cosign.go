package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
)

// algCosignature is the type of a witness's Ed25519 key in C2SP signed notes.
const algCosignature = 4

// witnessKey is a witness's key of C2SP cosignature/v1.
type witnessKey struct {
	name    string
	hash    uint32
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil in a verifier
}

func newWitnessKey(name string, public ed25519.PublicKey) witnessKey {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algCosignature}, public...)...))
	return witnessKey{name: name, hash: binary.BigEndian.Uint32(sum[:]), public: public}
}

func (k *witnessKey) Name() string    { return k.name }
func (k *witnessKey) KeyHash() uint32 { return k.hash }

// cosigned is the text that a co-signature signs.
func cosigned(at uint64, text []byte) []byte {
	b := strconv.AppendUint([]byte("cosignature/v1\ntime "), at, 10)
	return append(append(b, '\n'), text...)
}

// Sign implements note.Signer.
func (k *witnessKey) Sign(text []byte) ([]byte, error) {
	at := uint64(time.Now().Unix())
	return append(binary.BigEndian.AppendUint64(nil, at), ed25519.Sign(k.private, cosigned(at, text))...), nil
}

// Verify implements note.Verifier.
func (k *witnessKey) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	return at < 1<<63 && ed25519.Verify(k.public, cosigned(at, text), signature[8:])
}

// GenerateWitnessKey makes a witness's key: the private one for NewWitnessSigner, the
// public one for NewWitnessVerifier.
func GenerateWitnessKey(name string) (private, public string, err error) {
	if !validKeyName(name) {
		return "", "", fmt.Errorf("a witness's name is text without spaces and plus, such as a host's name: %w", gatehouse.ErrInvalid)
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("making a witness's key: %w", err)
	}
	k := newWitnessKey(name, pub)
	encode := func(key []byte) string {
		return base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, key...))
	}
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, k.hash, encode(priv.Seed())), fmt.Sprintf("%s+%08x+%s", name, k.hash, encode(pub)), nil
}

func validKeyName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0 && !strings.Contains(name, "+")
}

// errWitnessKey does not repeat what may be a private key.
var errWitnessKey = fmt.Errorf("this is no witness's key: %w", gatehouse.ErrInvalid)

func parseWitnessKey(text string) (name, hash string, key []byte, err error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 || !validKeyName(parts[0]) {
		return "", "", nil, errWitnessKey
	}
	key, err = base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature {
		return "", "", nil, errWitnessKey
	}
	return parts[0], parts[1], key[1:], nil
}

// NewWitnessVerifier reads a witness's public key.
func NewWitnessVerifier(text string) (note.Verifier, error) {
	name, hash, key, err := parseWitnessKey(text)
	if err != nil {
		return nil, err
	}
	k := newWitnessKey(name, key)
	if fmt.Sprintf("%08x", k.hash) != hash {
		return nil, errWitnessKey
	}
	return &k, nil
}

// NewWitnessSigner reads a witness's private key.
func NewWitnessSigner(text string) (note.Signer, error) {
	text, ok := strings.CutPrefix(text, "PRIVATE+KEY+")
	if !ok {
		return nil, errWitnessKey
	}
	name, hash, seed, err := parseWitnessKey(text)
	if err != nil {
		return nil, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errWitnessKey
	}
	k := newWitnessKey(name, public)
	if fmt.Sprintf("%08x", k.hash) != hash {
		return nil, errWitnessKey
	}
	k.private = private
	return &k, nil
}

// Cosign adds a witness's signature to a checkpoint that carries the log's. It says
// that the log has grown up to it as the witness saw: Watch alone may say so.
func cosign(signed []byte, verifier note.Verifier, witness note.Signer) ([]byte, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return nil, fmt.Errorf("co-signing: this is %w", errCheckpoint)
	}
	n.UnverifiedSigs = nil
	both, err := note.Sign(n, witness)
	if err != nil {
		return nil, fmt.Errorf("co-signing: %w", err)
	}
	return both, nil
}
