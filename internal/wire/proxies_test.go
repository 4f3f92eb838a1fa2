package wire_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/internal/wire"
)

// through are a proxy on this machine and a network of others.
var through = wire.Proxies{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}

func TestSource(t *testing.T) {
	for _, test := range []struct {
		name, peer string
		said       []string
		want       string
		told       bool
	}{
		{"nobody in front", "192.0.2.1:5", nil, "192.0.2.1", false},
		{"no proxy says so", "192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1", false},
		{"a proxy of the neighbour", "127.0.0.2:5", []string{"198.51.100.7"}, "127.0.0.2", false},
		{"a proxy", "127.0.0.1:5", []string{"198.51.100.7"}, "198.51.100.7", true},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:5", []string{"::ffff:198.51.100.7"}, "198.51.100.7", true},
		{"IPv6", "[2001:db8:1::5]:5", []string{"2001:db8:7::1"}, "2001:db8:7::1", true},
		{"a proxy says nothing", "127.0.0.1:5", nil, "127.0.0.1", false},
		{"what the caller wrote", "127.0.0.1:5", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7", true},
		{"in a line of its own", "127.0.0.1:5", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7", true},
		{"two proxies", "127.0.0.1:5", []string{"203.0.113.9, 198.51.100.7, 10.1.1.1"}, "198.51.100.7", true},
		{"two proxies, two lines", "127.0.0.1:5", []string{"198.51.100.7", " 10.1.1.1\t, 10.2.2.2"}, "198.51.100.7", true},
		{"rubbish before it", "127.0.0.1:5", []string{"<script>, 198.51.100.7"}, "198.51.100.7", true},
		{"rubbish at the end", "127.0.0.1:5", []string{"198.51.100.7, x"}, "127.0.0.1", false},
		{"an empty end", "127.0.0.1:5", []string{"198.51.100.7,"}, "127.0.0.1", false},
		{"an empty line", "127.0.0.1:5", []string{"198.51.100.7", ""}, "127.0.0.1", false},
		{"a port", "127.0.0.1:5", []string{"198.51.100.7:80"}, "127.0.0.1", false},
		{"brackets", "127.0.0.1:5", []string{"[2001:db8::1]"}, "127.0.0.1", false},
		{"a zone", "127.0.0.1:5", []string{"fe80::1%eth0"}, "127.0.0.1", false},
		{"a name", "127.0.0.1:5", []string{"unknown"}, "127.0.0.1", false},
		{"leading zeros", "127.0.0.1:5", []string{"198.051.100.007"}, "127.0.0.1", false},
		{"nobody comes from there", "127.0.0.1:5", []string{"127.0.0.2"}, "127.0.0.1", false},
		{"nor there", "127.0.0.1:5", []string{"::"}, "127.0.0.1", false},
		{"a proxy calls", "127.0.0.1:5", []string{"10.1.1.1"}, "127.0.0.1", false},
		{"long", "127.0.0.1:5", []string{strings.Repeat("203.0.113.9, ", 400) + "198.51.100.7"}, "127.0.0.1", false},
		{"not too long", "127.0.0.1:5", []string{strings.Repeat("203.0.113.9, ", 300) + "198.51.100.7"}, "198.51.100.7", true},
		{"no address", "@", []string{"198.51.100.7"}, "invalid IP", false},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.said}}
		if from, told := through.Source(r); from.String() != test.want || told != test.told {
			t.Errorf("%s: %s, %v; want %s, %v", test.name, from, told, test.want, test.told)
		}
		r.Header = http.Header{"Forwarded": {"for=198.51.100.7"}, "X-Real-Ip": {"198.51.100.7"}}
		if _, told := through.Source(r); told {
			t.Errorf("%s: another header is believed", test.name)
		}
	}
}

// FuzzSource: what a caller writes before what its proxy adds changes nothing, and
// without a proxy nothing does.
func FuzzSource(f *testing.F) {
	f.Add("203.0.113.9", true)
	f.Add("10.1.1.1, x,,", false)
	f.Add("[::1]:80%z", true)
	f.Fuzz(func(t *testing.T, wrote string, line bool) {
		said := []string{wrote + ", 198.51.100.7, 10.0.0.9"}
		if line {
			said = []string{wrote, "198.51.100.7, 10.0.0.9"}
		}
		r := &http.Request{RemoteAddr: "127.0.0.1:5", Header: http.Header{"X-Forwarded-For": said}}
		from, told := through.Source(r)
		if told && from.String() != "198.51.100.7" || !told && len(wrote) < 4000 {
			t.Errorf("%q: %s, %v", said, from, told)
		}
		r.Header = http.Header{"X-Forwarded-For": {wrote}}
		if from, told = through.Source(r); told && (!from.IsValid() || from.IsLoopback() || from.Zone() != "" || from.Is4In6()) || !told && from.String() != "127.0.0.1" {
			t.Errorf("%q: %s, %v", wrote, from, told)
		}
		r.RemoteAddr = "192.0.2.1:5"
		if from, told = through.Source(r); told || from.String() != "192.0.2.1" {
			t.Errorf("%q from no proxy: %s, %v", wrote, from, told)
		}
	})
}
