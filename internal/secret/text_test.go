package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	texttemplate "text/template"

	"gatehouse/internal/secret"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const canary = "canary-7f3a1c9e55"

type exported struct{ Token secret.Text }
type unexported struct{ token secret.Text }

// shapes are the ways a credential stands in other values. An unexported field
// is the one that defeats types with a String method.
func shapes() map[string]any {
	t := secret.New(canary)
	return map[string]any{
		"itself":           t,
		"exported field":   exported{t},
		"unexported field": unexported{t},
		"pointer":          &exported{t},
		"pointer to it":    &t,
		"slice":            []secret.Text{t},
		"map":              map[string]secret.Text{"k": t},
		"wrapped error":    fmt.Errorf("doing something with %v: %w", t, errors.New("cause")),
	}
}

func TestTextReachesNoSink(t *testing.T) {
	sinks := map[string]func(any) string{
		"json": func(v any) string { b, err := json.Marshal(v); return fmt.Sprint(string(b), err) },
		"xml":  func(v any) string { b, err := xml.Marshal(v); return fmt.Sprint(string(b), err) },
		"yaml": func(v any) string {
			b, err := yaml.Marshal(v)
			return fmt.Sprint(string(b), err)
		},
		"gob": func(v any) string {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return fmt.Sprint(b.String(), err)
		},
		"slog text": func(v any) string {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
			return b.String()
		},
		"slog json": func(v any) string {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
			return b.String()
		},
		"text template": func(v any) string {
			var b bytes.Buffer
			err := texttemplate.Must(texttemplate.New("").Parse("{{.}}")).Execute(&b, v)
			return fmt.Sprint(b.String(), err)
		},
		"html template": func(v any) string {
			var b bytes.Buffer
			err := htmltemplate.Must(htmltemplate.New("").Parse("<a title='{{.}}'>{{.}}</a><script>{{.}}</script>")).Execute(&b, v)
			return fmt.Sprint(b.String(), err)
		},
		"cmp diff": func(v any) string {
			return cmp.Diff(v, nil, cmp.Exporter(func(reflect.Type) bool { return true }))
		},
		"panic": func(v any) (out string) {
			defer func() { out = fmt.Sprint(recover()) }()
			panic(v)
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		sinks[verb] = func(v any) string { return fmt.Sprintf(verb, v) }
	}
	for shape, v := range shapes() {
		for sink, write := range sinks {
			if got := write(v); strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s through %s shows the secret: %q", shape, sink, got)
			}
		}
	}
}

func TestRevealAndEqual(t *testing.T) {
	a, b := secret.New(canary), secret.New(canary)
	if got := a.Reveal(); got != canary {
		t.Errorf("Reveal() = %q, want the value", got)
	}
	if !a.Equal(b) {
		t.Error("two secrets of the same value are not Equal")
	}
	for _, other := range []string{"", canary + "x", canary[1:]} {
		if a.Equal(secret.New(other)) {
			t.Errorf("Equal(%q) = true", other)
		}
	}
	if !secret.New("").IsZero() || !(secret.Text{}).IsZero() || a.IsZero() {
		t.Error("IsZero is true for a value, or false for none")
	}
	if got := (secret.Text{}).Reveal(); got != "" {
		t.Errorf("zero value reveals %q", got)
	}
}
