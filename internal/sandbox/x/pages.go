package x

import (
	"encoding/base32"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// tokenEncoding is how X writes pagination tokens: base32hex in small letters.
var tokenEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// pageToken makes a token that continues a listing after (or, reversed, before)
// an item. Bound to the path, it is refused in any other listing.
func pageToken(path string, back bool, offset int, item string) string {
	direction := "n"
	if back {
		direction = "p"
	}
	text := fmt.Sprintf("%s|%d|%s|%08x", direction, offset, item, crc32.ChecksumIEEE([]byte(path)))
	return tokenEncoding.EncodeToString([]byte(text))
}

// page is one page of a listing: the window of items and its meta object.
type page[T any] struct {
	items []T
	meta  map[string]any
}

// paging says how a listing is cut.
type paging struct {
	minimum, maximum, standard int
	// parameter is the token's own name where it is not pagination_token.
	parameter string
}

// number reads an integer parameter and checks its bounds.
func (c *call) number(name string, minimum, maximum, standard int) (int, error) {
	text := c.query.Get(name)
	if !c.query.Has(name) {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < minimum || n > maximum {
		return 0, invalidRequest(name, text, fmt.Sprintf("The `%s` query parameter value [%s] is not between %d and %d", name, text, minimum, maximum))
	}
	return n, nil
}

// paginate cuts one page out of a listing. An item that the token names may have
// gone since; its old place then serves.
func paginate[T any](c *call, how paging, all []T, id func(T) string) (page[T], error) {
	size, err := c.number("max_results", how.minimum, how.maximum, how.standard)
	if err != nil {
		return page[T]{}, err
	}
	name, token := "pagination_token", c.query.Get("pagination_token")
	if token == "" && how.parameter != "" {
		name, token = how.parameter, c.query.Get(how.parameter)
	}
	start := 0
	if token != "" {
		back, offset, item, ok := readPageToken(c.r.URL.Path, token)
		if !ok {
			return page[T]{}, invalidRequest(name, token, fmt.Sprintf("The `%s` query parameter value [%s] is not valid", name, token))
		}
		if at := slices.IndexFunc(all, func(candidate T) bool { return id(candidate) == item }); at >= 0 {
			offset = at
			if !back {
				offset++
			}
		}
		start = offset
		if back {
			start = offset - size
		}
		start = min(max(start, 0), len(all))
	}
	end := min(start+size, len(all))
	cut := all[start:end]
	meta := map[string]any{"result_count": len(cut)}
	if end < len(all) && end > start {
		meta["next_token"] = pageToken(c.r.URL.Path, false, end, id(all[end-1]))
	}
	if start > 0 && start < len(all) {
		meta["previous_token"] = pageToken(c.r.URL.Path, true, start, id(all[start]))
	}
	return page[T]{cut, meta}, nil
}

func readPageToken(path, token string) (back bool, offset int, item string, ok bool) {
	text, err := tokenEncoding.DecodeString(token)
	parts := strings.Split(string(text), "|")
	if err != nil || len(parts) != 4 || parts[3] != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(path))) {
		return false, 0, "", false
	}
	offset, err = strconv.Atoi(parts[1])
	if err != nil || offset < 0 || parts[0] != "n" && parts[0] != "p" {
		return false, 0, "", false
	}
	return parts[0] == "p", offset, parts[2], true
}

// identity is the id of a listing that holds ids.
func identity(id string) string { return id }
