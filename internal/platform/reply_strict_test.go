package platform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gatehouse/internal/platform"
)

// What is called JSON and is not could carry a token past the search for members.
func TestStrictJSONRefusesWhatOnlyLooksLikeIt(t *testing.T) {
	for name, in := range map[string]string{
		"form":                   `access_token=EAAB&expires=5184000`,
		"callback":               `/**/ cb({"access_token":"EAAB"});`,
		"single quotes":          `{'access_token':'EAAB'}`,
		"name without quotes":    `{access_token:"EAAB"}`,
		"comment":                `{/*"*/"access_token":"EAAB"}`,
		"UTF-16":                 "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
		"byte order mark":        "\xff\xfe{\x00}\x00",
		"missing comma":          `{"x":1 "access_token":"EAAB"}`,
		"missing value":          `{"x":,"access_token":"EAAB"}`,
		"missing colon":          `{"access_token" "EAAB"}`,
		"closed before it opens": `]}"access_token":"EAAB"`,
		"member without object":  `"access_token":"EAAB"`,
		"brackets cross":         `{"x":[1},"access_token":"EAAB"]`,
		"member in a list":       `["access_token":"EAAB"]`,
		"trailing comma":         `{"x":1,}`,
		"misspelt word":          `[nul]`,
		"word in capitals":       `[True]`,
		"comma between values":   `{},{}`,
	} {
		out, err := io.ReadAll(platform.StrictJSON(iotest.HalfReader(strings.NewReader(in))))
		if !errors.Is(err, platform.ErrSyntax) || strings.Contains(string(out), `EAAB"}`) {
			t.Errorf("%s: %v, read %q", name, err, out)
		}
	}
}

func TestStrictJSONPassesJSON(t *testing.T) {
	for _, in := range []string{
		``, `true`, " {} ", `{"a":[1,-2.5e+3,null,true,false,"\"\\\u00e9"],"b":{}}`, "{\"id\":1}\r\n\r\n{\"id\":2}\r\n", `[]`, `[[],[{}]]`,
	} {
		if out, err := io.ReadAll(platform.StrictJSON(iotest.OneByteReader(strings.NewReader(in)))); err != nil || string(out) != in {
			t.Errorf("%q: %v, read %q", in, err, out)
		}
	}
}

func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `{"a":1 "b":2}`, `[1,]`, "{}\n{}", `"\\"`, `a=b`} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk int) {
		out, err := io.ReadAll(platform.StrictJSON(&chunks{in, 1 + chunk&15}))
		if json.Valid(in) && !errors.Is(err, platform.ErrSyntax) && !bytes.Equal(out, in) {
			t.Fatalf("%q came out as %q", in, out)
		}
		if json.Valid(in) && err != nil && strings.Count(string(in), "[")+strings.Count(string(in), "{") < 200 {
			t.Fatalf("%q: %v", in, err)
		}
	})
}
