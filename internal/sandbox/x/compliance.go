package x

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// complianceJob is one batch compliance job.
type complianceJob struct {
	id, kind, name string
	resumable      bool
	created        time.Time
	base           string // where its URLs point
	key            string // the secret in its URLs
	uploaded       []string
	status         string // created, in_progress, complete, failed or expired
}

var complianceOperations = []operation{
	{id: "createComplianceJobs", route: "POST /2/compliance/jobs", auth: appOnly, appLimit: "150/15m", query: []string{"compliance_job.fields"}, handle: (*Platform).createJob},
	{id: "getComplianceJobs", route: "GET /2/compliance/jobs", auth: appOnly, appLimit: "150/15m", query: []string{"type", "status", "compliance_job.fields"}, handle: (*Platform).listJobs},
	{id: "getComplianceJobsById", route: "GET /2/compliance/jobs/{id}", auth: appOnly, appLimit: "150/15m", query: []string{"compliance_job.fields"}, handle: (*Platform).jobByID},
}

const (
	uploadTTL   = 15 * time.Minute
	downloadTTL = 7 * 24 * time.Hour
)

// baseURL is the URL under which a request reached the platform.
func baseURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func (p *Platform) createJob(c *call) (any, error) {
	var body struct {
		Type      string `json:"type"`
		Name      string `json:"name"`
		Resumable bool   `json:"resumable"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Type != "tweets" && body.Type != "users" {
		return nil, invalidRequest("", "", "$.type: does not have a value in the enumeration [tweets, users]")
	}
	if len([]rune(body.Name)) > 64 {
		return nil, invalidRequest("", "", "$.name: must be at most 64 characters long")
	}
	j := &complianceJob{
		id: p.state.nextID(p.now()), kind: body.Type, name: body.Name, resumable: body.Resumable,
		created: p.now(), base: baseURL(c.r), key: alphanumeric(43), status: "created",
	}
	p.jobs[j.id] = j
	p.config.Ledger.Add("x compliance url key", j.key)
	return reply(p.renderJob(j), nil, nil, nil), nil
}

func (p *Platform) renderJob(j *complianceJob) map[string]any {
	link := func(what string) string {
		return fmt.Sprintf("%s/compliance/%s/%s?signature=%s", j.base, j.id, what, j.key)
	}
	if j.status == "created" && p.now().After(j.created.Add(uploadTTL)) {
		j.status = "expired"
	}
	out := map[string]any{
		"id": j.id, "type": j.kind, "status": j.status, "resumable": j.resumable, "created_at": timestamp(j.created),
		"upload_url": link("upload"), "upload_expires_at": timestamp(j.created.Add(uploadTTL)),
		"download_url": link("download"), "download_expires_at": timestamp(j.created.Add(downloadTTL)),
	}
	if j.name != "" {
		out["name"] = j.name
	}
	return out
}

func (p *Platform) listJobs(c *call) (any, error) {
	kind := c.query.Get("type")
	if kind != "tweets" && kind != "users" {
		return nil, invalidRequest("type", kind, "The `type` query parameter value ["+kind+"] is not one of [tweets,users]")
	}
	statuses, err := c.list("status", []string{"created", "in_progress", "failed", "complete", "expired"})
	if err != nil {
		return nil, err
	}
	var data []any
	for _, j := range p.sortedJobs() {
		rendered := p.renderJob(j)
		if j.kind == kind && (len(statuses) == 0 || slices.Contains(statuses, j.status)) {
			data = append(data, rendered)
		}
	}
	meta := map[string]any{"result_count": len(data)}
	if data == nil {
		return reply(nil, nil, nil, meta), nil
	}
	return reply(data, nil, nil, meta), nil
}

func (p *Platform) sortedJobs() []*complianceJob {
	var all []*complianceJob
	for _, j := range p.jobs {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b *complianceJob) int {
		if olderID(a.id, b.id) {
			return -1
		}
		return 1
	})
	return all
}

// jobByID shows a job. After the upload the first look finds it in progress, so
// that a client must poll.
func (p *Platform) jobByID(c *call) (any, error) {
	id := c.path["id"]
	if !validID(id) {
		return nil, badPathID("id", id)
	}
	j := p.jobs[id]
	if j == nil {
		return nil, missing("compliance_job", "id", id)
	}
	rendered := p.renderJob(j)
	if j.status == "in_progress" {
		j.status = "complete"
	}
	return reply(rendered, nil, nil, nil), nil
}

// Redact makes compliance jobs report a post: "deleted" and "bounced" also remove
// it, "scrub_geo" leaves it. It reports whether it knew both.
func (p *Platform) Redact(post, reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.state.posts[post]
	if known == nil {
		return false
	}
	switch reason {
	case "deleted", "bounced":
		p.state.remove(known, p.now())
	case "scrub_geo":
	default:
		return false
	}
	p.state.deleted[post] = deletion{p.now(), reason}
	return true
}

// serveComplianceStorage serves the upload and download URLs of jobs. They carry
// their own proof; a platform credential beside it is refused, because it would
// have been sent to a storage host.
func (p *Platform) serveComplianceStorage(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		send(w, http.StatusBadRequest, "text/plain; charset=utf-8", []byte("signed URLs take no Authorization header\n"))
		return
	}
	body, err := readBody(r)
	if err != nil {
		sendError(w, err)
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/compliance/"), "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[parts[0]]
	if j == nil || len(parts) != 2 || !same(r.URL.Query().Get("signature"), j.key) {
		send(w, http.StatusForbidden, "text/plain; charset=utf-8", []byte("the signature does not match\n"))
		return
	}
	switch {
	case parts[1] == "upload" && r.Method == http.MethodPut:
		p.takeUpload(w, r, j, body)
	case parts[1] == "download" && r.Method == http.MethodGet:
		if j.status != "complete" || p.now().After(j.created.Add(downloadTTL)) {
			send(w, http.StatusNotFound, "text/plain; charset=utf-8", []byte("there is no such result\n"))
			return
		}
		send(w, http.StatusOK, "text/plain; charset=utf-8", p.complianceResult(j))
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// takeUpload reads the identifiers, one on each line.
func (p *Platform) takeUpload(w http.ResponseWriter, r *http.Request, j *complianceJob, body []byte) {
	if j.status != "created" || p.now().After(j.created.Add(uploadTTL)) {
		send(w, http.StatusForbidden, "text/plain; charset=utf-8", []byte("the upload is over\n"))
		return
	}
	// X's storage wants exactly this type; a wrong one breaks the URL's signature.
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		send(w, http.StatusForbidden, "text/plain; charset=utf-8", []byte("Content-Type must be text/plain\n"))
		return
	}
	j.status = "in_progress"
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		id := strings.TrimSpace(lines.Text())
		if id == "" {
			continue
		}
		if !validID(id) {
			j.status = "failed"
			break
		}
		j.uploaded = append(j.uploaded, id)
	}
	w.WriteHeader(http.StatusOK)
}

// complianceResult is one JSON object for each identifier that must go.
func (p *Platform) complianceResult(j *complianceJob) []byte {
	var out bytes.Buffer
	line := func(id, reason string, created, redacted time.Time) {
		out.Write(encode(map[string]any{
			"id": id, "action": "delete", "reason": reason, "created_at": timestamp(created), "redacted_at": timestamp(redacted),
		}))
		out.WriteByte('\n')
	}
	for _, id := range j.uploaded {
		if j.kind == "users" {
			if u := p.state.users[id]; u != nil && u.gone() {
				line(id, u.standing, u.person.Joined, p.now())
			} else if u != nil && u.protected {
				line(id, "protected", u.person.Joined, p.now())
			}
			continue
		}
		if gone, deleted := p.state.deleted[id]; deleted {
			line(id, gone.reason, gone.at, gone.at)
		} else if t := p.state.posts[id]; t != nil && t.author.gone() {
			reason := map[string]string{"suspended": "suspended"}[t.author.standing]
			if reason == "" {
				reason = "deleted"
			}
			line(id, reason, t.created, p.now())
		} else if t != nil && t.author.protected {
			line(id, "protected", t.created, p.now())
		}
	}
	return out.Bytes()
}
