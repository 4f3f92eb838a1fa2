package platform

import "strings"

// xRules are the members of X's objects, from its OpenAPI document (2.167). Members
// that end in _id or _ids and are not here mean what they mean to References.
var xRules = rulesOf(map[string]memberRule{
	"id":                                   {member: valueID},
	"username":                             {member: valueUsername, evidence: isPerson},
	"name":                                 {member: valueName},
	"confirmed_email email":                {member: valueEmail, evidence: isPerson},
	"profile_image_url profile_banner_url": {member: valueLink, evidence: isPerson},
	"url":                                  {member: valueLink},
	"expanded_url unwound_url":             {member: valueLink},
	"text":                                 {evidence: isPost},
	"author_id":                            {member: valueAuthorID, evidence: isPost},
	"sender_id":                            {member: valueAuthorID},
	"dm_event_id message_id":               {member: valueMessageID},
	"dm_event_ids message_ids":             {member: valueMessageID},
	"pinned_tweet_id pinned_post_id most_recent_tweet_id most_recent_post_id": {member: valueOwnPost},
	"edit_history_tweet_ids edit_history_post_ids":                            {member: valueOwnPost},
})

// xEventRules are those of X's events. The older payloads have the members of version
// 1.1 of the API.
var xEventRules = func() map[string]memberRule {
	rules := rulesOf(map[string]memberRule{
		"id_str":                     {member: valueID},
		"screen_name":                {member: valueUsername, evidence: isPerson},
		"profile_image_url_https":    {member: valueLink, evidence: isPerson},
		"for_user_id target_user_id": {member: valuePersonID},
		"recipient_id":               {member: valuePersonID},
		"user":                       {below: inUser, owns: true},
		"users":                      {below: inUser},
	})
	for name, rule := range xRules {
		rules[name] = rule
	}
	return rules
}()

// xData says what lies in data.
func xData(operation string) place {
	switch {
	case referencePosts[operation]:
		return inPost
	case referenceUsers[operation]:
		return inUser
	case strings.HasPrefix(operation, "GET /2/dm_"), operation == "GET /2/chat/conversations/{id}/events":
		return inMessage
	}
	return inEither
}

// xMember takes the name of a member of an object of X.
func (w *People) xMember(t *personFrame, name []byte) {
	switch t.at {
	case atTop:
		switch string(name) {
		case "data":
			t.below = w.root
		case "includes":
			t.below = expansion
		}
		return
	case expansion:
		if t.below = belowMember(string(name)); t.below != inPost && t.below != inUser {
			t.below = inOther
		}
		return
	}
	t.below = xBelow(t.at, name)
	rule, known := w.rules[string(name)]
	if w.event {
		if t.below != inUser && t.below != inPost && t.at == inEither {
			t.below = inEither // what an event is about lies anywhere in it
		}
		if rule.below != nowhere {
			t.below, t.owns = rule.below, rule.owns
		}
		if !known && t.at == inUser && keyedName(name) {
			t.below = inUser // users by their ids
		}
	}
	if !known {
		switch memberReference(t.at, name) {
		case UserReference:
			t.member = valuePersonID
		case PostReference:
			t.member = valuePostID
		}
		return
	}
	t.evidence |= rule.evidence
	switch rule.member {
	case valueLink:
		if t.at != inLinks && (!t.at.node() || string(name) == "expanded_url" || string(name) == "unwound_url") {
			return
		}
	case valueOwnPost:
		if t.at != inPost && t.at != inUser && t.at != inEither {
			t.member = valuePostID
			return
		}
	default:
		if rule.member.waits() && !t.at.node() {
			return
		}
	}
	t.member = rule.member
}

// xBelow says what lies below a member.
func xBelow(at place, name []byte) place {
	switch string(name) {
	case "entities":
		if at == inUser {
			return inEntities
		}
	case "url":
		if at == inEntities {
			return inLinks // those of the profile's own address
		}
	case "urls":
		if at == inLinks {
			return inLinks
		}
	case "source", "target":
		if at == inEither {
			return inUser // who follows whom
		}
	}
	return belowMember(string(name))
}
