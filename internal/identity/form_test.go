package identity_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/identity"
)

const (
	someID     = "0123456789ABCDEFGHIJK7"
	someSecret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
)

func TestLooksKnowsOurFormsAndNothingElse(t *testing.T) {
	handle := identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret)
	key := identity.HookTestOnlyCompose("gth_svc_", someID, someSecret)
	// The form is a promise to users' secret scanners: it does not change.
	// (The checksum was computed by another program.)
	if want := "gth_hnd_0123456789ABCDEFGHIJK7_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG3H00na"; handle != want {
		t.Errorf("a handle is %q, want %q", handle, want)
	}
	for s, want := range map[string]identity.Kind{
		handle:                               identity.HandleForm,
		key:                                  identity.KeyForm,
		"":                                   identity.None,
		"gth_hnd_":                           identity.None,
		handle + "x":                         identity.None,
		handle[:79]:                          identity.None,
		" " + handle:                         identity.None,
		strings.ToUpper(handle):              identity.None,
		strings.Replace(handle, "h", "s", 1): identity.None,
		"gth_svc_" + handle[8:]:              identity.None, // the checksum covers the prefix
		strings.Replace(handle, "_"+someSecret[:1], "-"+someSecret[:1], 1):    identity.None,
		identity.HookTestOnlyCompose("gth_hnd_", someID[:21]+"-", someSecret): identity.None,
		identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret[:42]+"é"): identity.None,
		identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret[:42]+"_"): identity.None,
		identity.HookTestOnlyCompose("gth_hnd_", someID[:21]+"L", someSecret): identity.None,
		identity.HookTestOnlyCompose("gth_abc_", someID, someSecret):          identity.None,
		identity.HookTestOnlyCompose("gth_hnd_", someID+"0", someSecret[1:]):  identity.None,
	} {
		if got := identity.Looks(s); got != want {
			t.Errorf("Looks(%q) = %v, want %v", s, got, want)
		}
	}
	for i := range handle {
		damaged := []byte(handle)
		damaged[i] = '0' + (damaged[i]+1)%10
		if string(damaged) != handle && identity.Looks(string(damaged)) != identity.None {
			t.Errorf("a handle with character %d changed still looks right", i)
		}
	}
	for s, want := range map[string]bool{handle: true, key[:30]: true, "gth_hnd_": true, "gth_": false, "Bearer " + handle: false, "": false} {
		if got := identity.Resembles(s); got != want {
			t.Errorf("Resembles(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestFindForms(t *testing.T) {
	handle := identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret)
	key := identity.HookTestOnlyCompose("gth_svc_", someID, someSecret)
	if len(handle) != identity.FormLength {
		t.Errorf("a handle has %d bytes, FormLength is %d", len(handle), identity.FormLength)
	}
	hnd, svc := identity.HandleForm, identity.KeyForm
	for _, test := range []struct {
		text string
		want []identity.Found
	}{
		{handle, []identity.Found{{hnd, 0}}},
		{"Bearer " + handle + ".", []identity.Found{{hnd, 7}}},
		{`{"a":"x` + key + `9","b":"` + handle + `"}`, []identity.Found{{svc, 7}, {hnd, 95}}},
		{handle + key, []identity.Found{{hnd, 0}, {svc, 80}}},
		{"gth_hnd_" + handle, []identity.Found{{hnd, 8}}},
		{"gth_gth_\xff" + key, []identity.Found{{svc, 9}}},
		{"", nil},
		{handle[:79], nil},
		{handle[1:] + "x", nil},
		{handle[:40] + " " + handle[40:], nil},
		{strings.Replace(handle, "3H00na", "3H00nb", 1), nil},
		{strings.Repeat("gth_", 100), nil},
	} {
		if got := identity.FindForms([]byte(test.text)); !slices.Equal(got, test.want) {
			t.Errorf("in %q found %v, want %v", test.text, got, test.want)
		}
	}
}

// FuzzFindForms compares with looking at every position.
func FuzzFindForms(f *testing.F) {
	handle := identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret)
	f.Add([]byte(handle + "gth_" + handle))
	f.Add([]byte("gth_svc_" + handle))
	f.Fuzz(func(t *testing.T, b []byte) {
		var want []identity.Found
		for at := 0; at+identity.FormLength <= len(b); at++ {
			if kind := identity.Looks(string(b[at : at+identity.FormLength])); kind != identity.None {
				want = append(want, identity.Found{Kind: kind, At: at})
				at += identity.FormLength - 1
			}
		}
		if got := identity.FindForms(b); !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	})
}

func TestBase62(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		n     int
		want  string
	}{{nil, 2, "00"}, {[]byte{0}, 1, "0"}, {[]byte{61}, 1, "z"}, {[]byte{62}, 2, "10"}, {[]byte{0xff, 0xff}, 4, "0H31"}} {
		if got := identity.HookTestOnlyEncodeBase62(c.bytes, c.n); got != c.want {
			t.Errorf("%v in %d characters is %q, want %q", c.bytes, c.n, got, c.want)
		}
	}
	full := make([]byte, 32)
	for i := range full {
		full[i] = 0xff
	}
	a := identity.HookTestOnlyEncodeBase62(full, 43)
	full[31]--
	if b := identity.HookTestOnlyEncodeBase62(full, 43); a == b || len(a) != 43 {
		t.Errorf("the largest and the next smaller number are %q and %q", a, b)
	}
	// All characters occur about equally often.
	counts := map[rune]int{}
	for _, c := range identity.HookTestOnlyRandom(62_000) {
		counts[c]++
	}
	for c, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("%q occurs %d times in 62 000 characters, want about 1000", c, n)
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d different characters, want 62", len(counts))
	}
}

// vendors are the published or widely used patterns of other people's tokens. A
// handle that matched one would set off scanners, or be revoked by a vendor's
// own scanning programme.
var vendors = map[string]string{
	"X bearer":            `A{22}[0-9A-Za-z%]{80,100}`,
	"X OAuth 1.0a token":  `\b[0-9]{5,20}-[0-9A-Za-z]{27,45}\b`,
	"X client secret":     `(?i)twitter.{0,20}['"][0-9a-z]{35,44}['"]`,
	"X OAuth 2.0 code":    `[A-Za-z0-9]{50,}OjE6[A-Za-z0-9]+`,
	"Facebook":            `\bEAA[MC][0-9A-Za-z]{100,}`,
	"Facebook, short":     `EAA[A-Z][0-9A-Za-z]{60,}`,
	"Facebook app token":  `\b[0-9]{13,17}\|[0-9A-Za-z_-]{27}`,
	"Instagram":           `\bIG[QA][0-9A-Za-z]{60,}`,
	"Threads":             `\bTH[AQ]A?[0-9A-Za-z]{60,}`,
	"GitHub":              `gh[pousr]_[0-9A-Za-z]{36}`,
	"GitHub fine-grained": `github_pat_[0-9A-Za-z_]{82}`,
	"GitLab":              `gl(pat|dt|rt|cbt|ptt|ft|soat|agent|oas)-[0-9A-Za-z_-]{20}`,
	"Slack":               `xox[abeoprs]-[0-9A-Za-z-]{10,}`,
	"Slack webhook":       `hooks\.slack\.com/services/`,
	"Stripe":              `\b(sk|pk|rk)_(test|live|prod)_[0-9A-Za-z]{10,99}`,
	"Stripe webhook":      `whsec_[0-9A-Za-z]{32}`,
	"AWS key id":          `\b(A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA)[A-Z2-7]{16}\b`,
	"AWS Bedrock":         `ABSK[A-Za-z0-9+/]{109,}`,
	"Google API":          `AIza[0-9A-Za-z_-]{35}`,
	"Google OAuth":        `ya29\.[0-9A-Za-z_-]+`,
	"Google secret":       `GOCSPX-[0-9A-Za-z_-]{28}`,
	"OpenAI":              `\bsk-[0-9A-Za-z_-]{20,}`,
	"Anthropic":           `\bsk-ant-[0-9A-Za-z_-]{20,}`,
	"npm":                 `npm_[0-9A-Za-z]{36}`,
	"PyPI":                `pypi-[0-9A-Za-z_-]{50,}`,
	"Hugging Face":        `\bhf_[A-Za-z]{34}\b`,
	"DigitalOcean":        `\bdo[opr]_v1_[0-9a-f]{64}`,
	"Shopify":             `shp(at|ca|pa|ss)_[0-9a-fA-F]{32}`,
	"SendGrid":            `SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}`,
	"Twilio":              `\b(SK|AC)[0-9a-fA-F]{32}\b`,
	"Mailgun":             `key-[0-9a-f]{32}`,
	"Mailchimp":           `[0-9a-f]{32}-us[0-9]{1,2}`,
	"Square":              `\b(EAAA|sq0atp-|sq0csp-)[0-9A-Za-z_-]{22,60}\b`,
	"Discord":             `\b[MNO][0-9A-Za-z_-]{23,25}\.[0-9A-Za-z_-]{6}\.`,
	"Telegram":            `\b[0-9]{8,10}:[0-9A-Za-z_-]{35}\b`,
	"Vault":               `\bhv[sbr]\.[0-9A-Za-z_-]{24,}`,
	"Terraform":           `[0-9A-Za-z]{14}\.atlasv1\.`,
	"Grafana":             `\bgl(sa|c)_[0-9A-Za-z+/=]{32,}`,
	"Linear":              `lin_api_[0-9A-Za-z]{40}`,
	"Doppler":             `dp\.pt\.[0-9A-Za-z]{43}`,
	"Databricks":          `\bdapi[0-9a-f]{32}\b`,
	"Atlassian":           `ATATT3[0-9A-Za-z_=-]{180,}`,
	"Cloudflare":          `\bv1\.0-[0-9a-f]{24}-`,
	"age":                 `AGE-SECRET-KEY-1[0-9A-Z]{58}`,
	"JWT":                 `\bey[0-9A-Za-z]{17,}\.ey[0-9A-Za-z/_-]{17,}\.`,
	"private key":         `-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY`,
	"UUID":                `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-`,
	"long hexadecimal":    `\b[0-9a-f]{32,}\b`,
	"generic assignment":  `(?i)(key|token|secret|passw(or)?d|credential)['"]?\s*[:=]\s*['"]?[0-9a-z_.=-]{10,150}`,
}

func TestNoFormIsAVendors(t *testing.T) {
	samples := []string{
		identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret),
		// The worst that chance could draw: vendors' prefixes right behind ours.
		identity.HookTestOnlyCompose("gth_hnd_", "EAACAAAAAAAAAAAAAAAAA0", strings.Repeat("A", 43)),
		identity.HookTestOnlyCompose("gth_hnd_", "EAAAAKIAIOSFODNN7EXAM0", "AKIAIOSFODNN7EXAMPLE"+strings.Repeat("a", 23)),
		identity.HookTestOnlyCompose("gth_svc_", "eyeyeyeyeyeyeyeyeyeye0", strings.Repeat("0", 43)),
		identity.HookTestOnlyCompose("gth_svc_", "SKSKSKSKSKSKSKSKSKSKS0", "IGQA"+strings.Repeat("b", 39)),
		identity.HookTestOnlyCompose("gth_svc_", strings.Repeat("0", 22), strings.Repeat("a", 43)),
	}
	for range 2000 {
		id, part := identity.HookTestOnlyNewID(), identity.HookTestOnlyRandom(43)
		samples = append(samples, identity.HookTestOnlyCompose("gth_hnd_", id, part), identity.HookTestOnlyCompose("gth_svc_", id, part))
	}
	// Vendors' prefixes at the end of the identifier, before our "_".
	for _, prefix := range []string{"ghp", "gho", "ghu", "ghs", "ghr", "npm", "hf", "whsec", "key", "sk", "rk", "pk"} {
		id := someID[:22-len(prefix)] + prefix
		if identity.Looks(identity.HookTestOnlyCompose("gth_hnd_", id, someSecret)) != identity.None {
			t.Errorf("an identifier may end in %q", prefix)
		}
	}
	for vendor, pattern := range vendors {
		re := regexp.MustCompile(pattern)
		for _, sample := range samples {
			if re.MatchString(sample) {
				t.Errorf("%s: %q matches %s", vendor, sample, pattern)
				break
			}
		}
	}
}

// FuzzParse looks for texts that parse as one of our forms and are not exactly
// what we would have written.
func FuzzParse(f *testing.F) {
	f.Add(identity.HookTestOnlyCompose("gth_hnd_", someID, someSecret))
	f.Add(identity.HookTestOnlyCompose("gth_svc_", someID, someSecret))
	f.Add("gth_hnd_" + someID)
	f.Add("gth_svc_" + strings.Repeat("_", 72))
	f.Add(strings.Repeat("é", 40))
	f.Fuzz(func(t *testing.T, s string) {
		kind, id := identity.HookTestOnlyParse(s)
		if kind != identity.Looks(s) {
			t.Fatalf("Looks and parse disagree on %q", s)
		}
		if kind == identity.None {
			if id != "" {
				t.Fatalf("an identifier %q without a form", id)
			}
			return
		}
		if len(s) != 80 || len(id) != 22 || !identity.Resembles(s) {
			t.Fatalf("%q parses to %v, %q", s, kind, id)
		}
		if again := identity.HookTestOnlyCompose(s[:8], id, s[31:74]); again != s {
			t.Fatalf("%q parses, and we would have written %q", s, again)
		}
	})
}
