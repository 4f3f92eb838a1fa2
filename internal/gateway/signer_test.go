package gateway_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// oauth1Signer signs requests as RFC 5849 says, independently of the product.
type oauth1Signer struct {
	consumerKey, consumerSecret, token, tokenSecret string
}

// oauth1Client returns a signer with the set of a handle.
func (r *rig) oauth1Client(id gatehouse.HandleID) *oauth1Signer {
	r.t.Helper()
	set, err := r.handles.OAuth1Set(r.ctx, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return &oauth1Signer{set.ConsumerKey, set.ConsumerSecret.Reveal(), set.Token, set.TokenSecret.Reveal()}
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// sign signs the request for the address that it goes to.
func (s *oauth1Signer) sign(form url.Values) option {
	return func(req *http.Request) {
		u := *req.URL
		s.put(req, u.Scheme+"://"+u.Host+u.EscapedPath(), form)
	}
}

// signFor signs the request for another address, as clients do whose transport
// changes the host after signing.
func (s *oauth1Signer) signFor(address string, form url.Values) option {
	return func(req *http.Request) { s.put(req, address, form) }
}

func (s *oauth1Signer) put(req *http.Request, address string, form url.Values) {
	oauth := map[string]string{
		"oauth_consumer_key": s.consumerKey, "oauth_token": s.token, "oauth_nonce": rand.Text(),
		"oauth_timestamp": strconv.FormatInt(time.Now().Unix(), 10), "oauth_signature_method": "HMAC-SHA1", "oauth_version": "1.0",
	}
	var pairs []string
	for k, v := range oauth {
		pairs = append(pairs, escape(k)+"="+escape(v))
	}
	for _, values := range []url.Values{req.URL.Query(), form} {
		for k, list := range values {
			for _, v := range list {
				pairs = append(pairs, escape(k)+"="+escape(v))
			}
		}
	}
	slices.Sort(pairs)
	mac := hmac.New(sha1.New, []byte(escape(s.consumerSecret)+"&"+escape(s.tokenSecret)))
	mac.Write([]byte(req.Method + "&" + escape(address) + "&" + escape(strings.Join(pairs, "&"))))
	oauth["oauth_signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	var header []string
	for k, v := range oauth {
		header = append(header, k+`="`+escape(v)+`"`)
	}
	slices.Sort(header)
	req.Header.Set("Authorization", "OAuth "+strings.Join(header, ", "))
}
