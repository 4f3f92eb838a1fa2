package x

import "strings"

// What the tests of signatures need to see from outside.

// ExportTestOnlyBase computes a signature base from unencoded parameters.
func ExportTestOnlyBase(method, baseURL string, parameters map[string]string) string {
	var pairs []pair
	for key, value := range parameters {
		pairs = append(pairs, pair{key, value})
	}
	return signatureBase(method, baseURL, pairs)
}

var (
	ExportTestOnlySign        = sign
	ExportTestOnlyParseHeader = parseOAuthHeader
	ExportTestOnlyParseRule   = func(text string) error {
		matches, err := parseRule(text, maxRule)
		if err == nil {
			u := &user{}
			matches(&post{author: u, text: text, replyTo: &post{author: u}})
		}
		return err
	}
	ExportTestOnlyReadToken = readPageToken
	ExportTestOnlyWeight    = weight
	ExportTestOnlyEncode    = percentEncode
)

// ExportTestOnlyLimits returns the app and user limits of the built-in
// operations by route, with every parameter written "{}".
func ExportTestOnlyLimits() map[string][2]string {
	limits := make(map[string][2]string)
	for _, op := range (&Platform{}).operations() {
		parts := strings.Split(op.route, "/")
		for i := range parts {
			if isParameter(parts[i]) {
				parts[i] = "{}"
			}
		}
		limits[strings.Join(parts, "/")] = [2]string{op.appLimit, op.userLimit}
	}
	return limits
}
