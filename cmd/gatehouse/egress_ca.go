package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
)

// inspectedHosts are the destinations that the configuration wants looked into,
// sorted.
func inspectedHosts(cfg *config.Config) []string {
	var hosts []string
	for _, host := range slices.Sorted(maps.Keys(cfg.ThirdParty)) {
		if cfg.ThirdParty[host].Inspect {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// authorityChange says what a change of the configuration means for those who trust the
// authority for inspection, "" if it stays.
func authorityChange(from, to *config.Config) string {
	before, after := inspectedHosts(from), inspectedHosts(to)
	goes := slices.ContainsFunc(before, func(host string) bool { return !slices.Contains(after, host) })
	const fetch = "other third parties are inspected, so the authority for inspection gets a new key: give clients gatehouse egress ca --pem "
	switch {
	case slices.Equal(before, after):
		return ""
	case len(after) == 0:
		return "nothing is inspected any more: clients need not trust the authority for inspection"
	case len(before) == 0:
		return "third parties are inspected: clients have to trust the authority for inspection before (gatehouse egress ca --pem)"
	case goes:
		return fetch + "at once, because the one before is forgotten with a host that is taken away"
	}
	return fetch + "within two weeks"
}

// ensureInspection makes the authority for inspection one for the configuration's
// destinations, with a new key if they changed. log may be nil.
func ensureInspection(ctx context.Context, cfg *config.Config, v *vault.Vault, c egress.AuthorityConfig) (*egress.Authority, error) {
	c.Secrets, c.Environment = v, cfg.Environment
	a, err := egress.NewAuthority(c)
	if err != nil {
		return nil, err
	}
	if err := a.Use(ctx, inspectedHosts(cfg)); err != nil {
		return nil, err
	}
	return a, nil
}

// openAuthorities reads the authorities for inspection as they are kept.
func openAuthorities(ctx context.Context, v *vault.Vault) (*wire.InspectionCA, error) {
	text, err := v.System(ctx, egress.SecretAuthority)
	if err != nil {
		return nil, err
	}
	return wire.OpenInspectionCA(text)
}

// checkInspection compares the authority for inspection with the configuration. It
// returns what clients should know of it.
func checkInspection(ctx context.Context, p *parts) (text string, err error) {
	hosts := inspectedHosts(p.cfg)
	ca, err := openAuthorities(ctx, p.vault)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound) && len(hosts) == 0:
		return "no third party is inspected", nil
	case errors.Is(err, gatehouse.ErrNotFound):
		return "", errors.New("there is no authority for inspection")
	case err != nil:
		return "", err
	case !slices.Equal(ca.Hosts(), hosts):
		return "", errors.New("the authority for inspection is not for the third parties that the configuration has inspected")
	}
	trusted := ca.Authorities()
	text = "covers what is inspected, until " + when(trusted[0].Ends)
	if len(trusted) > 1 {
		text += "; it changed on " + when(trusted[0].Made) + ", and clients must trust the new one (gatehouse egress ca --pem) by " + when(trusted[1].Until)
	}
	return text, nil
}

// trustRecipes say how a client is told to trust the authorities in a file, inspectionFile.
var trustRecipes = map[string]string{
	"curl": `curl --cacert inspection-ca.pem https://…          # one call; for all: export CURL_CA_BUNDLE=inspection-ca.pem
`,
	"go": `export SSL_CERT_FILE=inspection-ca.pem             # Linux; it replaces the system's file, not its directory (SSL_CERT_DIR)
In code, beside the system's, on every system:
  pool, err := x509.SystemCertPool()
  pem, err := os.ReadFile("inspection-ca.pem")
  pool.AppendCertsFromPEM(pem)
  transport.TLSClientConfig = &tls.Config{RootCAs: pool}
`,
	"java": `One authority per entry: while they overlap, inspection-ca.pem holds two. Import each:
  csplit -s -z -f inspection-ca- inspection-ca.pem '/BEGIN CERTIFICATE/' '{*}'
  cp "$JAVA_HOME/lib/security/cacerts" truststore.p12
  for f in inspection-ca-*; do
    keytool -importcert -noprompt -alias "$f" -file "$f" -keystore truststore.p12 -storepass changeit
  done
  java -Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit …
`,
	"node": `export NODE_EXTRA_CA_CERTS=inspection-ca.pem       # read once, when the process starts; beside Node's own
`,
	"python": `export SSL_CERT_FILE=inspection-ca.pem             # ssl, urllib, httpx, aiohttp; it replaces the system's file
export REQUESTS_CA_BUNDLE=inspection-ca.pem        # requests, which has authorities of its own
For destinations that are not inspected, too, give them one file with both:
  cat "$(python -m certifi)" inspection-ca.pem > both.pem
`,
}

const inspectionFile = "inspection-ca.pem"

// egressAuthority is what the command line shows of an authority.
type egressAuthority struct {
	Name    string   `json:"name"`
	SHA256  string   `json:"sha256"`
	Hosts   []string `json:"hosts"`
	Made    string   `json:"made_at"`
	Ends    string   `json:"ends_at"`
	Until   string   `json:"signs_until"`
	Current bool     `json:"current"`
	PEM     string   `json:"pem"`
}

func egressCA(o *options) *cobra.Command {
	var asPEM, asJSON bool
	var language string
	c := &cobra.Command{
		Use:   "ca",
		Short: "The authority that clients trust for inspected third parties",
		Long: `Prints the authority with which Gatehouse speaks in the place of third parties that
are inspected: until when it is good, for which hosts (their names exactly; by the
rules of X.509 whoever trusts it trusts it for names below those, too), its
fingerprint, and how clients are told to trust it.

It changes, with a new key, when other third parties are inspected and every 60 days.
For two weeks the one before signs on for hosts that both cover, and --pem prints
both: give clients the file again within that time. One that may sign for a host that
is not inspected any more is forgotten at once.`,
		Example: `  gatehouse egress ca --pem > ` + inspectionFile + `
  gatehouse egress ca --for node`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, known := trustRecipes[language]; language != "" && !known {
				return usagef("--for is one of %s", strings.Join(slices.Sorted(maps.Keys(trustRecipes)), ", "))
			}
			return with(c.Context(), o, func(p *parts) error {
				ca, err := openAuthorities(c.Context(), p.vault)
				if errors.Is(err, gatehouse.ErrNotFound) {
					if len(inspectedHosts(p.cfg)) == 0 {
						return fmt.Errorf("no third party of the configuration is inspected, so there is nothing to trust: %w", gatehouse.ErrNotFound)
					}
					return fmt.Errorf("there is no authority for inspection yet; gatehouse init makes it, and so does gatehouse run: %w", gatehouse.ErrNotFound)
				}
				if err != nil {
					return err
				}
				return printAuthorities(c.OutOrStdout(), ca.Authorities(), !slices.Equal(ca.Hosts(), inspectedHosts(p.cfg)), asPEM, asJSON, language)
			})
		},
	}
	c.Flags().BoolVar(&asPEM, "pem", false, "print the certificates and nothing else")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&language, "for", "", "say only how to trust it in go, node, python, java or curl")
	c.MarkFlagsMutuallyExclusive("pem", "json", "for")
	return c
}

func printAuthorities(w io.Writer, all []wire.InspectionAuthority, stale, asPEM, asJSON bool, language string) error {
	var b strings.Builder
	switch {
	case asPEM:
		for _, a := range all {
			b.Write(a.PEM)
		}
	case asJSON:
		list := make([]egressAuthority, len(all))
		for i, a := range all {
			list[i] = egressAuthority{Name: a.Name, SHA256: a.SHA256, Hosts: a.Hosts, Made: stamp(a.Made), Ends: stamp(a.Ends), Until: stamp(a.Until), Current: i == 0, PEM: string(a.PEM)}
		}
		return printJSON(w, list)
	case language != "":
		fmt.Fprintf(&b, "gatehouse egress ca --pem > %s\n%s", inspectionFile, trustRecipes[language])
	default:
		for i, a := range all {
			role := "current"
			if i > 0 {
				role = "earlier; signs on for its hosts until " + when(a.Until)
			}
			fmt.Fprintf(&b, "%s (%s)\n  sha256  %s\n  made    %s\n  ends    %s\n  hosts   %s\n", a.Name, role, a.SHA256, when(a.Made), when(a.Ends), strings.Join(a.Hosts, ", "))
		}
		if stale {
			b.WriteString("\nThe configuration has other third parties inspected than this authority is for: reload\nor restart gatehouse run, then give clients the new one.\n")
		}
		fmt.Fprintf(&b, "\nTo trust it:\n\ngatehouse egress ca --pem > %s\n", inspectionFile)
		for _, name := range slices.Sorted(maps.Keys(trustRecipes)) {
			fmt.Fprintf(&b, "\n%s\n%s", name, trustRecipes[name])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// inspection binds what looks into tunnels.
func inspection(p *parts, a *egress.Authority, inspector egress.Inspector, log *audit.Log) (egress.Terminate, error) {
	return egress.NewTerminate(egress.InspectConfig{
		Inspector: inspector, Certificate: a.Leaf, Log: log, Logger: p.logger, Silence: p.cfg.Limits.WithDefaults().TunnelIdle,
	})
}
