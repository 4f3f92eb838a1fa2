package platform

import "strings"

// graphRules are the members of the Graph's nodes on Facebook, Instagram and
// Threads, and the edges by what their nodes are. What is not here is looked into
// and judged by what its objects hold.
var graphRules = rulesOf(map[string]memberRule{
	"id": {member: valueID},
	// People, pages and accounts.
	"name": {member: valueName, evidence: isNamed},
	"first_name last_name middle_name short_name": {member: valueName, evidence: isPerson},
	"username":     {member: valueUsername, evidence: isPerson},
	"email emails": {member: valueEmail, evidence: isPerson},
	"phone mobile_phone whatsapp_number wa_id": {member: valuePhone, evidence: isPerson},
	"link":    {member: valueLink},
	"website": {member: valueLink, evidence: isPerson},
	"profile_pic profile_picture_url threads_profile_picture_url": {member: valueLink, evidence: isPerson},
	"picture": {member: valueLink, below: inLinks},
	"user_id": {member: valueUserID},
	"ig_id legacy_instagram_user_id third_party_id token_for_business":                                                                                             {member: valueOtherID},
	"followers_count fan_count category birthday gender threads_biography accounts instagram_business_account connected_instagram_account":                         {evidence: isPerson},
	"profile_id page_id sender_id recipient_id instagram_user_id instagram_actor_id threads_user_id actor_id user":                                                 {member: valuePersonID},
	"instagram_business_account connected_instagram_account parent_page best_page business_discovery":                                                              {below: inUser},
	"to sender senders recipient recipients participants former_participants reviewer admin_creator via target significant_other":                                  {below: inUser},
	"accounts likes reactions friends members opted_in_members admins followers family sponsor_tags with_tags message_tags story_tags name_tags collaborators":     {below: inUser},
	"assigned_users business_users system_users blocked instagram_accounts page_backed_instagram_accounts owned_pages client_pages assigned_pages contained_pages": {below: inUser},
	"from owner user author creator": {below: inUser, owns: true},
	// Posts, and what counts as such.
	"message story caption created_time timestamp text shortcode media_type media_product_type story_tags status_type full_picture": {evidence: isPost},
	"permalink permalink_url": {member: valuePostLink, evidence: isPost},
	"from":                    {evidence: isPost},
	"post_id comment_id media_id photo_id video_id page_story_id parent_id object_story_id effective_object_story_id effective_instagram_media_id": {member: valuePostID},
	"posts feed published_posts visitor_posts scheduled_posts ads_posts promotable_posts tagged photos videos video_reels live_videos albums":      {below: inPost},
	"media stories live_media recent_media top_media children mentioned_media mentioned_comment threads ghost_posts":                               {below: inPost},
	"comments replies conversation parent object root_post replied_to quoted_post reposted_post sharedposts profile_posts keyword_search mentions": {below: inPost},
	// Messages.
	"messages conversations": {below: inMessage},
	"message_id mid":         {member: valueMessageID},
	"message_ids":            {member: valueMessageID},
	// Leads.
	"leads test_leads": {below: inLead},
	"field_data":       {below: inLeadFields, evidence: isLead},
	// The rest.
	"tags": {below: inTags},
	"type": {member: valueType},
	"status objective account_id start_time end_time currency namespace privacy":                                                    {evidence: isThing},
	"paging error summary metadata insights category_list location place application attachments cover subscribed_apps permissions": {below: nothing},
})

// nothing is the place of what does not count, where a table says so.
const nothing place = 255

// graphRoot says what a reply is about: the nodes in data, or the reply itself.
func graphRoot(operation string) place {
	method, path, _ := strings.Cut(operation, " ")
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	last := segments[len(segments)-1]
	switch {
	case last == "me", last == "{username}", last == "profile_lookup", path == "/pages/search":
		return inMe
	case last == "picture":
		return inLinks
	case len(segments) == 1 && last == "{id}":
		if method == "GET" {
			return inNode
		}
		return inEither
	case last == "location_search", last == "ig_hashtag_search":
		return nowhere
	}
	switch below := graphRules[last].below; below {
	case nothing:
		return nowhere
	case nowhere:
		return inEither
	default:
		return below
	}
}

// graphMember takes the name of a member of an object of the Graph.
func (w *People) graphMember(t *personFrame, name []byte) {
	switch t.at {
	case inLinks:
		switch string(name) {
		case "data":
			t.below = inLinks
		case "url":
			t.member = valueLink
		}
		return
	case inLeadFields:
		switch string(name) {
		case "name":
			t.member = valueFieldName
		case "values", "value":
			t.member = valueField
		}
		return
	}
	if string(name) == "data" {
		t.below = t.at // a page of nodes, or the node in an envelope
		return
	}
	rule, known := w.rules[string(name)]
	if w.event && len(w.frames) == 1 && (string(name) == "id" || string(name) == "uid") {
		t.member = valuePersonID // whose account it is about
		return
	}
	switch {
	case !known:
		t.below = inEither
		if len(w.frames) == 1 && keyedName(name) {
			t.below = t.at // ids= puts each node under its id
		}
		return
	case rule.below == nothing:
		rule.below = nowhere
	case rule.below == nowhere:
		rule.below = inEither
	}
	t.below, t.owns = rule.below, rule.owns
	t.evidence |= rule.evidence
	if t.at.node() || !rule.member.waits() {
		t.member = rule.member
	}
}

// keyedName reports whether a member of the reply may be an id that ids= named.
func keyedName(name []byte) bool {
	if string(name) == "me" {
		return true
	}
	for _, c := range name {
		if (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// leadField says what a field of a lead form asks for. Those are the names that
// Facebook gives to its own questions; what an advertiser asks is not known.
func leadField(name []byte) valueKind {
	switch strings.ToLower(string(name)) {
	case "email", "work_email":
		return valueEmail
	case "phone", "phone_number", "work_phone_number", "whatsapp_number":
		return valuePhone
	case "full_name", "first_name", "last_name":
		return valueName
	case "website":
		return valueLink
	}
	return noValue
}

// relabel gives a value of a lead's field the kind that the field's name says.
func (f *personFrame) relabel(v *waitingValue) {
	if v.kind != valueField {
		return
	}
	if v.kind = f.field; v.kind != noValue && !v.kind.fits([]byte(v.value), true) {
		v.kind = noValue
	}
}
