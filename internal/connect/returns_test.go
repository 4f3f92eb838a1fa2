package connect_test

import (
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/connect"
)

func TestReturnAddresses(t *testing.T) {
	const exact, below, local = "https://app.example.com/done", "https://app.example.com/deep/*", "http://127.0.0.1:3000/*"
	for _, c := range []struct {
		entry, address string
		want           bool
	}{
		{exact, "https://app.example.com/done", true},
		{exact, "https://APP.example.com/done", true},
		{exact, "https://app.example.com/done/", false},
		{exact, "https://app.example.com/done?a=b", false},
		{exact + "?a=b", "https://app.example.com/done?a=b", true},
		{exact, "http://app.example.com/done", false},
		{exact, "https://app.example.com:444/done", false},
		{exact, "https://app.example.com.evil.example/done", false},
		{exact, "https://evil.example/app.example.com/done", false},
		{exact, "https://user@app.example.com/done", false},
		{exact, "https://app.example.com/done#fragment", false},
		{exact, "https://app.example.com/done#", false},
		{exact, "//app.example.com/done", false},
		{exact, "/done", false},
		{exact, "javascript:alert(1)", false},
		{exact, "https:app.example.com/done", false},
		{exact, "https://app.example.com\\@evil.example/done", false},
		{exact, "https://app.example.com/done\n", false},
		{exact, "https://app.example.com/do%6ee", false},
		{exact, "", false},
		{below, "https://app.example.com/deep/a/b?c=d", true},
		{below, "https://app.example.com/deep/", true},
		{below, "https://app.example.com/deep", false},
		{below, "https://app.example.com/deeper/a", false},
		{below, "https://app.example.com/deep/../admin", false},
		{below, "https://app.example.com/deep/./a", false},
		{below, "https://app.example.com/deep/%2e%2e/admin", false},
		{below, "https://app.example.com/deep/..%2fadmin", false},
		{below, "https://app.example.com/deep/..%5cadmin", false},
		{below, "https://app.example.com/deep/" + strings.Repeat("a", 2048), false},
		{local, "http://127.0.0.1:3000/x", true},
		{local, "http://127.0.0.1:3001/x", false},
		{local, "https://127.0.0.1:3000/x", false},
	} {
		got, err := connect.ReturnAllowed(c.entry, c.address)
		if err != nil || got != c.want {
			t.Errorf("%s allows %q: %v, %v", c.entry, c.address, got, err)
		}
	}
	for _, entry := range []string{
		"http://app.example.com/done", "https://*/done", "https://*.example.com/done", "app.example.com", "https://app.example.com/a?b=c/*", "https://a@b/*", "*", "",
	} {
		if _, err := connect.ReturnAllowed(entry, "https://app.example.com/done"); err == nil && entry != "https://*/done" && entry != "https://*.example.com/done" {
			t.Errorf("the entry %q is accepted", entry)
		}
		if ok, _ := connect.ReturnAllowed(entry, "https://app.example.com/done"); ok {
			t.Errorf("the entry %q allows too much", entry)
		}
	}
}

// What the app reads under our names comes from us.
func TestReturnParametersReplaceOthers(t *testing.T) {
	got, err := connect.WithParams("https://app.example.com/done?code=planted&error=planted&keep=1", url.Values{"code": {"ours"}, "state": {"a b&c"}, "error": {""}})
	if err != nil || got != "https://app.example.com/done?code=ours&keep=1&state=a+b%26c" {
		t.Errorf("%s, %v", got, err)
	}
}

// FuzzReturnAllowed checks that no spelling leaves the allowed prefix.
func FuzzReturnAllowed(f *testing.F) {
	for _, seed := range []string{
		"https://app.example.com/deep/a", "https://app.example.com/deep/..;/a", "https://app.example.com/deep//evil.example", "https://app.example.com:443/deep/",
		"https://app.example.com/deep/%252e%252e/", "https://app.example.com/deep/?//evil", "https://app.example.com\t/deep/", "https://app.example.com/deep/\u2024\u2024/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		ok, err := connect.ReturnAllowed("https://app.example.com/deep/*", address)
		if err != nil || !ok {
			return
		}
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, "app.example.com") || !strings.HasPrefix(u.JoinPath().Path, "/deep/") {
			t.Errorf("%q is allowed", address)
		}
		to, err := connect.WithParams(address, url.Values{"code": {"x"}})
		if err != nil || !strings.HasPrefix(strings.ToLower(to), "https://app.example.com/deep/") {
			t.Errorf("%q becomes %q, %v", address, to, err)
		}
	})
}
