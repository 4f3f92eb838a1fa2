package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"

	"github.com/spf13/cobra"
)

// explained is what `config explain` says of a call. A heading that bounds
// nothing is left out.
type explained struct {
	Call      string `json:"call"`
	Operation string `json:"operation"`
	Purpose   string `json:"purpose"`
	Mode      string `json:"mode"`
	Allowed   bool   `json:"allowed"`
	// Reported is set when only report mode allows it.
	Reported bool                    `json:"reported,omitempty"`
	Rule     string                  `json:"rule"`
	Reason   string                  `json:"reason,omitempty"`
	Params   map[string]policy.Shape `json:"params,omitzero"`
	Body     map[string]policy.Shape `json:"body,omitzero"`
	Fields   []string                `json:"fields,omitzero"`
	Services []string                `json:"services"`
}

func configExplain(o *options) *cobra.Command {
	var purpose string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain CALL|HOST --purpose NAME",
		Short: "Say which rule decides about a call or a destination, and what it may carry",
		Long: `Judges a call as 'run' would and says which rule of the configuration decides and
why, and what the call's contract allows: parameters, body, fields of the reply. The
call is written as in the configuration or as it is made; a query is judged, too.

A host, host:port or http address is judged as the proxy would: for TLS, unless it
begins with http://. What its name leads to is not looked up.`,
		Example: "  gatehouse config explain 'POST /2/tweets' --purpose publish\n" +
			"  gatehouse config explain 'GET /2/users/me?user.fields=created_at' --purpose publish --json\n" +
			"  gatehouse config explain api.segment.io --purpose analytics",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, _, err := config.Load(o.config, resolver())
			if err != nil {
				return err
			}
			if !strings.Contains(strings.TrimSpace(args[0]), " ") {
				answer, err := explainHost(cfg, args[0], gatehouse.PurposeName(purpose), time.Now())
				if err != nil {
					return err
				}
				return answer.print(c.OutOrStdout(), asJSON)
			}
			answer, err := explain(cfg, args[0], gatehouse.PurposeName(purpose), time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(answer)
			}
			return answer.print(c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&purpose, "purpose", "", "the purpose that the call is made for")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.MarkFlagRequired("purpose") // it exists
	return c
}

// explain judges a call for a purpose, by a service that has it.
func explain(cfg *config.Config, call string, name gatehouse.PurposeName, now time.Time) (*explained, error) {
	set, err := policySet(cfg, now)
	if err != nil {
		return nil, err
	}
	purpose, ok := set.Purpose(name)
	if !ok {
		return nil, fmt.Errorf("purpose %s is not in the configuration: %w", name, gatehouse.ErrNotFound)
	}
	app := cfg.Apps[purpose.App]
	p := platform.Name(app.Platform)
	class, params, err := namedCall(p, call)
	if err != nil {
		return nil, err
	}
	r := policy.Request{
		Service: "any", Allowed: []gatehouse.PurposeName{name}, Purpose: name, Platform: app.Platform, App: purpose.App,
		Unknown: class.Unknown, Override: class.Override, Joined: p.Graph(),
	}
	for _, op := range class.Operations() {
		r.Operations = append(r.Operations, gatehouse.Operation(op))
	}
	selection, err := platform.Select(p, params)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", gatehouse.ErrInvalid, err)
	}
	for _, f := range selection.Fields {
		r.Selected = append(r.Selected, policy.Selected{Path: f.Path, Or: f.Or})
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		for _, v := range params[key] {
			r.Params = append(r.Params, policy.Argument{Name: key, Text: v, Free: platform.Paging(p, key, v), Selects: platform.Selects(p, key)})
		}
	}
	contract := set.Contract(name, r.Operations[0])
	d := set.Decide(r)
	if d.Rule == policy.RuleMissingParameter {
		// What is required stands in the contract below; a call that was only named
		// is not at fault.
		d = policy.Decision{Allow: true, Rule: contract.Rule(), Contract: contract}
	}
	answer := &explained{
		Call: call, Operation: class.Operation, Purpose: string(name), Mode: set.Mode().String(),
		Allowed: d.Allow, Reported: d.Report, Rule: d.Rule, Reason: d.Reason, Services: []string{},
	}
	if contract != nil {
		declared := contract.Call()
		answer.Params, answer.Body, answer.Fields = declared.Params, declared.Body, declared.Fields
	}
	for service, s := range cfg.Services {
		if slices.Contains(s.Purposes, name) {
			answer.Services = append(answer.Services, string(service))
		}
	}
	slices.Sort(answer.Services)
	return answer, nil
}

// namedCall reads a call as the configuration spells it, or as a client makes it.
func namedCall(p platform.Name, call string) (platform.Call, url.Values, error) {
	path, query, _ := strings.Cut(strings.TrimSpace(call), "?")
	params, err := url.ParseQuery(query)
	if err != nil {
		return platform.Call{}, nil, fmt.Errorf("the query is not percent-encoded: %w", gatehouse.ErrInvalid)
	}
	method, rest, _ := strings.Cut(path, " ")
	if operation, err := platform.NormalizeCall(p, path); err == nil {
		class := platform.Call{Operation: operation, Method: strings.ToUpper(method)}
		// What the query implies is known of a call as it is made.
		concrete := placeholders.ReplaceAllString(strings.TrimSpace(rest), "10000000000")
		if made, err := platform.Classify(p, class.Method, concrete, params); err == nil && made.Operation == operation {
			made.Params = nil
			class = made
		}
		return class, params, nil
	} else if class, cerr := platform.Classify(p, strings.ToUpper(method), strings.TrimSpace(rest), params); cerr == nil && !class.Unknown {
		return class, params, nil
	} else {
		return platform.Call{}, nil, fmt.Errorf("%w: %w", gatehouse.ErrInvalid, err)
	}
}

// placeholders are the parts of a declared call that stand for something.
var placeholders = regexp.MustCompile(`\{[^{}/]*\}|:[A-Za-z_]+`)

func (e *explained) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s for purpose %s is %s\n  rule      %s\n", e.Operation, e.Purpose, verdictWords(e.Allowed, e.Reported), e.Rule)
	if e.Reason != "" {
		fmt.Fprintf(&b, "  reason    %s\n", e.Reason)
	}
	fmt.Fprintf(&b, "  mode      %s\n", e.Mode)
	fmt.Fprintf(&b, "  services  %s\n", orNone(e.Services))
	printShapes(&b, "params", e.Params)
	printShapes(&b, "body", e.Body)
	switch {
	case e.Fields == nil:
		b.WriteString("  fields    any: the reply is passed on whole\n")
	case len(e.Fields) == 0:
		b.WriteString("  fields    none\n")
	default:
		fmt.Fprintf(&b, "  fields    %s\n", strings.Join(e.Fields, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func printShapes(b *strings.Builder, heading string, shapes map[string]policy.Shape) {
	switch {
	case shapes == nil:
		fmt.Fprintf(b, "  %-9s any\n", heading)
		return
	case len(shapes) == 0:
		fmt.Fprintf(b, "  %-9s none\n", heading)
		return
	}
	fmt.Fprintf(b, "  %s\n", heading)
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		fmt.Fprintf(b, "    %s: %s\n", name, shapes[name])
	}
}
