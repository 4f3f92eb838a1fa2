package platform

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// OutcomeKind says what a reply means for the grant and for the caller.
type OutcomeKind uint8

// The kinds of outcome.
const (
	OutcomeOK           OutcomeKind = iota
	OutcomeThrottled                // asked too often; later it may work
	OutcomeTokenDead                // the token will not work again; Cause says why
	OutcomeScopeMissing             // the person did not grant what this needs
	OutcomeNotFound                 // the object is missing, or hidden from this person
	OutcomeTransient                // the platform's own trouble; later it may work
	OutcomeBadProof                 // our signature, proof or clock was refused
	OutcomeClient                   // the app registration was refused, not the person's token
	OutcomeRefused                  // any other refusal: the request is at fault
)

var outcomeNames = [...]string{"ok", "throttled", "token-dead", "scope-missing", "not-found", "transient", "bad-proof", "client", "refused"}

// String returns a stable name for logs and tests.
func (k OutcomeKind) String() string { return outcomeNames[k] }

// Outcome is what a reply means.
type Outcome struct {
	Kind OutcomeKind
	// Cause is a stable word for the reason: "expired", "app-removed",
	// "password-changed", "checkpoint", "spent", "appsecret-proof", …
	Cause string
	// Code and Subcode are the platform's own numbers, 0 if it gave none.
	Code, Subcode int
	// Reset is when a throttled call may work again, where the platform names a
	// time; RetryAfter where it names a duration. Both are zero when it says
	// nothing.
	Reset      time.Time
	RetryAfter time.Duration
}

// Interpret says what a reply means, from its status, header and the beginning
// of its body. The body may be cut off anywhere; 8 KiB are plenty.
func Interpret(p Name, status int, header http.Header, bodyPrefix []byte) Outcome {
	switch p {
	case X:
		return interpretX(status, header, bodyPrefix)
	case Facebook, Instagram, Threads:
		return interpretGraph(status, header, bodyPrefix)
	}
	return byStatus(status)
}

// byStatus judges by the status alone.
func byStatus(status int) Outcome {
	switch {
	case status < 400:
		return Outcome{Kind: OutcomeOK}
	case status == http.StatusTooManyRequests:
		return Outcome{Kind: OutcomeThrottled}
	case status == http.StatusUnauthorized:
		return Outcome{Kind: OutcomeTokenDead, Cause: "invalid"}
	case status == http.StatusNotFound:
		return Outcome{Kind: OutcomeNotFound}
	case status >= 500, status == http.StatusRequestTimeout:
		return Outcome{Kind: OutcomeTransient}
	}
	return Outcome{Kind: OutcomeRefused}
}

// xBody is what X's three shapes of error have in them: problem+json, the 1.1
// list of codes, and the token endpoint's.
type xBody struct {
	Title  string `json:"title"`
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Reason string `json:"reason"`
	Errors []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
	Error            string `json:"error"`
	ErrorDescription string `json:"error_description"`
}

// xCodes are the 1.1 codes that mean something other than their status.
var xCodes = map[int]Outcome{
	32:  {Kind: OutcomeBadProof, Cause: "signature"},
	88:  {Kind: OutcomeThrottled},
	89:  {Kind: OutcomeTokenDead, Cause: "invalid"},
	99:  {Kind: OutcomeClient, Cause: "credentials"},
	135: {Kind: OutcomeBadProof, Cause: "clock"},
	187: {Kind: OutcomeRefused, Cause: "duplicate"},
	215: {Kind: OutcomeBadProof, Cause: "signature"},
	220: {Kind: OutcomeRefused, Cause: "wrong-auth-kind"},
	415: {Kind: OutcomeClient, Cause: "callback"},
}

func interpretX(status int, header http.Header, body []byte) Outcome {
	if status < 400 {
		return Outcome{Kind: OutcomeOK} // partial errors inside a 200 are data
	}
	var b xBody
	_ = json.Unmarshal(body, &b) // not JSON: the status has to do
	out := byStatus(status)
	code := 0
	if len(b.Errors) > 0 {
		code = b.Errors[0].Code
	} else if b.Title == "" && b.Error == "" {
		code = number(codeRE, body)
	}
	if known, ok := xCodes[code]; ok {
		out = known
	}
	problem := b.Type[strings.LastIndexByte(b.Type, '/')+1:]
	switch {
	case b.Error != "":
		out = xTokenError(b)
	case status == http.StatusPaymentRequired || b.Title == "CreditsDepleted":
		out = Outcome{Kind: OutcomeClient, Cause: "no-credit"}
	case problem == "usage-capped":
		out = Outcome{Kind: OutcomeThrottled, Cause: "usage-cap"}
	case problem == "client-forbidden":
		out = Outcome{Kind: OutcomeClient, Cause: "not-enrolled"}
	case problem == "unsupported-authentication":
		out = Outcome{Kind: OutcomeRefused, Cause: "wrong-auth-kind"}
	case problem == "resource-not-found":
		out = Outcome{Kind: OutcomeNotFound}
	case status == http.StatusForbidden && strings.Contains(strings.ToLower(b.Detail), "scope"):
		out = Outcome{Kind: OutcomeScopeMissing}
	}
	out.Code = code
	if out.Kind == OutcomeThrottled {
		for _, budget := range xUsage(header) {
			if budget.Remaining == 0 && budget.Reset.After(out.Reset) {
				out.Reset = budget.Reset
			}
		}
		if out.Reset.IsZero() {
			out.RetryAfter = retryAfter(header)
		}
	}
	return out
}

// xTokenError reads the token endpoint's errors. X answers a spent or revoked
// refresh token with invalid_request and a sentence, not with RFC 6749's
// invalid_grant; both are understood. The sentences are known from clients only.
func xTokenError(b xBody) Outcome {
	description := strings.ToLower(b.ErrorDescription)
	switch {
	case b.Error == "invalid_client" || b.Error == "unauthorized_client":
		return Outcome{Kind: OutcomeClient, Cause: "credentials"}
	case strings.Contains(description, "authorization code"):
		return Outcome{Kind: OutcomeRefused, Cause: "code"}
	case b.Error == "invalid_grant", strings.Contains(description, "value passed for the token"):
		return Outcome{Kind: OutcomeTokenDead, Cause: "spent"}
	}
	return Outcome{Kind: OutcomeRefused, Cause: "request"}
}

// graphBody is what Graph's errors have in them, and Instagram's token host's.
type graphBody struct {
	Error *struct {
		Message   string `json:"message"`
		Type      string `json:"type"`
		Code      int    `json:"code"`
		Subcode   int    `json:"error_subcode"`
		Transient bool   `json:"is_transient"`
	} `json:"error"`
	ErrorType    string `json:"error_type"`
	ErrorCode    int    `json:"code"`
	ErrorMessage string `json:"error_message"`
}

// deadTokens are the subcodes of codes 190 and 102.
var deadTokens = map[int]string{
	458: "app-removed", 459: "checkpoint", 460: "password-changed", 463: "expired",
	464: "unconfirmed", 467: "invalidated", 492: "role-lost", 493: "unused",
}

var (
	codeRE    = regexp.MustCompile(`"code"\s*:\s*(\d{1,9})\b`)
	subcodeRE = regexp.MustCompile(`"error_subcode"\s*:\s*(\d{1,9})\b`)
)

// number returns the first number that the expression finds, or 0. It serves
// bodies that were cut off.
func number(re *regexp.Regexp, body []byte) int {
	m := re.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// interpretGraph goes by code and subcode; the statuses of Graph errors are not
// documented.
func interpretGraph(status int, header http.Header, body []byte) Outcome {
	var b graphBody
	whole := json.Unmarshal(body, &b) == nil
	if whole && b.Error == nil && status < 400 {
		return Outcome{Kind: OutcomeOK}
	}
	var out Outcome
	switch {
	case b.Error != nil:
		out = graphCode(status, b.Error.Code, b.Error.Subcode, b.Error.Message)
		out.Code, out.Subcode = b.Error.Code, b.Error.Subcode
		if b.Error.Transient && out.Kind == OutcomeRefused {
			out.Kind = OutcomeTransient
		}
	case b.ErrorType != "":
		out = Outcome{Kind: OutcomeRefused, Cause: "request", Code: b.ErrorCode}
		if strings.Contains(strings.ToLower(b.ErrorMessage), "code") {
			out.Cause = "code"
		}
	case status < 400:
		return Outcome{Kind: OutcomeOK}
	default:
		code, subcode := number(codeRE, body), number(subcodeRE, body)
		out = graphCode(status, code, subcode, string(body))
		out.Code, out.Subcode = code, subcode
	}
	if out.Kind == OutcomeThrottled {
		for _, budget := range graphUsage(header) {
			out.RetryAfter = max(out.RetryAfter, budget.RetryAfter)
		}
		out.RetryAfter = max(out.RetryAfter, retryAfter(header))
	}
	return out
}

// DeadToken reports whether a Graph error's code and subcode say that a token will
// not work again, and why, in the words of Outcome's Cause. It is for errors that
// stand inside a successful reply, such as debug_token's.
func DeadToken(code, subcode int) (cause string, dead bool) {
	if code != 190 && code != 102 {
		return "", false
	}
	if cause = deadTokens[subcode]; cause == "" {
		cause = "invalid"
	}
	return cause, true
}

func graphCode(status, code, subcode int, message string) Outcome {
	cause, dead := DeadToken(code, subcode)
	switch {
	case dead:
		return Outcome{Kind: OutcomeTokenDead, Cause: cause}
	case code == 4, code == 17, code == 32, code == 341, code == 613, code >= 80000 && code <= 80014:
		return Outcome{Kind: OutcomeThrottled}
	case code == 1 || code == 2:
		return Outcome{Kind: OutcomeTransient}
	case code == 3, code == 10, code >= 200 && code <= 299:
		return Outcome{Kind: OutcomeScopeMissing}
	case code == 100 && strings.Contains(message, "appsecret_proof"):
		return Outcome{Kind: OutcomeBadProof, Cause: "appsecret-proof"}
	case code == 100 && subcode == 33:
		return Outcome{Kind: OutcomeNotFound}
	case code == 100 && subcode == 36009:
		return Outcome{Kind: OutcomeRefused, Cause: "code"}
	case code == 104:
		return Outcome{Kind: OutcomeRefused, Cause: "token-missing"}
	case code == 368:
		return Outcome{Kind: OutcomeRefused, Cause: "blocked"}
	case code == 506:
		return Outcome{Kind: OutcomeRefused, Cause: "duplicate"}
	case code != 0:
		return Outcome{Kind: OutcomeRefused, Cause: "request"}
	}
	return byStatus(status)
}

// retryAfter reads the seconds form of Retry-After.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 7*24*3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
