package scim

import (
	"context"
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
	directory := s.config.Directory
	return listing[operator.Provisioned]{
		schema: schemaUser,
		part:   directory.AllProvisioned,
		by: func(attribute, value string) (operator.Provisioned, error) {
			switch attribute {
			case "id":
				return directory.Provisioned(c.ctx, operator.AccountID(value))
			case "username":
				return directory.ProvisionedBy(c.ctx, operator.ByUserName, value)
			case "externalid":
				return directory.ProvisionedBy(c.ctx, operator.ByExternalID, value)
			case "emails.value", "emails":
				return directory.ProvisionedBy(c.ctx, operator.ByAddress, value)
			}
			return operator.Provisioned{}, errFilter
		},
		resource: func(u operator.Provisioned) any { return s.user(u) },
	}.answer(c)
}

// listing answers what asks for resources of a kind: a part of all, or, by a filter, one or
// none.
type listing[T any] struct {
	schema string
	part   func(ctx context.Context, skip, most int) (list []T, total int, err error)
	// by finds one by an attribute in lower case, or is ErrNotFound.
	by       func(attribute, value string) (T, error)
	resource func(T) any
}

func (l listing[T]) answer(c call) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	p, err := readPage(q)
	if err != nil {
		return err
	}
	found, total, err := l.find(c, p, q.Get("filter"))
	if err != nil {
		return err
	}
	show, out := projected(q), []any{}
	for _, v := range found {
		out = append(out, show(l.resource(v)))
	}
	return reply(c.w, http.StatusOK, reported(p, total, out))
}

func (l listing[T]) find(c call, p page, filter string) ([]T, int, error) {
	if filter == "" {
		return l.part(c.ctx, p.start-1, p.count)
	}
	e, err := parseFilter(filter, l.schema)
	if err != nil {
		return nil, 0, err
	}
	v, err := l.by(e.attribute, e.value)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case p.start > 1 || p.count == 0:
		return nil, 1, nil
	}
	return []T{v}, 1, nil
}

func (s *Server) addUser(c call) error {
	want, err := sent(c, readUser)
	if err != nil {
		return err
	}
	u, err := s.config.Directory.Provision(c.ctx, c.by, want.Profile, want.Active == nil || *want.Active)
	if err != nil {
		return err
	}
	out := s.user(u)
	return created(c, out.Meta, out)
}

func (s *Server) getUser(c call) error {
	return shown(c, func() (any, error) {
		u, err := s.config.Directory.Provisioned(c.ctx, c.account())
		return s.user(u), err
	})
}

// sent reads what the body of a request holds.
func sent[T any](c call, read func(object) (T, error)) (T, error) {
	body, err := c.body()
	if err != nil {
		var none T
		return none, err
	}
	return read(body)
}

// created answers with a resource that is new.
func created(c call, m meta, resource any) error {
	c.w.Header().Set("Location", m.Location)
	return reply(c.w, http.StatusCreated, resource)
}

// shown answers with what is asked for of one resource.
func shown(c call, find func() (any, error)) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	resource, err := find()
	if err != nil {
		return err
	}
	return reply(c.w, http.StatusOK, projected(q)(resource))
}

func (c call) account() operator.AccountID { return operator.AccountID(c.r.PathValue("id")) }

// putUser makes a user what the body says. One that says nothing about whether they are
// active says nothing about it here either: nobody gets in by what was left out.
func (s *Server) putUser(c call) error {
	want, err := sent(c, readUser)
	if err != nil {
		return err
	}
	return s.change(c, func(operator.Provisioned) (operator.Desired, error) { return want, nil })
}

func (s *Server) patchUser(c call) error {
	ops, err := sent(c, readOperations)
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
