package scim

import (
	"net/http"

	"gatehouse"
	"gatehouse/internal/wire"
)

func discovery() []Route {
	return []Route{
		{http.MethodGet, "/ServiceProviderConfig", (*Server).providerConfig},
		{http.MethodGet, "/ResourceTypes", (*Server).resourceTypes},
		{http.MethodGet, "/ResourceTypes/{id}", (*Server).resourceTypes},
		{http.MethodGet, "/Schemas", (*Server).schemas},
		{http.MethodGet, "/Schemas/{id}", (*Server).schemas},
	}
}

// fields is a JSON object that we write.
type fields = map[string]any

// providerConfig says what is offered (RFC 7643, 5).
func (s *Server) providerConfig(c call) error {
	return reply(c.w, http.StatusOK, fields{
		"schemas":        []string{schemaConfig},
		"patch":          fields{"supported": true},
		"bulk":           fields{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":         fields{"supported": true, "maxResults": maxCount},
		"changePassword": fields{"supported": false},
		"sort":           fields{"supported": false},
		"etag":           fields{"supported": false},
		"authenticationSchemes": []fields{{
			"type": "oauthbearertoken", "name": "Bearer token", "description": "A token that 'gatehouse account scim-token create' made.", "primary": true,
		}},
		"meta": fields{"resourceType": "ServiceProviderConfig", "location": s.location("ServiceProviderConfig")},
	})
}

// offered is what discovery lists: one thing by its identifier, or all.
func (s *Server) offered(c call, all []fields) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	// RFC 7644, 4: a provider must not believe that a filter was heeded.
	if q.Get("filter") != "" {
		return wire.Refuse(gatehouse.ErrDenied, "scim/discovery-filter", "What is offered here is not filtered.")
	}
	id := c.r.PathValue("id")
	if id == "" {
		out := make([]any, 0, len(all))
		for _, f := range all {
			out = append(out, f)
		}
		return reply(c.w, http.StatusOK, reported(page{1, maxCount}, len(out), out))
	}
	for _, f := range all {
		if f["id"] == id {
			return reply(c.w, http.StatusOK, f)
		}
	}
	return wire.Refuse(gatehouse.ErrNotFound, "scim/unknown-path", "There is nothing of this name.")
}

func (s *Server) resourceTypes(c call) error {
	of := func(id, endpoint, schema, description string) fields {
		return fields{
			"schemas": []string{schemaType}, "id": id, "name": id, "endpoint": endpoint, "description": description, "schema": schema,
			"schemaExtensions": []fields{},
			"meta":             fields{"resourceType": "ResourceType", "location": s.location("ResourceTypes", id)},
		}
	}
	all := []fields{of("User", "/Users", schemaUser, "Operators of this Gatehouse")}
	if s.config.Directory.HasGroups() {
		all = append(all, of("Group", "/Groups", schemaGroup, "Groups whose members have roles"))
	}
	return s.offered(c, all)
}

// attribute describes an attribute that is a text, as RFC 7643, 7 asks; the rest is
// changed afterwards.
func attribute(name, description string, change fields) fields {
	f := fields{
		"name": name, "type": "string", "multiValued": false, "description": description, "required": false, "caseExact": false,
		"mutability": "readWrite", "returned": "default", "uniqueness": "none",
	}
	for k, v := range change {
		f[k] = v
		if v == nil {
			delete(f, k)
		}
	}
	return f
}

func (s *Server) schemas(c call) error {
	of := func(id, name, description string, attributes ...fields) fields {
		return fields{
			"schemas": []string{schemaSchema}, "id": id, "name": name, "description": description, "attributes": attributes,
			"meta": fields{"resourceType": "Schema", "location": s.location("Schemas", id)},
		}
	}
	complexOf := func(many bool, sub ...fields) fields {
		return fields{"type": "complex", "multiValued": many, "subAttributes": sub, "caseExact": nil, "uniqueness": nil}
	}
	external := attribute("externalId", "The provider's own identifier.", fields{"caseExact": true, "uniqueness": "server"})
	all := []fields{of(schemaUser, "User", "An operator's account. What is not listed is not kept.",
		attribute("userName", "What the provider knows the account by.", fields{"required": true, "uniqueness": "server"}),
		external,
		attribute("name", "Parts of the name.", complexOf(false,
			attribute("formatted", "The whole name.", nil), attribute("familyName", "The family name.", nil), attribute("givenName", "The given name.", nil))),
		attribute("displayName", "The name that other operators see.", nil),
		attribute("emails", "The address; of several, the primary one, else the one for work, else the first. Without any, userName must be one.", complexOf(true,
			attribute("value", "The address.", nil), attribute("type", "Always work.", fields{"canonicalValues": []string{"work"}}),
			attribute("primary", "Always true.", fields{"type": "boolean", "caseExact": nil, "uniqueness": nil}))),
		attribute("active", "Whether the account may be used. It becomes true again only if SCIM made it false.", fields{"type": "boolean", "caseExact": nil, "uniqueness": nil}),
	)}
	if s.config.Directory.HasGroups() {
		all = append(all, of(schemaGroup, "Group", "A group. If the configuration names it, its members have a role.",
			attribute("displayName", "What it is called; the configuration names it by this or by externalId.", fields{"required": true, "uniqueness": "server"}),
			external,
			attribute("members", "Who is in it.", complexOf(true,
				attribute("value", "The user's id.", fields{"mutability": "immutable"}),
				attribute("$ref", "The user's address.", fields{"type": "reference", "referenceTypes": []string{"User"}, "mutability": "immutable", "caseExact": true}),
				attribute("type", "Always User.", fields{"mutability": "immutable", "canonicalValues": []string{"User"}})))))
	}
	return s.offered(c, all)
}
