package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gateway"
	"gatehouse/internal/sandbox/world"
)

// form is a multipart form with the boundary B, of header lines and values.
func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		b.WriteString("--B\r\n" + parts[i] + "\r\n\r\n" + parts[i+1] + "\r\n")
	}
	return b.String() + "--B--\r\n"
}

// Two readers of one form must find the same parameters in it. What reaches the
// platform names nothing but what was judged, whatever quoting, boundary or kind
// of part hid it.
func TestFormsThatHideAParameter(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	const file = "Content-Disposition: form-data; name=\"source\"; filename=\"a.png\"\r\nContent-Type: image/png"
	for name, c := range map[string]struct{ contentType, body string }{
		"backslash":          {"", form(`Content-Disposition: form-data; name="meth\od"`, "DELETE")},
		"escaped quote":      {"", form(`Content-Disposition: form-data; name="caption\"; name=\"method"`, "DELETE")},
		"quoted elsewhere":   {"", form(`Content-Disposition: form-data; x="; name=method; y="; name=caption`, "DELETE")},
		"other capitals":     {"", form(file, "x", `Content-Disposition: form-data; name="METHOD"`, "DELETE")},
		"late, twice":        {"", form(file, "x", "Content-Disposition: form-data; name=\"caption\"\r\nContent-Disposition: form-data; name=\"method\"", "DELETE")},
		"page as file":       {"", form("Content-Disposition: form-data; name=\"method\"\r\nContent-Type: text/html", "DELETE")},
		"extended boundary":  {"multipart/form-data; boundary*=utf-8''A; boundary=B", "--A\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\n" + form(`Content-Disposition: form-data; name="method"`, "DELETE") + "\r\n--A--\r\n"},
		"boundary of a name": {"multipart/form-data; xboundary=B; boundary=A", "--A\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\n" + form(`Content-Disposition: form-data; name="method"`, "DELETE") + "\r\n--A--\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.seen.reset()
			contentType := c.contentType
			if contentType == "" {
				contentType = "multipart/form-data; boundary=B"
			}
			r.call("POST", "/meta/v25.0/1234/photos", bearer(h), body(contentType, c.body))
			if r.seen.count() == 0 {
				return // refused
			}
			sent := r.last()
			got, text := sent.Header.Get("Content-Type"), strings.ToLower(sent.Body)
			switch got {
			case "multipart/form-data; boundary=A": // then what follows B is a value
			case "multipart/form-data; boundary=B":
				if strings.Contains(text, "method") || strings.Contains(text, `\`) {
					t.Errorf("the platform got %q", sent.Body)
				}
			default:
				t.Errorf("the platform got content type %q", got)
			}
		})
	}
	r.t = t
	r.check()
}

// A body that is called media, or written in another character set, is nothing
// that we looked into; a platform that does would find parameters in it.
func TestBodiesThatHideParameters(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	r.seen.reset()
	for name, contentType := range map[string]string{
		"media":             "application/octet-stream",
		"two types":         "image/png, application/x-www-form-urlencoded",
		"other characters":  "application/x-www-form-urlencoded; charset=IBM037",
		"other characters2": "application/json; charset=utf-7",
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.call("POST", "/meta/v25.0/1234/feed", bearer(h), body(contentType, "method=delete")).refused(415, "refuse/content-type")
		})
	}
	r.t = t
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.check()
}

// trickle begins n calls of strangers who never finish their bodies.
func (r *rig) trickle(n int) []*tls.Conn {
	r.t.Helper()
	var slow []*tls.Conn
	for i := range n {
		conn, err := tls.Dial("tcp", host(r.url), &tls.Config{RootCAs: r.pool, ServerName: "localhost"})
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = conn.Close() })
		token := ""
		if i%2 == 1 { // a handle that is none does not help
			token = "Authorization: Bearer gth_hnd_0000000000000000000000_" + strings.Repeat("0", 49) + "\r\n"
		}
		fmt.Fprintf(conn, "POST /meta/v25.0/1234/feed HTTP/1.1\r\nHost: localhost\r\n%sContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{", token)
		slow = append(slow, conn)
	}
	return slow
}

// Strangers who never finish their bodies take each other's places, not those of
// callers who say at once who they are.
func TestStrangersWhoSendSlowly(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.Calls, c.Limits.UnheardTime = 8, 10*time.Minute })
	h := r.metaHandle()
	r.trickle(10)
	unheard := func() answer {
		return r.call("POST", "/meta/v25.0/1234/feed", body(formType, "message=x&access_token="+h))
	}
	r.until("the strangers have their places", func() bool { return unheard().status == 429 })
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	r.call("GET", "/meta/v25.0/me?access_token="+h).ok()
	if a := r.call("POST", "/meta/v25.0/1234/feed", bearer(h), body(formType, "message=x")); a.status == 429 {
		t.Errorf("a caller with a good handle was kept out: %s", a.body)
	}
	unheard().refused(429, "limit/concurrent-calls")
	r.check()
}

// They do not keep even those places for long.
func TestSlowStrangersAreSentAway(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.Calls, c.Limits.UnheardTime = 8, 300*time.Millisecond })
	h := r.metaHandle()
	var late atomic.Int64
	var reading sync.WaitGroup
	for _, conn := range r.trickle(10) {
		reading.Go(func() {
			replied := make(chan string, 1)
			go func() {
				reply := make([]byte, 64)
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				n, _ := conn.Read(reply)
				replied <- string(reply[:n])
			}()
			for {
				select {
				case reply := <-replied:
					switch {
					case strings.HasPrefix(reply, "HTTP/1.1 408 "):
						late.Add(1)
					case reply != "" && !strings.HasPrefix(reply, "HTTP/1.1 429 "): // it found no place, or the reply was lost with its connection
						t.Errorf("a slow body got %q", reply)
					}
					return
				case <-time.After(20 * time.Millisecond):
					_, _ = io.WriteString(conn, " ")
				}
			}
		})
	}
	reading.Wait()
	if late.Load() == 0 {
		t.Error("no slow body was given up")
	}
	r.until("the places are given back", func() bool {
		return r.call("POST", "/meta/v25.0/1234/feed", body(formType, "message=x&access_token="+h)).status != 429
	})
	r.check()
}

// A platform, or something in front of it, that puts tokens where none belong.
func TestRepliesThatHideAToken(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	sent := strings.TrimPrefix(r.last().Header.Get("Authorization"), "Bearer ")
	other := "EAABsbCS1iHgBAKZCZAkPZCotherTokenThatNobodyKnows"
	const js = "application/json"
	for name, c := range map[string]struct{ contentType, body string }{
		"ours in a table":          {"text/csv", "id,token\n1," + sent + "\n"},
		"ours in a picture":        {"image/png", strings.Repeat("x", 40_000) + sent},
		"ours across a seam":       {"image/png", strings.Repeat("x", 32<<10-20) + sent + strings.Repeat("x", 100_000)},
		"ours, escaped":            {js, `{"x":"\u0045` + sent[1:] + `"}`},
		"JSON called a table":      {"text/csv", `{"access_token":"` + other + `"}`},
		"JSON called a picture":    {"image/png", ` [{"access_token":"` + other + `","id":"7"}]`},
		"form called JSON":         {js, "access_token=" + other + "&expires=5184000"},
		"script":                   {"text/javascript", `cb({'access_token':'` + other + `'});`},
		"page link, array form":    {js, `{"paging":{"next":"` + r.metaURL + `/v25.0/me?access_token[]=` + other + `"}}`},
		"page link, capitals":      {js, `{"paging":{"next":"` + r.metaURL + `/v25.0/me?Access_Token=` + other + `"}}`},
		"link, array form":         {js, `{"u":"` + r.metaURL + `/me?access_token%5B%5D=` + other + `"}`},
		"somebody's link":          {js, `{"u":"https://cdn.example/a;b?x=1;access_token=` + other + `"}`},
		"somebody's fragment":      {js, `{"u":"https://cdn.example/#access_token=` + other + `"}`},
		"an object":                {js, `{"access_token":{"value":"` + other + `"}}`},
		"batch answer to no batch": {js, `[{"code":200,"body":"{\"accessToken\":\"` + other + `\"}"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 200, ContentType: c.contentType, Body: c.body})
			defer r.faults.Clear()
			a := r.call("GET", "/meta/v25.0/me", bearer(h))
			for _, token := range []string{sent, sent[1:], other} {
				if strings.Contains(a.body, token) {
					t.Errorf("status %d, and a token in %.200q", a.status, a.body)
				}
			}
		})
	}
	r.t = t
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 200, ContentType: "image/png", Body: strings.Repeat("picture", 30_000)})
	if a := r.call("GET", "/meta/v25.0/me", bearer(h)).ok(); a.body != strings.Repeat("picture", 30_000) {
		t.Errorf("a picture came as %d bytes", len(a.body))
	}
	r.check()
}

// A reader that takes another spelling for a reference to an earlier result would
// put a token of that result into what the next item publishes.
func TestBatchReferencesInOtherSpellings(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	r.seen.reset()
	for _, reference := range []string{"{ result=a:$.data.*.access_token}", "{Result=a:$.data.*.access_token}", "{result =a:$.data.*.access_token}"} {
		items := `[{"method":"GET","name":"a","relative_url":"me/accounts?fields=access_token"},{"method":"POST","relative_url":"1234/feed","body":"message=` + reference + `"}]`
		r.call("POST", "/meta/v25.0/", bearer(h), body(formType, url.Values{"batch": {items}}.Encode())).refused(403, "refuse/batch-reference")
	}
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.check()
}

// A service that is refused again and again does not fill the log.
func TestRefusalsAreBounded(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.UnknownPerSecond = 1 })
	h := r.metaHandle()
	for range 20 {
		r.call("GET", "/meta/v25.0/me/adaccounts", bearer(h)).refused(403, "refuse/undeclared-call")
	}
	limited := 0
	for range 10 {
		a := r.call("GET", "/meta/v25.0/me/adaccounts", bearer(h))
		if a.status == 429 && strings.Contains(a.body, "limit/refusals") && a.header.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited < 8 {
		t.Errorf("%d of 10 further refusals were limited", limited)
	}
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok() // what is declared goes on
	r.check()
}

// Headers of a reply are no way out for a token, or past the search for one.
func TestHeadersThatHideAToken(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	sent := strings.TrimPrefix(r.last().Header.Get("Authorization"), "Bearer ")
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Body: `{"id":"1"}`, Header: http.Header{
		"Etag": {`"` + sent + `"`}, "X-Fb-Debug": {"a", "token=" + sent}, "Set-Cookie": {"t=" + sent}, "Location": {"/?access_token=" + sent},
		"Link": {"</?access_token=" + sent + ">"}, "X-Unknown": {sent}, "Www-Authenticate": {sent},
	}})
	a := r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
	for name, values := range a.header {
		if strings.Contains(strings.Join(values, " "), sent) {
			t.Errorf("the token came in header %s", name)
		}
	}
	if a.header.Get("Etag") == "" || a.header.Get("Set-Cookie") != "" {
		t.Errorf("headers %v", a.header)
	}
	// A range can be chosen so that a token stands in it without its name.
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, Status: 206, Body: `"EAABsbCS1iHgBAKZCZAkPZCotherToken"`})
	r.call("GET", "/meta/v25.0/me", bearer(h), header("Range", "bytes=17-52")).refused(502, "upstream/partial")
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Times: 1, ContentType: "image/png", Body: "\x1f\x8b compressed",
		Header: http.Header{"Content-Encoding": {"identity", "gzip"}}})
	r.call("GET", "/meta/v25.0/me", bearer(h)).refused(502, "upstream/encoding")
	r.check()
}
