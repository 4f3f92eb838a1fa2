package gateway_test

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/gateway"
	"gatehouse/internal/observe"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox/world"
)

// observation is what the gateway says of a call, in a line: what was not read is a dash.
func observation(o *gateway.Observation) string {
	names := func(read bool, list []policy.Argument) string {
		var out []string
		for _, a := range list {
			out = append(out, a.Name)
		}
		if !read {
			return "-"
		}
		return strings.Join(slices.Compact(out), ",")
	}
	var ops, asked, reply []string
	for _, op := range o.Operations {
		ops = append(ops, string(op))
	}
	for _, s := range o.Selected {
		asked = append(asked, s.Path)
	}
	if o.Reply != nil {
		o.Reply.Each(func(path string, _ bool) { reply = append(reply, path) })
	}
	slices.Sort(asked)
	slices.Sort(reply)
	line := fmt.Sprintf("%s|%s|%s|%s|%s", strings.Join(ops, "+"), names(o.ReadParams, o.Params), names(o.ReadBody, o.Body), strings.Join(asked, ","), strings.Join(reply, ","))
	for flag, set := range map[string]bool{" reported": o.Reported, " file": o.File, " again": o.Again} {
		if set {
			line += flag
		}
	}
	if !o.Answered {
		line += " unanswered"
	}
	return line
}

// observing has the gateway tell a channel.
func observing(into chan string, mode policy.Mode, t testing.TB) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Settings.Policy = bounded(t, mode)
		c.Observe = func(o *gateway.Observation) { into <- observation(o) }
	}
}

const aPost = `{"data":{"id":"1","text":"t"}}`

// In report mode everything is read, also of calls that nobody declared and of
// those that would be refused; in enforce mode what is declared is. What was refused
// is not told, and neither is the answer of an error.
func TestObserved(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Report, policy.Enforce} {
		t.Run(mode.String(), func(t *testing.T) {
			seen := make(chan string, 64)
			r := newRig(t, observing(seen, mode, t))
			xHandle, metaHandle := r.xHandle(), r.metaHandle()
			for _, test := range []struct {
				call, sends     string
				report, enforce string // "": it is refused
			}{
				{"GET /x/2/users/me?user.fields=public_metrics", `{"data":{"id":"1","name":"n","public_metrics":{"followers_count":1}}}`,
					"GET /2/users/me|user.fields||public_metrics|id,name,public_metrics.followers_count", "GET /2/users/me|user.fields|-|public_metrics|id,public_metrics.followers_count"},
				{"GET /x/2/tweets/1?odd=1", aPost, "GET /2/tweets/{id}|id,odd|||id,text", "GET /2/tweets/{id}|-|-||id,text"},
				{`POST /x/2/tweets json {"text":"t","poll":{"options":["a","b"]}}`, aPost, "POST /2/tweets||text,poll,poll.options||id,text", "POST /2/tweets|-|text,poll,poll.options||id"},
				{`POST /x/2/tweets json {"text":"t","odd":1}`, aPost, "POST /2/tweets||text,odd||id,text reported", ""},
				{"DELETE /x/2/tweets/1", `{"data":{"deleted":true}}`, "DELETE /2/tweets/{id}|id|||deleted", "DELETE /2/tweets/{id}|id|||deleted"},
				{"GET /x/2/dm_events", aPost, "GET /2/dm_events||||id,text reported", ""},
				{"POST /x/2/media/upload parts media_category=tweet_image @media=", `{"data":{"id":"1"}}`, "POST /2/media/upload||media_category,media||id", "POST /2/media/upload|-|media_category,media||id"},
				{"GET /meta/v25.0/me?fields=id,accounts{name}", `{"id":"1","accounts":{"data":[{"name":"P","id":"2"}]}}`,
					"GET /me+GET /me/accounts|fields||accounts.name,id|accounts.id,accounts.name,id", "GET /me+GET /me/accounts|fields||accounts.name,id|accounts.id,accounts.name,id"},
				{"POST /meta/v25.0/1234/feed form message=m&access_token=gth", `{"id":"1"}`, "", ""},
				{"POST /meta/v25.0/1234/feed form message=m", `{"id":"1","post_id":"2"}`, "POST /{id}/feed|id|message||id,post_id", "POST /{id}/feed|id|message||id"},
				{"GET /meta/v25.0/?ids=1,2", `{"1":{"id":"1"},"2":{"id":"2","name":"n"}}`, "GET /{id}|id,ids|||id,name", "GET /{id}|id,ids|||id,name"},
				{`POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=name"},{"method":"GET","relative_url":"me/posts"}]`,
					`[{"code":200,"body":"{\"name\":\"1\",\"email\":\"e\"}"},{"code":400,"body":"{\"error\":{\"code\":1}}"}]`,
					"GET /me|fields||name|email,name GET /me/posts|||| unanswered", "GET /me|fields||name|name GET /me/posts|-|-|| unanswered"},
			} {
				want := map[policy.Mode]string{policy.Report: test.report, policy.Enforce: test.enforce}[mode]
				handle := xHandle
				if strings.Contains(test.call, "/meta/") {
					handle = metaHandle
				}
				r.fault(world.Fault{ContentType: "application/json", Body: test.sends, Status: 200, Match: world.FaultMatch{Path: strings.Split(strings.TrimPrefix(strings.TrimPrefix(strings.Fields(test.call)[1], "/x"), "/meta"), "?")[0]}})
				a := r.spoken(handle, test.call)
				r.faults.Clear()
				if want == "" {
					if a.status/100 == 2 {
						t.Errorf("%s is answered %d", test.call, a.status)
					}
					continue
				}
				a.ok()
				got := <-seen
				if strings.Contains(test.call, " batch ") {
					got += " " + <-seen
				}
				if squeeze(got) != squeeze(want) {
					t.Errorf("%s\n got %s\nwant %s", test.call, got, want)
				}
			}
			// An error's names say nothing, and an answer of our own is none of the platform's.
			r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, ContentType: "application/json", Body: `{"data":{"id":"1"}}`, Status: 500})
			r.call("GET", "/x/2/users/me", bearer(xHandle))
			r.faults.Clear()
			if got := <-seen; !strings.HasSuffix(got, "|| unanswered") {
				t.Errorf("after an error: %s", got)
			}
			// Answers that have no names are answers.
			for want, sends := range map[string]world.Fault{
				"||": {Status: 204}, "|| file": {Status: 200, ContentType: "image/png", Body: "PNG"},
			} {
				sends.Match.Path = "/2/tweets/1"
				r.fault(sends)
				r.call("GET", "/x/2/tweets/1", bearer(xHandle))
				r.faults.Clear()
				if got := <-seen; !strings.HasSuffix(got, want) {
					t.Errorf("after %+v: %s", sends, got)
				}
			}
			r.call("POST", "/x/2/oauth2/token", bearer(xHandle), body(formType, "grant_type=refresh_token&refresh_token="+xHandle)).ok()
			if len(seen) > 0 {
				t.Errorf("beside: %s", <-seen)
			}
		})
	}
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }

// A body that cannot be read is passed on in report mode as it would be without
// an observer.
func TestObservingRefusesNothing(t *testing.T) {
	for _, observed := range []bool{false, true} {
		seen := make(chan string, 16)
		r := newRig(t, func(c *gateway.Config) {
			c.Settings.Policy = bounded(t, policy.Report)
			if observed {
				c.Observe = func(o *gateway.Observation) { seen <- observation(o) }
			}
		})
		h := r.xHandle()
		deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
		for _, line := range []string{
			"POST /x/2/lists json " + deep, `POST /x/2/lists json {"name":"a","name":"b"}`, "POST /x/2/media/upload/initialize parts a=b a=c",
			"POST /x/2/lists json []", "POST /x/2/lists json 7",
		} {
			a := r.spoken(h, line)
			if strings.Contains(a.body, `"rule":"refuse/`) {
				t.Errorf("observed %t: %s is refused: %s", observed, line, a.body)
			}
			if observed {
				if got := <-seen; !strings.Contains(got, "|-|") && !strings.Contains(got, "||-") {
					t.Errorf("%s: the body counts as read: %s", line, got)
				}
			}
		}
	}
}

// What follows a file in a form passes unread, so the body was not read; what
// stands before it was.
func TestObservedParts(t *testing.T) {
	seen := make(chan string, 16)
	list := purposes()
	set, err := policy.Compile(list, policy.Report)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *gateway.Config) {
		c.Settings.Policy = set
		c.Observe = func(o *gateway.Observation) { seen <- observation(o) }
	})
	h := r.metaHandle()
	for parts, want := range map[string]string{
		"caption=c @source=":             "POST /{id}/photos|id|caption,source||",
		"caption=c @source= published=t": "POST /{id}/photos|id|-||",
	} {
		r.spoken(h, "POST /meta/v25.0/1234/photos parts "+parts)
		if got := <-seen; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", parts, got, want)
		}
	}
}

// A form to X whose call declares no body is read on its way: names and measures of
// its parts, unless one follows a file or it cannot be read, as it is where it is read
// before. What X gets is what was sent.
func TestObservedPassingParts(t *testing.T) {
	var body []policy.Argument
	seen := make(chan string, 16)
	rig := func(mode policy.Mode) *rig {
		return newRig(t, func(c *gateway.Config) {
			var err error
			if c.Settings.Policy, err = policy.Compile(undeclaredUpload(), mode); err != nil {
				t.Fatal(err)
			}
			c.Limits.InspectBytes = 1000
			c.Observe = func(o *gateway.Observation) {
				body = o.Body
				seen <- observation(o)
			}
		})
	}
	r := rig(policy.Report)
	h := r.xHandle()
	const upload = "POST /2/media/upload|"
	for parts, want := range map[string]string{
		"media_category=tweet_image @media":                  upload + "|media_category,media|",
		"media_category=tweet_image":                         upload + "|media_category|",
		"@media":                                             upload + "|media|",
		"@media media_category=tweet_image":                  upload + "|-|", // it follows a file
		"a=1 a=2 @media":                                     upload + "|-|", // it would be refused
		"a=" + strings.Repeat("x", 1001) + " @media":         upload + "|-|", // too long to be read
		"a=" + strings.Repeat("x", 998) + " b=1 @media":      upload + "|a,b,media|",
		"access_token=gth @media":                            upload + "|media|",
		"media_category=tweet_image @media @another":         upload + "|-|",
		"x=gth_hnd_0123456789abcdefghijkl_0123456789 @media": upload + "|-|", // broken off
	} {
		r.spoken(h, "POST /x/2/media/upload parts "+parts)
		if got := <-seen; !strings.HasPrefix(got, want) {
			t.Errorf("%.60s: %s, want %s", parts, got, want)
		}
	}
	r.spoken(h, "POST /x/2/media/upload parts media_category=tweet_image @media")
	<-seen
	if len(body) != 2 || body[0].Text != "tweet_image" || body[0].Kind != policy.Written || body[1].Kind != policy.IsFile || body[1].Text != "" {
		t.Errorf("the parts are measured by %+v", body)
	}
	// In enforce mode what nobody declares is not read, whatever it is.
	r = rig(policy.Enforce)
	r.spoken(r.xHandle(), "POST /x/2/media/upload parts media_category=tweet_image @media")
	if got := <-seen; !strings.HasPrefix(got, upload+"-|-|") {
		t.Errorf("in enforce mode: %s", got)
	}
}

// undeclaredUpload declares an upload to X without a body.
func undeclaredUpload() []policy.Purpose {
	list := purposes()
	for i := range list {
		for j := range list[i].Calls {
			if c := &list[i].Calls[j]; c.Operation == "POST /2/media/upload" {
				c.Body = nil
			}
		}
	}
	return list
}

// A stream is told with its first heartbeat, and again when it ends, with what it sent.
func TestObservedStream(t *testing.T) {
	seen := make(chan string, 16)
	r := newRig(t, func(c *gateway.Config) { c.Observe = func(o *gateway.Observation) { seen <- observation(o) } })
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	<-seen
	req, err := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(app.AccessToken)(req)
	reply, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "GET /2/tweets/sample/stream|-|-|| unanswered" {
		t.Errorf("at the beginning: %s", got)
	}
	r.call("POST", "/x/2/tweets", bearer(h), body("application/json", `{"text":"for the stream"}`))
	<-seen
	for lines := bufio.NewScanner(reply.Body); lines.Scan() && len(lines.Bytes()) < 10; {
		continue
	}
	reply.Body.Close()
	if got := <-seen; !strings.Contains(got, "|edit_history_tweet_ids,id,text") || !strings.HasSuffix(got, " again") {
		t.Errorf("at the end: %s", got)
	}
}

// BenchmarkObservedCall is a whole call with nobody who observes, and with an
// observer, in both modes.
func BenchmarkObservedCall(b *testing.B) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Report} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/observed=%t", mode, on), func(b *testing.B) {
				r := newRig(b, func(c *gateway.Config) {
					c.Surface.Log = nil
					c.Settings.Policy = bounded(b, mode)
					if on {
						o := observe.New(observe.Config{})
						c.Observe = func(s *gateway.Observation) {
							o.See(&observe.Seen{
								Service: s.Service, Purpose: s.Purpose, Platform: s.Platform, App: s.App, Operations: s.Operations, Params: s.Params,
								Body: s.Body, Selected: s.Selected, ReadParams: s.ReadParams, ReadBody: s.ReadBody, ReadFields: s.ReadFields,
								Contract: s.Contract, Reported: s.Reported, Answered: s.Answered, File: s.File, Again: s.Again, Reply: s.Reply,
							})
						}
					}
				})
				h := r.xHandle()
				r.seen.off.Store(true)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					r.call("GET", "/x/2/users/me?user.fields=public_metrics", bearer(h))
				}
			})
		}
	}
}
