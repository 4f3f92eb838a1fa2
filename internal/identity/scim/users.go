package scim

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

func userRoutes() []Route {
	return []Route{
		{http.MethodGet, "/Users", (*Server).listUsers},
		{http.MethodPost, "/Users", (*Server).addUser},
		{http.MethodGet, "/Users/{id}", (*Server).getUser},
		{http.MethodPut, "/Users/{id}", (*Server).putUser},
		{http.MethodPatch, "/Users/{id}", (*Server).patchUser},
		{http.MethodDelete, "/Users/{id}", (*Server).deleteUser},
	}
}

// list is a page of resources (RFC 7644, 3.4.2).
type list struct {
	Schemas      []string `json:"schemas"`
	TotalResults int      `json:"totalResults"`
	StartIndex   int      `json:"startIndex"`
	ItemsPerPage int      `json:"itemsPerPage"`
	Resources    []any    `json:"Resources"`
}

// maxCount is how many resources a page has at most.
const maxCount = 100

// page is what of a list is asked for.
type page struct{ start, count int }

func readPage(q url.Values) (page, error) {
	p := page{1, maxCount}
	for name, to := range map[string]*int{"startIndex": &p.start, "count": &p.count} {
		s := q.Get(name)
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n > 1<<30 || n < -1<<30 {
			return page{}, invalidValue(name + " must be a number.")
		}
		*to = n
	}
	p.start, p.count = max(p.start, 1), min(max(p.count, 0), maxCount)
	return p, nil
}

func reported(p page, total int, resources []any) list {
	if resources == nil {
		resources = []any{}
	}
	return list{[]string{schemaList}, total, p.start, len(resources), resources}
}

// query is the query of an address, refused if it cannot be read in one way only.
func (c call) query() (url.Values, error) {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, errFilter
	}
	for _, v := range q {
		if len(v) > 1 {
			return nil, invalidValue("A parameter of the address stands there twice.")
		}
	}
	return q, nil
}

func (s *Server) listUsers(c call) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	p, err := readPage(q)
	if err != nil {
		return err
	}
	shown := projected(q)
	if q.Get("filter") == "" {
		users, total, err := s.config.Directory.AllProvisioned(c.ctx, p.start-1, p.count)
		if err != nil {
			return err
		}
		var out []any
		for _, u := range users {
			out = append(out, shown(s.user(u)))
		}
		return reply(c.w, http.StatusOK, reported(p, total, out))
	}
	e, err := parseFilter(q.Get("filter"), schemaUser)
	if err != nil {
		return err
	}
	var u operator.Provisioned
	switch e.attribute {
	case "id":
		u, err = s.config.Directory.Provisioned(c.ctx, operator.AccountID(e.value))
	case "username":
		u, err = s.config.Directory.ProvisionedBy(c.ctx, operator.ByUserName, e.value)
	case "externalid":
		u, err = s.config.Directory.ProvisionedBy(c.ctx, operator.ByExternalID, e.value)
	case "emails.value", "emails":
		u, err = s.config.Directory.ProvisionedBy(c.ctx, operator.ByAddress, e.value)
	default:
		return errFilter
	}
	return one(c, p, err, func() any { return shown(s.user(u)) })
}

// one answers a search that finds one resource or none.
func one(c call, p page, err error, resource func() any) error {
	if errors.Is(err, gatehouse.ErrNotFound) {
		return reply(c.w, http.StatusOK, reported(p, 0, nil))
	}
	if err != nil {
		return err
	}
	if p.start > 1 || p.count == 0 {
		return reply(c.w, http.StatusOK, reported(p, 1, nil))
	}
	return reply(c.w, http.StatusOK, reported(p, 1, []any{resource()}))
}

func (s *Server) addUser(c call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	want, err := readUser(body)
	if err != nil {
		return err
	}
	u, err := s.config.Directory.Provision(c.ctx, c.by, want.Profile, want.Active == nil || *want.Active)
	if err != nil {
		return err
	}
	out := s.user(u)
	c.w.Header().Set("Location", out.Meta.Location)
	return reply(c.w, http.StatusCreated, out)
}

func (s *Server) getUser(c call) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	u, err := s.config.Directory.Provisioned(c.ctx, c.account())
	if err != nil {
		return err
	}
	return reply(c.w, http.StatusOK, projected(q)(s.user(u)))
}

func (c call) account() operator.AccountID { return operator.AccountID(c.r.PathValue("id")) }

// putUser makes a user what the body says. One that says nothing about whether they are
// active says nothing about it here either: nobody gets in by what was left out.
func (s *Server) putUser(c call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	want, err := readUser(body)
	if err != nil {
		return err
	}
	return s.change(c, func(operator.Provisioned) (operator.Desired, error) { return want, nil })
}

func (s *Server) patchUser(c call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	ops, err := readOperations(body)
	if err != nil {
		return err
	}
	return s.change(c, func(u operator.Provisioned) (operator.Desired, error) { return patchUser(u, ops) })
}

func (s *Server) change(c call, to func(operator.Provisioned) (operator.Desired, error)) error {
	u, err := s.config.Directory.Reprovision(c.ctx, c.by, c.account(), to)
	if err != nil {
		return err
	}
	return reply(c.w, http.StatusOK, s.user(u))
}

func (s *Server) deleteUser(c call) error {
	if err := s.config.Directory.Deprovision(c.ctx, c.by, c.account()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// projected returns what shows of a resource what was asked for: the attributes named, or
// all but those. What identifies it is always there.
func projected(q url.Values) func(any) any {
	only, not := attributeNames(q.Get("attributes")), attributeNames(q.Get("excludedAttributes"))
	if len(only) == 0 && len(not) == 0 {
		return func(v any) any { return v }
	}
	return func(v any) any {
		fields, err := asFields(v)
		if err != nil {
			return v
		}
		for name := range fields {
			lower := strings.ToLower(name)
			if lower == "id" || lower == "schemas" {
				continue
			}
			if len(only) > 0 && !slices.Contains(only, lower) || slices.Contains(not, lower) {
				delete(fields, name)
			}
		}
		return fields
	}
}

// maxAttributes bounds the list of attributes that are asked for, in bytes.
const maxAttributes = 1000

// attributeNames are the attributes of a list, without their sub-attributes: more than
// was asked for may be shown.
func attributeNames(s string) []string {
	if len(s) > maxAttributes {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		for _, schema := range []string{schemaUser, schemaGroup} {
			name = strings.TrimPrefix(name, strings.ToLower(schema)+":")
		}
		name, _, _ = strings.Cut(name, ".")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// errMany is for what names too many.
var errMany = wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-value", "This names too many members at once.")
