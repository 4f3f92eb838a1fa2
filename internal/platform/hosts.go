package platform

import "net/url"

// Role says what a host of a platform is for.
type Role uint8

// The roles. A platform that has no host for a role uses its API host.
const (
	RoleAPI     Role = iota // ordinary calls
	RoleToken               // code exchange and other token calls
	RoleConsent             // the page where a person agrees
	RoleVideo               // video uploads
	RoleUpload              // resumable uploads
)

// String returns the role's name as it stands in the configuration.
func (r Role) String() string {
	return [...]string{"api", "token", "consent", "video", "upload"}[r]
}

// hosts lists the real base URLs. The first of a role is the one used; the
// others are accepted spellings that clients still have built in.
var hosts = map[Name]map[Role][]string{
	X: {
		RoleAPI:     {"https://api.x.com", "https://api.twitter.com"},
		RoleConsent: {"https://x.com", "https://twitter.com"},
	},
	Facebook: {
		RoleAPI:     {"https://graph.facebook.com"},
		RoleConsent: {"https://www.facebook.com"},
		RoleVideo:   {"https://graph-video.facebook.com"},
		RoleUpload:  {"https://rupload.facebook.com"},
	},
	Instagram: {
		RoleAPI:     {"https://graph.instagram.com"},
		RoleToken:   {"https://api.instagram.com"},
		RoleConsent: {"https://www.instagram.com"},
		RoleUpload:  {"https://rupload.facebook.com"},
	},
	Threads: {
		RoleAPI:     {"https://graph.threads.net"},
		RoleConsent: {"https://threads.net", "https://www.threads.net", "https://www.threads.com"},
	},
}

// BaseURL returns the base URL (no trailing slash) of the host of p that has the
// role, or of its API host if there is none of its own.
func BaseURL(p Name, r Role) string {
	for _, role := range []Role{r, RoleAPI} {
		if list := hosts[p][role]; len(list) > 0 {
			return list[0]
		}
	}
	return ""
}

// Roles returns the roles for which p has a host of its own.
func Roles(p Name) []Role {
	var out []Role
	for r := RoleAPI; r <= RoleUpload; r++ {
		if len(hosts[p][r]) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// hostIndex finds the platform and role of a real host name.
var hostIndex = func() map[string]struct {
	name Name
	role Role
} {
	index := map[string]struct {
		name Name
		role Role
	}{}
	for _, p := range Names() {
		for r, list := range hosts[p] {
			for _, base := range list {
				u, err := url.Parse(base)
				if err != nil {
					panic("platform: base URL " + base)
				}
				if _, taken := index[u.Host]; !taken {
					index[u.Host] = struct {
						name Name
						role Role
					}{p, r}
				}
			}
		}
	}
	return index
}()

// HostOf returns the platform and role of a real host name ("graph.facebook.com",
// lower case, no port).
func HostOf(host string) (Name, Role, bool) {
	h, ok := hostIndex[host]
	return h.name, h.role, ok
}
