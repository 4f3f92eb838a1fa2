package x

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// rule is a parsed search query or stream rule: a predicate over posts.
type rule func(*post) bool

// maxDepth bounds nested groups, so that hostile input cannot exhaust the stack.
const maxDepth = 32

// ruleParser reads X's query language: words and "phrases" must all occur, OR
// between them, "-" negates, parentheses group, and operators such as from:,
// to:, lang:, has: and is: look at more than the text.
type ruleParser struct {
	rest  string
	depth int
}

// parseRule parses a query of at most limit characters.
func parseRule(text string, limit int) (rule, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("the query is empty")
	}
	if len([]rune(text)) > limit {
		return nil, fmt.Errorf("the query is longer than %d characters", limit)
	}
	parser := &ruleParser{rest: text}
	parsed, err := parser.alternatives()
	if err != nil {
		return nil, err
	}
	if parser.skip(); parser.rest != "" {
		return nil, fmt.Errorf("unexpected %q", firstRune(parser.rest))
	}
	return parsed, nil
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

func (s *ruleParser) skip() { s.rest = strings.TrimLeftFunc(s.rest, unicode.IsSpace) }

// alternatives reads groups separated by OR, which binds weaker than
// juxtaposition.
func (s *ruleParser) alternatives() (rule, error) {
	if s.depth++; s.depth > maxDepth {
		return nil, fmt.Errorf("groups are nested too deeply")
	}
	defer func() { s.depth-- }()
	var options []rule
	for {
		option, err := s.conjunction()
		if err != nil {
			return nil, err
		}
		options = append(options, option)
		s.skip()
		if !s.word("OR") {
			break
		}
	}
	return func(t *post) bool {
		return slices.ContainsFunc(options, func(option rule) bool { return option(t) })
	}, nil
}

// word consumes a keyword that stands alone.
func (s *ruleParser) word(keyword string) bool {
	rest, found := strings.CutPrefix(s.rest, keyword)
	if !found || rest != "" && !unicode.IsSpace(rune(rest[0])) && rest[0] != '(' {
		return false
	}
	s.rest = rest
	return true
}

// conjunction reads terms that must all hold.
func (s *ruleParser) conjunction() (rule, error) {
	var terms []rule
	for {
		s.skip()
		if s.rest == "" || s.rest[0] == ')' {
			break
		}
		saved := s.rest
		if s.word("OR") {
			s.rest = saved
			break
		}
		if s.word("AND") {
			return nil, fmt.Errorf("AND is not an operator; a space already means it")
		}
		term, err := s.term()
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
	}
	if len(terms) == 0 {
		return nil, fmt.Errorf("a term is missing")
	}
	return func(t *post) bool {
		for _, term := range terms {
			if !term(t) {
				return false
			}
		}
		return true
	}, nil
}

// term reads one word, phrase, operator or group, perhaps negated.
func (s *ruleParser) term() (rule, error) {
	if rest, found := strings.CutPrefix(s.rest, "-"); found {
		s.rest = rest
		if s.rest == "" || s.rest[0] == '-' || unicode.IsSpace(rune(s.rest[0])) {
			return nil, fmt.Errorf("a term is missing after -")
		}
		negated, err := s.term()
		if err != nil {
			return nil, err
		}
		return func(t *post) bool { return !negated(t) }, nil
	}
	switch s.rest[0] {
	case '(':
		s.rest = s.rest[1:]
		group, err := s.alternatives()
		if err != nil {
			return nil, err
		}
		if s.skip(); !strings.HasPrefix(s.rest, ")") {
			return nil, fmt.Errorf("a parenthesis is not closed")
		}
		s.rest = s.rest[1:]
		return group, nil
	case '"':
		phrase, rest, found := strings.Cut(s.rest[1:], `"`)
		if !found || phrase == "" {
			return nil, fmt.Errorf("a quotation is empty or not closed")
		}
		s.rest = rest
		return contains(phrase), nil
	}
	end := strings.IndexFunc(s.rest, func(r rune) bool { return unicode.IsSpace(r) || r == '(' || r == ')' || r == '"' })
	if end < 0 {
		end = len(s.rest)
	}
	if end == 0 {
		return nil, fmt.Errorf("unexpected %q", firstRune(s.rest))
	}
	token := s.rest[:end]
	s.rest = s.rest[end:]
	return predicate(token)
}

func contains(phrase string) rule {
	phrase = normalized(phrase)
	return func(t *post) bool { return strings.Contains(normalized(t.displayText()), phrase) }
}

// predicate is what one token means.
func predicate(token string) (rule, error) {
	operator, value, found := strings.Cut(token, ":")
	if !found || strings.HasPrefix(value, "//") {
		if tag, isTag := strings.CutPrefix(token, "#"); isTag && tag != "" {
			return func(t *post) bool {
				return slices.ContainsFunc(tagPattern.FindAllStringSubmatch(t.displayText(), -1), func(match []string) bool {
					return strings.EqualFold(match[1], tag)
				})
			}, nil
		}
		if name, isMention := strings.CutPrefix(token, "@"); isMention && name != "" {
			return mentioning(name), nil
		}
		return contains(token), nil
	}
	if value == "" {
		return nil, fmt.Errorf("operator %s: has no value", operator)
	}
	switch operator {
	case "from":
		return func(t *post) bool { return isPerson(t.author, value) }, nil
	case "to":
		return func(t *post) bool { return t.replyTo != nil && isPerson(t.replyTo.author, value) }, nil
	case "retweets_of":
		return func(t *post) bool { return t.repostOf != nil && isPerson(t.repostOf.author, value) }, nil
	case "conversation_id":
		return func(t *post) bool { return t.conversation == value }, nil
	case "lang":
		return func(t *post) bool { return t.lang == value }, nil
	case "url":
		return contains(value), nil
	case "sample":
		return func(t *post) bool { return true }, nil
	case "has":
		return having(value)
	case "is":
		switch value {
		case "retweet":
			return func(t *post) bool { return t.repostOf != nil }, nil
		case "reply":
			return func(t *post) bool { return t.replyTo != nil }, nil
		case "quote":
			return func(t *post) bool { return t.quotes != nil }, nil
		case "verified":
			return func(t *post) bool { return t.author.person.Index%7 == 0 }, nil
		}
		return nil, fmt.Errorf("is:%s is not an operator", value)
	}
	return nil, fmt.Errorf("%s: is not an operator", operator)
}

func having(what string) (rule, error) {
	switch what {
	case "hashtags":
		return func(t *post) bool { return tagPattern.MatchString(t.displayText()) }, nil
	case "links":
		return func(t *post) bool { return urlPattern.MatchString(t.displayText()) }, nil
	case "mentions":
		return func(t *post) bool { return mentionPattern.MatchString(t.displayText()) }, nil
	case "media", "images", "video_link":
		return func(t *post) bool { return len(t.media) > 0 }, nil
	}
	return nil, fmt.Errorf("has:%s is not an operator", what)
}

func mentioning(name string) rule {
	return func(t *post) bool {
		return slices.ContainsFunc(mentions(t.displayText()), func(other string) bool { return strings.EqualFold(other, name) })
	}
}

// isPerson compares an account with a name or an identifier.
func isPerson(u *user, value string) bool {
	return u.id == value || strings.EqualFold(u.person.Username, strings.TrimPrefix(value, "@"))
}
