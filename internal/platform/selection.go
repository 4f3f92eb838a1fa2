package platform

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Choice is a field that a request asks for, by its path in the reply. On X a
// parameter such as user.fields does not say whether it means the object that
// was asked for or those included with it: Or is the second place.
type Choice struct{ Path, Or string }

// Selection is what a request asks for in the reply.
type Selection struct {
	Fields []Choice
	// Modifiers are those of a Graph field expansion. They are parameters that
	// stand in another place: ".limit(500)" is limit=500.
	Modifiers []Modifier
}

// Selects reports whether a parameter only chooses fields of the reply.
func Selects(p Name, param string) bool {
	if p == X {
		return param == "expansions" || strings.HasSuffix(param, ".fields")
	}
	return param == "fields"
}

// graphPage is what the Graph returns on a page when nobody says how much.
const graphPage = 25

// Paging reports whether a parameter is one that the platform itself puts into
// its paging links, so that a page that was allowed leads to the next.
func Paging(p Name, param, value string) bool {
	switch param {
	case "pagination_token", "next_token":
		return p == X
	case "after", "before", "__paging_token", "pretty":
		return p.Graph()
	case "limit":
		n, err := strconv.Atoi(value)
		return p.Graph() && err == nil && n >= 0 && n <= graphPage && digits(value, 2)
	}
	return false
}

// Select reads what a request's parameters ask for. An error wraps ErrSyntax or
// ErrTooLarge.
func Select(p Name, params url.Values) (Selection, error) {
	var s Selection
	if p != X {
		list, err := ParseFields(params.Get("fields"))
		if err == nil {
			s.expand("", list)
		}
		return s, err
	}
	for name, values := range params {
		if !Selects(p, name) {
			continue
		}
		for _, v := range values {
			for field := range strings.SplitSeq(v, ",") {
				if field = strings.TrimSpace(field); field != "" {
					s.Fields = append(s.Fields, xChoice(name, field))
				}
			}
		}
	}
	return s, nil
}

// renamed stands before the path of a field with .as(): the reply would have it
// under a name that says nothing about what it is, so no contract declares that.
const renamed = "as()."

func (s *Selection) expand(above string, list []Field) {
	for _, f := range list {
		path := above + f.Name
		for _, m := range f.Modifiers {
			if strings.EqualFold(m.Name, "as") {
				s.Fields = append(s.Fields, Choice{Path: renamed + path})
				continue
			}
			s.Modifiers = append(s.Modifiers, m)
		}
		if len(f.Fields) == 0 {
			s.Fields = append(s.Fields, Choice{Path: path})
		}
		s.expand(path+".", f.Fields)
	}
}

// xKinds are the members of includes by what X calls the kind in a parameter.
var xKinds = map[string]string{
	"tweet": "tweets", "post": "tweets", "user": "users", "media": "media", "poll": "polls", "place": "places", "topic": "topics",
}

// xChoice says where a field that a parameter asks for stands in the reply.
func xChoice(param, field string) Choice {
	if param == "expansions" {
		return Choice{Path: "includes." + xIncluded(field)}
	}
	if kind := xKinds[strings.TrimSuffix(param, ".fields")]; kind != "" {
		return Choice{Path: field, Or: "includes." + kind + "." + field}
	}
	return Choice{Path: field}
}

// xIncluded is the kind of object that an expansion includes. What is no other
// kind is users: every expansion that X documents is one of these.
func xIncluded(expansion string) string {
	last := expansion[strings.LastIndexByte(expansion, '.')+1:]
	first, _, _ := strings.Cut(expansion, ".")
	switch {
	case expansion == "geo.place_id":
		return "places"
	case slices.Contains([]string{"media_keys", "cover_media", "media_entities"}, last):
		return "media"
	case last == "poll_ids":
		return "polls"
	case last == "topic_ids":
		return "topics"
	case last == "media_source_tweet", first == "referenced_posts" && last == first, expansion == "referenced_tweets.id",
		strings.HasSuffix(last, "tweet_id"), strings.HasSuffix(last, "tweet_ids"), strings.HasSuffix(last, "post_id"), strings.HasSuffix(last, "post_ids"):
		return "tweets"
	}
	return "users"
}
