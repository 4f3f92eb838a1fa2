package gateway

import (
	"net/http"
	"net/textproto"
	"strings"

	"gatehouse/internal/platform"
)

// credentialNames are all parameters in which some client of some platform puts
// a credential or a proof. They are judged strictly in every request.
var credentialNames = func() map[string]bool {
	names := map[string]bool{}
	for _, p := range platform.Names() {
		for _, name := range platform.CredentialParams(p) {
			names[name] = true
		}
	}
	return names
}()

// stripped are the parameters that are taken off an ordinary call, by platform.
// "code" is left: outside the OAuth endpoints, which are never passed on, it is
// what a person typed (WhatsApp's verify_code), and no credential of ours.
var stripped = func() map[platform.Name]map[string]bool {
	out := map[platform.Name]map[string]bool{}
	for _, p := range platform.Names() {
		out[p] = map[string]bool{}
		for _, name := range platform.CredentialParams(p) {
			if name != "code" {
				out[p][name] = true
			}
		}
	}
	return out
}()

// ownRequestHeaders are set by us or belong to the body as we send it.
var ownRequestHeaders = map[string]bool{
	"Accept-Encoding": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "User-Agent": true,
}

// ownReplyHeaders belong to the connection between the caller and us.
var ownReplyHeaders = map[string]bool{"Content-Encoding": true, "Content-Length": true, "Date": true, "Vary": true}

// agent is appended to the caller's User-Agent: the platform sees who sends.
const agent = "Gatehouse"

// copyRequestHeaders takes over what may go upstream: a list of names, and of
// those nothing that the Connection header lists. No cookie, no forwarding
// header, neither host nor credential is among them.
func copyRequestHeaders(out, in http.Header, p platform.Name) {
	hop := connectionListed(in)
	for name, values := range in {
		if !ownRequestHeaders[name] && !hop[name] && len(values) == 1 && platform.RequestHeader(p, name) {
			out[name] = values
		}
	}
	ua := in.Get("User-Agent")
	if len(ua) > 200 || strings.ContainsFunc(ua, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		ua = ""
	}
	if ua != "" {
		ua += " "
	}
	out.Set("User-Agent", ua+agent)
}

// connectionListed are the headers that the sender meant for the next hop only.
func connectionListed(h http.Header) map[string]bool {
	values := h["Connection"]
	if len(values) == 0 {
		return nil
	}
	listed := map[string]bool{}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			listed[textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return listed
}

// copyReplyHeaders gives back what may be: no cookie of the platform's, none of
// its instructions to browsers, nothing about connections. WWW-Authenticate carries Meta's error
// text, which may quote a token, so it is scrubbed like an error.
func (c *call) copyReplyHeaders(reply *http.Response) {
	out, o := c.w.Header(), c.owner()
	for name, values := range reply.Header {
		if !ownReplyHeaders[name] && platform.ReplyHeader(c.at.platform, name) {
			for _, value := range values {
				out.Add(name, o.scrub(value))
			}
		}
	}
	if values := reply.Header["Www-Authenticate"]; len(values) > 0 && reply.StatusCode >= 400 {
		out["Www-Authenticate"] = []string{o.scrub(values[0])}
	}
	out.Set("X-Content-Type-Options", "nosniff")
	if out.Get("Cache-Control") == "" {
		// A reply is one person's data; a cache between us and the app must not
		// serve it for another handle.
		out.Set("Cache-Control", "private, no-store")
	}
}
