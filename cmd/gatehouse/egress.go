package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/policy"

	"github.com/spf13/cobra"
)

func newEgressCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "egress",
		Short: "Third parties: who receives what of your app, through the proxy",
		Long: `Your app reaches everybody but X and Meta through the proxy listener, which lets it
send to the third parties of the configuration, for the purposes that they serve, and
to nobody else:

  export HTTPS_PROXY=https://PURPOSE:SERVICE_KEY@127.0.0.1:8101

See docs/egress.md.`,
	}
	c.AddCommand(egressList(o), egressCA(o))
	return c
}

// thirdParty is what the command line shows of a destination.
type thirdParty struct {
	Host       string                  `json:"host"`
	Purposes   []gatehouse.PurposeName `json:"purposes"`
	MayReceive []gatehouse.DataClass   `json:"may_receive"`
	Inspect    bool                    `json:"inspect"`
	Ports      []int                   `json:"ports"`
	Private    bool                    `json:"private,omitempty"`
	Address    string                  `json:"address,omitempty"`
	Services   []gatehouse.ServiceName `json:"services"`
	// LastUsed is empty when nothing was let through to it, and nil when the log cannot
	// be asked.
	LastUsed *string `json:"last_used"`
}

func egressList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the destinations that may be sent to",
		Long: `Lists the third parties of the configuration: the purposes that each serves and the
services that have one of them, the kinds of people's data that it may receive, and
whether requests to it are inspected. PORTS are those of TLS, and 80 of plain http.
LAST USED is when a request to it or a tunnel was last let through, or a tunnel ended,
as the log has it; - is never, since it is declared. Without the database it is ?, in
JSON null.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(o)
			if err != nil {
				return err
			}
			list := thirdParties(cfg)
			last, err := lastUsed(c.Context(), cfg, list)
			if err != nil {
				// What is declared is known all the same.
				fmt.Fprintln(c.ErrOrStderr(), "warning: when they were last used is not known:", err)
			}
			for i := range list {
				if err == nil {
					used := stamp(last[list[i].Host])
					list[i].LastUsed = &used
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			var rows [][]string
			for _, t := range list {
				used := "?"
				if err == nil {
					used = when(last[t.Host])
				}
				rows = append(rows, []string{t.Host, joined(t.Purposes), dash(joined(t.MayReceive)), yesNo(t.Inspect), joinedPorts(t.Ports), dash(joined(t.Services)), used})
			}
			return table(c.OutOrStdout(), "No third party is declared.", []string{"HOST", "PURPOSES", "MAY RECEIVE", "INSPECTED", "PORTS", "SERVICES", "LAST USED"}, rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// lastUsed asks the log when each of the third parties was last used.
func lastUsed(ctx context.Context, cfg *config.Config, list []thirdParty) (last map[string]time.Time, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	db, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	hosts := make([]string, len(list))
	for i, t := range list {
		hosts[i] = t.Host
	}
	return lastSent(ctx, db, hosts, time.Time{})
}

func thirdParties(cfg *config.Config) []thirdParty {
	list := []thirdParty{}
	for _, host := range slices.Sorted(maps.Keys(cfg.ThirdParty)) {
		p := cfg.ThirdParty[host]
		t := thirdParty{
			Host: host, Purposes: p.Purposes, MayReceive: []gatehouse.DataClass{}, Inspect: p.Inspect, Ports: append([]int{80, 443}, p.Ports...),
			Private: p.Private, Address: p.Address, Services: []gatehouse.ServiceName{},
		}
		t.MayReceive = append(t.MayReceive, p.Destination(host).MayReceive...)
		for _, name := range slices.Sorted(maps.Keys(cfg.Services)) {
			if slices.ContainsFunc(cfg.Services[name].Purposes, func(p gatehouse.PurposeName) bool { return slices.Contains(t.Purposes, p) }) {
				t.Services = append(t.Services, name)
			}
		}
		list = append(list, t)
	}
	return list
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ", ")
}

func joinedPorts(list []int) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ", ")
}

func noneOr(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// explainedHost is what `config explain` says of a destination.
type explainedHost struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Purpose  string `json:"purpose"`
	Mode     string `json:"mode"`
	Allowed  bool   `json:"allowed"`
	Reported bool   `json:"reported,omitempty"`
	Rule     string `json:"rule"`
	Reason   string `json:"reason,omitempty"`
	Inspect  bool   `json:"inspect"`
	// MayReceive is left out when the host is not declared.
	MayReceive []gatehouse.DataClass   `json:"may_receive,omitzero"`
	Services   []gatehouse.ServiceName `json:"services"`
}

// explainHost judges a destination, written as host, host:port or an address with a
// scheme, for a purpose, by a service that has it.
func explainHost(cfg *config.Config, target string, name gatehouse.PurposeName, now time.Time) (*explainedHost, error) {
	set, err := policySet(cfg, now)
	if err != nil {
		return nil, err
	}
	if _, ok := set.Purpose(name); !ok {
		return nil, fmt.Errorf("purpose %s is not in the configuration: %w", name, gatehouse.ErrNotFound)
	}
	plain := strings.HasPrefix(target, "http://")
	port := 443
	if plain {
		port = 80
	}
	host := strings.TrimPrefix(strings.TrimPrefix(target, "http://"), "https://")
	host, _, _ = strings.Cut(host, "/")
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') && strings.Count(host[:i], ":") == 0 || i > 0 && host[i-1] == ']' {
		if port, err = strconv.Atoi(host[i+1:]); err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("the port is none: %w", gatehouse.ErrInvalid)
		}
		host = host[:i]
	}
	if host, err = policy.NormalHost(host); err != nil {
		return nil, err
	}
	d := set.DecideDestination(policy.DestinationRequest{
		Service: "any", Allowed: []gatehouse.PurposeName{name}, Purpose: name, Host: host, Port: uint16(port), Plain: plain,
	})
	if isPlatform(host) {
		d = policy.DestinationDecision{Rule: "egress/platform-host", Reason: "this is a platform's host, which is reached through the gateway only"}
	}
	e := &explainedHost{
		Host: host, Port: port, Purpose: string(name), Mode: set.Mode().String(), Allowed: d.Allow, Reported: d.Report, Rule: d.Rule, Reason: d.Reason,
		Inspect: d.Inspect, Services: []gatehouse.ServiceName{},
	}
	if d.Declared {
		e.MayReceive = append([]gatehouse.DataClass{}, d.MayReceive...)
	}
	for _, service := range slices.Sorted(maps.Keys(cfg.Services)) {
		if slices.Contains(cfg.Services[service].Purposes, name) {
			e.Services = append(e.Services, service)
		}
	}
	return e, nil
}

func (e *explainedHost) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(e)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, port %d, for purpose %s is %s\n  rule         %s\n", e.Host, e.Port, e.Purpose, verdictWords(e.Allowed, e.Reported), e.Rule)
	if e.Reason != "" {
		fmt.Fprintf(&b, "  reason       %s\n", e.Reason)
	}
	fmt.Fprintf(&b, "  mode         %s\n  services     %s\n", e.Mode, noneOr(joined(e.Services)))
	if e.MayReceive != nil {
		fmt.Fprintf(&b, "  may receive  %s\n  inspected    %s\n", noneOr(joined(e.MayReceive)), yesNo(e.Inspect))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdictWords says what happens to what was judged.
func verdictWords(allowed, reported bool) string {
	switch {
	case reported:
		return "let through and reported"
	case allowed:
		return "allowed"
	}
	return "refused"
}
