package platform_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"gatehouse/internal/platform"
)

// A platform that spells its members and links in another style, or a proxy in
// front of it that does, must not deliver a token by that.
func TestRewriteReplySeesOtherSpellings(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"camel case":              {`{"accessToken":"EAAB1","id":"9"}`, `{"accessToken":"H(9)","id":"9"}`},
		"capitals":                {`{"ACCESS_TOKEN":"EAAB1","id":"9"}`, `{"ACCESS_TOKEN":"H(9)","id":"9"}`},
		"hyphen":                  {`{"refresh-token":"EAAB1"}`, `{"refresh-token":"H()"}`},
		"not every token":         {`{"nextToken":"b26v","token_type":"bearer"}`, `{"nextToken":"b26v","token_type":"bearer"}`},
		"list in a list":          {`{"access_token":[["EAAB1"]],"id":"9"}`, `{"access_token":[["H(9)"]],"id":"9"}`},
		"array form in a link":    {`{"u":"https://graph.facebook.com/me?access_token%5B%5D=EAAB1&a=b"}`, `{"u":"https://gate/me?a=b"}`},
		"capitals in a link":      {`{"u":"HTTPS://graph.facebook.com/me?Access_Token=EAAB1"}`, `{"u":"https://gate/me"}`},
		"fragment":                {`{"u":"https://graph.facebook.com/me#access_token=EAAB1"}`, `{"u":""}`},
		"behind a semicolon":      {`{"u":"https://graph.facebook.com/me?a=1;access_token=EAAB1"}`, `{"u":""}`},
		"second question mark":    {`{"u":"https://graph.facebook.com/me?a=1?access_token=EAAB1"}`, `{"u":""}`},
		"page link with a space":  {`{"paging":{"next":" https://graph.facebook.com/me?access_token=EAAB1"}}`, `{"paging":{"next":"https://gate/me"}}`},
		"page link, relative":     {`{"paging":{"next":"/me?access_token=EAAB1"}}`, `{"paging":{"next":""}}`},
		"page link, no scheme":    {`{"paging":{"next":"//graph.facebook.com/me?access_token=EAAB1"}}`, `{"paging":{"next":""}}`},
		"page link that is none":  {`{"paging":{"next":"b26v"}}`, `{"paging":{"next":"b26v"}}`},
		"person's name is a link": {`{"name":"https://graph.facebook.com/me?access_token=EAAB1"}`, `{"name":"https://gate/me"}`},
		"what people write":       {`{"text":"look at ?access_token=EAAB1"}`, `{"text":"look at ?access_token=EAAB1"}`},
	} {
		if got := rewrite(t, handles(nil), test.in); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, test.want)
		}
	}
}

// A credential that is no string cannot be replaced, so it is not passed on.
func TestRewriteReplyStopsAtACredentialThatIsNoString(t *testing.T) {
	var out bytes.Buffer
	err := platform.RewriteReply(strings.NewReader(`{"access_token":{"value":"EAAB1"},"id":"1"}`), &out, handles(nil))
	if !errors.Is(err, platform.ErrSyntax) || strings.Contains(out.String(), "EAAB1") {
		t.Errorf("%v, wrote %q", err, out.String())
	}
}

// The token that was sent is recognised through JSON's escapes, in values, in
// names, and in a string that stands alone.
func TestRewriteReplyScrubsEscapedTokens(t *testing.T) {
	f := platform.Rewriter{Known: []platform.Known{{Value: "EAABsecret1", Replacement: "gth"}}}
	in := `{"x":"it was \u0045AABsecret\u0031.","\u0045AABsecret1":["EAABsecret\u0031","\u00e9"]} "\u0045AABsecret1"`
	if got, want := rewrite(t, f, in), `{"x":"it was gth.","gth":["gth","\u00e9"]} "gth"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
