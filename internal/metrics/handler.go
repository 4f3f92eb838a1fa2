package metrics

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Exposure says how the figures are shown.
type Exposure struct {
	// Token is what scrapers have to present as a bearer; nil asks for none. It is asked
	// for each time, so that a renewed one is used.
	Token func() (secret.Text, error)
	// Log gets one line for each request. nil logs nothing.
	Log *slog.Logger
}

// The bounds of scrapes: each builds some hundred kilobytes.
const (
	scrapesAtOnce = 4
	scrapeTime    = 10 * time.Second
)

// Handler answers GET /metrics, in Prometheus' text format or in OpenMetrics, as the
// scraper asks, and nothing else.
func (m *Metrics) Handler(e Exposure) http.Handler {
	figures := promhttp.HandlerFor(m.all(), promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTime,
		ErrorHandling: promhttp.ContinueOnError, // what can be read is shown
	})
	surface := &wire.Surface{Name: "metrics", Log: e.Log}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", surface.Handler("/metrics", func(w http.ResponseWriter, r *http.Request) error {
		if e.Token == nil {
			if err := direct(r); err != nil {
				return err
			}
		} else if err := e.admit(r); err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="gatehouse metrics"`)
			return err
		}
		figures.ServeHTTP(w, r)
		return nil
	}))
	return mux
}

// admit refuses who has not the token.
func (e *Exposure) admit(r *http.Request) error {
	want, err := e.Token()
	if err != nil {
		return wire.Public(err, "The token that scrapers present cannot be read here.")
	}
	// Of several headers none counts: whichever we judged, another reader might take
	// the other.
	if values := r.Header["Authorization"]; len(values) == 1 {
		scheme, shown, _ := strings.Cut(values[0], " ")
		// An empty token is none, whatever the reference leads to.
		if strings.EqualFold(scheme, "bearer") && shown != "" && want.Equal(secret.New(shown)) {
			return nil
		}
	}
	return wire.Unauthenticated("metrics/token", "The figures are for who presents the token of the configuration (metrics.token).")
}

// direct refuses a request in plain http by a name that anybody may lead to this
// machine: without a token it is all that tells a scraper from a page in a browser here
// whose own name was changed to our address (DNS rebinding). By a certificate, or
// through a socket in the file system, no such page gets here.
func direct(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); r.TLS != nil || ok && local.Network() == "unix" {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil {
		return nil
	}
	return wire.Refuse(gatehouse.ErrDenied, "metrics/host", "Without a token (metrics.token) the figures are shown by an address or as localhost only: any page in a browser can have another name.")
}
