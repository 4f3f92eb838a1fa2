package meta

import "encoding/json"

func leadFormKind() *kind {
	return &kind{
		defaults: []string{"id", "locale", "name", "status"},
		fields: with(props("name", "status", "locale", "questions"), map[string]fieldFunc{
			"created_time":        createdTime,
			"leads_count":         func(_ *call, n *node) any { return len(n.lists["leads"]) },
			"organic_leads_count": func(_ *call, n *node) any { return len(n.lists["leads"]) },
			"page":                func(_ *call, n *node) any { return n.root() },
			"page_id":             func(_ *call, n *node) any { return n.root().id },
		}),
		edges: map[string]*edge{
			"leads": {list: children("leads"), read: []string{"leads_retrieval"}, usage: "leadgen"},
			"test_leads": {
				list: children("leads"), read: []string{"leads_retrieval"}, write: []string{"leads_retrieval"}, create: createTestLead, usage: "leadgen",
			},
		},
	}
}

func leadKind() *kind {
	return &kind{
		defaults: []string{"created_time", "id", "field_data"},
		fields:   with(props("field_data", "form_id", "is_organic", "platform"), map[string]fieldFunc{"created_time": createdTime}),
		remove:   removeFrom([]string{"leads_retrieval"}, "leads"),
	}
}

func createLeadForm(c *call, page *node) *reply {
	name := c.params.Get("name")
	if name == "" {
		return invalid("The parameter name is required").reply()
	}
	var questions []any
	if text := c.params.Get("questions"); text != "" {
		if err := json.Unmarshal([]byte(attachedList(text)), &questions); err != nil {
			return invalid("param questions must be an array.").reply()
		}
	}
	form := c.p.newNode(c.p.nextID("42"), "LeadgenForm", page, c.p.now(), map[string]any{"name": name, "status": "ACTIVE", "locale": "en_US", "questions": questions})
	page.push("leadgen_forms", form)
	return answer(object{{"id", form.id}})
}

// createTestLead fills in the form as Meta's testing tool does; the page's
// subscribers hear of it.
func createTestLead(c *call, form *node) *reply {
	lead := c.p.newLead(form, c.p.now(), "<test lead: dummy data for full_name>", "test@fb.com")
	if text := c.params.Get("field_data"); text != "" {
		var data []any
		if err := json.Unmarshal([]byte(attachedList(text)), &data); err != nil {
			return invalid("param field_data must be an array.").reply()
		}
		lead.props["field_data"] = data
	}
	form.push("leads", lead)
	c.p.pageChanged(c.ctx, form.root(), "leadgen", object{
		{"leadgen_id", lead.id}, {"form_id", form.id}, {"page_id", form.root().id}, {"created_time", lead.created.Unix()},
	})
	return answer(object{{"id", lead.id}})
}
