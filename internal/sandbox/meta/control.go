package meta

import (
	"cmp"
	"encoding/json"
	"html/template"
	"net/http"
	"path"
	"time"

	"gatehouse/internal/sandbox/world"
)

// Control is the part of the sandbox's control API that only Meta has. It is
// also served by the platform itself, below /_sandbox/:
//
//	POST remove_app   {"person", "product", "delete_data"}   a person removes the app
//	GET  removals                                             what came of removals
//	POST sessions     {"person", "subcode"}                   password change (460), checkpoint (459), lost role (492) …
//	POST throttle     {"code", "subcode", "times", "path"}    rate-limit answers for later calls; DELETE clears
//	POST callbacks    {"product", "deauthorize_url", "data_deletion_url"}
//	POST require_proof {"on"}                                 the "Require App Secret" switch
//	POST mint         {"product", "person", "scopes"} or {"system_user": true, "scopes", "expires_in"}
//	POST data_access  {"person", "product", "expires_in"}     seconds until the app's access to the data ends; may be negative
//	POST permission   {"person", "product", "permission", "granted"}  the person grants one or takes it back
//	POST lead         {"person", "field_data"}                somebody fills in the first page's form
//	POST comment      {"post", "person", "message"}           somebody comments on a page's post
func (p *Platform) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /_sandbox/remove_app", p.controlRemove)
	mux.HandleFunc("GET /_sandbox/removals", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		list := append([]Removal{}, p.removals...)
		p.mu.Unlock()
		writeControl(w, http.StatusOK, list)
	})
	mux.HandleFunc("POST /_sandbox/sessions", p.controlSessions)
	mux.HandleFunc("POST /_sandbox/throttle", p.controlThrottle)
	mux.HandleFunc("DELETE /_sandbox/throttle", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.throttles = nil
		p.mu.Unlock()
		writeControl(w, http.StatusOK, object{{"cleared", true}})
	})
	mux.HandleFunc("POST /_sandbox/callbacks", p.controlCallbacks)
	mux.HandleFunc("POST /_sandbox/require_proof", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			On bool `json:"on"`
		}
		if readControl(w, r, &in) {
			p.SetRequireProof(in.On)
			writeControl(w, http.StatusOK, object{{"require_proof", in.On}})
		}
	})
	mux.HandleFunc("POST /_sandbox/mint", p.controlMint)
	mux.HandleFunc("POST /_sandbox/data_access", p.controlDataAccess)
	mux.HandleFunc("POST /_sandbox/permission", p.controlPermission)
	mux.HandleFunc("POST /_sandbox/lead", p.controlLead)
	mux.HandleFunc("POST /_sandbox/comment", p.controlComment)
	return mux
}

func readControl(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		writeControl(w, http.StatusBadRequest, object{{"error", "the body is not the JSON that was expected: " + err.Error()}})
		return false
	}
	return true
}

func writeControl(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A test that left is no concern of ours.
	_ = json.NewEncoder(w).Encode(v)
}

func (p *Platform) controlRemove(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Person     string `json:"person"`
		Product    string `json:"product"`
		DeleteData bool   `json:"delete_data"`
	}
	if !readControl(w, r, &in) {
		return
	}
	if in.Product == "" {
		in.Product = string(facebook)
	}
	removal, ok := p.RemoveApp(r.Context(), in.Product, in.Person, in.DeleteData)
	if !ok {
		writeControl(w, http.StatusNotFound, object{{"error", "this person has not connected this app"}})
		return
	}
	writeControl(w, http.StatusOK, removal)
}

func (p *Platform) controlSessions(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Person  string `json:"person"`
		Subcode int    `json:"subcode"`
	}
	if !readControl(w, r, &in) {
		return
	}
	if in.Subcode == 0 {
		in.Subcode = 460
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	person, ok := p.names[in.Person]
	if !ok {
		writeControl(w, http.StatusNotFound, object{{"error", "there is nobody of that user name"}})
		return
	}
	writeControl(w, http.StatusOK, object{{"tokens", p.invalidateSessions(person, in.Subcode)}})
}

func (p *Platform) controlThrottle(w http.ResponseWriter, r *http.Request) {
	var in throttle
	if !readControl(w, r, &in) {
		return
	}
	if _, err := path.Match(in.Path, ""); err != nil || in.Code <= 0 {
		writeControl(w, http.StatusBadRequest, object{{"error", "a throttle needs a code and a valid path pattern"}})
		return
	}
	if in.Times == 0 {
		in.Times = 1
	}
	p.mu.Lock()
	p.throttles = append(p.throttles, in)
	p.mu.Unlock()
	writeControl(w, http.StatusCreated, in)
}

func (p *Platform) controlCallbacks(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Product     string `json:"product"`
		Deauthorize string `json:"deauthorize_url"`
		Deletion    string `json:"data_deletion_url"`
	}
	if !readControl(w, r, &in) {
		return
	}
	if !p.SetCallbacks(in.Product, in.Deauthorize, in.Deletion) {
		writeControl(w, http.StatusNotFound, object{{"error", "there is no such product"}})
		return
	}
	writeControl(w, http.StatusOK, in)
}

// SetCallbacks configures a product's deauthorize and data-deletion callbacks;
// empty ones are not sent. It reports whether there is such a product.
func (p *Platform) SetCallbacks(productName, deauthorizeURL, dataDeletionURL string) bool {
	a := p.appOf(productOf(productName))
	if a == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a.deauthorize, a.deletion = deauthorizeURL, dataDeletionURL
	return true
}

func (p *Platform) controlMint(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Product    string   `json:"product"`
		Person     string   `json:"person"`
		Scopes     []string `json:"scopes"`
		SystemUser bool     `json:"system_user"`
		ExpiresIn  int      `json:"expires_in"`
	}
	if !readControl(w, r, &in) {
		return
	}
	if in.SystemUser {
		writeControl(w, http.StatusOK, object{{"access_token", p.MintSystemUserFor(time.Duration(in.ExpiresIn)*time.Second, in.Scopes...)}})
		return
	}
	if in.Product == "" {
		in.Product = string(facebook)
	}
	value, err := p.MintUserToken(in.Product, in.Person, in.Scopes...)
	if err != nil {
		writeControl(w, http.StatusNotFound, object{{"error", err.Error()}})
		return
	}
	writeControl(w, http.StatusOK, object{{"access_token", value}})
}

func (p *Platform) controlDataAccess(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Person    string `json:"person"`
		Product   string `json:"product"`
		ExpiresIn int    `json:"expires_in"`
	}
	if !readControl(w, r, &in) {
		return
	}
	until := p.now().Add(time.Duration(in.ExpiresIn) * time.Second)
	if !p.SetDataAccess(cmp.Or(in.Product, string(facebook)), in.Person, until) {
		writeControl(w, http.StatusNotFound, object{{"error", "this person has not connected this app"}})
		return
	}
	writeControl(w, http.StatusOK, object{{"data_access_expires_at", until.Unix()}})
}

func (p *Platform) controlPermission(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Person     string `json:"person"`
		Product    string `json:"product"`
		Permission string `json:"permission"`
		Granted    bool   `json:"granted"`
	}
	if !readControl(w, r, &in) {
		return
	}
	if !p.SetPermission(cmp.Or(in.Product, string(facebook)), in.Person, in.Permission, in.Granted) {
		writeControl(w, http.StatusNotFound, object{{"error", "this person was never asked for this permission by this app"}})
		return
	}
	writeControl(w, http.StatusOK, in)
}

func (p *Platform) controlLead(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Person    string `json:"person"`
		FieldData []any  `json:"field_data"`
	}
	if !readControl(w, r, &in) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	person, ok := p.names[in.Person]
	if !ok {
		writeControl(w, http.StatusNotFound, object{{"error", "there is nobody of that user name"}})
		return
	}
	page := p.nodes[pageID(person, 0)]
	form := page.lists["leadgen_forms"][0]
	lead := p.newLead(form, p.now(), p.people[person].Name, p.people[person].Email)
	if len(in.FieldData) > 0 {
		lead.props["field_data"] = in.FieldData
	}
	form.push("leads", lead)
	p.pageChanged(r.Context(), page, "leadgen", object{{"leadgen_id", lead.id}, {"form_id", form.id}, {"page_id", page.id}, {"created_time", lead.created.Unix()}})
	writeControl(w, http.StatusOK, object{{"id", lead.id}, {"form_id", form.id}})
}

func (p *Platform) controlComment(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Post    string `json:"post"`
		Person  string `json:"person"`
		Message string `json:"message"`
	}
	if !readControl(w, r, &in) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	person, ok := p.names[in.Person]
	post := p.nodes[in.Post]
	if !ok || post == nil || post.kind.name != "Post" && post.kind.name != "Photo" {
		writeControl(w, http.StatusNotFound, object{{"error", "there is no such person or post"}})
		return
	}
	from := p.profile(person)
	comment := p.seedComment(post, from, in.Message, p.now())
	p.pageChanged(r.Context(), post.root(), "feed", object{
		{"from", object{{"id", from.id}, {"name", from.props["name"]}}}, {"item", "comment"}, {"verb", "add"}, {"post_id", post.id},
		{"comment_id", comment.id}, {"message", in.Message}, {"created_time", p.now().Unix()},
	})
	writeControl(w, http.StatusOK, object{{"id", comment.id}})
}

var settingsPage = template.Must(template.New("settings").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Apps and websites (Facebook sandbox)</title></head>
<body><main>
<h1>Apps and websites</h1>
{{with .Notice}}<p role="status">{{.}}</p>{{end}}
<form method="get" action="?"><label for="person">Whose settings?</label>
<input type="text" id="person" name="person" value="{{.Person}}" list="people" autocomplete="off">
<datalist id="people">{{range .People}}<option value="{{.Username}}">{{.Name}}</option>{{end}}</datalist>
<button type="submit">Show</button></form>
{{range .Apps}}<section><h2>{{.Name}}</h2><p>Since {{.Since}}. May: {{.Scopes}}</p>
<form method="post" action="?"><input type="hidden" name="person" value="{{$.Person}}"><input type="hidden" name="product" value="{{.Product}}">
<label><input type="checkbox" name="delete_data" value="true"> Ask the app to delete what it holds about me</label>
<button type="submit">Remove</button></form></section>
{{else}}{{if .Person}}<p>No apps are connected.</p>{{end}}{{end}}
</main></body></html>
`))

type connectedApp struct{ Name, Product, Since, Scopes string }

// settings is the page on which a person sees and removes apps.
func (p *Platform) settings(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		dialogError(w, "Invalid Request", "The form cannot be read.")
		return
	}
	view := struct {
		Person, Notice string
		People         []world.Person
		Apps           []connectedApp
	}{Person: r.Form.Get("person"), People: p.people[:40]}
	if r.Method == http.MethodPost {
		removal, ok := p.RemoveApp(r.Context(), r.Form.Get("product"), view.Person, r.Form.Get("delete_data") == "true")
		view.Notice = "The app was removed."
		switch {
		case !ok:
			view.Notice = "This app was not connected."
		case removal.Code != "":
			view.Notice += " It answered with the confirmation code " + removal.Code + "; see " + removal.URL
		}
	}
	p.mu.Lock()
	if person, ok := p.names[view.Person]; ok {
		for _, product := range []product{facebook, instagram, threads} {
			a := p.appOf(product)
			if g := p.grants[grantKey{a.AppID, person}]; g != nil {
				t := token{grant: g}
				view.Apps = append(view.Apps, connectedApp{a.Name, string(product), g.since.Format("2 January 2006"), jsonText(t.permissions())})
			}
		}
	}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// A browser that left is no concern of ours.
	_ = settingsPage.Execute(w, view)
}
