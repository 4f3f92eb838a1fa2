package platform

import (
	"bytes"
	"strconv"
	"strings"
)

// ReferenceKind says what a reference names.
type ReferenceKind uint8

// The kinds of reference: what X's batch compliance can be asked about.
const (
	noReference ReferenceKind = iota
	PostReference
	UserReference
)

// String returns "post" or "user".
func (k ReferenceKind) String() string {
	switch k {
	case PostReference:
		return "post"
	case UserReference:
		return "user"
	}
	return "none"
}

// Reference is a post or a user that a reply of X speaks of. X's identifiers are
// decimal numbers of at most 19 digits.
type Reference struct {
	Kind ReferenceKind
	ID   uint64
}

// References finds the posts and users in a reply of X while the reply passes by,
// in whatever pieces. What counts:
//
//   - id of the objects in data, where the operation answers with posts or users
//     (the lists below), and of those in includes.tweets and includes.users;
//   - id of what lies in a member mentions, referenced_tweets, user, author, tweet
//     and their like, anywhere in data and includes;
//   - every member there that says so by its name: author_id, sender_id,
//     participant_ids, *_user_id, *_user_ids, *_tweet_id, *_post_ids and so on;
//   - in the activity stream, id of a payload that has a text or a username.
//
// What stands in errors and meta does not count: no content came with it. Texts
// are data, whatever they look like.
//
// It holds at most a member's name, one value and the nesting; everything else is
// looked at and forgotten. It has no errors: what is not JSON is for others to
// refuse. One goroutine owns it. The zero value is not usable.
type References struct {
	tokens tokens
	data   place
	frames []referenceFrame
	found  []Reference
}

// maxReferenceText bounds what is held of a name or a value: twenty digits, each
// written as an escape, are 120 bytes.
const maxReferenceText = 192

// place says what an object is, and so which of its members count.
type place uint8

const (
	nowhere   place = iota // nothing in it counts
	atTop                  // the reply itself
	expansion              // includes
	inPost
	inUser
	inEither // a post or a user; its other members tell
	inOther  // members count by their names, id does not

	// Places that only People knows.
	inMessage
	inLead       // what somebody entered into a form of Facebook
	inLeadFields // each has a name and values of the lead
	inTags       // the people in a picture, or the pictures with somebody
	inMe         // whoever the call was made for
	inNode       // a node that the call named by its id
	inLinks      // addresses that belong to the object around them
	inEntities   // what a profile's texts consist of
)

type referenceFrame struct {
	at place
	// What the value that comes next is: below a member, or in an array.
	below  place
	member ReferenceKind
	either bool // the value is the id of inEither

	object         bool
	pending        uint64
	text, username bool
}

// NewReferences returns an extractor for one reply to an operation, written as
// "GET /2/tweets/{id}".
func NewReferences(operation string) *References {
	r := &References{data: inOther}
	r.tokens = tokens{to: r, limit: maxReferenceText}
	switch {
	case referencePosts[operation]:
		r.data = inPost
	case referenceUsers[operation]:
		r.data = inUser
	}
	return r
}

// Take returns what was found since the last call, in the order of the reply and
// with its repetitions. The slice is valid until the next Write.
func (r *References) Take() []Reference {
	found := r.found
	r.found = r.found[:0]
	return found
}

// Write looks at the next bytes of the reply. It never fails.
func (r *References) Write(p []byte) (int, error) {
	r.tokens.write(p)
	return len(p), nil
}

func (r *References) top() *referenceFrame {
	if len(r.frames) == 0 {
		return nil
	}
	return &r.frames[len(r.frames)-1]
}

func (r *References) begin(object bool, _ int64) {
	f := referenceFrame{object: object, at: atTop}
	if t := r.top(); t != nil {
		f.at = t.below
		t.either = false // an id is no object
		if !object {
			f.below, f.member = t.below, t.member
		}
	} else if !object {
		f.below = atTop
	}
	r.frames = append(r.frames, f)
}

func (r *References) end(int64) {
	switch t := r.top(); {
	case t.pending == 0:
	case t.text:
		r.found = append(r.found, Reference{PostReference, t.pending})
	case t.username:
		r.found = append(r.found, Reference{UserReference, t.pending})
	}
	r.frames = r.frames[:len(r.frames)-1]
}

func (r *References) next() {
	if t := r.top(); t.object {
		t.below, t.member, t.either = nowhere, noReference, false
	}
}

func (r *References) wants() bool {
	t := r.top()
	return t != nil && t.at != nowhere && (t.member != noReference || t.either)
}

// name takes a member's name.
func (r *References) name(raw []byte, _ int64) {
	t := r.top()
	if t.at == nowhere {
		return
	}
	t.below, t.member, t.either = nowhere, noReference, false
	if raw == nil {
		if t.at > expansion {
			t.below = inOther
		}
		return
	}
	name, _ := unescape(raw, false)
	switch t.at {
	case atTop:
		switch string(name) {
		case "data":
			t.below = r.data
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
	t.below = belowMember(string(name))
	t.member = memberReference(t.at, name)
	if t.at == inEither {
		switch string(name) {
		case "id":
			t.either = true
		case "text":
			t.text = true
		case "username":
			t.username = true
		}
	}
}

// value takes a string or a number that may be an identifier.
func (r *References) value(raw []byte, _ bool, _ int64) {
	t := r.top()
	text, _ := unescape(raw, false)
	id, ok := xID(text)
	switch {
	case !ok: // not as X writes identifiers: asking about it would be in vain
	case t.either:
		t.pending = id
	default:
		r.found = append(r.found, Reference{t.member, id})
	}
}

// xID reads an identifier of X: a decimal number of at most 63 bits.
func xID(text []byte) (uint64, bool) {
	id, err := strconv.ParseUint(string(text), 10, 63)
	return id, err == nil && id != 0 && text[0] != '0' && text[0] != '+'
}

// belowMember says what lies below a member of a post, a user or anything else.
func belowMember(name string) place {
	switch name {
	case "tweet", "tweets", "post", "posts", "referenced_tweets", "referenced_posts", "referenced_tweet", "referenced_post":
		return inPost
	case "user", "users", "author", "sender", "owner", "creator", "mentions":
		return inUser
	case "payload":
		return inEither
	case "includes":
		return expansion
	}
	return inOther
}

// memberReference says what the value of a member names.
func memberReference(at place, name []byte) ReferenceKind {
	switch {
	case string(name) == "id":
		switch at {
		case inPost:
			return PostReference
		case inUser:
			return UserReference
		}
		return noReference
	case !bytes.HasSuffix(name, []byte("_id")) && !bytes.HasSuffix(name, []byte("_ids")):
		return noReference
	}
	whole := strings.TrimSuffix(string(name), "s")
	switch whole {
	case "author_id", "tweet_author_id", "post_author_id", "sender_id", "owner_id", "creator_id", "admin_id", "member_id", "participant_id", "host_id", "speaker_id", "user_id":
		return UserReference
	case "tweet_id", "post_id":
		return PostReference
	case "conversation_id":
		if at == inPost { // elsewhere a conversation of messages
			return PostReference
		}
		return noReference
	}
	switch {
	case strings.HasSuffix(whole, "_user_id"):
		return UserReference
	case strings.HasSuffix(whole, "_tweet_id"), strings.HasSuffix(whole, "_post_id"):
		return PostReference
	}
	return noReference
}

func operationSet(operations ...string) map[string]bool {
	set := make(map[string]bool, len(operations))
	for _, o := range operations {
		set[o] = true
	}
	return set
}

// What lies in data by operation, from X's OpenAPI document (2.167). Operations
// that are not listed answer with something else (lists, messages, spaces), in
// which members still count by their names.
var (
	referencePosts = operationSet(
		"POST /2/tweets", "GET /2/tweets", "GET /2/tweets/{id}", "GET /2/tweets/analytics", "GET /2/tweets/search/all", "GET /2/tweets/search/recent",
		"GET /2/tweets/{id}/quote_tweets", "GET /2/tweets/{id}/retweets", "GET /2/lists/{id}/tweets", "GET /2/spaces/{id}/tweets",
		"GET /2/notes/search/posts_eligible_for_notes", "GET /2/users/reposts_of_me", "GET /2/users/{id}/bookmarks",
		"GET /2/users/{id}/bookmarks/folders/{folder_id}", "GET /2/users/{id}/liked_tweets", "GET /2/users/{id}/mentions",
		"GET /2/users/{id}/timelines/reverse_chronological", "GET /2/users/{id}/tweets",
		"GET /2/tweets/search/stream", "GET /2/tweets/sample/stream", "GET /2/tweets/sample10/stream", "GET /2/tweets/firehose/stream",
		"GET /2/tweets/firehose/stream/lang/en", "GET /2/tweets/firehose/stream/lang/ja", "GET /2/tweets/firehose/stream/lang/ko",
		"GET /2/tweets/firehose/stream/lang/pt",
	)
	referenceUsers = operationSet(
		"GET /2/users", "GET /2/users/by", "GET /2/users/by/username/{username}", "GET /2/users/me", "GET /2/users/{id}", "GET /2/users/search",
		"GET /2/users/{id}/affiliates", "GET /2/users/{id}/blocking", "GET /2/users/{id}/followers", "GET /2/users/{id}/following",
		"GET /2/users/{id}/muting", "GET /2/lists/{id}/followers", "GET /2/lists/{id}/members", "GET /2/spaces/{id}/buyers",
		"GET /2/tweets/{id}/liking_users", "GET /2/tweets/{id}/retweeted_by",
	)
)
