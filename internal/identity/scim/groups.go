package scim

import (
	"encoding/json"
	"net/http"
	"slices"

	"gatehouse/internal/identity/operator"

	filter "github.com/scim2/filter-parser/v2"
)

func groupRoutes() []Route {
	return []Route{
		{http.MethodGet, "/Groups", (*Server).listGroups},
		{http.MethodPost, "/Groups", (*Server).addGroup},
		{http.MethodGet, "/Groups/{id}", (*Server).getGroup},
		{http.MethodPut, "/Groups/{id}", (*Server).putGroup},
		{http.MethodPatch, "/Groups/{id}", (*Server).patchGroup},
		{http.MethodDelete, "/Groups/{id}", (*Server).deleteGroup},
	}
}

// group is what a provider gets of a group. Who is in it stands only in the answer about
// one group.
type group struct {
	Schemas     []string `json:"schemas"`
	ID          string   `json:"id"`
	ExternalID  string   `json:"externalId,omitempty"`
	DisplayName string   `json:"displayName"`
	Members     []member `json:"members,omitempty"`
	Meta        meta     `json:"meta"`
}

type member struct {
	Value string `json:"value"`
	Ref   string `json:"$ref"`
	Type  string `json:"type"`
}

func (s *Server) group(g operator.Group) group {
	out := group{
		Schemas: []string{schemaGroup}, ID: string(g.ID), ExternalID: g.ExternalID, DisplayName: g.Name,
		Meta: meta{"Group", stamp(g.Created), stamp(g.Changed), s.location("Groups", string(g.ID))},
	}
	for _, m := range g.Members {
		out.Members = append(out.Members, member{string(m.Account), s.location("Users", string(m.Account)), "User"})
	}
	return out
}

func asFields(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	return fields, json.Unmarshal(raw, &fields)
}

func (s *Server) listGroups(c call) error {
	directory := s.config.Directory
	return listing[operator.Group]{
		schema: schemaGroup,
		part:   directory.Groups,
		by: func(attribute, value string) (operator.Group, error) {
			switch attribute {
			case "id":
				g, err := directory.Group(c.ctx, operator.GroupID(value))
				g.Members = nil
				return g, err
			case "displayname":
				return directory.GroupBy(c.ctx, false, value)
			case "externalid":
				return directory.GroupBy(c.ctx, true, value)
			}
			return operator.Group{}, errFilter
		},
		resource: func(g operator.Group) any { return s.group(g) },
	}.answer(c)
}

func (c call) group() operator.GroupID { return operator.GroupID(c.r.PathValue("id")) }

func (s *Server) getGroup(c call) error {
	return shown(c, func() (any, error) {
		g, err := s.config.Directory.Group(c.ctx, c.group())
		return s.group(g), err
	})
}

// roster is a group as a provider wants it, while its body or operations are read.
type roster struct {
	group   operator.Group
	members map[operator.AccountID]bool
}

func rosterOf(g operator.Group) *roster {
	r := &roster{g, map[operator.AccountID]bool{}}
	for _, m := range g.Members {
		r.members[m.Account] = true
	}
	return r
}

func (r *roster) done() (operator.Group, []operator.AccountID, error) {
	var ids []operator.AccountID
	for id, in := range r.members {
		if in {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return r.group, ids, nil
}

// set gives an attribute a value, as draft.set does.
func (r *roster) set(attribute string, add, named bool, value any) error {
	var to *string
	switch attribute {
	case "displayname":
		to = &r.group.Name
	case "externalid":
		to = &r.group.ExternalID
	case "members":
		if !add {
			clear(r.members)
		}
		return r.mark(value, true)
	case "id", "meta", "schemas":
		if named {
			return errReadOnly
		}
		return nil
	default:
		if named {
			return errPath
		}
		return nil
	}
	s, err := text(value, attribute)
	if err == nil {
		*to = s
	}
	return err
}

func (r *roster) mark(value any, in bool) error {
	ids, err := values(value, "members")
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.members[operator.AccountID(id)] = in
	}
	if len(r.members) > maxMarked {
		return errMany
	}
	return nil
}

// maxMarked is how many members one request speaks of, at most.
const maxMarked = 5000

func readGroup(body object) (*roster, error) {
	r := rosterOf(operator.Group{})
	for _, name := range sortedNames(body) {
		if err := r.set(name, false, false, body[name]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// apply applies an operation. Members are removed by a filter in the path (RFC 7644), or
// by a value beside it, as Entra does.
func (r *roster) apply(op operation) error {
	if op.path == "" {
		o, ok := op.value.(object)
		if !ok {
			return invalidValue("Without a path, the value must be an object.")
		}
		for _, name := range sortedNames(o) {
			if err := r.set(name, op.add, false, o[name]); err != nil {
				return err
			}
		}
		return nil
	}
	t, err := parsePath(op.path, schemaGroup)
	if err != nil || t.foreign {
		return err
	}
	switch {
	case t.where != nil:
		e, ok := t.where.(*filter.AttributeExpression)
		if !ok || t.attribute != "members" || !op.remove || e.Operator != filter.EQ || dotted(e.AttributePath) != "value" {
			return errPath
		}
		id, ok := compared(e)
		if !ok {
			return errPath
		}
		r.members[operator.AccountID(id)] = false
		return nil
	case op.remove && t.attribute == "members":
		if !op.hasValue || op.value == nil {
			clear(r.members)
			return nil
		}
		return r.mark(op.value, false)
	case op.remove && t.attribute == "externalid":
		r.group.ExternalID = ""
		return nil
	case op.remove:
		return errPath
	}
	return r.set(t.attribute, op.add, true, op.value)
}

func (s *Server) addGroup(c call) error {
	want, err := sent(c, readGroup)
	if err != nil {
		return err
	}
	g, members, _ := want.done()
	g, err = s.config.Directory.AddGroup(c.ctx, c.by, g.Name, g.ExternalID, members)
	if err != nil {
		return err
	}
	out := s.group(g)
	return created(c, out.Meta, out)
}

func (s *Server) putGroup(c call) error {
	want, err := sent(c, readGroup)
	if err != nil {
		return err
	}
	return s.changeGroup(c, func(g operator.Group) (operator.Group, []operator.AccountID, error) {
		next, members, _ := want.done()
		g.Name, g.ExternalID = next.Name, next.ExternalID
		return g, members, nil
	})
}

func (s *Server) patchGroup(c call) error {
	ops, err := sent(c, readOperations)
	if err != nil {
		return err
	}
	return s.changeGroup(c, func(g operator.Group) (operator.Group, []operator.AccountID, error) {
		r := rosterOf(g)
		for _, op := range ops {
			if err := r.apply(op); err != nil {
				return operator.Group{}, nil, err
			}
		}
		return r.done()
	})
}

// changeGroup changes a group and answers with it.
func (s *Server) changeGroup(c call, to func(operator.Group) (operator.Group, []operator.AccountID, error)) error {
	g, err := s.config.Directory.ChangeGroup(c.ctx, c.by, c.group(), to)
	if err != nil {
		return err
	}
	return reply(c.w, http.StatusOK, s.group(g))
}

func (s *Server) deleteGroup(c call) error {
	if err := s.config.Directory.RemoveGroup(c.ctx, c.by, c.group()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
