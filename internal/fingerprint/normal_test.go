package fingerprint_test

import (
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// What is the same value has the same fingerprint, and what is not has not.
func TestNormalForms(t *testing.T) {
	x := indexOf(t)
	for _, test := range []struct {
		class      gatehouse.DataClass
		text       string
		same, near []string
	}{
		{gatehouse.PseudonymousID, "12345", []string{" 12345 ", "%31%32345"}, []string{"12346", "012345", "123450"}},
		{gatehouse.PostID, "123_45678", []string{"123%5F45678"}, []string{"123-45678", "12345678"}},
		{gatehouse.MessageID, "m_AbCd-efgh:1", []string{`m_AbCd-efgh:1`}, []string{"m_abCd-efgh:1", "m_AbCd:efgh:1"}},
		{gatehouse.Username, "@Ada_L", []string{"ada_l", "ADA_L"}, []string{"ada.l", "ada", "ada_l_"}},
		{gatehouse.Username, "ada.l", []string{"@Ada.L", "ada.l."}, []string{"ada-l", "adal"}},
		{gatehouse.PersonName, "Ada  Lovelace", []string{"ADA LOVELACE", "ada-lovelace", "Ada\tLovelace 🌸", "Ａｄａ Lovelace", "Ada\u200b Lovelace"}, []string{"Ada Lovelac", "Lovelace Ada", "AdaLovelace"}},
		{gatehouse.PersonName, "Ω ΣΑΣ", []string{"ω σας"}, []string{"ω σα"}},
		{gatehouse.PersonName, "Işıl Işık", []string{"IŞIL IŞIK", "işil işik"}, []string{"Isıl Isık"}},
		{gatehouse.PersonName, "山田 太郎", []string{"山田太郎", "山田　太郎"}, []string{"山田太", "山田 次郎"}},
		{gatehouse.PersonName, "김 민준", []string{"김민준"}, []string{"김민"}},
		{gatehouse.EmailAddress, "Ada.L+x@Example.COM", []string{"ada.l+x@example.com", "<ada.l%2Bx@example.com>"}, []string{"ada.l@example.com", "adal+x@example.com"}},
		{gatehouse.PhoneNumber, "+49 (170) 123-4567", []string{"00491701234567", "49 170 1234567"}, []string{"0170 1234567", "+49 170 123456"}},
		{gatehouse.ProfileLink, "https://www.facebook.com/Ada.L/?ref=x#y", []string{"http://facebook.com/ada.l", "facebook.com/ada.l/", "//WWW.facebook.com/ada.l"}, []string{"https://m.facebook.com/ada.l", "https://facebook.com/ada.l/photos"}},
		{gatehouse.Credential, "AbC%2Fdef-ghi=", []string{"AbC/def-ghi=", "AbC%252Fdef-ghi", "-AbC/def-ghi"}, []string{"abC/def-ghi=", "AbC/def_ghi"}},
	} {
		want, ok := x.Print(fingerprint.Value{Class: test.class, Text: test.text})
		if !ok {
			t.Errorf("%s %q has no fingerprint", test.class, test.text)
		}
		for _, same := range test.same {
			if got, ok := x.Print(fingerprint.Value{Class: test.class, Text: same}); !ok || got != want {
				t.Errorf("%s: %q and %q are not the same", test.class, test.text, same)
			}
		}
		for _, near := range test.near {
			if got, ok := x.Print(fingerprint.Value{Class: test.class, Text: near}); ok && got == want {
				t.Errorf("%s: %q and %q are the same", test.class, test.text, near)
			}
		}
	}
	// The kind is no part of it.
	id, _ := x.Print(fingerprint.Value{Class: gatehouse.PseudonymousID, Text: "4915112345678"})
	phone, _ := x.Print(fingerprint.Value{Class: gatehouse.PhoneNumber, Text: "+49 151 12345678"})
	if id != phone {
		t.Error("one number has two fingerprints")
	}
}

// What is too short, too long or too common has none, and what is just enough has.
func TestBounds(t *testing.T) {
	x := indexOf(t)
	word := strings.Repeat("ab", 2048)
	for _, test := range []struct {
		class gatehouse.DataClass
		text  string
		ok    bool
	}{
		{gatehouse.PseudonymousID, "1234", false}, {gatehouse.PseudonymousID, "12345", true}, {gatehouse.PseudonymousID, "", false},
		{gatehouse.PseudonymousID, "abcdefg", false}, {gatehouse.PseudonymousID, "abcdefgh", true}, {gatehouse.PseudonymousID, "abc defghi", false},
		{gatehouse.Username, "ab", false}, {gatehouse.Username, "abc", true}, {gatehouse.Username, "@", false}, {gatehouse.Username, "a b c", false},
		{gatehouse.PersonName, "Al", false}, {gatehouse.PersonName, "Ada", true}, {gatehouse.PersonName, "Li Bo", true}, {gatehouse.PersonName, "123 456", false}, {gatehouse.PersonName, "🌸", false},
		{gatehouse.PersonName, "李", false}, {gatehouse.PersonName, "李明", true}, {gatehouse.PersonName, "ดีใจค", true}, {gatehouse.PersonName, "ดีใ", false}, {gatehouse.PersonName, "Ada / Lovelace", false},
		{gatehouse.PersonName, strings.Repeat("na ", 32), true}, {gatehouse.PersonName, strings.Repeat("na ", 33), false},
		{gatehouse.EmailAddress, "a@b.cd", true}, {gatehouse.EmailAddress, "ab@cd.efg", true}, {gatehouse.EmailAddress, "abcdefgh", false}, {gatehouse.EmailAddress, "abcd@localhost", false}, {gatehouse.EmailAddress, "@abcde.fgh", false}, {gatehouse.EmailAddress, "abc@def@ghi.jk", false},
		{gatehouse.PhoneNumber, "123456", false}, {gatehouse.PhoneNumber, "1234567", true}, {gatehouse.PhoneNumber, "1234567890123456", false}, {gatehouse.PhoneNumber, "123456789012345", true}, {gatehouse.PhoneNumber, "1234567 ext 5", false},
		{gatehouse.ProfileLink, "https://x.com/", false}, {gatehouse.ProfileLink, "https://x.com/ada", true}, {gatehouse.ProfileLink, "https://facebook.com/profile.php?id=12345", false}, {gatehouse.ProfileLink, "/ada/lovelace", false}, {gatehouse.ProfileLink, "https://lookaside.example/platform/profilepic/?asid=1", false},
		{gatehouse.Credential, "abcdefg", false}, {gatehouse.Credential, "abcdefgh", true}, {gatehouse.Credential, "two words", false}, {gatehouse.Credential, word, true}, {gatehouse.Credential, word + "a", false},
		{gatehouse.Credential, strings.Repeat("ab-", 64), true}, {gatehouse.Credential, strings.Repeat("ab-", 65), false}, {gatehouse.Credential, "abcd--------efgh", true}, {gatehouse.Credential, "abcd---------efgh", false},
	} {
		if _, ok := x.Print(fingerprint.Value{Class: test.class, Text: test.text}); ok != test.ok {
			t.Errorf("%s %.40q has a fingerprint: %v, want %v", test.class, test.text, ok, test.ok)
		}
	}
}

// Whatever has a fingerprint is found as it stands.
func FuzzValues(f *testing.F) {
	for i, v := range people {
		f.Add(uint8(i), v.text)
	}
	f.Fuzz(func(t *testing.T, class uint8, text string) {
		classes := append(gatehouse.DataClasses(), gatehouse.Credential)
		v := fingerprint.Value{Class: classes[int(class)%len(classes)], Text: text}
		x := indexOf(t)
		p, ok := x.Print(v)
		if !ok || len(text) > 500 {
			return // further away than a second value may be
		}
		x.Add(fingerprint.Entry{Print: p, Owner: 1, Class: v.Class, Expires: later})
		second := entry(t, x, 1, "98765432109876", later)
		x.Add(second)
		for _, h := range search(x, []byte(text+" , 98765432109876"), whole) {
			if h.Print == p && h.Class == v.Class {
				return
			}
		}
		// Bytes before or behind the value may say that it is part of something else, and
		// a telephone number may have been written as nobody else does.
		if v.Class == gatehouse.ProfileLink || v.Class == gatehouse.PhoneNumber || strings.ContainsAny(text, ".-@") || p == second.Print {
			return
		}
		t.Errorf("%s %.300q has a fingerprint and is not found", v.Class, text)
	})
}
