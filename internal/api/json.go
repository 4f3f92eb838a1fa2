package api

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"
)

// maxBody bounds a request's body; the longest real one is a few hundred bytes.
// maxData bounds one that brings data.
const (
	maxBody = 64 << 10
	maxData = 4 << 20
)

// invalid is a refusal of the input.
func invalid(rule, detail string) error {
	return wire.Refuse(gatehouse.ErrInvalid, rule, detail)
}

// readBody reads a request's JSON body strictly into a struct of plain fields.
func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := readJSON(w, r, maxBody)
	if err != nil {
		return err
	}
	return decode(body, into)
}

// readJSON returns a request's body that says it is JSON.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || (params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8")) {
		return nil, wire.WithStatus(invalid("api/content-type", "Send the body as Content-Type: application/json."), http.StatusUnsupportedMediaType)
	}
	if len(r.Header["Content-Encoding"]) > 0 {
		return nil, wire.WithStatus(invalid("api/content-encoding", "Send the body without a content encoding."), http.StatusUnsupportedMediaType)
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// decode reads one JSON object into the struct that into points at. Members are
// matched by their exact name; unknown, repeated, null and mistyped ones are
// errors that name the member. Values are never repeated: they may be codes.
func decode(body []byte, into any) error {
	target := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.Value{}
	var names []string
	for i := range target.NumField() {
		name := target.Type().Field(i).Tag.Get("json")
		fields[name] = target.Field(i)
		names = append(names, name)
	}
	seen := map[string]bool{}
	return members(body, func(name string, raw json.RawMessage) error {
		field, known := fields[name]
		if !known {
			return invalid("api/unknown-field", "There is no field "+quoted(name)+" here; the fields are "+strings.Join(names, ", ")+".")
		}
		if seen[name] {
			return invalid("api/repeated-field", "The field "+name+" is given twice.")
		}
		seen[name] = true
		if string(raw) == "null" || json.Unmarshal(raw, field.Addr().Interface()) != nil {
			return invalid("api/field-type", "The field "+name+" must be "+kindName(field.Type())+".")
		}
		return nil
	})
}

// members visits the members of one JSON object, in order.
func members(body []byte, visit func(name string, raw json.RawMessage) error) error {
	notJSON := invalid("api/json", "The body must be one JSON object in UTF-8.")
	if !utf8.Valid(body) || !json.Valid(body) {
		return notJSON
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return notJSON
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return notJSON
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return notJSON
		}
		name, _ := key.(string)
		if err := visit(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// plainName is a name that can be repeated in an error: too short to be a
// credential.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,31}$`)

// quoted returns a name for an error's text if it is harmless.
func quoted(name string) string {
	if plainName.MatchString(name) {
		return `"` + name + `"`
	}
	return "of that name"
}

// kindName says in words which JSON value a Go type is read from.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		switch t.Elem().Kind() {
		case reflect.Uint8: // json.RawMessage
			return "there with a value other than null, or left out"
		case reflect.Slice:
			return "a list of objects"
		}
		return "a list of strings"
	default:
		return "a whole number"
	}
}

// checkQuery refuses parameters that are not among the known ones, repeated
// ones, and spellings that readers take differently.
func checkQuery(r *http.Request, known ...string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("api/query", "The query is not well formed.")
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			detail := "There is no query parameter " + quoted(name) + " here."
			if len(known) > 0 {
				detail = strings.TrimSuffix(detail, ".") + "; the parameters are " + strings.Join(known, ", ") + "."
			}
			return invalid("api/unknown-parameter", detail)
		}
		if len(list) > 1 {
			return invalid("api/repeated-parameter", "The query parameter "+name+" is given twice.")
		}
		if !utf8.ValidString(list[0]) || len(list[0]) > 500 {
			return invalid("api/parameter", "The query parameter "+name+" must be at most 500 bytes of UTF-8.")
		}
	}
	return nil
}

// reply writes a JSON reply.
func reply(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}
