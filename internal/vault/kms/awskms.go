package kms

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// AWSConfig describes a symmetric key of AWS KMS.
type AWSConfig struct {
	// Key is the key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID: not an alias, which
	// somebody could point at another key.
	Key string
	// Endpoint replaces https://kms.REGION.amazonaws.com, as for a VPC endpoint.
	Endpoint string
	// AccessKeyID, SecretAccessKey and, for temporary credentials, SessionToken are
	// read for each request.
	AccessKeyID, SecretAccessKey, SessionToken Source
	// Network says how to get there.
	Network Network
}

// AWS is a root key in AWS KMS. It is safe for concurrent use.
type AWS struct {
	client   *client
	config   AWSConfig
	region   string
	endpoint string
	signer   *signer.Signer
}

var arnForm = regexp.MustCompile(`^arn:(aws[a-z-]*):kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+$`)

// NewAWS checks the configuration. It asks nobody yet.
func NewAWS(c AWSConfig) (*AWS, error) {
	m := arnForm.FindStringSubmatch(c.Key)
	if m == nil {
		return nil, fmt.Errorf("root_key: an AWS key is named by its ARN, awskms:arn:aws:kms:REGION:ACCOUNT:key/ID, not by an alias: %w", gatehouse.ErrInvalid)
	}
	a := &AWS{config: c, region: m[2], endpoint: strings.TrimSuffix(c.Endpoint, "/"), signer: signer.NewSigner()}
	if a.endpoint == "" {
		domain := "amazonaws.com"
		if m[1] == "aws-cn" {
			domain = "amazonaws.com.cn"
		}
		a.endpoint = "https://kms." + a.region + "." + domain
	}
	var err error
	a.client, err = newClient("awskms:"+c.Key, "AWS KMS", c.Network, false, a.endpoint)
	return a, err
}

// ID names the key by its ARN.
func (a *AWS) ID() string { return a.client.id }

// Detail says which key it is.
func (a *AWS) Detail() string { return "a key of AWS KMS, " + a.config.Key }

// awsContext is the encryption context, which AWS KMS authenticates and CloudTrail
// shows in clear: it names an environment, a domain and a version, and nobody.
type awsContext struct {
	Gatehouse string `json:"gatehouse"`
}

type awsRequest struct {
	KeyID             string     `json:"KeyId"`
	Plaintext         []byte     `json:",omitempty"`
	CiphertextBlob    []byte     `json:",omitempty"`
	EncryptionContext awsContext `json:"EncryptionContext"`
}

type awsReply struct {
	KeyID          string `json:"KeyId"`
	Plaintext      []byte
	CiphertextBlob []byte
}

// Wrap encrypts with the key's current material.
func (a *AWS) Wrap(ctx context.Context, plaintext, place []byte) ([]byte, error) {
	reply, err := a.call(ctx, "Encrypt", awsRequest{KeyID: a.config.Key, Plaintext: plaintext, EncryptionContext: contextOf(place)})
	if err != nil {
		return nil, err
	}
	if len(reply.CiphertextBlob) == 0 || len(reply.CiphertextBlob) > maxWrapped {
		return nil, a.client.away("its answer is not what its documentation says")
	}
	return reply.CiphertextBlob, nil
}

// Unwrap decrypts, with this key only.
func (a *AWS) Unwrap(ctx context.Context, ciphertext, place []byte) ([]byte, error) {
	if err := a.client.bounded(ciphertext); err != nil {
		return nil, err
	}
	reply, err := a.call(ctx, "Decrypt", awsRequest{KeyID: a.config.Key, CiphertextBlob: ciphertext, EncryptionContext: contextOf(place)})
	if err != nil {
		return nil, err
	}
	if len(reply.Plaintext) == 0 {
		return nil, a.client.away("its answer is not what its documentation says")
	}
	return reply.Plaintext, nil
}

func contextOf(place []byte) awsContext {
	return awsContext{base64.StdEncoding.EncodeToString(place)}
}

// call makes one signed request and believes the answer if it is about our key.
func (a *AWS) call(ctx context.Context, operation string, request awsRequest) (awsReply, error) {
	body := encode(request)
	defer clear(body)
	sum := sha256.Sum256(body)
	ans, err := a.client.ask(ctx, http.MethodPost, a.endpoint+"/", body, func(r *http.Request) error {
		credentials, err := a.credentials()
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "TrentService."+operation)
		if err := a.signer.SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "kms", a.region, time.Now()); err != nil {
			return fmt.Errorf("root key %s: signing the request: %w", a.client.id, gatehouse.ErrInvalid)
		}
		return nil
	})
	if err != nil {
		return awsReply{}, err
	}
	if ans.status != http.StatusOK {
		return awsReply{}, a.judge(ans, operation)
	}
	var reply awsReply
	if err := a.client.decode(ans, &reply); err != nil {
		return awsReply{}, err
	}
	if reply.KeyID != a.config.Key {
		return awsReply{}, a.client.another()
	}
	return reply, nil
}

func (a *AWS) credentials() (aws.Credentials, error) {
	id, err := a.client.read("access_key_id", a.config.AccessKeyID)
	if err != nil {
		return aws.Credentials{}, err
	}
	key, err := a.client.read("secret_access_key", a.config.SecretAccessKey)
	if err != nil {
		return aws.Credentials{}, err
	}
	c := aws.Credentials{AccessKeyID: id.Reveal(), SecretAccessKey: key.Reveal()}
	if a.config.SessionToken != nil {
		token, err := a.client.read("session_token", a.config.SessionToken)
		if err != nil {
			return aws.Credentials{}, err
		}
		c.SessionToken = token.Reveal()
	}
	if !headerSafe(c.AccessKeyID) || c.SessionToken != "" && !headerSafe(c.SessionToken) {
		return aws.Credentials{}, fmt.Errorf("root key %s: the credentials of root_key_access are not AWS credentials: %w", a.client.id, gatehouse.ErrInvalid)
	}
	return c, nil
}

// awsRefusals are the errors of Encrypt and Decrypt, and of the signature's check,
// that are an answer: what to do about each. All others are taken for a system that
// is not there.
var awsRefusals = map[string]string{
	"AccessDeniedException":               "the key's policy or the identity's does not grant kms:OPERATION with this encryption context",
	"DisabledException":                   "the key is disabled",
	"KMSInvalidStateException":            "the key is disabled, or its deletion is scheduled",
	"NotFoundException":                   "there is no such key in this region",
	"InvalidKeyUsageException":            "the key is not one for encryption",
	"InvalidGrantTokenException":          "the grant is not valid",
	"UnrecognizedClientException":         "the access key is not known; was it deleted?",
	"InvalidClientTokenId":                "the access key is not known; was it deleted?",
	"InvalidSignatureException":           "the signature does not match: is secret_access_key that of access_key_id, and is this machine's clock right?",
	"SignatureDoesNotMatch":               "the signature does not match: is secret_access_key that of access_key_id, and is this machine's clock right?",
	"ExpiredTokenException":               "the session token has ended",
	"ExpiredToken":                        "the session token has ended",
	"MissingAuthenticationToken":          "the request was not signed",
	"MissingAuthenticationTokenException": "the request was not signed",
	"IncompleteSignature":                 "the signature is not complete",
	"IncompleteSignatureException":        "the signature is not complete",
	"OptInRequired":                       "the account has no access to this region",
	"ValidationException":                 "the request is not valid for this key",
}

// judge says what an error means. Its message is not repeated.
func (a *AWS) judge(ans answer, operation string) error {
	var e struct {
		Type string `json:"__type"`
	}
	if err := a.client.decode(ans, &e); err != nil {
		return err
	}
	name := e.Type[strings.LastIndexByte(e.Type, '#')+1:]
	switch what, refused := awsRefusals[name]; {
	case ans.status >= 500:
		return a.client.away("it answers with status " + strconv.Itoa(ans.status))
	case name == "InvalidCiphertextException" || name == "IncorrectKeyException":
		return a.client.misfit()
	case refused:
		return a.client.denied(strings.ReplaceAll(what, "OPERATION", operation))
	default:
		// Throttling, a dependency's timeout, a key that is not available for a moment.
		return a.client.away("it answers with status " + strconv.Itoa(ans.status) + " and an error that passes, or that this version does not know")
	}
}
