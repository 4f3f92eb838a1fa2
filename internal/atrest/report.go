package atrest

import (
	"slices"
	"strings"
	"time"
)

// Of narrows what is looked for, as in "canary: system secret".
func (w What) Of(detail string) What { return w + ": " + What(detail) }

// Base is what is looked for without the detail.
func (w What) Base() What {
	base, _, _ := strings.Cut(string(w), ": ")
	return What(base)
}

// detail is what Of added.
func (w What) detail() string {
	_, detail, _ := strings.Cut(string(w), ": ")
	return detail
}

// The verdicts of a report, from the worst.
const (
	Found   = "found"         // something stands in plain
	Lacking = string(Wanting) // nothing does; something is amiss, or could not be looked at
	Open    = string(Unknown) // nothing does; a fact or a place could not be told
	Clean   = string(OK)
)

// A Control says where the sealed form of a canary was seen. One that was not
// seen in the rows, or in none of the database's files although they were looked
// at, shows that the search did not look where secrets go.
type Control struct {
	Road   string   `json:"road"`
	SeenIn []string `json:"seen_in"` // kinds of places
	OK     bool     `json:"ok"`
}

// inFiles are the kinds of places that hold the database as it lies on a disk.
var inFiles = []string{KindDatabase, KindWAL, KindServer}

// Residue is what storage keeps of keys that were destroyed.
type Residue struct {
	// Destroyed is how many keys were made and destroyed to look for them.
	Destroyed int `json:"destroyed_for_this"`
	// Remains are the places where they still stand, wrapped.
	Remains []Finding `json:"remains"`
	// UselessBy is when nothing can unwrap them any more; nil when no time is set.
	UselessBy *time.Time `json:"useless_by,omitempty"`
	// Why explains UselessBy, or that there is none.
	Why string `json:"why"`
}

// Sought counts what was looked for.
type Sought struct {
	Secrets     int `json:"secrets"`
	Connections int `json:"connections"`
	// Unreadable connections hold a token that does not open.
	Unreadable int `json:"unreadable_connections"`
	// Short secrets could stand anywhere by chance, and were not looked for.
	Short  int      `json:"too_short"`
	Shapes []What   `json:"shapes"`
	NotFor []string `json:"not_looked_for"`
}

// Report is what a search came to.
type Report struct {
	Verdict  string    `json:"verdict"`
	Started  time.Time `json:"started"`
	TookMS   int64     `json:"took_ms"`
	Bytes    int64     `json:"bytes"`
	Sought   Sought    `json:"looked_for"`
	LookedAt []Look    `json:"looked_at"`
	Gaps     []Gap     `json:"not_looked_into"`
	Found    []Finding `json:"found"`
	// More is how many findings are not listed.
	More     int64     `json:"found_more"`
	Controls []Control `json:"controls"`
	Residue  Residue   `json:"residue"`
	Facts    []Fact    `json:"facts"`
}

// Shapes are the shapes that are looked for.
func Shapes() []What {
	return []What{ShapeX, ShapeXBearer, ShapeXOAuth1, ShapeMeta, ShapeGatehouse, ShapePEM}
}

// Fill puts into the report what the survey saw, and judges. roads are the names
// of the canaries; each must have been seen in sealed form.
func (r *Report) Fill(v *Survey, roads []string) {
	r.LookedAt, r.Gaps = v.Looks(), v.Gaps()
	r.Found, r.Controls, r.Residue.Remains = []Finding{}, []Control{}, []Finding{}
	for _, l := range r.LookedAt {
		r.Bytes += l.Bytes
	}
	found, more := v.Found()
	r.More = more
	seen := map[string][]string{}
	for _, f := range found {
		switch f.What.Base() {
		case SealedCanary:
			if road := f.What.detail(); !slices.Contains(seen[road], f.Kind) {
				seen[road] = append(seen[road], f.Kind)
			}
		case WrappedKey:
			r.Residue.Remains = append(r.Residue.Remains, f)
		default:
			r.Found = append(r.Found, f)
		}
	}
	files := slices.ContainsFunc(r.LookedAt, func(l Look) bool { return slices.Contains(inFiles, l.Kind) })
	for _, road := range roads {
		at := seen[road]
		inFile := slices.ContainsFunc(at, func(kind string) bool { return slices.Contains(inFiles, kind) })
		r.Controls = append(r.Controls, Control{road, at, slices.Contains(at, KindRows) && (inFile || !files)})
	}
	r.Verdict = r.judge()
}

func (r *Report) judge() string {
	if len(r.Found) > 0 || r.More > 0 {
		return Found
	}
	state := OK
	for _, f := range r.Facts {
		state = worse(state, f.State)
	}
	for _, g := range r.Gaps {
		state = worse(state, g.State())
	}
	unseen := slices.ContainsFunc(r.Controls, func(c Control) bool { return !c.OK })
	if unseen || r.Sought.Unreadable > 0 {
		state = Wanting
	}
	return string(state)
}
