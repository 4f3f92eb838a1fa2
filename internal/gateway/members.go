package gateway

import (
	"bytes"
	"encoding/json"
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

// parseMembers reads the top level of a JSON object, which Graph takes for
// parameters. The text has been found to be valid JSON. The null and empty bodies
// have no members; of two members with one name, see params.check.
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
		return nil, errNotJSON("is not an object")
	}
	var out []jsonMember
	for d.More() {
		if len(out) == maxParams {
			return nil, errNotJSON("has more than 512 members")
		}
		t, err := d.Token()
		if err != nil {
			return nil, errNotJSON("is not valid JSON")
		}
		var m jsonMember
		m.key, _ = t.(string) // the names of members are strings
		if err := d.Decode(&m.raw); err != nil {
			return nil, errNotJSON("is not valid JSON")
		}
		out = append(out, m)
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
