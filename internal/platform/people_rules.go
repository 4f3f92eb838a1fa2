package platform

import (
	"bytes"
	"strings"
)

// valueKind is what a member's name says about its value.
type valueKind uint8

const (
	noValue valueKind = iota
	// Values of the object that they stand in.
	valueID
	valueUserID  // another id of the person, or an id of some person
	valueOtherID // another id of the same
	valueOwnPost // a post by the person, or the post in another state
	valueUsername
	valueName
	valueEmail
	valuePhone
	valueLink
	valuePostLink
	valueField // a value of a lead's field, whose name tells the kind
	// Values that say by themselves what they are.
	valueAuthorID // of who wrote the object
	valuePersonID
	valuePostID
	valueMessageID
	// Values that are not told.
	valueType
	valueFieldName
)

// waits reports whether the value belongs to the object that it stands in.
func (k valueKind) waits() bool { return k > noValue && k <= valueField }

// number reports whether the value may be written as a number.
func (k valueKind) number() bool {
	switch k {
	case valueID, valueUserID, valueOtherID, valueOwnPost, valuePhone, valueAuthorID, valuePersonID, valuePostID, valueMessageID:
		return true
	}
	return false
}

func (k valueKind) class() string {
	switch k {
	case valueName:
		return ClassName
	case valueEmail:
		return ClassEmail
	case valuePhone:
		return ClassPhone
	case valueLink:
		return ClassProfileLink
	}
	return ""
}

// fits reports whether a value can be what its member says.
func (k valueKind) fits(v []byte, graph bool) bool {
	switch k {
	case valueUsername:
		return len(v) > 0 && len(v) <= 100 && bytes.IndexByte(v, ' ') < 0
	case valueName:
		return len(bytes.TrimSpace(v)) > 0
	case valueEmail:
		at := bytes.IndexByte(v, '@')
		return at > 0 && at < len(v)-1 && bytes.IndexByte(v, ' ') < 0
	case valuePhone:
		return len(v) <= 40 && bytes.ContainsAny(v, "0123456789")
	case valueField:
		return true
	case valueLink, valuePostLink:
		return absolute(v)
	}
	if graph {
		return graphIdentifier(v, k == valuePersonID || k == valueUserID)
	}
	_, ok := xID(v)
	return ok
}

// absolute reports whether v is the address of a page of the web.
func absolute(v []byte) bool {
	rest, ok := bytes.CutPrefix(v, []byte("https://"))
	if !ok {
		rest, ok = bytes.CutPrefix(v, []byte("http://"))
	}
	return ok && len(rest) > 0 && bytes.IndexByte(v, ' ') < 0
}

// graphIdentifier reports whether v has the characters of the Graph's identifiers.
// Those that a member says to be people's are numbers.
func graphIdentifier(v []byte, number bool) bool {
	if len(v) == 0 || len(v) > 500 {
		return false
	}
	for _, c := range v {
		if number && (c < '0' || c > '9') || !alphanumeric(c) && strings.IndexByte("_-=.:+$", c) < 0 {
			return false
		}
	}
	return true
}

// evidence is what an object's members say about what it is.
type evidence uint8

const (
	isPerson evidence = 1 << iota
	isNamed           // it has a name, as almost everything has
	isPost
	isLead
	isThing // a node that is named by its id and has this is neither
	isOther // it says so of itself
)

// kind says what an object is: inUser, inPost, inMessage, inLead, or nowhere for
// anything else.
func (f *personFrame) kind() place {
	e := f.evidence
	switch f.at {
	case inPost, inMessage, inLead:
		return f.at
	case inUser:
		if e&isOther != 0 {
			return nowhere
		}
		return inUser
	case inLinks:
		return inUser // the reply is about a picture, and does not say whose
	case inMe, inNode, inEither, inTags:
	default:
		return nowhere
	}
	switch {
	case e&isLead != 0:
		return inLead
	case messageIdentifier(f.id):
		return inMessage
	case f.at == inTags && e&(isPerson|isNamed) == isNamed:
		return inUser
	case e&isPost != 0 || f.at == inTags:
		return inPost
	case e&isPerson != 0 || f.at == inMe:
		return inUser
	case f.at == inNode && e&(isNamed|isThing) == isNamed:
		return inUser // what the Graph says of a user or a page when no fields are asked for
	}
	return nowhere
}

// messageIdentifier reports whether only messages and conversations have such ids.
func messageIdentifier(id string) bool {
	for _, prefix := range []string{"m_", "t_", "mid.", "wamid."} {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

// node reports whether an object of this place may be a person, post or message.
func (at place) node() bool {
	switch at {
	case inUser, inPost, inMessage, inLead, inTags, inMe, inNode, inEither:
		return true
	}
	return false
}

// memberRule is what a member's name says.
type memberRule struct {
	member   valueKind
	below    place
	owns     bool // an object in it is who wrote the object around it
	evidence evidence
}

// rulesOf builds a table from lists of names.
func rulesOf(lists map[string]memberRule) map[string]memberRule {
	rules := map[string]memberRule{}
	for names, rule := range lists {
		for name := range strings.FieldsSeq(names) {
			old := rules[name]
			old.member = max(old.member, rule.member)
			old.below = max(old.below, rule.below)
			old.owns = old.owns || rule.owns
			old.evidence |= rule.evidence
			rules[name] = old
		}
	}
	return rules
}
