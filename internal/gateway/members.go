package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"
)

// jsonMember is one member of a JSON object, its value as the caller wrote it.
type jsonMember struct {
	key string
	raw json.RawMessage
}

func errNotJSON(why string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "refuse/not-json", "the body is declared as JSON and "+why)
}

// parseMembers reads the top level of a JSON object strictly: Graph takes each
// member for a parameter, so two members of one name could be judged and used
// differently. The null and empty bodies have no members.
func parseMembers(b []byte) ([]jsonMember, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || string(b) == "null" {
		return nil, nil
	}
	if !utf8.Valid(b) {
		return nil, errNotJSON("is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		if json.Valid(b) {
			return nil, errNotJSON("is not an object")
		}
		return nil, errNotJSON("is not valid JSON")
	}
	var out []jsonMember
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotJSON("is not valid JSON")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, errNotJSON("is not valid JSON")
		}
		if seen[key] {
			return nil, wire.Refuse(gatehouse.ErrInvalid, "refuse/duplicate-parameter",
				"the JSON body has a member twice; servers differ in which one they read")
		}
		seen[key] = true
		out = append(out, jsonMember{key: key, raw: raw})
		if len(out) > maxParams {
			return nil, errNotJSON("has more than 512 members")
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errNotJSON("is not valid JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotJSON("has something after its end")
	}
	return out, nil
}

// memberParams returns the members as the parameters that Graph reads them as:
// strings by their value, everything else by its JSON text.
func memberParams(members []jsonMember) params {
	out := make(params, len(members))
	for i, m := range members {
		value := string(m.raw)
		if len(m.raw) > 0 && m.raw[0] == '"' {
			_ = json.Unmarshal(m.raw, &value) // valid: the decoder has read it
		}
		out[i] = param{key: m.key, value: value}
	}
	return out
}

// encodeMembers writes the object again without the named members and with
// the JSON texts of replace in place of what they had.
func encodeMembers(members []jsonMember, leaveOut map[string]bool, replace map[string]string) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range members {
		if leaveOut[m.key] {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(m.key) // a string always can
		b.Write(key)
		b.WriteByte(':')
		if r, ok := replace[m.key]; ok {
			b.WriteString(r)
		} else {
			b.Write(m.raw)
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

// mediaType returns the lower-case type of a Content-Type header without its
// parameters.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}
