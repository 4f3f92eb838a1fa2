package gateway

import (
	"encoding/base64"
	"net/http"
	"strings"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/wire"
)

// place is where in a request a credential stood.
type place uint8

const (
	inBearer place = iota
	inOAuth1
	inQuery
	inForm
	inBatch
	inOperand // a parameter of an OAuth endpoint, such as refresh_token
)

// accepts are the configuration's names of the places.
var accepts = [...]string{"bearer", "oauth1", "query", "form", "batch", "oauth"}

// String names the place to a developer.
func (p place) String() string {
	return [...]string{
		"the Authorization header", "an OAuth 1.0a Authorization header", "the query parameter access_token",
		"the body's access_token", "a batch item", "a parameter of the OAuth endpoint",
	}[p]
}

// presented is the handle that a request carries.
type presented struct {
	text  string // the bearer form; "" with OAuth 1.0a
	at    place
	basic [2]string // user and password of a Basic header, which OAuth endpoints use
}

// operands are the parameters in which OAuth endpoints take the token that they
// are asked about, in the order in which they are searched.
var operands = []string{
	"refresh_token", "token", "fb_exchange_token", "input_token", "revoke_token", "oauth_token",
	"client_secret", "client_id",
}

// find looks for the handle in every position where SDKs put a token. Two
// tokens, even the same one twice, are refused: whichever we judged, the other
// might have been meant.
func find(r *http.Request, query, fields params) (presented, error) {
	found, err := fromHeader(r.Header)
	if err != nil {
		return presented{}, err
	}
	var places []place
	if found.text != "" || found.at == inOAuth1 {
		places = append(places, found.at)
	}
	for _, in := range []struct {
		params params
		at     place
	}{{query, inQuery}, {fields, inForm}} {
		if value, ok := in.params.get("access_token"); ok {
			places = append(places, in.at)
			found.text, found.at = value, in.at
		}
	}
	if len(places) > 1 {
		return presented{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/two-credentials",
			"credentials stand in two positions: "+places[0].String()+" and "+places[1].String()+"; send the handle once")
	}
	if len(places) == 1 {
		if found.at != inOAuth1 && found.text == "" {
			return presented{}, wire.Unauthenticated("refuse/no-handle", "the access token is empty")
		}
		return found, nil
	}
	return findOperand(found, query, fields), nil
}

// fromHeader reads the Authorization header.
func fromHeader(h http.Header) (presented, error) {
	values := h["Authorization"]
	if len(values) == 0 {
		return presented{at: inOperand}, nil
	}
	if len(values) > 1 {
		return presented{}, wire.Refuse(gatehouse.ErrInvalid, "refuse/two-credentials", "there are two Authorization headers; send the handle once")
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "bearer":
		return presented{text: rest, at: inBearer}, nil
	case "oauth":
		// Graph takes "OAuth <token>" too.
		if !strings.Contains(rest, "=") || !strings.Contains(rest, "oauth_") {
			return presented{text: rest, at: inBearer}, nil
		}
		return presented{at: inOAuth1}, nil
	case "basic":
		raw, err := base64.StdEncoding.DecodeString(rest)
		user, password, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return presented{}, wire.Unauthenticated("refuse/authorization", "the Basic Authorization header cannot be read")
		}
		return presented{at: inOperand, basic: [2]string{user, password}}, nil
	}
	return presented{}, wire.Unauthenticated("refuse/authorization", "the Authorization header has an unknown scheme; send \"Bearer\" and the handle")
}

// findOperand looks where OAuth endpoints take tokens and secrets. Whether the
// call is one of those is checked when it is classified.
func findOperand(found presented, query, fields params) presented {
	candidates := make([]string, 0, 2*len(operands)+2)
	for _, name := range operands {
		for _, in := range []params{fields, query} {
			if value, ok := in.get(name); ok {
				candidates = append(candidates, value)
			}
		}
	}
	for _, value := range append(candidates, found.basic[1], found.basic[0]) {
		if value != "" && identity.Looks(value) == identity.HandleForm {
			return presented{text: value, at: inOperand, basic: found.basic}
		}
	}
	return found
}

// errNoHandle says how to send one.
func errNoHandle() error {
	return wire.Unauthenticated("refuse/no-handle",
		"the request carries no Gatehouse handle; put one where the platform's access token would stand")
}
