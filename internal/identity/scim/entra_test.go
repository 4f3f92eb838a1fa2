package scim_test

import (
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// TestEntra does what Microsoft Entra ID does when a person joins, changes, leaves and
// returns. The requests are written after Microsoft's published documentation ("Develop
// and plan provisioning for a SCIM endpoint", "Known issues and resolutions with SCIM 2.0
// protocol compliance"), both with and without its flag aadOptscim062020; they were not
// recorded from Entra.
func TestEntra(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		const object = "8a7b3c60-6d1e-4a6b-9f0e-0f2f5d0c6b11"
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{object: operator.Auditor}})
		w.operator("owner@example.com", operator.Owner)

		// Testing the connection looks for somebody who does not exist.
		w.do("GET", "/scim/v2/Users?filter=userName+eq+%22non-existent%22", "").is(200).has("totalResults", 0).has("itemsPerPage", 0)
		w.do("GET", "/scim/v2/Schemas", "").is(200)

		made := w.do("POST", "/scim/v2/Users", `{
			"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
			"externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
			"userName": "Test_User_ab6490ee@testuser.com",
			"active": true,
			"displayName": "Test User",
			"title": "Engineer",
			"emails": [{"primary": true, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
			"meta": {"resourceType": "User"},
			"name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
			"roles": [],
			"phoneNumbers": [{"type": "work", "value": "+1 555 0100"}],
			"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Math", "manager": {"value": "x"}}
		}`).is(201).has("emails.0.value", "Test_User_fd0ea19b@testuser.com").has("name.formatted", "givenName familyName")
		id := made.id()
		if made.at("title") != nil || made.at("phoneNumbers") != nil {
			t.Errorf("what is not kept was answered: %s", made.raw)
		}
		w.do("GET", "/scim/v2/Users?filter=externalId+eq+%220a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef%22", "").is(200).has("Resources.0.id", id)
		session, b := w.enrol(id)

		// Groups: found by name, made with the object's id, members added and removed by
		// values beside the path.
		w.do("GET", "/scim/v2/Groups?excludedAttributes=members&filter=displayName+eq+%22sg-auditors%22", "").is(200).has("totalResults", 0)
		group := w.do("POST", "/scim/v2/Groups", `{
			"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
			"externalId": "`+object+`", "displayName": "sg-auditors", "meta": {"resourceType": "Group"}
		}`).is(201).id()
		w.do("PATCH", "/scim/v2/Groups/"+group, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "Add", "path": "members", "value": [{"$ref": null, "value": "`+id+`"}]}]
		}`).is(200)
		if got := w.roles(id); got != "auditor" {
			t.Errorf("a member has the roles %q, want auditor", got)
		}
		full := w.do("GET", "/scim/v2/Groups/"+group+"?excludedAttributes=members", "").is(200)
		if full.at("members") != nil || full.at("displayName") != "sg-auditors" {
			t.Errorf("members were not left out: %s", full.raw)
		}
		w.do("PATCH", "/scim/v2/Groups/"+group, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": "`+id+`"}]}]
		}`).is(200)
		if got := w.roles(id); got != "" {
			t.Errorf("who left the group has the roles %q", got)
		}

		// Changing: capital letters, paths with filters, extensions, and values without a
		// path whose names are paths.
		w.do("PATCH", "/scim/v2/Users/"+id, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [
				{"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
				{"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "Physics"},
				{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "Test_User_fd0ea19b@testuser.com"},
				{"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+1 555 0101"},
				{"op": "Replace", "value": {"displayName": "Changed", "name.givenName": "updatedGiven", "emails[type eq \"home\"].value": "x@y.example"}}
			]
		}`).is(200).has("name.familyName", "updatedFamilyName").has("name.givenName", "updatedGiven").has("displayName", "Changed").
			has("emails.0.value", "Test_User_fd0ea19b@testuser.com").has("name.formatted", "givenName familyName")
		w.do("PATCH", "/scim/v2/Users/"+id, `{"Operations": [{"op": "Replace", "path": "name", "value": {"formatted": "Updated Formatted"}}]}`).is(200).
			has("name.formatted", "Updated Formatted").has("name.familyName", "updatedFamilyName")
		w.do("PATCH", "/scim/v2/Users/"+id, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "Replace", "path": "userName", "value": "5b50642d-79fc-4410-9e90-4c077cdd1a59@testuser.com"}]
		}`).is(200).has("userName", "5b50642d-79fc-4410-9e90-4c077cdd1a59@testuser.com")

		// Leaving, without the flag: a text in the place of false.
		w.do("PATCH", "/scim/v2/Users/"+id, `{
			"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
			"Operations": [{"op": "Replace", "path": "active", "value": "False"}]
		}`).is(200).has("active", false)
		w.state(id, operator.Suspended, "scim")
		if w.opens(session, b) {
			t.Error("the session of who left works")
		}
		// Returning, and leaving with the flag.
		w.do("PATCH", "/scim/v2/Users/"+id, `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "Replace", "path": "active", "value": "True"}]}`).is(200)
		w.state(id, operator.Active, "")
		w.do("PATCH", "/scim/v2/Users/"+id, `{"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "active", "value": false}]}`).is(200)
		w.state(id, operator.Suspended, "scim")

		// Thirty days later Entra deletes.
		w.do("DELETE", "/scim/v2/Users/"+id, "").is(204)
		w.do("GET", "/scim/v2/Users/"+id, "").refused(404, "")
		w.do("DELETE", "/scim/v2/Users/"+id, "").refused(404, "")
		w.do("GET", "/scim/v2/Users?filter=userName+eq+%225b50642d-79fc-4410-9e90-4c077cdd1a59%40testuser.com%22", "").is(200).has("totalResults", 0)
		w.state(id, operator.Removed, "")
		if len(w.entries("operator.remove", `"operator":"scim"`, id)) != 2 {
			t.Error("the log does not say that SCIM removed the account")
		}
		// Who comes back after that is a new account.
		again := w.do("POST", "/scim/v2/Users", `{"userName": "5b50642d-79fc-4410-9e90-4c077cdd1a59@testuser.com", "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"}`).is(201).id()
		if again == id {
			t.Error("a removed account came back")
		}
		w.do("DELETE", "/scim/v2/Groups/"+group, "").is(204)
	})
}
