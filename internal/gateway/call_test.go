package gateway_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// An app that only swaps address and token reads, writes and pages at X.
func TestXBearer(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	var me struct{ Data struct{ ID, Username string } }
	reply := r.call("GET", "/x/2/users/me", bearer(h)).ok(&me)
	if me.Data.Username != r.people[0].Username {
		t.Errorf("me is %q, want %q", me.Data.Username, r.people[0].Username)
	}
	if reply.header.Get("X-Rate-Limit-Remaining") == "" {
		t.Error("the rate limit headers are not passed on")
	}
	var post struct{ Data struct{ ID string } }
	r.call("POST", "/x/2/tweets", bearer(h), body("application/json", `{"text":"hello through the gate 🚪"}`)).ok(&post)
	var read struct{ Data struct{ Text string } }
	r.call("GET", "/x/2/tweets/"+post.Data.ID, bearer(h)).ok(&read)
	if read.Data.Text != "hello through the gate 🚪" {
		t.Errorf("the post reads %q", read.Data.Text)
	}
	r.call("GET", "/x/2/users/"+me.Data.ID+"/followers?max_results=5", bearer(h)).ok()
	// The same without a prefix, as clients want that know only a host.
	r.call("GET", "/2/users/me", bearer(h)).ok(&me)
	// And by the real host's name.
	r.call("GET", "/2/users/me", bearer(h), asHost("api.x.com")).ok(&me)
	r.call("GET", "/2/users/me", bearer(h), asHost("api.twitter.com")).ok(&me)
	r.check()
}

// A Facebook client works whichever way it sends its token, and page tokens come
// back as handles that work.
func TestMetaPositions(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	for name, o := range map[string]struct {
		method, path string
		options      []option
	}{
		"bearer":     {"GET", "/meta/v25.0/me?fields=id,name", []option{bearer(h)}},
		"OAuth":      {"GET", "/meta/v25.0/me?fields=id,name", []option{header("Authorization", "OAuth "+h)}},
		"query":      {"GET", "/meta/v25.0/me?fields=id,name&access_token=" + h, nil},
		"root":       {"GET", "/v25.0/me?fields=id,name&access_token=" + h, nil},
		"no version": {"GET", "/me?fields=id,name&access_token=" + h, nil},
		"host":       {"GET", "/v25.0/me?fields=id,name", []option{bearer(h), asHost("graph.facebook.com")}},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			var me struct{ ID, Name string }
			r.call(o.method, o.path, o.options...).ok(&me)
			if me.Name != r.people[1].Name {
				t.Errorf("me is %q, want %q", me.Name, r.people[1].Name)
			}
			got := r.last()
			if !strings.Contains(got.Query, "appsecret_proof=") || !strings.Contains(got.Query, "appsecret_time=") {
				t.Errorf("no proof reached the platform: %s", got.Path)
			}
			if got.Path != "/v25.0/me" {
				t.Errorf("path at the platform is %s", got.Path)
			}
		})
	}
	r.t = t
	r.check()
}

func TestPageTokensBecomeHandles(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	type pages struct {
		Data []struct {
			ID, Name    string
			AccessToken string `json:"access_token"`
		}
		Paging struct{ Next string }
	}
	var first, again pages
	r.call("GET", "/meta/v25.0/me/accounts?limit=1&fields=id,name,access_token&access_token="+h).ok(&first)
	r.call("GET", "/meta/v25.0/me/accounts?limit=1&fields=access_token,id,name&access_token="+h).ok(&again)
	if len(first.Data) != 1 || !strings.HasPrefix(first.Data[0].AccessToken, "gth_hnd_") {
		t.Fatalf("pages: %+v", first)
	}
	if first.Data[0].AccessToken != again.Data[0].AccessToken {
		t.Error("the same page's handle differs from call to call")
	}
	page := first.Data[0]
	var posted struct{ ID string }
	r.call("POST", "/meta/v25.0/"+page.ID+"/feed", body(formType, "message="+url.QueryEscape("héllo & <wörld>")+"&access_token="+page.AccessToken)).ok(&posted)
	if got := r.last().Body; got != "message="+url.QueryEscape("héllo & <wörld>") {
		t.Errorf("the platform got the body %q", got)
	}
	for i := range 3 {
		r.call("POST", "/meta/v25.0/"+page.ID+"/feed?access_token="+page.AccessToken, body("application/json", fmt.Sprintf(`{"message":"n %d"}`, i))).ok()
	}
	var feed struct {
		Data   []struct{ ID string }
		Paging struct{ Next string }
	}
	r.call("GET", "/meta/v25.0/"+page.ID+"/feed?limit=2&access_token="+page.AccessToken).ok(&feed)
	if !strings.HasPrefix(feed.Paging.Next, r.url+"/meta/v25.0/") {
		t.Fatalf("the paging link leads to %q", feed.Paging.Next)
	}
	if strings.Contains(feed.Paging.Next, "appsecret_proof") {
		t.Error("the paging link carries a proof")
	}
	// A client that sent its handle in the query follows the link as it is.
	r.call("GET", strings.TrimPrefix(feed.Paging.Next, r.url)).ok(&feed)
	// One that used a header gets a link that carries nothing.
	r.call("GET", "/meta/v25.0/"+page.ID+"/feed?limit=2", bearer(page.AccessToken)).ok(&feed)
	if strings.Contains(feed.Paging.Next, "access_token") {
		t.Error("the link carries a credential although the handle came in a header")
	}
	r.call("GET", strings.TrimPrefix(feed.Paging.Next, r.url), bearer(page.AccessToken)).ok(&feed)
	r.check()
}
