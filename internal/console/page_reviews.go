package console

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/wire"
)

// reviewRights is how many rights of a review stand on one page.
const reviewRights = 100

// Reviews returns the pages about who may do what, and whether they still need it.
func Reviews(from *review.Reviews) Page {
	p := reviewPages{from}
	return Page{routes: []route{
		get("/reviews", reviewsRead, p.list),
		get("/reviews/open", reviewsRead, p.open),
		post("/reviews/start", reviewsDecide, p.start).demanding(),
		post("/reviews/import", reviewsDecide, p.load).demanding(),
		get("/reviews/{id}", reviewsRead, p.show),
		post("/reviews/{id}/decide", reviewsDecide, p.decide).demanding(),
		post("/reviews/{id}/finish", reviewsDecide, p.finish).demanding(),
		get("/reviews/{id}/evidence", reviewsRead, p.evidence),
		get("/reviews/{id}/table", reviewsRead, p.table),
	}}
}

type reviewPages struct{ reviews *review.Reviews }

// reviewsPage lists the reviews.
type reviewsPage struct {
	List    Table
	Lists   Table
	Open    int // rights left to be removed elsewhere
	Running string
	Decide  bool
	Start   *Danger
	Wrong   string
	System  string
}

func (p reviewPages) list(v *visit) error {
	page, err := p.overview(v, "", "")
	if err != nil {
		return err
	}
	return v.show("reviews.html", "Reviews", page)
}

func (p reviewPages) overview(v *visit, wrong, system string) (reviewsPage, error) {
	page := reviewsPage{Decide: v.may(reviewsDecide), Wrong: wrong, System: system}
	all, err := p.reviews.Reviews(v.context())
	if err != nil {
		return page, err
	}
	open, err := p.reviews.OpenItems(v.context())
	if err != nil {
		return page, err
	}
	lists, err := p.reviews.Lists(v.context())
	if err != nil {
		return page, err
	}
	page.Open = len(open)
	page.List = Table{
		Caption: "Reviews", Columns: []Column{{Name: "Begun"}, {Name: "State"}, {Name: "Due"}, {Name: "Rights", Number: true}, {Name: "Undecided", Number: true}, {Name: "Ended", Number: true}, {Name: "Open", Number: true}},
		Empty: Empty{
			Title: "Nothing was reviewed yet",
			Text:  "A review lists every right of every operator and service with its last use. What nobody confirms until it is due ends.",
		},
	}
	for _, r := range all {
		// An altered one does not keep the next from beginning, which takes its place.
		if r.State != review.Finished && r.State != review.Altered {
			page.Running = "/reviews/" + string(r.ID)
		}
		tone, text := reviewTone(r, v.now)
		page.List.Rows = append(page.List.Rows, Row{[]Cell{
			linkCell(day(r.Begun), "/reviews/"+string(r.ID)), badgeCell(tone, text), textCell(day(r.Due)), countCell(int64(r.Counts.Items)),
			countCell(int64(r.Counts.Undecided)), countCell(int64(r.Counts.Removed + r.Counts.Lapsed - r.Counts.Exceptions)), countCell(int64(r.Counts.OpenItems)),
		}})
	}
	if page.Decide && page.Running == "" {
		page.Start = &Danger{
			Title: "Begin a review", Word: "begin", Button: "Begin the review", Action: "/reviews/start", ID: "-begin",
			Will: []string{
				"Every right of every operator and service, and of the lists below, is listed with its last use and waits for a decision.",
				"What nobody confirms until the review is due, in two weeks, ends: roles are taken away, keys and purposes stop working.",
				"A review cannot be called off. It ends when everything is decided and it is closed, or when it is due.",
			},
		}
	}
	page.Lists = Table{
		Caption: "Lists of other systems", Columns: []Column{{Name: "System"}, {Name: "Rights", Number: true}, {Name: "Imported"}},
		Empty: Empty{Title: "No list was imported", Text: "Who may do what at your code host, in your cloud and in the platforms' own dashboards can be reviewed here too."},
	}
	for _, l := range lists {
		page.Lists.Rows = append(page.Lists.Rows, Row{[]Cell{textCell(l.System), countCell(int64(l.Rights)), timeCell(l.At)}})
	}
	return page, nil
}

// reviewTone says how a review stands.
func reviewTone(r review.Review, now time.Time) (Tone, string) {
	switch {
	case r.State == review.Altered:
		return Bad, "altered in the database"
	case r.State == review.Finished && r.Counts.OpenItems > 0:
		return Warn, "finished, open items"
	case r.State == review.Finished:
		return Good, "finished"
	case r.State == review.Closing:
		return Warn, "closing"
	case r.Counts.Undecided == 0:
		return Good, "all decided"
	case r.Due.Sub(now) < 3*24*time.Hour:
		return Bad, "nearly due"
	}
	return Warn, "open"
}

// reviewStart is the command of the form that begins a review.
type reviewStart struct{}

func (*reviewStart) read(f *form) { f.typed("begin") }

func (p reviewPages) start(v *visit, _ *reviewStart) (*outcome, error) {
	r, err := p.reviews.Begin(v.context(), v.by(), 0, 0)
	if err != nil {
		return nil, err
	}
	return goTo("/reviews/" + string(r.ID)).saying("The review has begun."), nil
}

// listEntry is the command of the form that takes in a list. A list has line ends, and
// is bounded by the size of a form; the command line takes larger ones.
type listEntry struct{ system, list string }

func (l *listEntry) read(f *form) {
	l.system = f.need("system", 63)
	l.list = f.one("list")
	if l.list == "" || !utf8.ValidString(l.list) {
		f.refuse("list", "is needed")
	}
}

func (p reviewPages) load(v *visit, in *listEntry) (*outcome, error) {
	l, err := p.reviews.Import(v.context(), v.by(), strings.ToLower(in.system), []byte(in.list))
	if errors.Is(err, gatehouse.ErrInvalid) && wire.RuleOf(err) == "" {
		// What is wrong with a list says where, and never what stands there.
		err = wire.Public(err, "The list was not taken in: "+strings.TrimSuffix(err.Error(), ": "+gatehouse.ErrInvalid.Error())+".")
	}
	if err != nil {
		page, failed := p.overview(v, "", in.system)
		if failed != nil {
			return nil, failed
		}
		return again(err, "reviews.html", "Reviews", func(wrong string) any { page.Wrong = wrong; return page })
	}
	return goTo("/reviews").saying(count(int64(l.Rights)) + " rights of " + l.System + " were taken in."), nil
}

// openPage lists what is left to be removed elsewhere.
type openPage struct{ List Table }

func (p reviewPages) open(v *visit) error {
	items, err := p.reviews.OpenItems(v.context())
	if err != nil {
		return err
	}
	page := openPage{Table{
		Caption: "Left to be removed elsewhere", Columns: []Column{{Name: "Holder"}, {Name: "Right"}, {Name: "Since"}, {Name: "What to do"}, {Name: "Review"}},
		Empty: Empty{Title: "Nothing is left", Text: "What reviews ended, and Gatehouse could not remove, is gone.", Href: "/reviews", Link: "Reviews"},
	}}
	for _, i := range items {
		page.List.Rows = append(page.List.Rows, Row{[]Cell{
			textCell(i.Holder), textCell(i.Name), timeCell(i.Done), textCell(i.Do()), linkCell("right "+strconv.Itoa(i.Number), "/reviews/"+string(i.Review)),
		}})
	}
	return v.show("reviews-open.html", "Left to be removed elsewhere", page)
}

// reviewPage is one review.
type reviewPage struct {
	Review   review.Review
	State    Badge
	Left     string // how long until it is due
	Progress Progress
	Tiles    []Tile
	Groups   []reviewGroup
	Filter   Filter
	Pager    Pager
	Form     bool // something on the page can be decided
	Path     string
	Back     string // this view, to come back to
	By       string
	Finish   *Danger
	Evidence bool
	Nothing  Empty
}

// reviewGroup is what one holder has.
type reviewGroup struct {
	Holder, What string
	Rights       []reviewRight
}

// reviewRight is one right as it is shown.
type reviewRight struct {
	review.Item
	By       string
	Mine     bool // it is for another reviewer to decide
	Form     bool
	Remove   bool // the choice that is made beforehand, or was made
	Keep     bool
	Decided  Badge
	KindText string
	// ShowUse is false for what is needed or not, rather than used at times.
	ShowUse bool
}

// kindTexts are what kinds of rights are called, by the holder's kind: those of one
// line stand together.
var kindTexts = map[review.Kind][2]string{
	review.Grant: {"role", "Operator"}, review.Key: {"key", "Service"}, review.Handles: {"handles for", "Service"}, review.Purpose: {"purpose", "Service"},
	review.Wide: {"beyond its purposes", "Service"}, review.Scope: {"scope", "Purpose"}, review.Party: {"receives for", "Third party"}, review.Listed: {"role", "Other system"},
}

var groupOrder = []string{"Operator", "Service", "Purpose", "Third party", "Other system"}

func (p reviewPages) show(v *visit) error {
	page, title, err := p.page(v)
	if err != nil {
		return err
	}
	return v.show("review.html", title, page)
}

func (p reviewPages) page(v *visit) (page reviewPage, title string, err error) {
	id := review.ID(v.r.PathValue("id"))
	r, err := p.reviews.Review(v.context(), id)
	if err != nil {
		return page, "", err
	}
	items, err := p.reviews.Items(v.context(), id)
	if err != nil {
		return page, "", err
	}
	called, err := v.names()
	if err != nil {
		return page, "", err
	}
	names := map[string]string{"host": "the command line", "gatehouse": "Gatehouse"}
	for id, name := range called {
		if id != "" {
			names[string(id)] = name
		}
	}
	// Whoever decides about somebody sees who that is, whatever they call themselves.
	whole, err := v.fullNames()
	if err != nil {
		return page, "", err
	}
	tone, text := reviewTone(r, v.now)
	n := r.Counts
	page = reviewPage{
		Review: r, State: Badge{tone, text}, Path: "/reviews/" + string(id), Back: v.r.URL.RequestURI(), By: cmp.Or(names[r.By], r.By), Evidence: r.State == review.Finished,
		Progress: Progress{"Decided", int64(n.Items - n.Undecided), int64(n.Items)},
		Tiles: []Tile{
			{Label: "Rights", Value: count(int64(n.Items)), Href: v.with("show", "", "page", "")},
			{Label: "Not used, or not needed", Value: count(int64(n.Proposed)), Note: "proposed for removal", Href: v.with("show", "proposed", "page", "")},
			{Label: "Undecided", Value: count(int64(n.Undecided)), Note: "end when it is due", Href: v.with("show", "undecided", "page", "")},
			{Label: "End", Value: count(int64(n.Removed + n.Lapsed)), Note: "removed, or not confirmed", Href: v.with("show", "ending", "page", "")},
			{Label: "Open", Value: count(int64(n.OpenItems)), Note: "to be removed elsewhere", Href: "/reviews/open"},
		},
		Nothing: Empty{Title: "No right is like this", Text: "Show all of them to see the others.", Href: page.Path, Link: "All rights"},
	}
	if r.State == review.Open {
		page.Left = left(r.Due, v.now)
	}
	deciding := r.State == review.Open && v.now.Before(r.Due) && v.may(reviewsDecide)
	shown, err := p.choose(v, items, whole, &page)
	if err != nil {
		return page, "", err
	}
	for _, i := range shown {
		page.add(i, names, whole, deciding, v.who)
	}
	page.Form = slices.ContainsFunc(page.Groups, func(g reviewGroup) bool {
		return slices.ContainsFunc(g.Rights, func(r reviewRight) bool { return r.Form })
	})
	if v.may(reviewsDecide) && r.State == review.Open && (n.Undecided == 0 || !v.now.Before(r.Due)) {
		page.Finish = finishDanger(r, items)
	}
	return page, "Review of " + day(r.Begun), nil
}

// left says how long it is until a time.
func left(due, now time.Time) string {
	if d := due.Sub(now); d > 0 {
		return Ahead(d) + " left"
	}
	return "due now"
}

// choose returns the rights that the address asks for, in the page's order.
func (p reviewPages) choose(v *visit, items []review.Item, names map[operator.AccountID]string, page *reviewPage) ([]review.Item, error) {
	show, err := v.choice("show", "Show", []string{"proposed", "undecided", "ending"})
	if err != nil {
		return nil, err
	}
	holder := v.query("holder")
	items = slices.DeleteFunc(slices.Clone(items), func(i review.Item) bool {
		switch show {
		case "proposed":
			return !i.Proposed
		case "undecided":
			return i.Decision != ""
		case "ending":
			return i.Decision != review.Removed && i.Decision != review.Lapsed
		}
		return false
	})
	slices.SortStableFunc(items, func(a, b review.Item) int {
		return cmp.Or(cmp.Compare(slices.Index(groupOrder, kindTexts[a.Kind][1]), slices.Index(groupOrder, kindTexts[b.Kind][1])),
			strings.Compare(a.System, b.System), strings.Compare(a.Holder, b.Holder))
	})
	if holder != "" {
		items = slices.DeleteFunc(items, func(i review.Item) bool {
			return !strings.Contains(strings.ToLower(i.Holder+" "+names[operator.AccountID(i.Holder)]+" "+i.System+" "+i.Name), strings.ToLower(holder))
		})
	}
	page.Filter = Filter{Action: page.Path, Fields: []Field{
		{Name: "show", Label: "Show", Type: "select", Options: options(show, "", "all rights", "proposed", "proposed for removal", "undecided", "undecided", "ending", "that end")},
		{Name: "holder", Label: "Holder or right", Value: holder, Max: 100},
	}}
	if show != "" || holder != "" {
		page.Filter.Clear = page.Path
	}
	n := 0
	if text := v.query("page"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 0 {
			return nil, refuseFilter("Page: this is no number of a page. Go back, and choose below the list.")
		}
	}
	if n > len(items)/reviewRights {
		n = 0 // it was there when the list was longer
	}
	from := min(n*reviewRights, len(items))
	to := min(from+reviewRights, len(items))
	page.Pager = pager(v.r.URL, n, reviewRights, to-from, to < len(items), int64(len(items)))
	return items[from:to], nil
}

// add puts a right into its holder's group.
func (page *reviewPage) add(i review.Item, names map[string]string, whole map[operator.AccountID]string, deciding bool, who *operator.Account) {
	text := kindTexts[i.Kind]
	holder := i.Holder
	if i.Kind == review.Grant {
		holder = cmp.Or(whole[operator.AccountID(i.Holder)], i.Holder)
	}
	what := text[1]
	if i.System != "" {
		what = "At " + i.System
	}
	right := reviewRight{Item: i, By: cmp.Or(names[i.By], i.By), KindText: text[0], Form: deciding, ShowUse: i.Kind != review.Scope}
	if i.Kind == review.Grant && who != nil && i.Holder == string(who.ID) {
		right.Mine = true
	}
	switch i.Decision {
	case review.Confirmed:
		right.Decided, right.Keep = Badge{Good, "stays"}, true
	case review.Removed:
		right.Decided, right.Remove = Badge{Bad, "ends"}, true
	case review.Lapsed:
		right.Decided = Badge{Bad, "lapsed"}
	default:
		right.Remove = i.Proposed
	}
	switch i.Effect {
	case review.Ended, review.Gone:
		right.Decided.Text = "ended"
	case review.LastOwner:
		right.Decided = Badge{Warn, "the last owner stays"}
	case review.InConfiguration, review.Outside:
		right.Decided = Badge{Warn, "to be removed elsewhere"}
		if !i.Resolved.IsZero() {
			right.Decided = Badge{Good, "removed elsewhere"}
		}
	}
	if last := len(page.Groups) - 1; last < 0 || page.Groups[last].Holder != holder || page.Groups[last].What != what {
		page.Groups = append(page.Groups, reviewGroup{Holder: holder, What: what})
	}
	g := &page.Groups[len(page.Groups)-1]
	g.Rights = append(g.Rights, right)
}
