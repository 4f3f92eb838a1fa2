package observe

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// The bounds of what is kept.
const (
	maxUses     = 4096 // between two flushes
	maxName     = 128  // bytes
	maxArgument = 256  // arguments of one call that are looked at one by one
	keepDays    = 400  // something that was not used for so long is forgotten
)

// Config says what an Observer works with.
type Config struct {
	Store  Store        // required
	Logger *slog.Logger // gets what could not be stored; nil drops it
	// Every is how often what was observed is stored. Zero means five seconds.
	Every time.Duration
}

// Observer gathers what calls use, in memory, and stores it from time to time. It
// is safe for concurrent use.
type Observer struct {
	config Config

	mu   sync.Mutex // guards what follows; not held while storing
	uses map[Use]*gathered
	lost int64 // calls that found no room
}

// gathered is what was observed of one use since the last flush.
type gathered struct {
	call   Call
	fields map[Place]map[string]*Field
}

// New returns an Observer. It stores nothing before Run.
func New(c Config) *Observer {
	if c.Every <= 0 {
		c.Every = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Observer{config: c, uses: map[Use]*gathered{}}
}

// Seen is one call. See the gateway's Observation, whose fields these are.
type Seen struct {
	Service                          gatehouse.ServiceName
	Purpose                          gatehouse.PurposeName
	Platform                         gatehouse.Platform
	App                              gatehouse.AppName
	Operations                       []gatehouse.Operation
	Params, Body                     []policy.Argument
	Selected                         []policy.Selected
	ReadParams, ReadBody, ReadFields bool
	Contract                         *policy.Contract
	Reported, Answered, File, Again  bool
	Reply                            *platform.ReplyNames
}

// See takes up one call. It keeps nothing of what it is given but names and
// measures, and never waits for the store.
func (o *Observer) See(s *Seen) {
	if len(s.Operations) == 0 {
		return
	}
	today := DayOf(time.Now())
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range s.Operations[1:] {
		if g := o.use(Use{s.Service, s.Purpose, op}, today); g != nil {
			g.call.Implied++
			g.call.App = s.App
		}
	}
	g := o.use(Use{s.Service, s.Purpose, s.Operations[0]}, today)
	if g == nil {
		return
	}
	g.call.App = s.App
	if !s.Again {
		g.request(s, today)
	}
	if s.Answered {
		g.call.Replies++
	}
	if s.File {
		g.call.Files++
	}
	if s.Reply == nil {
		return
	}
	g.call.OtherReply += int64(s.Reply.Others())
	_, _, narrowed := s.Contract.Bounds()
	s.Reply.Each(func(path string, empty bool) {
		f := g.field(InReply, path, narrowed, today)
		if f == nil {
			g.call.OtherReply++
			return
		}
		f.Seen++
		if empty {
			f.Kinds |= Empty
		} else {
			f.Kinds |= Held
		}
	})
}

// use returns what is gathered of a use; nil when there is no room.
func (o *Observer) use(u Use, today Day) *gathered {
	g := o.uses[u]
	if g == nil {
		if len(o.uses) >= maxUses {
			o.lost++
			return nil
		}
		g = &gathered{call: Call{Use: u, First: today}, fields: map[Place]map[string]*Field{}}
		o.uses[u] = g
	}
	g.call.Last = max(g.call.Last, today)
	return g
}

// field returns a name's measures; nil when it is not kept.
func (g *gathered) field(place Place, name string, sure bool, today Day) *Field {
	names := g.fields[place]
	f := names[name]
	if f == nil {
		if len(name) > maxName || !sure && len(names) >= place.Most() {
			return nil
		}
		if names == nil {
			names = map[string]*Field{}
			g.fields[place] = names
		}
		b := blank(g.call.Use, place, strings.Clone(name))
		b.First = today
		f = &b
		names[f.Name] = f
	}
	f.Last, f.Sure = max(f.Last, today), f.Sure || sure
	return f
}

// request takes up what a request carried.
func (g *gathered) request(s *Seen, today Day) {
	c := &g.call
	c.Calls++
	if s.Reported {
		c.Reported++
	}
	p := platform.Name(s.Platform)
	if s.ReadParams {
		c.Params++
		c.OtherParams += g.arguments(s, p, InParams, s.Params, today)
	}
	if s.ReadBody {
		c.Bodies++
		c.OtherBody += g.arguments(s, p, InBody, s.Body, today)
	}
	for i, selected := range s.Selected {
		if i == maxArgument {
			break
		}
		name, sure := selected.Path, s.Contract != nil
		if platform.UnknownField(p, name) != "" {
			c.OtherReply++
			continue
		}
		if selected.Or != "" {
			name += " " + selected.Or
		}
		if f := g.field(Asked, name, sure, today); f != nil {
			f.Seen++
		}
	}
}

// arguments takes up the names and measures of a heading, and returns how many
// names were not kept.
func (g *gathered) arguments(s *Seen, p platform.Name, place Place, list []policy.Argument, today Day) (others int64) {
	for i := range list {
		a := &list[i]
		sure := s.Contract.Declares(a.Name)
		if i >= maxArgument && !sure || !sure && !Plain(a.Name) {
			others++
			continue
		}
		f := g.field(place, a.Name, sure, today)
		if f == nil {
			others++
			continue
		}
		if !a.In && (i == 0 || list[i-1].Name != a.Name) {
			f.Seen++
		}
		f.measure(a)
		if a.Kind != policy.Written && a.Kind != policy.IsText {
			continue
		}
		words := platform.Words(p, a.Name)
		if words == nil {
			continue
		}
		for value := range strings.SplitSeq(a.Text, ",") {
			word := find(words, value)
			if word == "" {
				f.Kinds |= NoWord
				break
			}
			if w := g.field(Word, a.Name+"="+word, true, today); w != nil {
				w.Seen++
			}
		}
	}
	return others
}

func find(words []string, value string) string {
	for _, w := range words {
		if w == value {
			return w
		}
	}
	return ""
}

// Plain reports whether a name that stands in no document may be kept all the
// same: it is short, written like an identifier, and holds no number that could be
// somebody's. Each part of a path is judged by itself.
func Plain(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	// The array spelling that Graph's clients use.
	if head, index, ok := strings.Cut(name, "["); ok {
		if index != "]" && (len(index) != 2 || index[0] < '0' || index[0] > '9' || index[1] != ']') {
			return false
		}
		name = head
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || len(part) > 40 {
			return false
		}
		digits := 0
		for i := range len(part) {
			switch c := part[i]; {
			case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
				digits = 0
			case c >= '0' && c <= '9' && i > 0:
				if digits++; digits > 4 {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// measure takes up one value's kind and size.
func (f *Field) measure(a *policy.Argument) {
	if a.Free {
		f.Kinds |= Free
	} else {
		f.Kinds |= Bound
	}
	if a.Kind != policy.Written {
		f.Kinds |= JSON
	}
	if a.Selects {
		f.Kinds |= Selects
	}
	if a.Path {
		f.Kinds |= InPath
	}
	switch a.Kind {
	case policy.IsNull:
		f.Kinds |= IsNull
		return
	case policy.IsObject:
		f.Kinds |= IsObject
		return
	case policy.IsFile:
		f.Kinds |= IsFile
		return
	case policy.IsList:
		f.Kinds |= IsList
		f.Entries = max(f.Entries, int64(a.Size))
		return
	case policy.IsBoolean:
		f.Kinds |= IsBoolean
		return
	}
	if a.In {
		f.Entry = max(f.Entry, int64(utf8.RuneCountInString(a.Text)))
		return
	}
	if a.Kind != policy.IsNumber {
		f.Length = max(f.Length, int64(utf8.RuneCountInString(a.Text)))
		n := int64(0)
		for entry := range strings.SplitSeq(a.Text, ",") {
			n++
			f.Entry = max(f.Entry, int64(utf8.RuneCountInString(entry)))
		}
		f.Entries = max(f.Entries, n)
	}
	switch {
	case a.Kind == policy.Written && (a.Text == "true" || a.Text == "false"):
		f.Kinds |= IsBoolean
	case a.Kind == policy.IsText:
		f.Kinds |= IsText
	default:
		f.number(a.Text)
	}
}

// number takes up a text that may be a number.
func (f *Field) number(text string) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' {
		f.Kinds |= IsInteger
		f.Min, f.Max = min(f.Min, n), max(f.Max, n)
		return
	}
	if plainNumber(text) {
		f.Kinds |= IsNumber
		if v, err := strconv.ParseFloat(text, 64); err == nil && v > -1e15 && v < 1e15 {
			f.Min, f.Max = min(f.Min, int64(v)-1), max(f.Max, int64(v)+1)
		}
		return
	}
	f.Kinds |= IsText
}

// plainNumber reports whether a text is a decimal as contracts judge numbers.
func plainNumber(text string) bool {
	whole, fraction, dotted := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	digits := func(s string) bool {
		return s != "" && len(s) <= 40 && strings.Trim(s, "0123456789") == ""
	}
	return digits(whole) && (!dotted || digits(fraction))
}

// Run stores what was observed from time to time until ctx ends. What it could
// not store waits for the next time. Flush stores the rest, when no more calls
// come.
func (o *Observer) Run(ctx context.Context) error {
	tick := time.NewTicker(o.config.Every)
	defer tick.Stop()
	forgotten := Day(0)
	begun, failed := false, false
	for {
		var err error
		if !begun {
			err = o.config.Store.BeginUses(ctx, time.Now())
			begun = err == nil
		}
		if today := DayOf(time.Now()); err == nil && today != forgotten {
			if err = o.config.Store.ForgetUses(ctx, today-keepDays); err == nil {
				forgotten = today
			}
		}
		if err == nil {
			err = o.Flush(ctx)
		}
		// Once for each time that it begins to fail: nobody needs a line every few
		// seconds.
		if failing := err != nil && ctx.Err() == nil; failing != failed {
			if failed = failing; failed {
				o.config.Logger.WarnContext(ctx, "what calls use could not be stored; it is kept in memory", slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Flush stores what was observed so far. After an error it is still there.
func (o *Observer) Flush(ctx context.Context) error {
	o.mu.Lock()
	uses, lost := o.uses, o.lost
	o.uses, o.lost = make(map[Use]*gathered, len(uses)), 0
	o.mu.Unlock()
	if lost > 0 {
		o.config.Logger.WarnContext(ctx, "calls were not observed: too many kinds of them at once", slog.Int64("calls", lost))
	}
	if len(uses) == 0 {
		return nil
	}
	var calls []Call
	var fields []Field
	for _, g := range uses {
		calls = append(calls, g.call)
		for _, names := range g.fields {
			for _, f := range names {
				fields = append(fields, *f)
			}
		}
	}
	err := o.config.Store.AddUses(ctx, calls, fields)
	if err == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for u, was := range uses {
		is := o.uses[u]
		if is == nil {
			o.uses[u] = was
			continue
		}
		is.call.add(was.call)
		for place, names := range was.fields {
			for name, f := range names {
				if known := is.field(place, name, f.Sure, f.Last); known != nil {
					known.add(*f)
				}
			}
		}
	}
	return fmt.Errorf("storing what calls use: %w", err)
}
