package scim

import (
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity/operator"
)

// The names of SCIM's schemas (RFC 7643, 8.7, and RFC 7644).
const (
	schemaUser   = "urn:ietf:params:scim:schemas:core:2.0:User"
	schemaGroup  = "urn:ietf:params:scim:schemas:core:2.0:Group"
	schemaList   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	schemaError  = "urn:ietf:params:scim:api:messages:2.0:Error"
	schemaConfig = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	schemaType   = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	schemaSchema = "urn:ietf:params:scim:schemas:core:2.0:Schema"
)

// user is what a provider gets of an account.
type user struct {
	Schemas     []string  `json:"schemas"`
	ID          string    `json:"id"`
	ExternalID  string    `json:"externalId,omitempty"`
	UserName    string    `json:"userName"`
	Name        *userName `json:"name,omitempty"`
	DisplayName string    `json:"displayName,omitempty"`
	Emails      []email   `json:"emails,omitempty"`
	Active      bool      `json:"active"`
	Meta        meta      `json:"meta"`
}

type userName struct {
	Formatted  string `json:"formatted,omitempty"`
	FamilyName string `json:"familyName,omitempty"`
	GivenName  string `json:"givenName,omitempty"`
}

// email is an account's only one.
type email struct {
	Value   string `json:"value"`
	Type    string `json:"type"`
	Primary bool   `json:"primary"`
}

type meta struct {
	ResourceType string `json:"resourceType"`
	Created      string `json:"created,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	Location     string `json:"location"`
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (s *Server) user(p operator.Provisioned) user {
	f := p.Profile
	u := user{
		Schemas: []string{schemaUser}, ID: string(p.ID), ExternalID: f.ExternalID, UserName: f.UserName, DisplayName: f.Display, Active: p.Active(),
		Meta: meta{"User", stamp(p.Since), stamp(p.Changed), s.location("Users", string(p.ID))},
	}
	if n := (userName{f.Formatted, f.Family, f.Given}); n != (userName{}) {
		u.Name = &n
	}
	if f.Email != "" {
		u.Emails = []email{{f.Email, "work", true}}
	}
	return u
}

// ignored are the attributes of a user that RFC 7643 knows
// that nothing is kept of, so that a provider that sends them gets on; readOnly
// those that nobody but us changes.
var (
	ignored = []string{
		"name", "nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale", "timezone", "password", "phonenumbers", "ims", "photos",
		"addresses", "entitlements", "roles", "x509certificates",
	}
	readOnly = []string{"id", "meta", "groups", "schemas"}
)

// draft is a user as a provider wants it, while its body or operations are read.
type draft struct {
	want operator.Desired
	// named counts the names of values without a path.
	named int
}

// set gives an attribute a value. named says that an operation named the attribute by its
// path, which must be one then; elsewhere what is not known is left alone.
func (d *draft) set(t target, add, named bool, value any) error {
	attribute, sub, _ := strings.Cut(t.attribute, ".")
	p := &d.want.Profile
	if t.foreign {
		return nil
	}
	if t.where != nil && attribute != "emails" {
		if slices.Contains(ignored, attribute) {
			return nil
		}
		return errPath
	}
	texts := map[string]*string{
		"username": &p.UserName, "externalid": &p.ExternalID, "displayname": &p.Display,
		"name.formatted": &p.Formatted, "name.givenname": &p.Given, "name.familyname": &p.Family,
	}
	if to := texts[t.attribute]; to != nil {
		s, err := text(value, names[t.attribute])
		if err == nil {
			*to = s
		}
		return err
	}
	switch {
	case t.attribute == "active":
		if value == nil && !named {
			return nil
		}
		active, err := truth(value, "active")
		if err == nil {
			d.want.Active = &active
		}
		return err
	case t.attribute == "name":
		return d.setName(value)
	case attribute == "emails":
		return d.setEmails(t, sub, add, value)
	case slices.Contains(readOnly, attribute):
		if named {
			return errReadOnly
		}
		return nil
	case slices.Contains(ignored, attribute):
		return nil
	}
	if named {
		return errPath
	}
	return nil
}

// names are attributes as RFC 7643 spells them.
var names = map[string]string{
	"username": "userName", "externalid": "externalId", "displayname": "displayName",
	"name.formatted": "name.formatted", "name.givenname": "name.givenName", "name.familyname": "name.familyName",
}

func (d *draft) setName(value any) error {
	p := &d.want.Profile
	o, ok := value.(object)
	if !ok && value != nil {
		return invalidValue("name must be an object.")
	}
	for sub, to := range map[string]*string{"formatted": &p.Formatted, "givenname": &p.Given, "familyname": &p.Family} {
		v, there := o[sub]
		if !there && value != nil {
			continue // it stays as it is (RFC 7644, 3.5.2.3)
		}
		s, err := text(v, names["name."+sub])
		if err != nil {
			return err
		}
		*to = s
	}
	return nil
}

// setEmails chooses the address of an account among several: the primary one, else the
// one for work, else the first.
func (d *draft) setEmails(t target, sub string, add bool, value any) error {
	const name = "emails"
	p := &d.want.Profile
	if t.where != nil {
		matches, ok := match(t.where, map[string]string{"type": "work", "primary": "true", "value": p.Email})
		if !ok {
			return errPath
		}
		if !matches {
			return nil // an address beside the one that is kept
		}
	}
	switch sub {
	case "":
	case "value":
		s, err := text(value, name)
		if err == nil {
			p.Email = s
		}
		return err
	case "type", "primary", "display":
		return nil
	default:
		return errPath
	}
	best, rank := "", 0
	list, ok := value.([]any)
	if !ok && value != nil {
		list = []any{value}
	}
	for _, item := range list {
		o, isObject := item.(object)
		if s, isText := item.(string); isText {
			o, isObject = object{"value": s}, true
		}
		if !isObject {
			return invalidValue("emails must be a list of objects with a value.")
		}
		address, err := text(o["value"], name)
		if err != nil {
			return err
		}
		of := 1
		if kind, err := text(o["type"], "emails.type"); err != nil {
			return err
		} else if strings.EqualFold(kind, "work") {
			of = 2
		}
		if o["primary"] != nil {
			primary, err := truth(o["primary"], "emails.primary")
			if err != nil {
				return err
			}
			if primary {
				of = 3
			}
		}
		if address != "" && of > rank {
			best, rank = address, of
		}
	}
	if !add || rank > 1 || p.Email == "" {
		p.Email = best
	}
	return nil
}

// unset removes an attribute.
func (d *draft) unset(t target) error {
	attribute, _, _ := strings.Cut(t.attribute, ".")
	switch {
	case attribute == "active" || attribute == "username":
		return invalidValue("userName and active cannot be removed.")
	case attribute == "emails" && strings.Contains(t.attribute, ".") && !strings.HasSuffix(t.attribute, ".value"):
		return nil
	}
	return d.set(t, false, true, nil)
}

// done is what the provider wants. An account without an address has that which its user
// name is.
func (d *draft) done() operator.Desired {
	if d.want.Profile.Email == "" {
		d.want.Profile.Email = d.want.Profile.UserName
	}
	return d.want
}

// readUser reads a whole user, of which what is not given is empty.
func readUser(body object) (operator.Desired, error) {
	var d draft
	for _, name := range sortedNames(body) {
		if err := d.set(target{attribute: name}, false, false, body[name]); err != nil {
			return operator.Desired{}, err
		}
	}
	return d.done(), nil
}
