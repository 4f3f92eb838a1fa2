package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/records"
)

const dataCanary = "canary-5b1f0c7a-ada@example.com"

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// sealOne seals one value of a subject for publish.
func (w *world) sealOne(subject, label, text string) string {
	w.t.Helper()
	return w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal",
		fmt.Sprintf(`{"subject":%q,"purpose":"publish","label":%q,"data":%q}`, subject, label, b64(text)))["sealed"].(string)
}

func openBody(subject, purpose, label, sealed string) string {
	return fmt.Sprintf(`{"subject":%q,"purpose":%q,"label":%q,"sealed":%q}`, subject, purpose, label, sealed)
}

// The app's whole journey with data of its own: seal, keep the text, open it for
// what it was sealed for, and for nothing else; in fields; and no more after an
// erasure.
func TestSealAndOpen(t *testing.T) {
	w := newWorld(t)
	sealed := w.sealOne("user-7", "email", dataCanary)
	opened := w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", openBody("user-7", "publish", "email", sealed))
	if opened["data"] != b64(dataCanary) {
		t.Errorf("it opens to %v", opened)
	}
	fields := w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal",
		`{"subject":"user-7","purpose":"pages","fields":{"email":"<ada@example.com>","age":41,"tags":["a",null],"none":null},"expires_in":3600}`)
	texts := fields["fields"].(map[string]any)
	if fields["expires_at"] == nil || len(texts) != 4 {
		t.Errorf("the fields seal to %v", fields)
	}
	all, _ := json.Marshal(map[string]any{"subject": "user-7", "purpose": "pages", "fields": texts})
	got := w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", string(all))
	if text, _ := json.Marshal(got["fields"]); string(text) != `{"age":41,"email":"\u003cada@example.com\u003e","none":null,"tags":["a",null]}` {
		t.Errorf("the fields open to %s", text)
	}
	// One field is opened without the others.
	one, _ := json.Marshal(map[string]any{"subject": "user-7", "purpose": "pages", "fields": map[string]any{"age": texts["age"]}})
	if got := w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", string(one)); fmt.Sprint(got["fields"]) != "map[age:41]" {
		t.Errorf("one field opens to %v", got)
	}
	// Another service with the purpose opens it.
	w.key = w.serviceKey("analytics")
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", openBody("user-7", "publish", "email", sealed))

	people, err := w.records.PersonsOfSubject(t.Context(), "user-7")
	if err != nil || len(people) != 1 {
		t.Fatalf("PersonsOfSubject = %v, %v", people, err)
	}
	if err := w.Vault.DestroyPerson(t.Context(), people[0]); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before and after the subject is forgotten
		w.refuses(http.StatusGone, "records/erased", w.request("POST", "/gatehouse/v1/open", openBody("user-7", "publish", "email", sealed)))
		if err := w.records.Forget(t.Context(), people[0]); err != nil {
			t.Fatal(err)
		}
	}
}

// A connection names its person: the data ends with what the platform's grant is
// sealed under.
func TestSealForAConnection(t *testing.T) {
	w := newWorld(t)
	id := w.connect("user-7", "publish")["id"].(string)
	body := fmt.Sprintf(`{"connection":%q,"purpose":"publish","label":"bio","data":%q}`, id, b64("text"))
	sealed := w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", body)["sealed"].(string)
	open := fmt.Sprintf(`{"connection":%q,"purpose":"publish","label":"bio","sealed":%q}`, id, sealed)
	if got := w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", open); got["data"] != b64("text") {
		t.Errorf("it opens to %v", got)
	}
	w.sealOne("user-7", "bio", "text")
	w.refuses(http.StatusBadRequest, "records/unreadable", w.request("POST", "/gatehouse/v1/open", openBody("user-7", "publish", "bio", sealed)))
	key := w.key
	w.key = w.serviceKey("analytics")
	w.refuses(http.StatusNotFound, "connect/unknown-connection", w.request("POST", "/gatehouse/v1/open", open))
	w.key = key
	c, err := w.Connections.Get(t.Context(), gatehouse.ConnectionID(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Connections.ErasePerson(t.Context(), c.Person); err != nil {
		t.Fatal(err)
	}
	w.refuses(http.StatusGone, "records/erased", w.request("POST", "/gatehouse/v1/open", open))
}

func TestSealAndOpenRefuse(t *testing.T) {
	w := newWorld(t)
	sealed, other := w.sealOne("user-7", "email", "ada"), w.sealOne("user-8", "email", "bob")
	at := len(sealed) / 2
	changed := sealed[:at] + map[bool]string{true: "B", false: "A"}[sealed[at] == 'A'] + sealed[at+1:]
	seal := func(body string) *http.Request { return w.request("POST", "/gatehouse/v1/seal", body) }
	open := func(body string) *http.Request { return w.request("POST", "/gatehouse/v1/open", body) }
	good := `{"subject":"user-7","purpose":"publish","label":"email","data":"YWRh"}`
	change := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	short := w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", change(`"data"`, `"expires_in":3600,"data"`))["sealed"].(string)
	for _, r := range []struct {
		status int
		rule   string
		req    *http.Request
	}{
		{400, "api/base64", seal(change("YWRh", "YWR"))},
		{400, "api/base64", seal(change("YWRh", "YWRh\\n"))},
		{400, "api/base64", seal(change("YWRh", "YWF-"))},
		{400, "api/base64", seal(change("YWRh", "YR=="))},
		{400, "api/values", seal(change(`,"data":"YWRh"`, ``))},
		{400, "api/values", seal(change(`"label"`, `"fields":{"a":1},"label"`))},
		{400, "api/values", seal(change(`"data":"YWRh"`, `"fields":{"a":1}`))},
		{400, "api/field-type", seal(change(`"label":"email","data":"YWRh"`, `"fields":[1]`))},
		{400, "api/field-type", seal(change(`"label":"email","data":"YWRh"`, `"fields":null`))},
		{400, "api/unknown-field", seal(change(`"data"`, `"expires":1,"data"`))},
		{400, "api/unknown-field", seal(`{"items":[` + good + `],"subject":"user-7"}`)},
		{400, "api/field-type", seal(`{"items":` + good + `}`)},
		{400, "api/unknown-parameter", w.request("POST", "/gatehouse/v1/seal?subject=user-7", good)},
		{415, "api/content-type", func() *http.Request { r := seal(good); r.Header.Set("Content-Type", "text/plain"); return r }()},
		{400, "records/empty", seal(`{"items":[]}`)},
		{400, "records/empty", seal(change(`"label":"email","data":"YWRh"`, `"fields":{}`))},
		{400, "records/too-many", seal(`{"items":[` + strings.Repeat(good+",", 100) + good + `]}`)},
		{400, "records/label", seal(change(`"email"`, `"e mail"`))},
		{400, "records/label-twice", seal(change(`"label":"email","data":"YWRh"`, `"fields":{"a":1,"a":2}`))},
		{400, "records/owner", seal(change(`"subject":"user-7",`, ``))},
		{400, "records/owner", seal(change(`"subject"`, `"connection":"`+w.connect("user-7", "publish")["id"].(string)+`","subject"`))},
		{404, "connect/unknown-connection", seal(change(`"subject":"user-7"`, `"connection":"con1"`))},
		{400, "records/subject", seal(change(`user-7`, `a\u0007b`))},
		{400, "records/expires-in", seal(change(`"data"`, `"expires_in":-1,"data"`))},
		{400, "records/expires-in", seal(change(`"data"`, `"expires_in":9223372036854775807,"data"`))},
		{400, "records/expires-in", seal(strings.Replace(change(`"data"`, `"expires_in":2592001,"data"`), "publish", "pages", 1))},
		{403, "records/purpose", seal(change("publish", "nothing"))},
		{413, "records/too-large", seal(change("YWRh", b64(strings.Repeat("x", records.MaxValue+1))))},

		{400, "records/text", open(openBody("user-7", "publish", "email", "gth_sealed_2_AAAA"))},
		{400, "records/text", open(openBody("user-7", "publish", "email", sealed[:40]))},
		{400, "records/text", open(openBody("user-7", "publish", "email", sealed+"="))},
		{400, "records/unreadable", open(openBody("user-7", "publish", "email", changed))},
		{400, "records/unreadable", open(openBody("user-7", "publish", "email", other))},
		{400, "records/unreadable", open(openBody("user-7", "read", "email", sealed))},
		{400, "records/unreadable", open(openBody("user-7", "publish", "phone", sealed))},
		{400, "records/unreadable", open(`{"subject":"user-7","purpose":"publish","fields":{"email":"` + sealed + `"}}`)},
		{403, "records/purpose", open(openBody("user-7", "threads", "email", sealed))},
		{410, "records/erased", open(openBody("user-9", "publish", "email", sealed))},
		{400, "api/field-type", open(`{"subject":"user-7","purpose":"publish","fields":{"email":null}}`)},
		{400, "api/values", open(`{"subject":"user-7","purpose":"publish","label":"email"}`)},
	} {
		w.refuses(r.status, r.rule, r.req)
	}
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", good)
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", openBody("user-7", "publish", "email", sealed))
	if status, _ := w.send(seal(change("YWRh", strings.Repeat("A", 4<<20))), false); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body gives %d", status)
	}
	// What one service may do with its purpose another without it may not.
	w.key = w.serviceKey("analytics")
	w.refuses(http.StatusForbidden, "records/purpose", open(openBody("user-7", "read", "email", sealed)))
	// The purpose keeps data for less than it did.
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", openBody("user-7", "publish", "email", short))
	w.keeps["publish"] = time.Microsecond
	w.refuses(http.StatusGone, "records/expired", open(openBody("user-7", "publish", "email", short)))
	delete(w.keeps, "publish")
	w.refuses(http.StatusForbidden, "records/purpose", open(openBody("user-7", "publish", "email", sealed)))
}

// Each item has its verdict, in order, and each value costs a request.
func TestItems(t *testing.T) {
	w := newWorld(t)
	w.cost = 0
	sealed := w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", `{"items":[
		{"subject":"user-7","purpose":"publish","label":"email","data":"YWRh"},
		{"subject":"user-8","purpose":"publish","fields":{"email":"bob","age":7}}]}`)["items"].([]any)
	if w.cost != 3 {
		t.Errorf("three values cost %d", w.cost)
	}
	if e := len(w.entries("seal")); e != 4 {
		t.Errorf("the sealing of two persons' data has %d entries", e)
	}
	ada := sealed[0].(map[string]any)["sealed"].(string)
	bob, _ := json.Marshal(sealed[1].(map[string]any)["fields"])
	req := w.request("POST", "/gatehouse/v1/open", `{"items":[`+strings.Join([]string{
		openBody("user-7", "publish", "email", ada),
		openBody("user-8", "publish", "email", ada),
		`{"subject":"user-8","purpose":"publish","fields":` + string(bob) + `}`,
		`{"subject":"user-7","purpose":"publish","label":"email","sealed":7}`,
		`[]`,
	}, ",")+`]}`)
	status, reply := w.send(req, false)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, reply)
	}
	items := reply["items"].([]any)
	rule := func(i int) any {
		p, _ := items[i].(map[string]any)["problem"].(map[string]any)
		return p["rule"]
	}
	for i, want := range []any{nil, "records/unreadable", nil, "api/field-type", "api/json"} {
		if rule(i) != want {
			t.Errorf("item %d is %v, want %v", i, items[i], want)
		}
	}
	if items[0].(map[string]any)["data"] != "YWRh" || fmt.Sprint(items[2].(map[string]any)["fields"]) != "map[age:7 email:bob]" {
		t.Errorf("the items are %v", items)
	}
	w.full = true
	w.refuses(http.StatusTooManyRequests, "limit/service-rate", w.request("POST", "/gatehouse/v1/seal", `{"subject":"u","purpose":"publish","label":"a","data":""}`))
}

// entries returns the log's entries of an action.
func (w *world) entries(action string) []audit.Shown {
	w.t.Helper()
	if err := w.Log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	list, err := audit.List(w.t.Context(), w.DB.Audit(), audit.Filter{Action: action})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func TestRecords(t *testing.T) {
	w := newWorld(t)
	const at = "/gatehouse/v1/records/publish/email?subject=user-7"
	w.refuses(http.StatusNotFound, "records/unknown-record", w.request("GET", at, ""))
	put := w.ok(http.StatusCreated, "PUT", at, `{"data":"`+b64(dataCanary)+`"}`)
	if put["size"] != float64(len(dataCanary)) || put["expires_at"] != nil || put["data"] != nil {
		t.Errorf("put: %v", put)
	}
	w.ok(http.StatusOK, "PUT", at, `{"value":{"a":[1]},"expires_in":60}`)
	got := w.ok(http.StatusOK, "GET", at, "")
	if fmt.Sprint(got["value"]) != "map[a:[1]]" || got["data"] != nil || got["created_at"] != put["created_at"] || got["expires_at"] == nil {
		t.Errorf("got: %v", got)
	}
	w.ok(http.StatusOK, "PUT", at, `{"data":""}`)
	if got := w.ok(http.StatusOK, "GET", at, ""); got["data"] != "" {
		t.Errorf("an empty one is %v", got)
	}
	w.ok(http.StatusCreated, "PUT", strings.Replace(at, "publish", "read", 1), `{"value":"x"}`)
	kept := w.ok(http.StatusCreated, "PUT", strings.Replace(at, "publish", "pages", 1), `{"value":"x"}`)
	if kept["expires_at"] == nil {
		t.Errorf("a purpose that keeps for 30 days: %v", kept)
	}
	var seen []string
	for after := ""; ; {
		page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/records?subject=user-7&limit=2"+after, "")
		for _, r := range page["records"].([]any) {
			seen = append(seen, r.(map[string]any)["purpose"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		after = "&after=" + next
	}
	if got := strings.Join(seen, " "); got != "pages publish read" {
		t.Errorf("the list is %s", got)
	}
	id := w.connect("user-7", "publish")["id"].(string)
	w.ok(http.StatusCreated, "PUT", "/gatehouse/v1/records/publish/bio?connection="+id, `{"value":1}`)
	if page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/records?connection="+id, ""); len(page["records"].([]any)) != 1 {
		t.Errorf("the connection's person has %v", page)
	}

	for _, r := range []struct {
		status int
		rule   string
		req    *http.Request
	}{
		{400, "api/values", w.request("PUT", at, `{}`)},
		{400, "api/values", w.request("PUT", at, `{"data":"","value":1}`)},
		{400, "api/field-type", w.request("PUT", at, `{"value":null}`)},
		{400, "api/base64", w.request("PUT", at, `{"data":"!"}`)},
		{400, "records/expires-in", w.request("PUT", at, `{"data":"","expires_in":-1}`)},
		{400, "records/label", w.request("PUT", "/gatehouse/v1/records/publish/a%2Fb?subject=user-7", `{"data":""}`)},
		{400, "records/owner", w.request("PUT", "/gatehouse/v1/records/publish/email", `{"data":""}`)},
		{400, "records/owner", w.request("GET", "/gatehouse/v1/records", "")},
		{403, "records/purpose", w.request("PUT", strings.Replace(at, "publish", "nothing", 1), `{"data":""}`)},
		{403, "records/purpose", w.request("GET", strings.Replace(at, "publish", "nothing", 1), "")},
		{403, "records/purpose", w.request("DELETE", strings.Replace(at, "publish", "nothing", 1), "")},
		{404, "records/unknown-record", w.request("GET", strings.Replace(at, "email", "phone", 1), "")},
		{404, "records/unknown-record", w.request("DELETE", strings.Replace(at, "user-7", "user-9", 1), "")},
		{404, "connect/unknown-connection", w.request("GET", "/gatehouse/v1/records?connection=con1", "")},
		{400, "api/unknown-parameter", w.request("GET", at+"&purpose=read", "")},
		{400, "api/limit", w.request("GET", "/gatehouse/v1/records?subject=user-7&limit=501", "")},
		{400, "api/after", w.request("GET", "/gatehouse/v1/records?subject=user-7&after=x", "")},
		{405, "api/method", w.request("POST", at, "")},
	} {
		w.refuses(r.status, r.rule, r.req)
	}
	w.ok(http.StatusNoContent, "DELETE", at, "")
	w.refuses(http.StatusNotFound, "records/unknown-record", w.request("DELETE", at, ""))
	w.key = w.serviceKey("analytics")
	if page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/records?subject=user-7", ""); len(page["records"].([]any)) != 0 {
		t.Errorf("a service without the purposes sees %v", page)
	}
}

// What was sealed stands nowhere: not in the database's files, not in the access
// log; nor do the subjects.
func TestNoDataInStoreOrAccessLog(t *testing.T) {
	w := newWorld(t)
	const subject = "canary-subject-77"
	sealed := w.sealOne(subject, "email", dataCanary)
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/open", openBody(subject, "publish", "email", sealed))
	at := "/gatehouse/v1/records/publish/email?subject=" + subject
	w.ok(http.StatusCreated, "PUT", at, `{"value":"`+dataCanary+`"}`)
	w.ok(http.StatusOK, "GET", at, "")
	w.send(w.request("POST", "/gatehouse/v1/open", openBody(subject, "publish", "email", "gth_sealed_1_"+dataCanary)), false)
	w.send(w.request("POST", "/gatehouse/v1/seal", `{"`+dataCanary+`":1}`), false)
	if err := w.Log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(strings.TrimPrefix(w.DSN, "sqlite:") + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the store: %v, %v", files, err)
	}
	places := map[string][]byte{"the access log": w.log.Bytes()}
	for _, file := range files {
		if places[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	for where, content := range places {
		for _, needle := range []string{dataCanary, b64(dataCanary)[:40], subject} {
			if bytes.Contains(content, []byte(needle)) {
				t.Errorf("%s holds %s", where, needle)
			}
		}
	}
	if !bytes.Contains(places["the access log"], []byte("/gatehouse/v1/records/{purpose}/{label}")) {
		t.Error("the access log lacks the pattern: this test looks in the wrong place")
	}
}

var (
	curlBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	curlCall  = regexp.MustCompile(`(?s)-X (\w+) "\$GATEHOUSE(/[^"]*)"(?: -d '(.*?)')?$`)
)

// The examples of docs/sealing.md are what this API accepts, in the order in which
// they stand there: $SEALED is what the one before gave.
func TestTheExamplesOfTheDocumentWork(t *testing.T) {
	text, err := os.ReadFile("../../docs/sealing.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.keeps["support"] = 720 * time.Hour
	w.services["scheduler"] = append(w.services["scheduler"], gatehouse.PurposeName("support"))
	n, sealed := 0, ""
	for _, block := range curlBlock.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(block[1], "curl ") {
			continue
		}
		call := curlCall.FindStringSubmatch(strings.TrimSpace(strings.ReplaceAll(block[1], "\\\n", "")))
		if call == nil {
			t.Errorf("this example has another form than the others:\n%s", block[1])
			continue
		}
		n++
		status, reply := w.send(w.request(call[1], call[2], strings.ReplaceAll(call[3], `'"$SEALED"'`, sealed)), true)
		if status/100 != 2 {
			t.Errorf("%d %v for\n%s", status, reply, block[1])
		}
		if s, ok := reply["sealed"].(string); ok {
			sealed = s
		}
	}
	if n < 7 {
		t.Errorf("the document has %d examples that this test finds", n)
	}
}
