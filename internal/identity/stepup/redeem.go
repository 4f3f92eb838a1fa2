package stepup

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Result says that a person proved who they are.
type Result struct {
	ID      string
	Subject gatehouse.Subject
	Method  Method
	// Proved is when.
	Proved time.Time
	// Enrolled is the factor that was set up on the way, "" if none was.
	Enrolled Method
	// RecoveryLeft is how many recovery codes are left.
	RecoveryLeft int
	Expires      time.Time
	// Token is all that as a signed JWT.
	Token string
}

// claims are those of a result's token. (RFC 7519; amr: RFC 8176.)
type claims struct {
	Issuer   string            `json:"iss"`
	Audience string            `json:"aud"`
	Subject  gatehouse.Subject `json:"sub"`
	ID       string            `json:"jti"`
	Issued   int64             `json:"iat"`
	Expires  int64             `json:"exp"`
	Proved   int64             `json:"auth_time"`
	AMR      []string          `json:"amr"`
	Method   Method            `json:"method"`
	Reason   string            `json:"reason,omitempty"`
	Enrolled Method            `json:"enrolled,omitempty"`
}

// amr are the words of RFC 8176 for a method.
var amr = map[Method][]string{Passkey: {"hwk", "user"}, TOTP: {"otp"}, Recovery: {"otp"}}

// Redeem gives the app the result of a request that it made, for the one-time code
// that came with the browser and the subject of the session that the browser has at
// the app. If a request's link was opened by somebody else, the subjects differ: the
// code is burnt, and what was set up is gone. What was set up counts from here on.
func (s *Stepups) Redeem(ctx context.Context, service gatehouse.ServiceName, id string, code secret.Text, subject gatehouse.Subject) (Result, error) {
	r, a, err := s.redeemable(ctx, service, id, code, subject)
	e := entry("stepup.redeem", &r, a)
	e.Service = service
	if err != nil {
		if rule := wire.RuleOf(err); rule != "" && r.ID != "" {
			e.Verdict, e.Rule = "refuse", rule
			err = wire.WithInstance(err, s.c.Log.Refusal(e))
		}
		return Result{}, err
	}
	receipt, err := s.c.Log.Intent(ctx, e)
	if err != nil {
		return Result{}, err
	}
	result, err := s.redeem(context.WithoutCancel(ctx), &r, a)
	e.Facts = map[string]string{"method": string(result.Method)}
	if r.Enrolled != "" {
		e.Facts["enrolled"] = string(r.Enrolled)
	}
	s.c.Log.Outcome(receipt, end(e, err))
	if err != nil {
		return Result{}, err
	}
	return result, nil
}

// redeemable checks a code. One that is presented for another subject is burnt.
func (s *Stepups) redeemable(ctx context.Context, service gatehouse.ServiceName, id string, code secret.Text, subject gatehouse.Subject) (Request, about, error) {
	unknown := wire.Refuse(gatehouse.ErrDenied, "stepup/unknown-code", "This code is not one of this step-up, or it was used: it works once.")
	r, err := s.own(ctx, service, id)
	if err != nil {
		return Request{}, about{}, err
	}
	a, err := s.open(ctx, &r)
	switch {
	case err != nil:
		return Request{}, about{}, err
	case r.Stage != Coded || !matches(code.Reveal(), r.CodeHash):
		return r, a, unknown
	case !time.Now().Before(r.Expires):
		return r, a, wire.Refuse(gatehouse.ErrDenied, "stepup/code-expired", "This code has expired: let the person begin again.")
	case a.Subject != subject:
		r.Stage = Burnt
		if err := s.c.Store.SaveRequest(ctx, &r); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
			return r, a, err
		}
		return r, a, wire.Refuse(gatehouse.ErrDenied, "stepup/wrong-subject", "This step-up was begun for another subject: the code is burnt, and what was set up is gone.")
	}
	return r, a, nil
}

// redeem uses the code up. The result is made first, so that nothing can fail behind
// the write that uses it; the app is told of a new factor before that counts, so that
// none ever counts without a word.
func (s *Stepups) redeem(ctx context.Context, r *Request, a about) (Result, error) {
	now := time.Now()
	result := Result{
		ID: r.ID, Subject: a.Subject, Method: r.ProvedBy, Proved: r.Proved, Enrolled: r.Enrolled, Expires: now.Add(ResultLife).UTC().Truncate(time.Second),
	}
	if result.Method == "" || r.Enrolled != "" && r.ProvedBy != Recovery {
		// What was set up is of the kind that the app accepts; what proved it may not be.
		result.Method = r.Enrolled
	}
	if result.Proved.IsZero() {
		result.Proved = now.UTC().Truncate(time.Second)
	}
	var err error
	if result.Token, err = s.sign(ctx, r, a, result, now); err != nil {
		return result, err
	}
	if r.Enrolled != "" {
		if err := s.c.Tell(ctx, Event{
			ID: "stepup-enrolled-" + r.ID, Type: "stepup.enrolled", Person: r.Person, Subject: a.Subject, Service: r.Service, Method: r.Enrolled, At: now,
		}); err != nil {
			return result, err
		}
	}
	r.Stage, r.CodeHash = Redeemed, ""
	if err := s.c.Store.Finish(ctx, r); err != nil {
		if errors.Is(err, gatehouse.ErrConflict) {
			err = wire.Refuse(gatehouse.ErrConflict, "stepup/overtaken", "This code was used at the same moment, or the person has set up a factor elsewhere since: let them begin again.")
		}
		return result, err
	}
	_, result.RecoveryLeft, err = s.c.Store.Factors(ctx, r.Person)
	return result, err
}

// sign makes a result's token: a JWT (RFC 7519) in JWS compact form, signed with
// Ed25519 (RFC 8037), which any service of the app can verify and none can forge.
func (s *Stepups) sign(ctx context.Context, r *Request, a about, result Result, now time.Time) (string, error) {
	key, id, err := s.key(ctx, s.version())
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(map[string]string{"alg": "EdDSA", "typ": "JWT", "kid": id})
	if err != nil {
		return "", err
	}
	methods := amr[result.Method]
	if r.ProvedBy != "" && r.ProvedBy != result.Method {
		methods = append(append([]string{}, methods...), amr[r.ProvedBy]...)
	}
	body, err := json.Marshal(claims{
		Issuer: s.c.PublicURL, Audience: string(r.Service), Subject: a.Subject, ID: r.ID, Issued: now.Unix(), Expires: result.Expires.Unix(),
		Proved: result.Proved.Unix(), AMR: methods, Method: result.Method, Reason: a.Reason, Enrolled: r.Enrolled,
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text))), nil
}

func (s *Stepups) version() int { return max(1, s.c.Settings().KeyVersion) }

// key derives a version of the signing key, and its id.
func (s *Stepups) key(ctx context.Context, version int) (ed25519.PrivateKey, string, error) {
	derived, err := s.c.Keys.Seed(ctx, version)
	if err != nil {
		return nil, "", fmt.Errorf("deriving the key that signs results: %w", err)
	}
	seed, err := hex.DecodeString(derived.Reveal())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, "", errors.New("the derived seed is not 32 bytes in hexadecimal")
	}
	return ed25519.NewKeyFromSeed(seed), fmt.Sprintf("stepup-%d", version), nil
}

// PublicKey is one in a JSON Web Key Set (RFC 7517, RFC 8037).
type PublicKey struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// PublicKeys returns what results are verified with: the key that signs now, and the
// one before it, which signed what may still be valid.
func (s *Stepups) PublicKeys(ctx context.Context) ([]PublicKey, error) {
	var keys []PublicKey
	for version := s.version(); version > max(0, s.version()-2); version-- {
		key, id, err := s.key(ctx, version)
		if err != nil {
			return nil, err
		}
		public, ok := key.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("the public key has another type")
		}
		keys = append(keys, PublicKey{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(public), id, "EdDSA", "sig"})
	}
	return keys, nil
}
