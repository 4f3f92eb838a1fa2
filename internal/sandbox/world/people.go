package world

import (
	"strconv"
	"strings"
	"time"
)

// Person is one human who has accounts on the sandbox's platforms. Each platform
// derives its own identifiers from Index, so that no two platforms know a person
// by the same number.
type Person struct {
	Index    int
	Name     string
	Username string
	Bio      string
	Location string
	Lang     string
	Joined   time.Time
	Email    string
}

// locale holds the raw material for the people of one language. Names are
// written "native/romanised"; the romanised form makes the user name.
type locale struct {
	lang      string
	given     []string
	family    []string
	bios      []string
	locations []string
	// familyFirst is set where the family name stands in front.
	familyFirst bool
	// joiner stands between the two names.
	joiner string
}

var locales = []locale{
	{"en", []string{"Ada/ada", "Grace/grace", "Miles/miles", "Zoë/zoe", "O’Neil/oneil"}, []string{"Lovelace/lovelace", "Okafor/okafor", "Whitfield/whitfield", "D’Angelo/dangelo"},
		[]string{"Engines, numbers, long walks. Opinions are mine ☕️", "she/her 🏳️‍🌈 · maps, bikes & sourdough"}, []string{"London", "Lagos 🇳🇬"}, false, " "},
	{"fr", []string{"Chloé/chloe", "François/francois", "Anaïs/anais", "Loïc/loic", "Hélène/helene"}, []string{"Lefèvre/lefevre", "Béranger/beranger", "Noël/noel", "Château/chateau"},
		[]string{"Journaliste à mi-temps, rêveuse à plein temps ✍️", "Photo argentique 📷 — café crème — œuvres complètes"}, []string{"Paris", "Montréal"}, false, " "},
	{"de", []string{"Jürgen/juergen", "Käthe/kaethe", "Björn/bjoern", "Änne/aenne", "Sören/soeren"}, []string{"Müller/mueller", "Groß/gross", "Weiß/weiss", "Schröder/schroeder"},
		[]string{"Straßenbahnfahrer aus Überzeugung 🚋", "Bücher, Brot, Bäume 🌳"}, []string{"München", "Köln"}, false, " "},
	{"es", []string{"José/jose", "Íñigo/inigo", "Begoña/begona", "Lucía/lucia", "Ramón/ramon"}, []string{"Muñoz/munoz", "García/garcia", "Núñez/nunez", "Peña/pena"},
		[]string{"¿Mar o montaña? ¡Las dos! 🌊⛰️", "Cocinera 👩🏽‍🍳 y madre de dos"}, []string{"Bogotá", "A Coruña"}, false, " "},
	{"pl", []string{"Łukasz/lukasz", "Małgorzata/malgorzata", "Żaneta/zaneta", "Święty/swiety", "Józef/jozef"}, []string{"Wiśniewski/wisniewski", "Źródło/zrodlo", "Dąbrowska/dabrowska", "Chrząszcz/chrzaszcz"},
		[]string{"W Szczebrzeszynie chrząszcz brzmi w trzcinie 🪲", "Programista i piekarz 🥖"}, []string{"Łódź", "Gdańsk"}, false, " "},
	{"ru", []string{"Мария/mariya", "Алексей/aleksey", "Ольга/olga", "Фёдор/fyodor", "Юлия/yuliya"}, []string{"Иванова/ivanova", "Чехов/chekhov", "Щукин/shchukin", "Соловьёва/solovyova"},
		[]string{"Люблю чай, поезда и длинные романы 🚂", "Инженер. Мнение моё, ошибки тоже 😅"}, []string{"Тбилиси", "Рига"}, false, " "},
	{"el", []string{"Ελένη/eleni", "Γιώργος/giorgos", "Άννα/anna", "Νίκος/nikos", "Ζωή/zoi"}, []string{"Παπαδοπούλου/papadopoulou", "Καζαντζάκης/kazantzakis", "Ωραιόπουλος/oraiopoulos", "Ψαράς/psaras"},
		[]string{"Θάλασσα, φως και καφές ☀️", "Δασκάλα ιστορίας 🏛️"}, []string{"Αθήνα", "Θεσσαλονίκη"}, false, " "},
	{"ar", []string{"فاطمة/fatima", "محمد/mohammed", "ليلى/layla", "يوسف/yusuf", "نور/nour"}, []string{"الحسن/alhasan", "القرطبي/alqurtubi", "منصور/mansour", "العلوي/alalawi"},
		[]string{"كاتبة ومترجمة 📚 القهوة أولًا ☕", "مهندس برمجيات، أحب Go والشعر"}, []string{"القاهرة", "عمّان"}, false, " "},
	{"he", []string{"נועה/noa", "יוסף/yosef", "שירה/shira", "אֵיתָן/eitan", "תמר/tamar"}, []string{"לוי/levi", "כהן/cohen", "בן־דוד/bendavid", "שָׁלוֹם/shalom"},
		[]string{"צלמת רחוב 📷 תל אביב", "מפתח תוכנה (Go) וחובב אופניים 🚲"}, []string{"חיפה", "תל אביב"}, false, " "},
	{"hi", []string{"प्रिया/priya", "अर्जुन/arjun", "क्षितिज/kshitij", "ज्ञानेश्वरी/gyaneshwari", "राहुल/rahul"}, []string{"शर्मा/sharma", "श्रीवास्तव/shrivastava", "मिश्र/mishra", "द्विवेदी/dwivedi"},
		[]string{"चाय ☕ और किताबें 📖", "दिल्ली से, दिल से ❤️"}, []string{"दिल्ली", "जयपुर"}, false, " "},
	{"ta", []string{"தமிழ்ச்செல்வி/tamilselvi", "கார்த்திக்/karthik", "மீனா/meena", "அருண்/arun", "செல்வம்/selvam"}, []string{"முருகன்/murugan", "சுப்பிரமணியம்/subramaniam", "ராஜா/raja", "நாராயணன்/narayanan"},
		[]string{"கடல் 🌊 காற்று 🍃 கவிதை", "ஆசிரியர், பெற்றோர் 👨‍👩‍👧"}, []string{"சென்னை", "மதுரை"}, false, " "},
	{"ja", []string{"さくら/sakura", "太郎/taro", "美咲/misaki", "ケンジ/kenji", "陽菜/hina"}, []string{"山田/yamada", "髙橋/takahashi", "渡邉/watanabe", "佐藤/sato"},
		[]string{"猫とコーヒー🐈☕　エンジニア", "鉄道写真🚃📸／関西"}, []string{"東京", "京都"}, true, " "},
	{"zh", []string{"伟/wei", "芳/fang", "子涵/zihan", "丽娜/lina", "建国/jianguo"}, []string{"王/wang", "李/li", "欧阳/ouyang", "𠮷/ji"},
		[]string{"爱吃火锅🍲的程序员", "旅行✈️ 摄影📷 生活"}, []string{"上海", "台北"}, true, ""},
	{"ko", []string{"지우/jiwoo", "민준/minjun", "서연/seoyeon", "하늘/haneul", "도윤/doyun"}, []string{"김/kim", "이/lee", "남궁/namgung", "최/choi"},
		[]string{"커피 ☕ 산책 🌸 고양이 🐱", "개발자 · 두 아이 아빠 👨‍👧‍👦"}, []string{"서울", "부산"}, true, ""},
	{"th", []string{"สมชาย/somchai", "กานดา/kanda", "น้ำฝน/namfon", "ธีรเดช/teeradet", "พิมพ์/pim"}, []string{"ศรีสุข/srisuk", "ทองดี/thongdee", "วงศ์ใหญ่/wongyai", "เจริญกุล/charoenkul"},
		[]string{"รักแมว 🐈 รักกาแฟ ☕", "นักเขียนอิสระ ✍️ กรุงเทพฯ"}, []string{"กรุงเทพฯ", "เชียงใหม่"}, false, " "},
}

// people is built once; People hands out copies.
var people = makePeople()

func makePeople() []Person {
	var all []Person
	start := time.Date(2009, 3, 14, 9, 26, 53, 0, time.UTC)
	// Going round the languages person by person keeps any first page of people
	// mixed in scripts.
	for turn := 0; turn < 20; turn++ {
		for _, l := range locales {
			given, givenLatin, _ := strings.Cut(l.given[turn%len(l.given)], "/")
			family, familyLatin, _ := strings.Cut(l.family[(turn/len(l.given)+turn)%len(l.family)], "/")
			name := given + l.joiner + family
			if l.familyFirst {
				name = family + l.joiner + given
			}
			index := len(all)
			username := givenLatin + "_" + familyLatin
			if len(username) > 13 {
				username = username[:13]
			}
			// X allows 15 characters; the number keeps user names distinct.
			if index >= len(locales) {
				username = strings.TrimSuffix(username[:min(len(username), 12)], "_") + strconv.Itoa(index)
			}
			all = append(all, Person{
				Index:    index,
				Name:     name,
				Username: username,
				Bio:      l.bios[turn%len(l.bios)],
				Location: l.locations[turn%len(l.locations)],
				Lang:     l.lang,
				Joined:   start.Add(time.Duration(index) * 17 * 24 * time.Hour).Add(time.Duration(index*index) * time.Second),
				Email:    username + "@people.example",
			})
		}
	}
	return all
}

// People returns the people of the sandbox's world: always the same, some three
// hundred, with names and descriptions in many scripts. User names are ASCII, at
// most 15 characters, and distinct.
func People() []Person {
	return append([]Person(nil), people...)
}
