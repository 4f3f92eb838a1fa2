package platform

import "strings"

// credentialMember reports whether a JSON member of this name holds a credential
// in some reply of some platform.
func credentialMember(name string) bool {
	if len(name) < 8 || len(name) > 64 {
		return false
	}
	if strings.HasSuffix(name, "access_token") {
		return true
	}
	switch name {
	case "refresh_token", "oauth_token", "oauth_token_secret", "id_token", "page_token",
		"client_secret", "app_secret", "appsecret_proof", "input_token", "revoke_token", "fb_exchange_token",
		"ios_purchase_validation_secret":
		return true
	}
	return false
}
