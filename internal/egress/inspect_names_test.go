package egress_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Names are texts of the app's, too: of a header, and of a trailer, which is announced
// before the body. Their values, and names that say nothing, pass.
func TestNamesAreJudged(t *testing.T) {
	const id = "17841400000000001"
	for _, http2 := range []bool{false, true} {
		s := newSite(t, thirdParty, http2, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		l := newLook(t, s, nil)
		l.finder.words = []string{id}
		for name, test := range map[string]struct {
			header  http.Header
			trailer http.Header
			want    int
		}{
			"nothing":           {http.Header{"X-Of": {"1"}}, http.Header{"X-Sum": {"1"}}, http.StatusOK},
			"a header's name":   {http.Header{"X-Of-" + id: {"1"}}, nil, http.StatusForbidden},
			"a trailer's name":  {nil, http.Header{"X-Of-" + id: {"1"}}, http.StatusForbidden},
			"a trailer unsent":  {nil, http.Header{"X-Of-" + id: nil}, http.StatusForbidden},
			"another id's name": {http.Header{"X-Of-1784140000000000": {"1"}}, nil, http.StatusOK},
		} {
			r, err := http.NewRequest(http.MethodPost, "https://"+thirdParty+"/", io.MultiReader(strings.NewReader("x")))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range test.header {
				r.Header[k] = v
			}
			r.Trailer = test.trailer
			reply, err := l.client(http2).Do(r)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			read(t, reply)
			if reply.StatusCode != test.want {
				t.Errorf("%s, HTTP/2 %t: %d, want %d", name, http2, reply.StatusCode, test.want)
			}
		}
	}
}
