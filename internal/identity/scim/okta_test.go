package scim_test

import (
	"strings"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// TestOkta does what Okta does when a person joins, changes, leaves and returns. The
// requests are written after Okta's published documentation ("Build a SCIM 2.0 server",
// "SCIM 2.0 protocol reference"); they were not recorded from Okta.
func TestOkta(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"Gatehouse operators": operator.Operator}})
		w.operator("owner@example.com", operator.Owner)

		// Testing the connection, and looking whether there is somebody of this name.
		w.do("GET", "/scim/v2/Users?startIndex=1&count=2", "").is(200).has("totalResults", 0).has("Resources", "[]")
		find := "/scim/v2/Users?filter=userName%20eq%20%22ada.lovelace%40example.com%22&startIndex=1&count=100"
		w.do("GET", find, "").is(200).has("totalResults", 0)

		// Joining. Okta sends a password of its own making, locale and groups.
		made := w.do("POST", "/scim/v2/Users", `{
			"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
			"userName": "ada.lovelace@example.com",
			"name": {"givenName": "Ada", "familyName": "Lovelace"},
			"emails": [{"primary": true, "value": "ada.lovelace@example.com", "type": "work"}],
			"displayName": "Ada Lovelace",
			"locale": "en-US",
			"externalId": "00ujl29u0le5T6Aj10h7",
			"groups": [],
			"password": "1mz050nq",
			"active": true
		}`).is(201).has("active", true).has("userName", "ada.lovelace@example.com").has("name.givenName", "Ada").has("externalId", "00ujl29u0le5T6Aj10h7")
		id := made.id()
		if got := made.header.Get("Location"); got != w.server.URL+"/scim/v2/Users/"+id || made.at("meta.location") != got {
			t.Errorf("Location is %q", got)
		}
		w.state(id, operator.Invited, "")
		if got := w.roles(id); got != "" {
			t.Errorf("who was created has the roles %q", got)
		}
		if w.raw.Exec(`UPDATE operators SET seen = seen WHERE password <> '' AND id = $1`, id) != 0 {
			t.Error("the password that came was kept")
		}
		w.do("GET", find, "").is(200).has("totalResults", 1).has("Resources.0.id", id)
		w.do("POST", "/scim/v2/Users", `{"userName": "ADA.lovelace@example.com"}`).refused(409, "uniqueness")

		// An owner hands the link over.
		session, b := w.enrol(id)
		w.state(id, operator.Active, "")

		// Pushing a group, and then its members.
		group := w.do("POST", "/scim/v2/Groups", `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Gatehouse operators", "members": []}`).is(201).id()
		w.do("PATCH", "/scim/v2/Groups/"+group, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "add", "path": "members", "value": [{"value": "`+id+`", "display": "ada.lovelace@example.com"}]}]
		}`).is(200).has("members.0.value", id)
		if got := w.roles(id); got != "operator" {
			t.Errorf("a member has the roles %q, want operator", got)
		}
		// Okta renames groups with their id in the value.
		w.do("PATCH", "/scim/v2/Groups/"+group, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "replace", "value": {"id": "`+group+`", "displayName": "Gatehouse operators"}}]
		}`).is(200)

		// Changing: Okta puts the whole user.
		w.do("GET", "/scim/v2/Users/"+id, "").is(200)
		w.do("PUT", "/scim/v2/Users/"+id, `{
			"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
			"id": "`+id+`",
			"userName": "ada.lovelace@example.com",
			"name": {"givenName": "Ada", "familyName": "King"},
			"emails": [{"primary": true, "value": "ada.lovelace@example.com", "type": "work"}],
			"displayName": "Ada King",
			"externalId": "00ujl29u0le5T6Aj10h7",
			"active": true,
			"meta": {"resourceType": "User"}
		}`).is(200).has("name.familyName", "King").has("displayName", "Ada King")
		if got := w.account(id).Name; got != "Ada King" {
			t.Errorf("operators see the name %q", got)
		}
		if !w.opens(session, b) {
			t.Error("a new name ended the session")
		}

		// Leaving: Okta never deletes.
		w.do("PATCH", "/scim/v2/Users/"+id, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "replace", "value": {"active": false}}]
		}`).is(200).has("active", false)
		w.state(id, operator.Suspended, "scim")
		if w.opens(session, b) {
			t.Error("the session of who left works")
		}
		w.do("PATCH", "/scim/v2/Groups/"+group, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "remove", "path": "members[value eq \"`+id+`\"]"}]
		}`).is(200)
		if got := w.roles(id); got != "" {
			t.Errorf("who left the group has the roles %q", got)
		}

		// Returning.
		w.do("GET", find, "").is(200).has("Resources.0.active", false)
		w.do("PUT", "/scim/v2/Users/"+id, `{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada.lovelace@example.com",
			"name": {"givenName": "Ada", "familyName": "King"}, "emails": [{"primary": true, "value": "ada.lovelace@example.com", "type": "work"}],
			"displayName": "Ada King", "externalId": "00ujl29u0le5T6Aj10h7", "active": true}`).is(200).has("active", true)
		w.state(id, operator.Active, "")
		if w.opens(session, b) {
			t.Error("a session of before came back")
		}

		for _, action := range []string{"operator.invite", "operator.factor", "operator.suspend", "operator.resume", "operator.grant", "operator.revoke", "scim.group"} {
			if len(w.entries(action, `"operator":"scim"`, string(w.id))) == 0 {
				t.Errorf("the log has no %s by SCIM", action)
			}
		}
		for _, leaf := range w.entries("") {
			if strings.Contains(leaf, "lovelace") || strings.Contains(leaf, "Ada") || strings.Contains(leaf, "1mz050nq") || strings.Contains(leaf, "00ujl29u0le5T6Aj10h7") {
				t.Errorf("the log says who somebody is: %s", leaf)
			}
		}
		if lines := w.written(); !strings.Contains(lines, "PATCH /scim/v2/Users/{id}") || strings.Contains(lines, "lovelace") || strings.Contains(lines, id) || strings.Contains(lines, w.token.Reveal()) {
			t.Error("the access log says whom a request was about")
		}
	})
}
