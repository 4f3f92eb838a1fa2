package platform

import (
	"net/textproto"
	"slices"
)

// requestHeaders are what a caller's request may tell a platform. Everything else
// stays here: cookies, forwarding headers, whatever identifies the app's machines.
// Length and accepted encodings are the transport's to say, since bodies change
// on the way.
var requestHeaders = []string{
	"Accept", "Accept-Language", "Content-Encoding", "Content-Language", "Content-Type",
	"If-Match", "If-Modified-Since", "If-None-Match", "Prefer", "Range", "User-Agent", "X-User-Agent",
}

// uploadHeaders are needed by Meta's resumable uploads.
var uploadHeaders = []string{"File_offset", "File_size", "File_url", "Offset", "X-Entity-Length", "X-Entity-Name", "X-Entity-Type"}

// replyHeaders are what a reply may tell the caller. Set-Cookie,
// WWW-Authenticate (it can repeat a token) and anything new stays here.
var replyHeaders = []string{
	"Accept-Ranges", "Allow", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language",
	"Content-Range", "Content-Type", "Date", "Etag", "Expires", "Last-Modified", "Retry-After", "Vary",
}

var xReplyHeaders = []string{
	"X-Access-Level", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset", "X-Response-Time", "X-Transaction-Id",
	"X-App-Limit-24hour-Limit", "X-App-Limit-24hour-Remaining", "X-App-Limit-24hour-Reset",
	"X-User-Limit-24hour-Limit", "X-User-Limit-24hour-Remaining", "X-User-Limit-24hour-Reset",
}

var graphReplyHeaders = []string{
	"Facebook-Api-Version", "X-Ad-Account-Usage", "X-App-Usage", "X-Business-Use-Case-Usage", "X-Fb-Ads-Insights-Throttle",
	"X-Fb-Debug", "X-Fb-Rev", "X-Fb-Trace-Id", "X-Page-Usage",
}

// RequestHeader reports whether a request header of this name (in any case) may go
// to p.
func RequestHeader(p Name, name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return slices.Contains(requestHeaders, name) || p.Graph() && slices.Contains(uploadHeaders, name)
}

// ReplyHeader reports whether a reply header of this name (in any case) may go to
// the caller.
func ReplyHeader(p Name, name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case slices.Contains(replyHeaders, name):
		return true
	case p == X:
		return slices.Contains(xReplyHeaders, name)
	case p.Graph():
		return slices.Contains(graphReplyHeaders, name)
	}
	return false
}
