package platform

import "strings"

// xWords are the only values that X's document lists for a parameter or a body's
// field, and graphWords those of Meta's reference for parameters whose values are
// words and cannot be people's.
var (
	xWords = wordLists(map[string]string{
		"exclude":              "replies retweets",
		"sort_order":           "recency relevancy",
		"granularity":          "minute hour day hourly daily weekly total",
		"event_types":          "MessageCreate ParticipantsJoin ParticipantsLeave",
		"reply_settings":       "following mentionedUsers subscribers verified",
		"poll.reply_settings":  "following mentionedUsers subscribers verified",
		"media_category":       "amplify_video tweet_gif tweet_image tweet_video dm_gif dm_image dm_video subtitles",
		"command":              "STATUS",
		"state":                "live scheduled all",
		"info.classification":  "misinformed_or_potentially_misleading not_misleading",
		"media_type":           "video/mp4 video/webm video/mp2t video/quicktime text/srt text/vtt image/jpeg image/gif image/bmp image/png image/webp image/pjpeg image/tiff",
		"filter.direction":     "inbound outbound",
		"conversation_type":    "Group",
		"recurrence.frequency": "Daily Weekly",
	})
	graphWords = wordLists(map[string]string{
		"period":        "day week days_28 month lifetime total_over_range",
		"metric_type":   "total_value time_series",
		"media_type":    "IMAGE VIDEO REELS STORIES CAROUSEL TEXT",
		"order":         "chronological reverse_chronological ranked",
		"filter":        "toplevel stream",
		"reply_control": "everyone accounts_you_follow mentioned_only",
		"date_preset":   "today yesterday this_month last_month this_quarter maximum last_7d last_14d last_28d last_30d last_90d",
		"timeframe":     "last_14_days last_30_days last_90_days prev_month this_month this_week",
		"breakdown":     "age gender city country media_product_type follow_type",
		"upload_phase":  "start transfer finish cancel",
	})
)

func wordLists(lists map[string]string) map[string][]string {
	out := make(map[string][]string, len(lists))
	for name, list := range lists {
		out[name] = strings.Fields(list)
	}
	return out
}

// Words returns the only values that the platform's documents list for a
// parameter, or a field of a body with the path to it; nil when they list none. A
// value that stands here is a word of the platform's and says nothing of a person.
// The list must not be changed.
func Words(p Name, param string) []string {
	if p != X {
		return graphWords[param]
	}
	return xWords[param]
}

// The greatest values that the documents allow: of a text's characters, a number,
// or a list's entries.
var (
	xMost = map[string]int{
		"text": 25000, "query": 4096, "ids": 100, "usernames": 100, "user_ids": 100, "media_keys": 100, "backfill_minutes": 5, "max_results": 100,
		"media.media_ids": 4, "media.tagged_user_ids": 10, "poll.duration_minutes": 10080, "poll.options": 4, "segment_index": 999,
		"metadata.alt_text.text": 1000, "participant_ids": 49, "max_trends": 50, "max_age_hours": 720,
	}
	// By the end of the operation's path, where it differs.
	xMostResults = map[string]int{"/followers": 1000, "/following": 1000, "/blocking": 1000, "/muting": 1000, "/search/all": 500}
	graphMost    = map[string]int{"message": 63206, "limit": 100}
)

// Most returns the greatest value that the platform's documents allow for a
// parameter of an operation, or a field of its body: of a number, of the
// characters of a text, of the entries of a list. It reports false where they say
// nothing.
func Most(p Name, operation, param string) (int, bool) {
	if p != X {
		n, ok := graphMost[param]
		if p == Threads && param == "text" {
			return 500, true
		}
		if p == Instagram && param == "caption" {
			return 2200, true
		}
		return n, ok
	}
	if param == "max_results" {
		for end, n := range xMostResults {
			if strings.HasSuffix(operation, end) {
				return n, true
			}
		}
	}
	n, ok := xMost[param]
	return n, ok
}
