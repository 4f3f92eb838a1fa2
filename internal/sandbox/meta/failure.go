package meta

import (
	"fmt"
	"net/http"
)

// failure is a Graph error. The HTTP status that goes with a code is not
// documented by Meta; clients are told to classify by code and subcode alone.
type failure struct {
	status    int
	message   string
	kind      string
	code      int
	subcode   int
	title     string
	user      string
	transient bool
	// challenge is the error name in WWW-Authenticate; empty sends none.
	challenge string
}

func (f *failure) Error() string { return f.message }

// The type names that Graph puts into errors.
const (
	oauthException  = "OAuthException"
	methodException = "GraphMethodException"
)

// invalid is code 100, the answer to every wrong parameter.
func invalid(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, kind: oauthException, code: 100, message: "(#100) " + fmt.Sprintf(format, args...)}
}

// missing is what Graph says both about objects that do not exist and about
// those that the token may not see, so that nothing can be probed.
func missing(verb, id string) *failure {
	return &failure{
		status: http.StatusBadRequest, kind: methodException, code: 100, subcode: 33,
		message: "Unsupported " + verb + " request. Object with ID '" + id + "' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api",
	}
}

// denied is the answer to a token without the permission.
func denied(code int, format string, args ...any) *failure {
	return &failure{status: http.StatusForbidden, kind: oauthException, code: code, message: fmt.Sprintf("(#%d) ", code) + fmt.Sprintf(format, args...)}
}

// dead is code 190: the token will not work again. 400 is what recorded replies
// show for it.
func dead(subcode int, message string) *failure {
	return &failure{status: http.StatusBadRequest, kind: oauthException, code: 190, subcode: subcode, message: message, challenge: "invalid_token"}
}

// syntax is code 2500, the answer to what cannot be parsed at all.
func syntax(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, kind: oauthException, code: 2500, message: fmt.Sprintf(format, args...), challenge: "invalid_request"}
}

// body renders the failure as Graph does.
func (f *failure) body(trace string) object {
	var inner object
	inner.set("message", f.message)
	inner.set("type", f.kind)
	if f.transient {
		inner.set("is_transient", true)
	}
	inner.set("code", f.code)
	if f.subcode != 0 {
		inner.set("error_subcode", f.subcode)
	}
	if f.title != "" {
		inner.set("error_user_title", f.title)
		inner.set("error_user_msg", f.user)
	}
	inner.set("fbtrace_id", trace)
	return object{{"error", inner}}
}

// reply turns the failure into a reply.
func (f *failure) reply() *reply {
	r := &reply{status: f.status, failure: f, header: make(http.Header)}
	if f.challenge != "" {
		r.header.Set("WWW-Authenticate", fmt.Sprintf("OAuth %q %q %q", "Facebook Platform", f.challenge, f.message))
	}
	return r
}
