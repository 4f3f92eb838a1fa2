package fingerprint_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

var later = time.Unix(1_900_000_000, 0)

// owned is a value and whose it is.
type owned struct {
	owner fingerprint.Owner
	class gatehouse.DataClass
	text  string
}

func indexOf(t testing.TB, values ...owned) *fingerprint.Index {
	t.Helper()
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1, 2, 3}, Capacity: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		p, ok := x.Print(fingerprint.Value{Class: v.class, Text: v.text})
		if !ok {
			t.Fatalf("%s %q has no fingerprint", v.class, v.text)
		}
		x.Add(fingerprint.Entry{Print: p, Owner: v.owner, Class: v.class, Expires: later})
	}
	return x
}

// search returns what is found in a body, which is cut where the function says.
func search(x *fingerprint.Index, body []byte, next func(rest int) int) []fingerprint.Hit {
	s := x.Search()
	defer s.Close()
	var hits []fingerprint.Hit
	for rest := body; len(rest) > 0; {
		n := min(next(len(rest)), len(rest))
		s.Write(rest[:n])
		rest = rest[n:]
		hits = append(hits, s.Take()...)
	}
	s.End()
	return append(hits, s.Take()...)
}

func whole(rest int) int { return rest }

// shown are hits in an order of their own, to be compared.
func shown(hits []fingerprint.Hit) []string {
	var all []string
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%d-%d %s %v %v %s %x", h.From, h.To, h.Class, h.Owners, h.Shared, h.Form, h.Print))
	}
	slices.Sort(all)
	return all
}

// kinds are the kinds and owners of hits, in the order of their places.
func kinds(hits []fingerprint.Hit) string {
	slices.SortFunc(hits, func(a, b fingerprint.Hit) int { return int(a.From - b.From) })
	var all []string
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%s%v", h.Class, h.Owners))
	}
	return strings.Join(all, " ")
}

var people = []owned{
	{1, gatehouse.PseudonymousID, "1234567890123456789"},
	{1, gatehouse.Username, "@Ada_Lovelace"},
	{1, gatehouse.PersonName, "Ada King  Lovelace"},
	{1, gatehouse.EmailAddress, "Ada.Lovelace@example.com"},
	{1, gatehouse.PhoneNumber, "+44 20 7946 0958"},
	{1, gatehouse.ProfileLink, "https://www.facebook.com/ada.lovelace/?ref=1"},
	{1, gatehouse.PostID, "112233445566_99887766"},
	{1, gatehouse.MessageID, "m_AbCdEf-ghIJkl:0123"},
	{2, gatehouse.PersonName, "山田 太郎"},
	{2, gatehouse.Username, "yamada.taro"},
	{2, gatehouse.PersonName, "𠮷田花子"},
	{3, gatehouse.PersonName, "สมชาย ใจดี"},
	{3, gatehouse.PseudonymousID, "17841400000000001"},
	{4, gatehouse.PersonName, "Ada"},
	{4, gatehouse.Username, "engine"},
	{5, gatehouse.PseudonymousID, "20250131"},
	{5, gatehouse.Username, "calendar"},
	{6, gatehouse.PseudonymousID, "1750000000"},
	{7, gatehouse.PseudonymousID, "55555"},
	{8, gatehouse.PhoneNumber, "44207946958"},
	{9, gatehouse.PseudonymousID, "44207946959"},
	{10, gatehouse.MessageID, "mÄabcdef12"},
	{0, gatehouse.Credential, "AAAAAAAAAAAAAAAAAAAAAMLheAAA%2FAAAA0%2BuSeid%3DEUifi"},
	{0, gatehouse.Credential, "1357924680|Zx-y_W9.v~u+T/s="},
	{0, gatehouse.Credential, "EAABsbCS1iHgBAOZCqZAxyz1234567890"},
	{0, gatehouse.Credential, "14532871-Kq8sHdT0xYzAbCdEfGh"},
}

// lines breaks a text.
func lines(width int, end, text string) string {
	var b strings.Builder
	for ; len(text) > width; text = text[width:] {
		b.WriteString(text[:width] + end)
	}
	return b.String() + text
}

func TestFound(t *testing.T) {
	x := indexOf(t, people...)
	const id = "1234567890123456789"
	const mail = "ada.lovelace@example.com"
	b64 := base64.StdEncoding.EncodeToString
	for name, test := range map[string]struct{ text, want string }{
		"id":                             {`{"user":"` + id + `"}`, "pseudonymous-id[1]"},
		"id, as written":                 {"id=mÄabcdef12", "message-id[10]"},
		"id, small letters":              {"id=mäabcdef12", ""},
		"secret between low lines":       {"_EAABsbCS1iHgBAOZCqZAxyz1234567890_", "secret[]"},
		"small letters between those":    {"_eaabsbcs1ihgbaozcqzaxyz1234567890_", ""},
		"id, end of stream":              {"id=" + id, "pseudonymous-id[1]"},
		"id after low line":              {"user_" + id, "pseudonymous-id[1]"},
		"id, sentence":                   {"It is " + id + ". Yes.", "pseudonymous-id[1]"},
		"short id":                       {"[55555,1]", "pseudonymous-id[7]"},
		"in a longer number":             {"1" + id + " " + id + "0", ""},
		"one digit off":                  {"1234567890123456780", ""},
		"glued to letters":               {"x" + id, ""},
		"decimal":                        {"55555.25 0.55555", ""},
		"id as a float":                  {"name,id\nx," + id + ".0\n", "pseudonymous-id[1]"},
		"id, end of a float":             {"id=" + id + ".0", "pseudonymous-id[1]"},
		"no whole float":                 {"55555.05 55555.0.1 55555.00 55555.0e5 1.55555.0", ""},
		"in a UUID":                      {"55555-1234-4abc-9def-123412341234", ""},
		"reads as a day":                 {"20250131", ""},
		"a day beside":                   {"20250131 calendar", "pseudonymous-id[5] username[5]"},
		"reads as a second":              {`{"ts":1750000000}`, ""},
		"e-mail":                         {"<Ada.Lovelace@Example.COM>", "email[1]"},
		"e-mail, sentence":               {"Write to " + mail + ".", "email[1]"},
		"longer address":                 {"mary-" + mail + " x." + mail + " " + mail + ".au " + mail + "-x", ""},
		"other address":                  {"ada_lovelace@example.com ada.lovelace@example.org", ""},
		"phone":                          {"tel:+442079460958", "phone[1]"},
		"phone in groups":                {"(0044) 20-7946-0958, please", "phone[1]"},
		"phone with zeros for plus":      {"call 00442079460958", "phone[1]"},
		"phone with one zero":            {"call 0442079460958", ""},
		"phone in a form":                {"p=%2B44+20+7946+0958&q=1", "phone[1]"},
		"phone before another":           {"+44 20 7946 0958 +44 20 7946 0959", "phone[1]"},
		"an address is no phone":         {"44.207.946.958 44.207.946.95", ""},
		"an id in groups is no id":       {"44 207-946-959", ""},
		"another phone":                  {"+44 20 7946 0959", ""},
		"link":                           {"https://m.facebook.com/ada.lovelace/posts/7?x=y " + id, "profile-link[1] pseudonymous-id[1]"},
		"link alone":                     {"https://m.facebook.com/ada.lovelace/posts/7?x=y", ""},
		"link beside its username":       {"https://facebook.com/ada.lovelace @ada_lovelace", "profile-link[1] username[1]"},
		"link, upper case":               {"HTTP://FACEBOOK.COM/Ada.Lovelace " + id, "profile-link[1] pseudonymous-id[1]"},
		"longer link":                    {"https://facebook.com/ada.lovelace.2 https://facebook.com/ada.lovelace-x " + id, "pseudonymous-id[1]"},
		"other host":                     {"https://notfacebook.com/ada.lovelace https://evil.facebook.com/ada.lovelace " + id, "pseudonymous-id[1]"},
		"post":                           {"112233445566_99887766", "post-id[1]"},
		"message":                        {`"m_AbCdEf-ghIJkl:0123"`, "message-id[1]"},
		"message, other case":            {`"m_abcdef-ghIJkl:0123"`, ""},
		"username alone":                 {"hello @ada_lovelace", ""},
		"username beside id":             {"@ada_lovelace " + id, "username[1] pseudonymous-id[1]"},
		"username beside another's":      {"@ada_lovelace 17841400000000001", "pseudonymous-id[3]"},
		"username far from id":           {"@ada_lovelace " + strings.Repeat(". ", 600) + id, "pseudonymous-id[1]"},
		"part of a username":             {"ada_lovelace.2 x-ada_lovelace ada_lovelace@y " + id, "pseudonymous-id[1]"},
		"username in bold":               {"__yamada.taro__ 山田太郎", ""},
		"name and username":              {"ADA KING LOVELACE, @ada_lovelace", "name[1] username[1]"},
		"name with points":               {"ada-king.lovelace " + id, "name[1] pseudonymous-id[1]"},
		"name alone":                     {"Ada King Lovelace", ""},
		"part of a name":                 {"Ada King " + id, "pseudonymous-id[1]"},
		"first name of another":          {"Ada " + id, "pseudonymous-id[1]"},
		"two common words":               {"ada wrote of the engine", "name[4] username[4]"},
		"the same word twice":            {"engine engine", ""},
		"Japanese name":                  {"私は山田太郎です。yamada.taro", "name[2] username[2]"},
		"Japanese name with a space":     {"私は山田　太郎です。yamada.taro", "name[2] username[2]"},
		"Thai name":                      {"คุณสมชาย ใจดีครับ 17841400000000001", "name[3] pseudonymous-id[3]"},
		"app-only token":                 {"Authorization: Bearer AAAAAAAAAAAAAAAAAAAAAMLheAAA%2FAAAA0%2BuSeid%3DEUifi", "secret[]"},
		"the same, decoded":              {"AAAAAAAAAAAAAAAAAAAAAMLheAAA/AAAA0+uSeid=EUifi", "secret[]"},
		"the same, encoded twice":        {"AAAAAAAAAAAAAAAAAAAAAMLheAAA%252FAAAA0%252BuSeid%253DEUifi", "secret[]"},
		"app token":                      {"?access_token=1357924680|Zx-y_W9.v~u+T/s=&x=1", "secret[]"},
		"app token, percent":             {"?access_token=1357924680%7CZx-y_W9.v~u%2BT%2Fs%3D&x=1", "secret[]"},
		"app token, basic":               {"Basic " + b64([]byte("user:1357924680|Zx-y_W9.v~u+T/s=")), "secret[]"},
		"user token in a cookie":         {"a=b; t=EAABsbCS1iHgBAOZCqZAxyz1234567890; c=d", "secret[]"},
		"user token, other case":         {"t=eAABsbCS1iHgBAOZCqZAxyz1234567890", ""},
		"user token, glued":              {"xEAABsbCS1iHgBAOZCqZAxyz1234567890x", ""},
		"OAuth 1.0a token":               {`oauth_token="14532871-Kq8sHdT0xYzAbCdEfGh",`, "secret[]"},
		"json":                           {`"\u0031234567890123456789 ada\u002elovelace\u0040example\u002Ecom"`, "pseudonymous-id[1] email[1]"},
		"json in json":                   {`"\"\\u0031234567890123456789\\n\""`, "pseudonymous-id[1]"},
		"base64 in lines":                {lines(76, "\r\n", b64([]byte(strings.Repeat(".", 50)+" "+id+" and "+strings.Repeat(".", 40)+mail))), "pseudonymous-id[1] email[1]"},
		"base64 in lines of keys":        {lines(64, "\n", b64([]byte(strings.Repeat(".", 40)+" "+id))), "pseudonymous-id[1]"},
		"base64 in lines of words":       {lines(20, "\n", b64([]byte(strings.Repeat(".", 8)+" "+id))), ""},
		"base64 in broken lines":         {lines(76, "\n\n", b64([]byte(strings.Repeat(".", 50)+" "+id))), ""},
		"base64 in odd lines":            {lines(75, "\n", b64([]byte(strings.Repeat(".", 50)+" "+id))), ""},
		"base64, a line each":            {b64([]byte(strings.Repeat(".", 43)+" "+id)) + "\n" + b64([]byte(mail+strings.Repeat(".", 40))), "pseudonymous-id[1] email[1]"},
		"json, slashes":                  {`"https:\/\/facebook.com\/ada.lovelace ` + id + `"`, "profile-link[1] pseudonymous-id[1]"},
		"line end before":                {`"\n` + id + `\r\n"`, "pseudonymous-id[1]"},
		"html":                           {"&#49;2345&#x36;7890123456789 ada&period;lovelace&commat;example&#46;com", "pseudonymous-id[1] email[1]"},
		"html, no semicolon":             {"&#49 2 ada&#46lovelace&#64example.com", "email[1]"},
		"html, a digit behind it":        {"&#49;234567890123456789 &#x31 &#4923456789", "pseudonymous-id[1]"},
		"html, no semicolon, at the end": {"ada.lovelace@example.co&#109", "email[1]"},
		"html, no semicolon, a name":     {"ada.lovelace&ampx @example.com ada.lovelace@example.com&amp", "email[1]"},
		"html twice, no semicolon":       {"ada.lovelace&amp#64example.com", "email[1]"},
		"percent in html, no semicolon":  {"ada.lovelace&#37&#52&#48example.com", "email[1]"},
		"fields that look like html":     {"a=1&copy=ada.lovelace@example.com&region=2&ada.lovelace@example.com=1", "email[1] email[1]"},
		"html in percent":                {"%26%2349%3B234567890123456789", "pseudonymous-id[1]"},
		"percent, all":                   {"%31%32%33%34%35%36%37%38%39%30%31%32%33%34%35%36%37%38%39", "pseudonymous-id[1]"},
		"percent, thrice":                {"x%252520" + id + "%252520", "pseudonymous-id[1]"},
		"base64":                         {b64([]byte(id)), "pseudonymous-id[1]"},
		"base64, path":                   {"/v1/x/" + b64([]byte("x"+mail)) + "/" + b64([]byte(mail)), "email[1]"},
		"base64, glued":                  {"abc" + base64.RawURLEncoding.EncodeToString([]byte(mail)), "email[1]"},
		"base64 of json":                 {b64([]byte(`{"m":"ada\u002elovelace\u0040example.com"}`)), "email[1]"},
		"base64 of percent in percent":   {url.QueryEscape(b64([]byte(url.QueryEscape(mail)))), "email[1]"},
		"base64 thrice":                  {b64([]byte(b64([]byte(b64([]byte(mail)))))), "email[1]"},
		"base64 four times":              {b64([]byte(b64([]byte(b64([]byte(b64([]byte(mail)))))))), ""},
		"surrogates":                     {`"\ud842\udfb7\u7530\u82b1\u5b50 yamada.taro"`, "name[2] username[2]"},
		"base64 in binary":               {b64([]byte("\x00\x01\x02\x03\x0a\x18" + mail + "\x00\xff\x10")), "email[1]"},
		"hex":                            {hex.EncodeToString([]byte(mail)) + " " + strings.ToUpper(hex.EncodeToString([]byte(id))), "email[1] pseudonymous-id[1]"},
		"hex of base64":                  {hex.EncodeToString([]byte(b64([]byte(mail)))), "email[1]"},
		"Japanese name in base64":        {b64([]byte("山田太郎 yamada.taro")), "name[2] username[2]"},
		"Japanese name in percent":       {url.QueryEscape("山田太郎") + "&u=yamada.taro", "name[2] username[2]"},
		"Japanese name in json":          {`"\u5c71\u7530\u592a\u90ce","yamada.taro"`, "name[2] username[2]"},
		"name in base64, id outside":     {`{"n":"` + b64([]byte("Ada King Lovelace")) + `","id":"` + id + `"}`, "name[1] pseudonymous-id[1]"},
	} {
		if got := kinds(search(x, []byte(test.text), whole)); got != test.want {
			t.Errorf("%s: found %q in %q, want %q", name, got, test.text, test.want)
		}
		// A text of its own is judged alike.
		s := x.Search()
		s.Text(test.text)
		if got := kinds(s.Take()); got != test.want {
			t.Errorf("%s: found %q in the text %q, want %q", name, got, test.text, test.want)
		}
		s.Close()
	}
}

func TestForms(t *testing.T) {
	x := indexOf(t, people...)
	const id = "1234567890123456789"
	b64 := base64.StdEncoding.EncodeToString
	for text, want := range map[string]string{
		id:                             "plain",
		"%31" + id[1:]:                 "percent",
		`\u0031` + id[1:]:              "json",
		"%5cu0031" + id[1:]:            "percent+json",
		"&#49;" + id[1:]:               "html",
		"%2b44+20+7946+0958":           "form",
		b64([]byte(id)):                "base64",
		b64([]byte("%31" + id[1:])):    "percent in base64",
		b64([]byte(b64([]byte(id)))):   "base64 in base64",
		hex.EncodeToString([]byte(id)): "hex",
		url.QueryEscape(b64([]byte("~~~" + id + "~?~?"))):       "base64",
		strings.ReplaceAll(b64([]byte(id)), "M", "%4d"):         "base64 in percent",
		b64([]byte(`"` + hex.EncodeToString([]byte(id)) + `"`)): "hex in base64",
	} {
		hits := search(x, []byte(text), whole)
		if len(hits) != 1 || hits[0].Form != want {
			t.Errorf("%q: %+v, want one, %s", text, hits, want)
		}
	}
}

// Of values that several people have, each hit lists everybody; a weak one those of
// whom another value stands near.
func TestOwners(t *testing.T) {
	values := []owned{
		{1, gatehouse.Username, "grace"}, {2, gatehouse.Username, "grace"}, {3, gatehouse.Username, "grace"},
		{2, gatehouse.EmailAddress, "grace@navy.example"}, {3, gatehouse.EmailAddress, "grace@navy.example"},
		{1, gatehouse.PseudonymousID, "777000777000"}, {2, gatehouse.PostID, "777000777000"},
		{20, gatehouse.PersonName, "Alan Turing"}, {20, gatehouse.Username, "alan"},
	}
	for i := range fingerprint.Owner(fingerprint.DefaultMany) {
		values = append(values, owned{100 + i, gatehouse.PseudonymousID, "888000888000"})
		if i < 5 {
			values = append(values, owned{100 + i, gatehouse.PersonName, "Everybody"})
		}
	}
	x := indexOf(t, values...)
	for text, want := range map[string]string{
		"grace":                     "",
		"grace@navy.example":        "email[2 3]",
		"grace, grace@navy.example": "username[2 3] email[2 3]",
		"grace 777000777000":        "username[1 2] post-id[2] pseudonymous-id[1]",
		"888000888000":              "pseudonymous-id[]",
		"Alan Turing":               "",
		"Alan Turing, alan":         "name[20] username[20]",
		"Everybody 888000888000":    "pseudonymous-id[]",
	} {
		got := search(x, []byte(text), whole)
		for _, h := range got {
			if h.Shared != strings.HasPrefix(text[h.From:], "888") {
				t.Errorf("%q: shared is %v", text, h.Shared)
			}
		}
		// Kinds at one place have no order.
		a, b := strings.Fields(strings.ReplaceAll(kinds(got), " 3", ",3")), strings.Fields(strings.ReplaceAll(want, " 3", ",3"))
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%q: %v, want %v", text, a, b)
		}
	}
}

func fingerprintValue(v owned) fingerprint.Value {
	return fingerprint.Value{Class: v.class, Text: v.text}
}
