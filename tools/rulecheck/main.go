// Command rulecheck has Prometheus' own parsers read the alert rules and the expressions
// of the dashboard under docs/. It is a module of its own, because Prometheus is large,
// and a program for `make test-rules`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: rulecheck RULES.yaml DASHBOARD.json")
		os.Exit(2)
	}
	n, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d expressions and every rule are well formed\n", n)
}

func check(rules, dashboard string) (n int, err error) {
	var errs []error
	p := parser.NewParser(parser.Options{})
	_, found := rulefmt.ParseFile(rules, false, model.LegacyValidation, p, slog.New(slog.DiscardHandler))
	errs = append(errs, found...)
	text, err := os.ReadFile(dashboard)
	if err != nil {
		return 0, err
	}
	var board any
	if err := json.Unmarshal(text, &board); err != nil {
		return 0, err
	}
	expressions(board, func(expr string) {
		n++
		// What Grafana puts in.
		expr = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(expr)
		if _, err := p.ParseExpr(expr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", expr, err))
		}
	})
	return n, errors.Join(errs...)
}

// expressions visits every "expr" of a document.
func expressions(v any, visit func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if text, ok := child.(string); ok && name == "expr" {
				visit(text)
			}
			expressions(child, visit)
		}
	case []any:
		for _, child := range v {
			expressions(child, visit)
		}
	}
}
