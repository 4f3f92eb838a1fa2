package gateway

import (
	"context"
	"io"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// owner is in whose name a reply, or one item of a batch's, came back: the handle
// that asked, the credential that was used for it, and how the handle was sent.
type owner struct {
	handle     identity.Handle
	text       string // the handle's bearer form; "" if it came as OAuth 1.0a
	inParam    bool   // it stood in a parameter, so links must carry it again
	me         bool   // the call was for "me"
	credential *connect.Credential
	known      []platform.Known // what was sent for it, and what stands for that
	receipt    audit.Receipt
	asked      *budget.Call // what its call was to the budgets; nil if they were not asked
}

// owner of an ordinary call.
func (c *call) owner() owner {
	return owner{
		asked:   c.about(),
		receipt: c.receipt, known: c.known,
		handle: c.handle, text: c.shown.text, credential: c.credential,
		inParam: c.shown.at == inQuery || c.shown.at == inForm,
		me:      forMe(c.class),
	}
}

// rewriter replaces the tokens and links of a reply to this call.
func (c *call) rewriter(ctx context.Context) platform.Rewriter { return c.rewriterFor(ctx, c.owner()) }

func (c *call) rewriterFor(ctx context.Context, o owner) platform.Rewriter {
	return platform.Rewriter{
		// A child whose row is half made must be completed, whoever hangs up.
		Token: func(t platform.ReplyToken) (string, error) { return c.handleFor(context.WithoutCancel(ctx), o, t) },
		Link:  func(link string) string { return c.link(ctx, o, link) },
		Known: o.known,
	}
}

// forMe reports whether a Graph call names its node as "me".
func forMe(class platform.Call) bool {
	return class.Pattern == "/me" || strings.HasPrefix(class.Pattern, "/me/")
}

// handleFor returns the handle that stands for a token of the platform in a
// reply: the caller's own for the token that made the call, a child's for any
// other. What cannot be kept is an error, and the reply is not passed on.
func (c *call) handleFor(ctx context.Context, o owner, t platform.ReplyToken) (string, error) {
	if t.Value == "" {
		return "", nil
	}
	if o.credential != nil && o.credential.Is(t.Value) {
		if o.text == "" {
			return "", errToken("the reply repeats the connection's own token, and an OAuth 1.0a handle has no form to stand for it", nil)
		}
		return o.text, nil
	}
	if !strings.HasSuffix(t.Member, "access_token") && t.Member != "page_token" {
		return "", errToken("the reply holds a credential that no handle can stand for", nil)
	}
	if t.Ambiguous {
		return "", errToken("the reply holds a token of which it says two different owners", nil)
	}
	child := connect.Child{Kind: childKind(t), ExternalID: t.ID, Name: t.Name}
	if child.ExternalID == "" {
		child.ExternalID = t.UserID
	}
	if t.ExpiresIn > 0 {
		child.Expires = time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	return c.adopt(ctx, o, child, t.Value)
}

// childKind tells what a token in a reply stands for.
func childKind(t platform.ReplyToken) connect.Kind {
	if t.Category == "system_user" || strings.Contains(t.Path, "system_users") {
		return connect.KindSystemUser
	}
	return connect.KindPage
}

func errToken(detail string, cause error) error {
	return wire.BadGateway("upstream/token", detail+"; the reply is not passed on", cause)
}

// link turns an address of the platform in a reply into one that leads back here,
// with the scheme, host and prefix that the caller used. It carries no token.
// Clients that send their handle in a parameter follow such links as they are, so
// for them it carries the same handle again, and nothing else.
func (c *call) link(ctx context.Context, o owner, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	base := c.gateway.platformBase(c.at.platform, u)
	if base == "" && !c.gateway.isPlatformHost(u.Host) {
		if !platform.CarriesCredential(link) {
			return link // somebody else's address
		}
		return platform.StripLink(c.at.platform, link)
	}
	rest, _, err := platform.StripParams(c.at.platform, u.RawQuery) // in any spelling
	if err != nil {
		return ""
	}
	query, err := parseParams(rest, "link")
	if err != nil {
		return ""
	}
	if o.inParam && o.text != "" {
		query = append(query, newParam("access_token", o.text))
	}
	path := strings.TrimPrefix(u.EscapedPath(), strings.TrimSuffix(basePath(base), "/"))
	if o.me {
		path = c.backToMe(ctx, o, path)
	}
	out := c.at.origin + path
	if len(query) > 0 {
		out += "?" + query.encode()
	}
	return out
}

// backToMe writes "me" for the person's own id in the path of a paging link. The
// platform continues a call to /me/accounts as /123/accounts, which a purpose
// that declares the one need not declare.
func (c *call) backToMe(ctx context.Context, o owner, path string) string {
	if c.own == nil {
		c.own = map[gatehouse.ConnectionID]string{}
	}
	own, known := c.own[o.handle.Connection]
	if !known {
		if connection, err := c.gateway.config.Connections.Get(ctx, o.handle.Connection); err == nil {
			own = connection.PlatformUser
		}
		c.own[o.handle.Connection] = own
	}
	segments := strings.Split(path, "/") // "", perhaps a version, the node, the edge
	for i := 1; own != "" && i < len(segments) && i <= 2; i++ {
		if segments[i] == own {
			segments[i] = "me"
			return strings.Join(segments, "/")
		}
	}
	return path
}

// platformBase returns the base URL of the platform's host that u leads to, or "".
func (g *Gateway) platformBase(p platform.Name, u *url.URL) string {
	for role := platform.RoleAPI; role <= platform.RoleUpload; role++ {
		base := g.upstreams[p][role]
		if base != nil && base.Host == u.Host && strings.HasPrefix(u.EscapedPath(), strings.TrimSuffix(base.EscapedPath(), "/")+"/") {
			return base.String()
		}
	}
	return ""
}

// isPlatformHost reports whether a host name is one of the platforms' own.
func (g *Gateway) isPlatformHost(host string) bool {
	_, _, ok := platform.HostOf(strings.ToLower(host))
	return ok
}

func basePath(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// shortestToken is less than any platform's token.
const shortestToken = 16

// scrub takes what was sent for the owner out of a text of the platform's.
func (o owner) scrub(text string) string {
	if len(o.known) == 0 || len(text) < shortestToken {
		return text
	}
	var out strings.Builder
	w := platform.NewScrubber(&out, o.known)
	if _, err := io.WriteString(w, text); err != nil || w.Flush() != nil {
		return ""
	}
	return out.String()
}
