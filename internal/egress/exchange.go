package egress

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// exchange is one request on its way: a tunnel or a request without TLS. The
// handler's goroutine owns it; once it is registered as a tunnel, others may read
// what judge has set, and call cut.
type exchange struct {
	proxy    *Proxy
	settings *Settings
	w        http.ResponseWriter
	r        *http.Request

	// Set by target.
	tunnel bool
	host   string
	port   uint16

	// Set by identify and decide.
	key      secret.Text
	service  identity.Service
	known    bool // the caller is a service
	purpose  gatehouse.PurposeName
	decision policy.DestinationDecision
	route    Route

	releases []func()
	cut      context.CancelCauseFunc // ends a tunnel

	receipt audit.Receipt
	began   time.Time
	carried Carried
	status  int // of the destination's answer
}

func (x *exchange) release() {
	for _, f := range slices.Backward(x.releases) {
		f()
	}
	x.releases = nil
}

// judge does everything that can be done before anything happens.
func (x *exchange) judge(ctx context.Context) error {
	for _, step := range []func(context.Context) error{x.identify, x.target, x.keepIn, x.allow, x.admit} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// identify finds out who calls and what for.
func (x *exchange) identify(ctx context.Context) error {
	user, key, err := credentials(x.r.Header)
	if err != nil {
		return err
	}
	caller, err := x.proxy.config.Directory.AuthenticateService(ctx, key)
	if err != nil {
		if errors.Is(err, gatehouse.ErrDenied) {
			return wire.WithStatus(err, http.StatusProxyAuthRequired)
		}
		return err
	}
	configured, ok := x.settings.Services[caller.Name]
	if !ok {
		return wire.Refuse(gatehouse.ErrDenied, "refuse/unknown-service", "this service is not in the configuration")
	}
	x.service, x.known, x.key = caller.Service, true, key
	if err := x.source(ctx, configured.Sources); err != nil {
		return err
	}
	wire.Known(ctx)
	if from, err := netip.ParseAddrPort(x.r.RemoteAddr); err == nil {
		x.proxy.config.Directory.KeyUsed(caller.Key.ID, from.Addr())
	}
	switch {
	case user != "":
		x.purpose = gatehouse.PurposeName(user)
	case caller.Key.Purpose != "" && caller.Key.Purpose != identity.NoPurpose:
		x.purpose = caller.Key.Purpose
	case len(configured.Purposes) == 1:
		x.purpose = configured.Purposes[0]
	default:
		return wire.Refuse(gatehouse.ErrDenied, policy.RuleNoPurpose,
			"this service has several purposes; name one as the user name of the proxy's credentials: https://PURPOSE:KEY@HOST:PORT")
	}
	return caller.For(x.purpose)
}

func (x *exchange) source(ctx context.Context, bound []netip.Prefix) error {
	from, err := netip.ParseAddrPort(x.r.RemoteAddr)
	if err != nil {
		return wire.Refuse(gatehouse.ErrDenied, "refuse/source", "this connection has no address")
	}
	if err := identity.CheckSource(bound, from.Addr()); err != nil {
		return err
	}
	_, err = x.proxy.config.Directory.SeenSource(ctx, identity.Handle{Service: x.service.ID, ServiceName: x.service.Name}, from.Addr())
	return err
}

// credentials reads the one header in which they stand. Its errors repeat nothing
// of it.
func credentials(h http.Header) (user string, key secret.Text, err error) {
	missing := func(why string) (string, secret.Text, error) {
		return "", secret.Text{}, wire.WithStatus(wire.Refuse(gatehouse.ErrDenied, "egress/credentials", why), http.StatusProxyAuthRequired)
	}
	values := h["Proxy-Authorization"]
	if len(values) != 1 {
		return missing("Send the service key to this proxy, once: HTTPS_PROXY=https://PURPOSE:gth_svc_…@HOST:PORT.")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer") && rest != "":
		return "", secret.New(rest), nil
	case strings.EqualFold(scheme, "Basic"):
		decoded, err := base64.StdEncoding.DecodeString(rest)
		name, password, ok := strings.Cut(string(decoded), ":")
		if err != nil || !ok {
			return missing("The proxy's credentials cannot be read; send the purpose as user name and the service key as password.")
		}
		return name, secret.New(password), nil
	}
	return missing("The proxy's credentials are Basic (the purpose and the service key) or Bearer (the service key).")
}

// target reads where the request is to go.
func (x *exchange) target(context.Context) error {
	refuse := func(rule, why string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, why) }
	u := x.r.URL
	x.tunnel = x.r.Method == http.MethodConnect
	defaultPort := "80"
	switch {
	case x.tunnel:
		defaultPort = ""
		if u.Host == "" || u.Path != "" || u.RawQuery != "" {
			return refuse("egress/target", "CONNECT names a host and a port, and nothing else")
		}
		if x.r.ContentLength != 0 {
			return refuse("egress/target", "CONNECT has no body")
		}
	case u.Host == "":
		return refuse("egress/target", "this is a forward proxy; set it as HTTPS_PROXY rather than calling it")
	case u.Scheme == "https":
		return refuse("egress/target", "send https through a tunnel: CONNECT")
	case u.Scheme != "http":
		return refuse("egress/target", "only http and https are carried")
	}
	if u.User != nil {
		return refuse("egress/userinfo", "the address holds a user name or password; send credentials in a header")
	}
	host, port := u.Host, defaultPort
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || port[0] == '0' || port[0] == '+' {
		return refuse("egress/target", "the port is missing, or is none")
	}
	x.port = uint16(number)
	if x.host, err = policy.NormalHost(host); err != nil {
		return refuse("egress/host-form", "the host cannot be judged: "+strings.TrimSuffix(err.Error(), ": "+gatehouse.ErrInvalid.Error()))
	}
	if x.proxy.config.Platform(x.host) {
		return wire.Refuse(gatehouse.ErrDenied, "egress/platform-host",
			"this is a platform's host; call it through the gateway, with a handle, so that the call has a purpose and its token stays inside")
	}
	if x.proxy.config.Dialer.Own(x.host, x.port) {
		return wire.Refuse(gatehouse.ErrDenied, "egress/own-address", "this is Gatehouse itself")
	}
	return nil
}

// keepIn refuses a request that carries a handle or key of ours anywhere but where
// it was looked for.
func (x *exchange) keepIn(context.Context) error {
	for name, values := range x.r.Header {
		for _, v := range values {
			if name != "Proxy-Authorization" && (identity.Holds(v) || identity.Holds(strings.ToLower(name))) {
				return errKeyInside("a header")
			}
		}
	}
	u := x.r.URL
	if identity.Holds(u.Host) || identity.Holds(u.Path) || identity.Holds(u.RawPath) || identity.Holds(u.RawQuery) || identity.Holds(unescaped(u.RawQuery)) {
		return errKeyInside("the address")
	}
	return nil
}

// errKeyInside means that a credential of ours stands where none belongs.
func errKeyInside(where string) error {
	return wire.Refuse(gatehouse.ErrDenied, "refuse/handle-inside",
		"a Gatehouse handle or key stands in "+where+"; it would have been sent to somebody else")
}

// unescaped undoes percent-encoding where it is one.
func unescaped(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(v))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// allow asks the policy.
func (x *exchange) allow(context.Context) (err error) {
	x.decision, err = x.decide(x.settings)
	if err != nil {
		return err
	}
	x.route = x.settings.Routes[x.host]
	if !x.decision.Inspect {
		return nil
	}
	// Never silently uninspected, in report mode either.
	if x.tunnel && x.proxy.config.Terminate == nil || !x.tunnel && x.proxy.config.Inspector == nil {
		return wire.Refuse(gatehouse.ErrUnavailable, "egress/no-inspection", "this destination is declared with inspection, which this process cannot do; nothing goes there without")
	}
	return nil
}

// decide asks the policy of some settings.
func (x *exchange) decide(s *Settings) (policy.DestinationDecision, error) {
	d := s.Policy.DecideDestination(policy.DestinationRequest{
		Service: x.service.Name, Allowed: s.Services[x.service.Name].Purposes, Purpose: x.purpose,
		Host: x.host, Port: x.port, Plain: !x.tunnel,
	})
	if !d.Allow {
		return d, wire.Refuse(gatehouse.ErrDenied, d.Rule, d.Reason)
	}
	return d, nil
}

// admit takes what is bounded.
func (x *exchange) admit(context.Context) error {
	if err := x.proxy.config.Admit(x.service.Name, 1); err != nil {
		return err
	}
	enter := x.proxy.limits.enterRequest
	if x.tunnel {
		enter = func() (func(), error) { return x.proxy.limits.enterTunnel(x.service.Name) }
	}
	release, err := enter()
	if err != nil {
		return err
	}
	x.releases = append(x.releases, release)
	return nil
}

// transfer is what inspection is told.
func (x *exchange) transfer() Transfer {
	destination := x.host
	if !x.settings.Policy.Declares(x.host) {
		destination = Undeclared
	}
	return Transfer{
		Service: x.service.Name, Purpose: x.purpose, Destination: destination, May: x.decision.MayReceive,
		Report: x.settings.Policy.Mode() == policy.Report, Entry: x.receipt.ID(),
	}
}

// hostPort is the target as it stands in an address.
func (x *exchange) hostPort() string { return net.JoinHostPort(x.host, strconv.Itoa(int(x.port))) }
