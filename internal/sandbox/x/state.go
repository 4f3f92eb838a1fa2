package x

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/sandbox/world"
)

// user is one account.
type user struct {
	id        string
	person    world.Person
	protected bool
	// standing is "active", "suspended", "deactivated" or "deleted".
	standing string

	posts     []*post // oldest first
	following ordered // user ids
	followers ordered
	muting    ordered
	blocking  ordered
	dmBlocked ordered
	likes     ordered // post ids
	reposts   ordered
	bookmarks ordered
	lists     ordered // owned list ids
	followed  ordered // followed list ids
	pinned    ordered // pinned list ids
}

// gone reports whether the account cannot be seen or used.
func (u *user) gone() bool { return u.standing != "active" }

// post is one post.
type post struct {
	id           string
	author       *user
	text         string
	lang         string
	created      time.Time
	replyTo      *post
	quotes       *post
	repostOf     *post
	conversation string
	media        []*media
	replies      int
	quoted       int
	hidden       bool
	replySetting string
	likes        ordered // user ids
	reposts      ordered // user ids
	bookmarks    int
}

// ordered is a set that remembers the order of insertion.
type ordered struct {
	items []string
	has   map[string]bool
}

// add reports whether the item was new.
func (o *ordered) add(item string) bool {
	if o.has[item] {
		return false
	}
	if o.has == nil {
		o.has = make(map[string]bool)
	}
	o.has[item] = true
	o.items = append(o.items, item)
	return true
}

// remove reports whether the item was there.
func (o *ordered) remove(item string) bool {
	if !o.has[item] {
		return false
	}
	delete(o.has, item)
	i := slices.Index(o.items, item)
	o.items = slices.Delete(o.items, i, i+1)
	return true
}

func (o *ordered) contains(item string) bool { return o.has[item] }
func (o *ordered) len() int                  { return len(o.items) }

// newest returns the items, the last added first.
func (o *ordered) newest() []string {
	items := slices.Clone(o.items)
	slices.Reverse(items)
	return items
}

// state is the world as X sees it. Platform.mu guards it.
type state struct {
	users    map[string]*user
	names    map[string]*user // by lower-case user name
	everyone []*user          // by index
	posts    map[string]*post
	timeline []*post // every post, oldest first
	deleted  map[string]deletion
	lists    map[string]*list
	messages map[string]*message
	talks    map[string]*conversation
	media    map[string]*media
	sequence int
	used     map[time.Time]int64 // posts that the app was given, by the day
}

// deletion remembers that a post is gone, for compliance jobs.
type deletion struct {
	at     time.Time
	reason string
}

// seedPosts is how many posts the world starts with.
const seedPosts = 3000

// newState seeds the world. Everything but the time of the posts is the same in
// every run; the posts end at the day's beginning, so that many of them are
// recent enough to be searched.
func newState(now time.Time) state {
	s := state{
		users: make(map[string]*user), names: make(map[string]*user), posts: make(map[string]*post),
		used:    make(map[time.Time]int64),
		deleted: make(map[string]deletion), lists: make(map[string]*list), messages: make(map[string]*message),
		talks: make(map[string]*conversation), media: make(map[string]*media),
	}
	for _, person := range world.People() {
		u := &user{id: userID(person), person: person, standing: "active", protected: person.Index%41 == 40}
		s.users[u.id] = u
		s.names[strings.ToLower(person.Username)] = u
		s.everyone = append(s.everyone, u)
	}
	s.seedFollows()
	s.seedPosts(now.Truncate(24 * time.Hour))
	s.seedLists()
	return s
}

// userID is an account's identifier: short for the early accounts, a snowflake
// for the later ones, as on the real platform.
func userID(person world.Person) string {
	if person.Joined.Before(time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)) {
		return strconv.Itoa(2_244_990_000 + person.Index*9973)
	}
	return snowflake(person.Joined, person.Index)
}

// draw is a number in [0, n) that depends on nothing but its arguments.
func draw(n int, parts ...int) int {
	h := fnv.New64a()
	for _, part := range parts {
		h.Write([]byte(strconv.Itoa(part)))
		h.Write([]byte{','})
	}
	return int(h.Sum64() % uint64(n))
}

// seedFollows makes everybody follow about a tenth of the others, and the first
// few people be followed by most, so that followers take several pages.
func (s *state) seedFollows() {
	for i, follower := range s.everyone {
		for j, followed := range s.everyone {
			popularity := 10
			if j < 5 {
				popularity = 85
			}
			if i != j && draw(100, 1, i, j) < popularity {
				follower.following.add(followed.id)
				followed.followers.add(follower.id)
			}
		}
	}
}

// seedPosts writes the posts, a third of them in the last six days, with
// replies, quotes, reposts and likes among them.
func (s *state) seedPosts(end time.Time) {
	texts := world.Texts()
	for i := range seedPosts {
		age := time.Duration(seedPosts-i) * 8 * time.Hour
		if i >= seedPosts-1000 {
			age = time.Duration(seedPosts-i) * 8 * time.Minute
		}
		author := s.everyone[draw(len(s.everyone), 2, i)]
		if i%10 == 0 {
			author = s.everyone[draw(5, 3, i)]
		}
		made := &post{author: author, text: texts[draw(len(texts), 4, i)], lang: author.person.Lang}
		if i > 50 {
			earlier := s.timeline[i-1-draw(50, 5, i)]
			switch draw(10, 6, i) {
			case 0, 1:
				made.replyTo = earlier
				made.text = "@" + earlier.author.person.Username + " " + made.text
			case 2:
				made.quotes = earlier
			case 3:
				mentioned := s.everyone[draw(20, 7, i)]
				made.text += " @" + mentioned.person.Username
			}
		}
		s.insert(made, end.Add(-age))
		for k := range draw(12, 8, i) {
			fan := s.everyone[draw(len(s.everyone), 9, i, k)]
			if made.likes.add(fan.id) {
				fan.likes.add(made.id)
			}
		}
	}
}

// insert gives a post its identifier and place.
func (s *state) insert(p *post, at time.Time) *post {
	s.sequence++
	p.id, p.created = snowflake(at, s.sequence), at
	p.conversation = p.id
	if p.replyTo != nil {
		p.conversation = p.replyTo.conversation
		p.replyTo.replies++
	}
	if p.quotes != nil {
		p.quotes.quoted++
	}
	if p.replySetting == "" {
		p.replySetting = "everyone"
	}
	s.posts[p.id] = p
	s.timeline = append(s.timeline, p)
	p.author.posts = append(p.author.posts, p)
	return p
}

// nextID makes an identifier for anything that is not a post.
func (s *state) nextID(now time.Time) string {
	s.sequence++
	return snowflake(now, s.sequence)
}

// byUsername finds an account by its name, with or without "@", in any case.
func (s *state) byUsername(name string) *user {
	return s.names[strings.ToLower(strings.TrimPrefix(name, "@"))]
}

// visibleUser finds an account that can be seen.
func (s *state) visibleUser(id string) *user {
	u := s.users[id]
	if u == nil || u.gone() {
		return nil
	}
	return u
}

// visiblePost finds a post whose author can be seen.
func (s *state) visiblePost(id string) *post {
	p := s.posts[id]
	if p == nil || p.author.gone() {
		return nil
	}
	return p
}

// remove deletes a post and what hangs on it.
func (s *state) remove(p *post, at time.Time) {
	delete(s.posts, p.id)
	s.deleted[p.id] = deletion{at, "deleted"}
	without := func(all []*post) []*post {
		return slices.DeleteFunc(all, func(other *post) bool { return other == p })
	}
	s.timeline = without(s.timeline)
	p.author.posts = without(p.author.posts)
	for _, id := range p.likes.items {
		s.users[id].likes.remove(p.id)
	}
	if p.replyTo != nil {
		p.replyTo.replies--
	}
	if p.quotes != nil {
		p.quotes.quoted--
	}
}

// SetStanding changes a person's account to "active", "suspended",
// "deactivated", "deleted" or "protected", so that lookups and compliance jobs
// have something to report. It reports whether it knew both.
func (p *Platform) SetStanding(username, standing string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.state.byUsername(username)
	if u == nil {
		return false
	}
	switch standing {
	case "active":
		u.standing, u.protected = standing, false
	case "suspended", "deactivated", "deleted":
		u.standing = standing
	case "protected":
		u.protected = true
	default:
		return false
	}
	return true
}
