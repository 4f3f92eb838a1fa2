package meta

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/sandbox/world"
)

// Every product knows a person by another number, and none of them shows that
// two numbers are one person.
func userID(person int) string     { return strconv.Itoa(102200000000000 + person*7919 + 13) }
func profileID(person int) string  { return strconv.Itoa(6100000000000000 + person*104729 + 7) }
func igScopedID(person int) string { return strconv.Itoa(24000000000000000 + person*15485863 + 5) }
func igAccountID(person int) string {
	return strconv.Itoa(17841400000000000 + person*611953 + 3)
}
func threadsID(person int) string { return strconv.Itoa(9500000000000000 + person*32452843 + 9) }
func pageID(person, n int) string {
	return strconv.Itoa(100000000000000 + person*1000003 + n*37 + 11)
}

// The one business of the seed, with a system user that has some pages assigned.
const (
	businessID   = "380000000000101"
	systemUserID = "61550000000101"
	adAccountID  = "act_770000000000101"
)

// origin is when the seed's world stood still; everything seeded lies before it.
var origin = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var pageCategories = []struct{ id, name string }{
	{"2603", "Nonprofit organization"}, {"1300", "Artist"}, {"2256", "Bakery"}, {"2500", "Local business"}, {"197871390225897", "Cafe"},
}

// seed fills the graph. It is the same in every run; only tokens are random.
func (p *Platform) seed() {
	for _, a := range p.apps {
		p.newNode(a.AppID, "Application", nil, origin, map[string]any{"name": a.Name, "namespace": "sandbox" + string(a.product), "link": "https://www.facebook.com/games/?app_id=" + a.AppID, "category": "Utilities"})
	}
	business := p.newNode(businessID, "Business", nil, origin.AddDate(-3, 0, 0), map[string]any{"name": "Sandbox Trading Ltd 🧺", "verification_status": "verified"})
	system := p.newNode(systemUserID, "SystemUser", nil, origin.AddDate(-1, 0, 0), map[string]any{"name": "Sandbox system user"})
	business.lists["system_users"] = []*node{system}
	account := p.newNode(adAccountID, "AdAccount", nil, origin.AddDate(-2, 0, 0), map[string]any{
		"name": "Sandbox ads", "account_id": strings.TrimPrefix(adAccountID, "act_"), "currency": "EUR", "account_status": 1, "timezone_name": "Europe/Berlin",
	})
	business.lists["owned_ad_accounts"] = []*node{account}
	for _, person := range p.people {
		p.names[person.Username] = person.Index
		n := p.newNode(profileID(person.Index), "Profile", nil, person.Joined, map[string]any{"name": person.Name})
		n.person = person.Index
	}
	for _, person := range p.people {
		p.seedUser(person)
		for n := range 2 + (person.Index+1)%2 {
			p.seedPage(person, n)
		}
		p.seedInstagram(person)
		p.seedThreads(person)
	}
}

// text picks one of the world's texts.
func (p *Platform) text(n int) string { return p.texts[n%len(p.texts)] }

func (p *Platform) profile(person int) *node {
	return p.nodes[profileID(person%len(p.people))]
}

func (p *Platform) seedUser(person world.Person) {
	first, last, _ := strings.Cut(person.Name, " ")
	if last == "" {
		last = first
	}
	user := p.newNode(userID(person.Index), "User", nil, person.Joined, map[string]any{
		"name": person.Name, "first_name": first, "last_name": last, "short_name": first, "about": person.Bio,
		"email": person.Email, "locale": person.Lang, "link": "https://www.facebook.com/app_scoped_user_id/" + userID(person.Index) + "/",
		"location": object{{"id", strconv.Itoa(110000000000 + person.Index)}, {"name", person.Location}},
	})
	user.person = person.Index
	for i := range 2 + person.Index%4 {
		p.seedPost(user, "feed", user, p.text(person.Index*5+i), origin.Add(-time.Duration(person.Index*3+i*29)*time.Hour))
	}
}

// seedPost puts a post at the end of a list: seeds come newest first.
func (p *Platform) seedPost(owner *node, list string, from *node, message string, at time.Time) *node {
	p.serial++
	post := p.newNode(owner.id+"_"+strconv.FormatInt(700000000000+p.serial*7919, 10), "Post", owner, at, map[string]any{
		"message": message, "from": from, "updated": at, "is_published": true, "status_type": "mobile_status_update",
	})
	owner.lists[list] = append(owner.lists[list], post)
	return post
}

func (p *Platform) seedPage(person world.Person, n int) {
	id := pageID(person.Index, n)
	category := pageCategories[(person.Index+n)%len(pageCategories)]
	name := person.Name + " · " + []string{"Studio", "بيت", "珈琲店"}[n%3]
	page := p.newNode(id, "Page", nil, person.Joined.AddDate(1, 0, 0), map[string]any{
		"name": name, "about": person.Bio, "description": p.text(person.Index + n), "category": category.name,
		"category_list": []any{object{{"id", category.id}, {"name", category.name}}},
		"fan_count":     100 + person.Index*17 + n, "followers_count": 120 + person.Index*19 + n, "username": fmt.Sprintf("%s.page%d", person.Username, n+1),
		"link": "https://www.facebook.com/" + id, "is_published": true, "website": "https://" + strings.ReplaceAll(person.Username, "_", "-") + ".example/",
		"verification_status": "not_verified", "subscribed": map[string][]string{},
	})
	page.person = person.Index
	posts := 5
	if person.Index%10 == 0 && n == 0 {
		posts = 60
	}
	for i := range posts {
		at := origin.Add(-time.Duration(i*31+person.Index) * time.Hour)
		post := p.seedPost(page, "feed", page, p.text(person.Index*11+n*101+i), at)
		if i < 4 {
			for j := range 2 {
				p.seedComment(post, p.profile(person.Index+i*7+j+1), p.text(person.Index+i*13+j*5), at.Add(time.Duration(j+1)*time.Minute))
			}
		}
		for j := range (person.Index + i) % 4 {
			post.lists["likes"] = append(post.lists["likes"], p.profile(person.Index+j*3+1))
		}
	}
	p.seedPost(page, "visitor_posts", p.profile(person.Index+5), p.text(person.Index+77), origin.Add(-9*time.Hour))
	for i := range 2 {
		photo := p.newNode(p.nextID("31"), "Photo", page, origin.Add(-time.Duration(i*50+person.Index)*time.Hour), map[string]any{
			"name": p.text(person.Index*3 + i), "from": page, "width": 1200, "height": 900, "published": true,
		})
		page.lists["photos"] = append(page.lists["photos"], photo)
	}
	if n == 0 {
		p.seedLeads(page, person)
	}
}

func (p *Platform) seedComment(on, from *node, message string, at time.Time) *node {
	p.serial++
	_, post, _ := strings.Cut(on.id, "_")
	if post == "" {
		post = on.id
	}
	comment := p.newNode(post+"_"+strconv.FormatInt(500000000000+p.serial*7919, 10), "Comment", on, at, map[string]any{"message": message, "from": from})
	// Comments read oldest first.
	on.lists["comments"] = append(on.lists["comments"], comment)
	return comment
}

func (p *Platform) seedLeads(page *node, person world.Person) {
	form := p.newNode(p.nextID("42"), "LeadgenForm", page, origin.AddDate(0, -2, 0), map[string]any{
		"name": "Newsletter " + person.Lang, "status": "ACTIVE", "locale": "en_US",
		"questions": []any{object{{"key", "full_name"}, {"type", "FULL_NAME"}, {"label", "Full name"}}, object{{"key", "email"}, {"type", "EMAIL"}, {"label", "Email"}}},
	})
	page.lists["leadgen_forms"] = []*node{form}
	for i := range 3 {
		who := p.people[(person.Index+i+1)%len(p.people)]
		lead := p.newLead(form, origin.Add(-time.Duration(i*26)*time.Hour), who.Name, who.Email)
		form.lists["leads"] = append(form.lists["leads"], lead)
	}
}

func (p *Platform) newLead(form *node, at time.Time, name, email string) *node {
	return p.newNode(p.nextID("53"), "Lead", form, at, map[string]any{
		"form_id": form.id, "is_organic": true, "platform": "fb",
		"field_data": []any{
			object{{"name", "full_name"}, {"values", []string{name}}},
			object{{"name", "email"}, {"values", []string{email}}},
		},
	})
}

func (p *Platform) seedInstagram(person world.Person) {
	values := map[string]any{
		"username": person.Username, "name": person.Name, "biography": person.Bio, "website": "https://example.com/" + person.Username,
		"followers_count": 50 + person.Index*23, "follows_count": 40 + person.Index*3, "account_type": "BUSINESS",
		"user_id": igAccountID(person.Index), "ig_id": strconv.Itoa(4000000000 + person.Index),
	}
	account := p.newNode(igAccountID(person.Index), "IGUser", nil, person.Joined, values)
	account.person = person.Index
	page := p.nodes[pageID(person.Index, 0)]
	page.props["instagram"] = account
	account.props["page"] = page
	login := p.newNode(igScopedID(person.Index), "InstagramUser", nil, person.Joined, values)
	login.person = person.Index
	// The same account behind two APIs: what one publishes, the other lists.
	login.lists = account.lists
	for i := range 4 {
		at := origin.Add(-time.Duration(i*41+person.Index) * time.Hour)
		media := p.newMedia(account, at, "IMAGE", p.text(person.Index*7+i))
		account.lists["media"] = append(account.lists["media"], media)
		for j := range 2 {
			p.seedIGComment(media, p.people[(person.Index+j+i+1)%len(p.people)], p.text(person.Index+j*3+i), at.Add(time.Duration(j+1)*time.Minute))
		}
	}
}

func (p *Platform) seedThreads(person world.Person) {
	user := p.newNode(threadsID(person.Index), "ThreadsUser", nil, person.Joined, map[string]any{
		"username": person.Username, "name": person.Name, "threads_biography": person.Bio, "is_verified": person.Index%7 == 0,
	})
	user.person = person.Index
	for i := range 4 {
		media := p.newThread(user, origin.Add(-time.Duration(i*37+person.Index)*time.Hour), "TEXT_POST", p.text(person.Index*13+i))
		user.lists["threads"] = append(user.lists["threads"], media)
	}
}

// assignedPages are the pages that the business gave to its system user.
func (p *Platform) assignedPages() []*node {
	var pages []*node
	for person := range 3 {
		pages = append(pages, p.nodes[pageID(person, 0)])
	}
	return pages
}

// pagesOf are the pages on which a person has a role.
func (p *Platform) pagesOf(person int) []*node {
	var pages []*node
	for n := 0; ; n++ {
		page := p.nodes[pageID(person, n)]
		if page == nil {
			return pages
		}
		pages = append(pages, page)
	}
}

func (p *Platform) seedIGComment(media *node, from world.Person, text string, at time.Time) {
	comment := p.newNode(p.nextID("18"), "IGComment", media, at, map[string]any{
		"text": text, "username": from.Username, "from": object{{"id", profileID(from.Index)}, {"username", from.Username}},
	})
	media.lists["comments"] = append(media.lists["comments"], comment)
}
