package console

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// command is what a form of ours orders, in its own type.
type command interface {
	// read takes every field that the form may have. What is left over, doubled or out
	// of bounds is an error that names the field and not its value.
	read(f *form)
}

// outcome is how a command is answered. goTo, showOnce and answer make one.
type outcome struct {
	to   string
	said string
	// file, title and data are of a page that cannot be asked for again.
	file, title string
	data        any
	status      int // of that page; zero is 200
	// reply is for a script of ours.
	reply []byte
}

// goTo sends the browser to a path of ours, as every command ends that has nothing to
// show but what it did.
func goTo(path string) *outcome { return &outcome{to: path} }

// saying has the page that the browser is sent to say what was done.
func (o *outcome) saying(text string) *outcome { o.said = text; return o }

// showOnce answers with a page that shows what is never shown again, such as a new
// link: a redirect would need it kept.
func showOnce(file, title string, data any) *outcome {
	return &outcome{file: file, title: title, data: data}
}

// answer replies to a script of ours with JSON.
func answer(json []byte) *outcome { return &outcome{reply: json} }

// post is a route that changes something: the form is decoded into its own type and
// handed to do. This is the only way to mount one.
func post[T any, P interface {
	*T
	command
}](pattern string, permission Permission, do func(v *visit, in *T) (*outcome, error)) route {
	return route{pattern: "POST " + pattern, permission: permission, command: true, handler: func(v *visit) error {
		var in T
		if err := v.decode(P(&in)); err != nil {
			return err
		}
		out, err := do(v, &in)
		if errors.Is(err, operator.ErrFresh) {
			return v.proveFirst()
		}
		if err != nil {
			return err
		}
		return v.finish(out)
	}}
}

func (v *visit) finish(out *outcome) error {
	switch {
	case out.file != "":
		return v.showStatus(max(out.status, http.StatusOK), out.file, out.title, out.data)
	case out.reply != nil:
		v.w.Header().Set("Content-Type", "application/json")
		_, err := v.w.Write(out.reply)
		return err
	}
	if out.said != "" {
		v.say(out.said)
	}
	return v.redirect(localPath(out.to))
}

// decode reads the request's form into a command.
func (v *visit) decode(in command) error {
	media, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "console/form", "This address takes a form of the console. Open its page, and press the button there."), http.StatusUnsupportedMediaType)
	}
	if err := v.r.ParseForm(); err != nil {
		return wire.Refuse(gatehouse.ErrInvalid, "console/form", "The form cannot be read. Go back, reload the page, and send it again.")
	}
	f := &form{values: v.r.PostForm, taken: map[string]bool{}}
	in.read(f)
	return f.err()
}

// form holds the fields that a browser sent until a command takes them.
type form struct {
	values url.Values
	taken  map[string]bool
	wrong  []string
	// wrongWord says that the word that was to be typed was not.
	wrongWord bool
}

// refuse notes what is wrong with a field, in words that follow its name.
func (f *form) refuse(name, what string) { f.wrong = append(f.wrong, name+" "+what) }

// one takes a field that may stand once.
func (f *form) one(name string) string {
	f.taken[name] = true
	all := f.values[name]
	if len(all) > 1 {
		f.refuse(name, "stands twice")
		return ""
	}
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// text takes a line of at most so many bytes, without what cannot be seen. Empty is
// allowed; see need.
func (f *form) text(name string, most int) string {
	s := strings.TrimSpace(f.one(name))
	switch {
	case len(s) > most:
		f.refuse(name, "is too long")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		f.refuse(name, "has characters that cannot be seen")
	default:
		return s
	}
	return ""
}

// need takes a line that must not be empty.
func (f *form) need(name string, most int) string {
	before := len(f.wrong)
	s := f.text(name, most)
	if s == "" && len(f.wrong) == before {
		f.refuse(name, "is needed")
	}
	return s
}

// secret takes a credential of at most so many bytes, exactly as it was typed.
func (f *form) secret(name string, most int) secret.Text {
	s := f.one(name)
	if len(s) > most {
		f.refuse(name, "is too long")
		return secret.Text{}
	}
	return secret.New(s)
}

// choice takes one of the values that the form offered.
func (f *form) choice(name string, of ...string) string {
	s := f.one(name)
	if !slices.Contains(of, s) {
		f.refuse(name, "is none of what can be chosen")
		return ""
	}
	return s
}

// yes takes a box that can be ticked.
func (f *form) yes(name string) bool { return f.choice(name, "", "yes") == "yes" }

// many takes a list of at most so many lines, each of at most 200 bytes.
func (f *form) many(name string, most int) []string {
	f.taken[name] = true
	all := f.values[name]
	if len(all) > most {
		f.refuse(name, "has too many entries")
		return nil
	}
	for _, s := range all {
		if len(s) > 200 || !utf8.ValidString(s) {
			f.refuse(name, "has an entry that is too long")
			return nil
		}
	}
	return all
}

// day takes a day, at whose end (UTC) something ends; zero when it is left out.
func (f *form) day(name string) time.Time {
	s := f.one(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		f.refuse(name, "is not a day")
		return time.Time{}
	}
	return t.AddDate(0, 0, 1)
}

// typed demands the word that a danger piece asked for.
func (f *form) typed(word string) {
	f.wrongWord = strings.TrimSpace(f.one("typed")) != word
}

// errTyped is the answer to another word than the one that was asked for.
var errTyped = wire.Refuse(gatehouse.ErrInvalid, "console/typed", "What you typed is not the word that was asked for, so nothing was done. Go back and type it as it stands there.")

// err returns what is wrong, all of it at once.
func (f *form) err() error {
	for name := range f.values {
		if !f.taken[name] {
			// A name that we did not give is not repeated: it is somebody else's text.
			f.wrong = append(f.wrong, "it has a field that does not belong there")
			break
		}
	}
	if len(f.wrong) == 0 && f.wrongWord {
		return errTyped
	}
	if len(f.wrong) == 0 {
		return nil
	}
	return wire.Refuse(gatehouse.ErrInvalid, "console/field", "The form was not accepted: "+strings.Join(f.wrong, "; ")+".")
}

// nothing is the command of a form that has a button only.
type nothing struct{}

func (*nothing) read(*form) {}

// mustJSON encodes what is made of strings and numbers.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("a reply of strings did not marshal: " + err.Error())
	}
	return b
}

// again answers with the form once more, which says what was wrong. What was not
// declared public, or is about more than the form, is an error like any other.
func again(err error, file, title string, data func(wrong string) any) (*outcome, error) {
	p := wire.ProblemOf(err)
	if p.Detail == "" || p.Status >= http.StatusInternalServerError || errors.Is(err, operator.ErrFresh) || errors.Is(err, operator.ErrSession) {
		return nil, err
	}
	return &outcome{file: file, title: title, data: data(p.Detail), status: p.Status}, nil
}
