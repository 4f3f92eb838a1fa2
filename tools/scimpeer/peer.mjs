// Asks a SCIM service provider as a client does, and judges its answers by two libraries
// that know nothing of it: SCIMMY, which has the schemas of RFC 7643 and applies PATCH,
// and scim-patch, which applies PATCH in its own way. node peer.mjs ADDRESS; the token
// stands in SCIM_TOKEN. It prints what differs, and how much was compared.
import SCIMMY from "scimmy";
import scimPatch from "scim-patch";

const base = process.argv[2];
let compared = 0;
const wrong = [];
const check = (ok, what) => { compared++; if (!ok) wrong.push(what); };
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

async function ask(method, path, body) {
  const response = await fetch(base + path, {
    method, body: body && JSON.stringify(body),
    headers: { authorization: "Bearer " + process.env.SCIM_TOKEN, ...(body && { "content-type": "application/scim+json" }) },
  });
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  check(text === "" || type.startsWith("application/scim+json"), `${method} ${path}: the type is ${type}`);
  return { status: response.status, body: text && JSON.parse(text), location: response.headers.get("location") };
}

// A user is one by SCIMMY's idea of RFC 7643's schema.
function judged(user, what) {
  try { new SCIMMY.Schemas.User(structuredClone(user), "out"); check(true, ""); } catch (e) { check(false, `${what}: ${e.message}`); }
  check(user.meta?.resourceType === "User" && user.meta?.location === `${base}/Users/${user.id}`, `${what}: meta is ${JSON.stringify(user.meta)}`);
}

function list(answer, what) {
  check(answer.status === 200 && same(answer.body.schemas, [SCIMMY.Messages.ListResponse.id]), `${what} is no list`);
  check(answer.body.Resources.length === answer.body.itemsPerPage && answer.body.totalResults >= answer.body.itemsPerPage && answer.body.startIndex >= 1, `${what}: its numbers do not agree`);
  return answer.body.Resources;
}

// What is offered.
const config = await ask("GET", "/ServiceProviderConfig");
check(config.status === 200 && config.body.patch.supported === true && config.body.filter.supported === true, "the configuration");
for (const part of ["patch", "bulk", "filter", "changePassword", "sort", "etag"]) {
  check(typeof config.body[part]?.supported === "boolean", `the configuration lacks ${part}`);
}
const types = list(await ask("GET", "/ResourceTypes"), "resource types");
const schemas = list(await ask("GET", "/Schemas"), "schemas");
for (const type of types) {
  check(schemas.some((s) => s.id === type.schema), `${type.name} has a schema that is not there`);
  check(same((await ask("GET", "/ResourceTypes/" + type.id)).body, type), `${type.name} by itself is something else`);
}
// Each attribute of our schemas is as in SCIMMY's, but for what we say more exactly.
const loose = new Set(["description", "canonicalValues", "subAttributes", "uniqueness", "required", "caseExact", "referenceTypes", "mutability"]);
function described(ours, theirs, where) {
  for (const a of ours) {
    const b = theirs.find((b) => b.name === a.name);
    check(b !== undefined, `${where}.${a.name} is unknown to RFC 7643`);
    for (const key of Object.keys(a)) {
      if (!loose.has(key)) check(same(a[key], b?.[key]), `${where}.${a.name}: ${key} is ${a[key]}, RFC 7643 has ${b?.[key]}`);
    }
    if (a.subAttributes) described(a.subAttributes, b?.subAttributes ?? [], `${where}.${a.name}`);
  }
}
for (const [id, theirs] of [["User", SCIMMY.Schemas.User], ["Group", SCIMMY.Schemas.Group]]) {
  const ours = schemas.find((s) => s.name === id);
  // externalId is common to all resources and in none of the schemas.
  described(ours.attributes.filter((a) => a.name !== "externalId"), JSON.parse(JSON.stringify(theirs.definition.describe())).attributes, id);
}

// A user's life, and what PATCH makes of them.
const name = "peer@example.com";
const made = await ask("POST", "/Users", {
  schemas: [SCIMMY.Schemas.User.definition.id], userName: name, externalId: "peer-1", displayName: "Peer", active: true,
  name: { givenName: "Pe", familyName: "Er", formatted: "Pe Er" }, emails: [{ value: name, type: "work", primary: true }],
});
check(made.status === 201 && made.location === made.body.meta.location, `making a user: ${made.status}`);
judged(made.body, "a new user");
const path = "/Users/" + made.body.id;
const found = list(await ask("GET", `/Users?filter=${encodeURIComponent(`userName eq "${name}"`)}`), "a search");
check(found.length === 1 && same(found[0], made.body), "a search finds something else");
for (const u of list(await ask("GET", "/Users?count=2"), "all users")) judged(u, "one of all users");

const known = (u) => ({ userName: u.userName, externalId: u.externalId, displayName: u.displayName, name: { g: u.name?.givenName, f: u.name?.familyName, w: u.name?.formatted }, email: u.emails?.[0]?.value, active: u.active });
const patches = [
  [{ op: "replace", path: "displayName", value: "Peer 2" }],
  [{ op: "add", path: "externalId", value: "peer-2" }],
  [{ op: "replace", path: "name.familyName", value: "Or" }, { op: "replace", path: "name.givenName", value: "Po" }],
  [{ op: "add", value: { displayName: "Peer 3", name: { formatted: "Po Or" } } }],
  [{ op: "replace", path: "name", value: { familyName: "Ox" } }],
  [{ op: "remove", path: "name.formatted" }],
  [{ op: "replace", value: { active: false } }],
  [{ op: "replace", path: "active", value: true }],
  [{ op: "remove", path: "displayName" }, { op: "add", path: "displayName", value: "Peer 4" }],
  [{ op: "replace", path: 'emails[type eq "work"].value', value: "peer2@example.com" }],
  [{ op: "replace", path: "emails", value: [{ value: "peer3@example.com", type: "work", primary: true }] }],
  [{ op: "replace", path: "userName", value: "peer3@example.com" }],
  [{ op: "remove", path: "externalId" }],
];
for (const Operations of patches) {
  const body = { schemas: [SCIMMY.Messages.PatchOp.id], Operations };
  const before = (await ask("GET", path)).body;
  const answer = await ask("PATCH", path, body);
  check(answer.status === 200, `PATCH ${JSON.stringify(Operations)}: ${answer.status} ${JSON.stringify(answer.body)}`);
  judged(answer.body, "a patched user");
  check(same((await ask("GET", path)).body, answer.body), "GET after PATCH is something else");
  const first = await new SCIMMY.Messages.PatchOp(structuredClone(body)).apply(new SCIMMY.Schemas.User(structuredClone(before), "out"));
  const second = scimPatch.scimPatch(structuredClone(before), structuredClone(Operations));
  // SCIMMY does not carry what is common to all resources through its schema.
  const { externalId: _, ...ours } = known(answer.body);
  const { externalId: __, ...theirs } = known(first ?? before);
  const parts = Operations.some((o) => o.path === "name");
  if (!parts) check(same(ours, theirs), `PATCH ${JSON.stringify(Operations)}: ours ${JSON.stringify(ours)}, SCIMMY's ${JSON.stringify(theirs)}`);
  // Both libraries drop the parts of a name that a value does not name, scim-patch also when
  // adding; RFC 7644, 3.5.2.3 leaves them unchanged.
  const named = Operations.some((o) => o.path === "name" || o.value?.name);
  if (!named) check(same(known(answer.body), known(second)), `PATCH ${JSON.stringify(Operations)}: ours ${JSON.stringify(known(answer.body))}, scim-patch's ${JSON.stringify(known(second))}`);
}

// Groups.
const group = await ask("POST", "/Groups", { schemas: [SCIMMY.Schemas.Group.definition.id], displayName: "peers", members: [{ value: made.body.id }] });
check(group.status === 201 && group.body.members[0].value === made.body.id, `making a group: ${group.status}`);
try { new SCIMMY.Schemas.Group(structuredClone(group.body), "out"); check(true, ""); } catch (e) { check(false, `a new group: ${e.message}`); }
for (const Operations of [
  [{ op: "remove", path: `members[value eq "${made.body.id}"]` }],
  [{ op: "add", path: "members", value: [{ value: made.body.id }] }],
  [{ op: "replace", path: "displayName", value: "peers 2" }],
]) {
  const before = (await ask("GET", "/Groups/" + group.body.id)).body;
  const answer = await ask("PATCH", "/Groups/" + group.body.id, { schemas: [SCIMMY.Messages.PatchOp.id], Operations });
  const theirs = scimPatch.scimPatch(structuredClone(before), structuredClone(Operations));
  const shape = (g) => ({ name: g.displayName, members: (g.members ?? []).map((m) => m.value) });
  check(answer.status === 200 && same(shape(answer.body), shape(theirs)), `PATCH ${JSON.stringify(Operations)}: ours ${JSON.stringify(answer.body)}, scim-patch's ${JSON.stringify(theirs)}`);
}
check((await ask("DELETE", "/Groups/" + group.body.id)).status === 204, "removing a group");

// Errors are of SCIM's schema, with the kinds that SCIMMY knows.
for (const [method, at, body, status] of [
  ["POST", "/Users", { userName: "peer3@example.com" }, 409], ["GET", "/Users/nobody", undefined, 404],
  ["GET", "/Users?filter=nonsense", undefined, 400], ["PATCH", path, { Operations: [{ op: "what", path: "x", value: 1 }] }, 400],
]) {
  const answer = await ask(method, at, body);
  check(answer.status === status && same(answer.body.schemas, [SCIMMY.Messages.ErrorResponse.id]) && answer.body.status === String(status), `${method} ${at}: ${JSON.stringify(answer.body)}`);
  // SCIMMY throws what an error says, or that it is none of RFC 7644's.
  try { new SCIMMY.Messages.ErrorResponse(answer.body); check(false, `${method} ${at}: SCIMMY sees no error`); } catch (e) {
    check(e instanceof SCIMMY.Types.Error && Number(e.status) === status && (e.scimType ?? "") === (answer.body.scimType ?? ""), `${method} ${at}: ${e.name} ${e.message}`);
  }
}
check((await ask("DELETE", path)).status === 204 && (await ask("GET", path)).status === 404, "removing a user");

for (const w of wrong) console.log(w);
console.log(`${compared - wrong.length} of ${compared} comparisons agree`);
process.exit(wrong.length ? 1 : 0);
