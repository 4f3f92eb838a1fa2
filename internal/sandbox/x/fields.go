package x

import (
	"fmt"
	"slices"
	"strings"
)

// The fields and expansions that operations take. The newer names of X's
// document ("post") are taken beside the older ones, which clients still send.
var (
	tweetFields = strings.Fields(`article article_title attachments author_id card_uri community_id context_annotations
		conversation_id created_at display_text_range edit_controls edit_history_tweet_ids entities geo id
		in_reply_to_user_id lang matched_media_notes media_metadata non_public_metrics note_post note_request_suggestions
		note_tweet organic_metrics paid_partnership possibly_sensitive promoted_metrics public_metrics referenced_tweets
		reply_settings scopes source suggested_source_links suggested_source_links_with_counts text username withheld`)
	userFields = strings.Fields(`affiliation confirmed_email connection_status created_at description entities id
		is_identity_verified location most_recent_tweet_id name parody pinned_tweet_id profile_banner_url
		profile_image_url protected public_metrics receives_your_dm subscribes_to_you subscription subscription_type url
		username verified verified_followers_count verified_type withheld`)
	mediaFields = strings.Fields(`alt_text duration_ms height media_key non_public_metrics organic_metrics
		preview_image_url promoted_metrics public_metrics type url variants width`)
	pollFields  = strings.Fields(`duration_minutes end_datetime id options voting_status`)
	placeFields = strings.Fields(`contained_within country country_code full_name geo id name place_type`)
	listFields  = strings.Fields(`created_at description follower_count id member_count name owner_id private`)
	eventFields = strings.Fields(`attachments created_at dm_conversation_id entities event_type id participant_ids
		referenced_tweets sender_id text`)

	tweetExpansions = strings.Fields(`article.cover_media article.media_entities attachments.media_keys
		attachments.media_source_tweet attachments.poll_ids author_id edit_history_post_ids edit_history_tweet_ids
		entities.mentions.username entities.note.mentions.username geo.place_id in_reply_to_user_id referenced_posts
		referenced_tweets.id referenced_tweets.id.attachments.media_keys referenced_tweets.id.author_id username`)
	userExpansions  = strings.Fields(`affiliation affiliation.user_id most_recent_post_id most_recent_tweet_id pinned_post_id pinned_tweet_id`)
	listExpansions  = strings.Fields(`owner_id`)
	eventExpansions = strings.Fields(`attachments.media_keys participant_ids referenced_posts referenced_tweets.id sender_id`)
)

// The query parameters that operations on posts, users and lists have in common.
var (
	postQuery  = strings.Fields("tweet.fields expansions user.fields media.fields poll.fields place.fields")
	userQuery  = strings.Fields("user.fields expansions tweet.fields")
	listQuery  = strings.Fields("list.fields expansions user.fields")
	eventQuery = strings.Fields("dm_event.fields expansions user.fields tweet.fields media.fields")
)

// with joins parameter names.
func with(common []string, more ...string) []string {
	return append(slices.Clone(common), more...)
}

// selection is which fields and expansions a caller asked for.
type selection struct {
	tweet, user, media, list, event []string
	expansions                      []string
}

// selectFields reads and checks the fields and expansions of a call.
func (c *call) selectFields(expansions []string) (selection, error) {
	var s selection
	for _, part := range []struct {
		parameter string
		known     []string
		into      *[]string
	}{
		{"tweet.fields", tweetFields, &s.tweet}, {"user.fields", userFields, &s.user}, {"media.fields", mediaFields, &s.media},
		{"list.fields", listFields, &s.list}, {"dm_event.fields", eventFields, &s.event},
		{"poll.fields", pollFields, new([]string)}, {"place.fields", placeFields, new([]string)}, {"expansions", expansions, &s.expansions},
	} {
		values, err := c.list(part.parameter, part.known)
		if err != nil {
			return selection{}, err
		}
		*part.into = values
	}
	return s, nil
}

// list reads a comma-separated parameter whose values must be known.
func (c *call) list(name string, known []string) ([]string, error) {
	text, present := c.query.Get(name), c.query.Has(name)
	if !present {
		return nil, nil
	}
	var values []string
	for _, value := range strings.Split(text, ",") {
		if !slices.Contains(known, value) {
			return nil, invalidRequest(name, text, fmt.Sprintf("The `%s` query parameter value [%s] is not one of [%s]", name, value, strings.Join(known, ",")))
		}
		values = append(values, value)
	}
	return values, nil
}

// wants reports whether the caller asked for one of some expansions.
func (s *selection) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(s.expansions, name) })
}

// includes collects the expanded objects beside data, each once.
type includes struct {
	users, tweets, media []any
	seen                 map[string]bool
}

// value is the includes object, or nil when nothing was expanded.
func (n *includes) value() map[string]any {
	all := make(map[string]any)
	for name, items := range map[string][]any{"users": n.users, "tweets": n.tweets, "media": n.media} {
		if len(items) > 0 {
			all[name] = items
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// first reports whether an object is not there yet, and remembers it.
func (n *includes) first(kind, id string) bool {
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	key := kind + " " + id
	if n.seen[key] {
		return false
	}
	n.seen[key] = true
	return true
}

// reply builds the usual reply from its parts, leaving out what is empty.
func reply(data any, n *includes, errors []any, meta map[string]any) map[string]any {
	out := make(map[string]any)
	if data != nil {
		out["data"] = data
	}
	if n != nil {
		if value := n.value(); value != nil {
			out["includes"] = value
		}
	}
	if len(errors) > 0 {
		out["errors"] = errors
	}
	if meta != nil {
		out["meta"] = meta
	}
	return out
}
