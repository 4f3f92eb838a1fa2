package x

import (
	"slices"
	"strconv"
)

var ruleOperations = []operation{
	{id: "getRules", route: "GET /2/tweets/search/stream/rules", auth: appOnly, appLimit: "450/15m", query: []string{"ids", "max_results", "pagination_token"}, handle: (*Platform).getRules},
	{id: "updateRules", route: "POST /2/tweets/search/stream/rules", auth: appOnly, appLimit: "100/15m", query: []string{"dry_run", "delete_all"}, handle: (*Platform).updateRules},
	{id: "getRuleCounts", route: "GET /2/tweets/search/stream/rules/counts", auth: appOnly, query: []string{"rules_count.fields"}, handle: (*Platform).countRules},
}

// streamRule is one rule of the filtered stream.
type streamRule struct {
	id, value, tag string
	matches        rule
}

// maxRules and maxRule are what X's table of limits allows.
const (
	maxRules = 1000
	maxRule  = 1024
)

func (r *streamRule) render() map[string]any {
	out := map[string]any{"id": r.id, "value": r.value}
	if r.tag != "" {
		out["tag"] = r.tag
	}
	return out
}

// matchingRules lists the rules that a post satisfies, as the stream sends them.
func (p *Platform) matchingRules(t *post) []any {
	p.mu.Lock()
	defer p.mu.Unlock()
	var matching []any
	for _, r := range p.streams.rules {
		if r.matches(t) {
			matching = append(matching, map[string]any{"id": r.id, "tag": r.tag})
		}
	}
	return matching
}

func (p *Platform) getRules(c *call) (any, error) {
	rules := p.streams.rules
	if c.query.Has("ids") {
		ids, err := c.batch("ids", validID)
		if err != nil {
			return nil, err
		}
		var named []*streamRule
		for _, r := range rules {
			if slices.Contains(ids, r.id) {
				named = append(named, r)
			}
		}
		rules = named
	}
	cut, err := paginate(c, paging{1, 1000, 1000, ""}, rules, func(r *streamRule) string { return r.id })
	if err != nil {
		return nil, err
	}
	cut.meta["sent"] = timestamp(p.now())
	if len(cut.items) == 0 {
		return reply(nil, nil, nil, cut.meta), nil
	}
	data := make([]any, len(cut.items))
	for i, r := range cut.items {
		data[i] = r.render()
	}
	return reply(data, nil, nil, cut.meta), nil
}

// updateRules adds or deletes rules. One request does one of the two.
func (p *Platform) updateRules(c *call) (any, error) {
	var body struct {
		Add []struct {
			Value string `json:"value"`
			Tag   string `json:"tag"`
		} `json:"add"`
		Delete *struct {
			IDs    []string `json:"ids"`
			Values []string `json:"values"`
		} `json:"delete"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if (len(body.Add) > 0) == (body.Delete != nil) {
		return nil, invalidRequest("", "", "Exactly one of `add` and `delete` must be given.")
	}
	dry := c.query.Get("dry_run") == "true"
	if body.Delete != nil {
		return p.deleteRules(append(body.Delete.IDs, body.Delete.Values...), dry), nil
	}
	updated := slices.Clone(p.streams.rules)
	var data, errors []any
	valid, invalid := 0, 0
	for _, add := range body.Add {
		matches, err := parseRule(add.Value, maxRule)
		if err != nil {
			invalid++
			errors = append(errors, map[string]any{
				"value": add.Value, "details": []string{err.Error()}, "title": "UnprocessableEntity", "type": problemBase + "invalid-rules",
			})
			continue
		}
		if at := slices.IndexFunc(updated, func(r *streamRule) bool { return r.value == add.Value }); at >= 0 {
			invalid++
			errors = append(errors, map[string]any{
				"value": add.Value, "id": updated[at].id, "title": "DuplicateRule", "type": problemBase + "duplicate-rules",
			})
			continue
		}
		if len(updated) >= maxRules {
			return nil, &problem{422, map[string]any{
				"title": "RulesCapExceeded", "detail": "You have exceeded the number of rules that this app may have.", "type": problemBase + "rule-cap",
			}}
		}
		valid++
		r := &streamRule{id: p.state.nextID(p.now()), value: add.Value, tag: add.Tag, matches: matches}
		updated = append(updated, r)
		data = append(data, r.render())
	}
	created := 0
	if invalid == 0 {
		created = valid
	}
	if invalid == 0 && !dry {
		p.streams.rules = updated
	}
	meta := map[string]any{"sent": timestamp(p.now()), "summary": map[string]any{
		"created": created, "not_created": len(body.Add) - created, "valid": valid, "invalid": invalid,
	}}
	if invalid > 0 || len(data) == 0 {
		// One bad rule refuses them all.
		return reply(nil, nil, errors, meta), nil
	}
	return reply(data, nil, nil, meta), nil
}

func (p *Platform) deleteRules(names []string, dry bool) map[string]any {
	kept := slices.DeleteFunc(slices.Clone(p.streams.rules), func(r *streamRule) bool {
		return slices.Contains(names, r.id) || slices.Contains(names, r.value)
	})
	deleted := len(p.streams.rules) - len(kept)
	if !dry {
		p.streams.rules = kept
	}
	return reply(nil, nil, nil, map[string]any{"sent": timestamp(p.now()), "summary": map[string]any{
		"deleted": deleted, "not_deleted": max(len(names)-deleted, 0),
	}})
}

func (p *Platform) countRules(*call) (any, error) {
	count := len(p.streams.rules)
	own := map[string]any{"client_app_id": p.config.App.ID, "rule_count": count}
	return reply(map[string]any{
		"cap_per_client_app": strconv.Itoa(maxRules), "cap_per_project": strconv.Itoa(maxRules), "project_rules_count": strconv.Itoa(count),
		"client_app_rules_count": own, "all_project_client_apps": []any{own},
	}, nil, nil, nil), nil
}
