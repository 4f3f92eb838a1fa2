package world

import "strings"

// phrases are whole posts, as people write them, in many scripts.
var phrases = []string{
	"Good morning! Coffee first, opinions later ☕️",
	"Shipping day 🚢 — wish us luck. #release",
	"The quick brown fox jumps over the lazy dog, twice 🦊🐶",
	"Hello Ladies + Gentlemen, a signed OAuth request!",
	"100% of \"quotes\" & <tags> belong in posts; so do 'apostrophes' and back\\slashes.",
	"Reading a paper on Merkle trees 🌳 https://example.org/papers/merkle?a=1&b=2#part-3",
	"New bike day! 🚲💨 #cycling #life",
	"Does anybody know a good plumber? Asking for a friend who is under water.",
	"Le cœur a ses raisons que la raison ne connaît point 💙 #Pascal",
	"Voilà l’été ! On mange une glace à la pêche 🍑 ?",
	"Où est passé le garçon naïf de Noël ? #mystère",
	"Heute früh: −7 °C, Eisblumen am Fenster ❄️ #Winter",
	"Die Straßenbahn fährt über die Brücke. Größe: ungefähr 42 m²",
	"Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🥊",
	"¡Qué día tan bonito! ¿Nos vemos en la playa? 🏖️ #verano",
	"El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia 🐧",
	"Zażółć gęślą jaźń 🎻 #pangram",
	"Dziś w menu: żurek, pierogi i święty spokój 🥟",
	"Съешь же ещё этих мягких французских булок, да выпей чаю 🥐",
	"Первый снег! Дети счастливы ⛄️ #зима",
	"Эй, кто видел моего кота? Рыжий, наглый, отзывается на «Борис» 🐈",
	"Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
	"Καλημέρα από την Κρήτη ☀️🌊 #καλοκαίρι",
	"صباح الخير يا أصدقاء ☀️ كيف حالكم اليوم؟",
	"أحب لغة Go لأنها بسيطة 😊 #برمجة",
	"نصٌّ حكيمٌ لهُ سِرٌّ قاطِعٌ وَذُو شَأنٍ عَظيمٍ 📜",
	"قرأت اليوم ٣٥ صفحة من كتاب «ألف ليلة وليلة» 📖",
	"בוקר טוב! ☀️ מישהו רוצה קפה?",
	"שָׁלוֹם עֲלֵיכֶם — ברוכים הבאים 🕊️ #שלום",
	"דג סקרן שט בים מאוכזב ולפתע מצא חברה 🐟",
	"नमस्ते दुनिया! 🙏 #हिन्दी",
	"ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश",
	"आज बारिश हो रही है, पकोड़े कौन बनाएगा? 🌧️",
	"வணக்கம் நண்பர்களே 🙏 இன்று மழை 🌧️ #தமிழ்",
	"யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது எங்கும் காணோம்",
	"いろはにほへと ちりぬるを 🌸",
	"今日のラーメンは最高でした🍜✨ #ラーメン",
	"電車が5分遅れています🚃💦　ﾊﾝｶｸｶﾅも混ぜてみる",
	"吾輩は猫である。名前はまだ無い。🐈",
	"今天天气真好 ☀️ 去公园散步 #周末",
	"天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。",
	"刚吃完火锅🍲，太辣了🌶️🔥",
	"오늘 하늘이 정말 예쁘다 🌤️ #하늘",
	"키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다",
	"커피 한 잔 ☕ 하실래요? ㅋㅋㅋ",
	"สวัสดีตอนเช้า ☀️ วันนี้กินอะไรดี #อาหาร",
	"เป็นมนุษย์สุดประเสริฐเลิศคุณค่า 🙏",
	"Em đi chợ mua rau muống với cà chua 🍅 ngon quá!",
	"Fahiş bluz güvencesi yapmak yakışmaz 🇹🇷 #İstanbul ı ve i ayrı harflerdir",
	"ქართული ენა მშვენიერია 🇬🇪 #საქართველო",
	"Բարև աշխարհ 🇦🇲",
	"ሰላም ለዓለም 🕊️",
	"ཨོཾ་མ་ཎི་པདྨེ་ཧཱུྃ 🏔️",
	"မင်္ဂလာပါ 🇲🇲",
	"ភាសាខ្មែរ ពិបាកតែស្អាត 🇰🇭",
	"Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa 🇮🇸",
}

// corners are the texts that break programs which count bytes, split runes or
// take a reading direction for granted.
var corners = []string{
	"Family: 👨‍👩‍👧‍👦 👩‍❤️‍💋‍👨 👩🏽‍🚀 🏴‍☠️ 🏳️‍⚧️",
	"Flags: 🇺🇳🇪🇺🇯🇵🇧🇷 🏴󠁧󠁢󠁳󠁣󠁴󠁿 and keycaps 1️⃣2️⃣#️⃣*️⃣",
	"Skin tones 👋🏻👋🏼👋🏽👋🏾👋🏿 and a handshake 🫱🏿‍🫲🏻",
	"Combining: e\u0301 vs é, n\u0303 vs ñ, Å vs A\u030a vs \u212b",
	"Z\u0335\u0321\u0322a\u0337\u0315\u031bl\u0338\u0360g\u0334\u0344o\u0336\u0322 he comes",
	"Mixed direction: السعر 25 USD (خمسة وعشرون) شكراً",
	"עברית then English ואז שוב עברית \u200f!",
	"\u202bembedded right to left\u202c and back",
	"Zero width: a\u200bb\u200cc\u200dd\u2060e",
	"Math: 𝓗𝓮𝓵𝓵𝓸 𝕎𝕠𝕣𝕝𝕕 ∑∞ √2 ≠ 1.41",
	"Outside the BMP: 𠜎𠜱𠝹𠱓 𐍈 𝄞 🂡",
	"Full width ＡＢＣ１２３ and half width ｱｲｳ",
	"Line one\nLine two\n\nLine four — with a tab\there",
	"\"escaped\" \\u0041 and real A; </script><b>not html</b>",
	"%20 %2F + & = ? # every character a URL cares about",
	"a=1&access_token=not-a-token&b=2",
	"👍",
	"ﷺ is one character; so is ﷽",
	"İstanbul ıssız, ß becomes SS, ǆ ǅ Ǆ",
	"100\u00a0% no-break, soft\u00adhyphen, narrow\u202fspace",
}

// endings make the number of texts large without making any two equal.
var endings = []string{"", " 🎉", " …", " #maintenant", " — 2️⃣", " 😂😂", " (続く)"}

var texts = makeTexts()

func makeTexts() []string {
	var all []string
	for _, ending := range endings {
		for _, phrase := range phrases {
			all = append(all, phrase+ending)
		}
		if ending == "" {
			all = append(all, corners...)
		}
	}
	return all
}

// Texts returns the posts of the sandbox's world: always the same, some hundred,
// distinct, each at most 280 characters as X counts the longest of them.
func Texts() []string {
	return append([]string(nil), texts...)
}

// Hashtags returns the tags (without the sign) in a text.
func Hashtags(text string) []string {
	var tags []string
	for _, word := range strings.Fields(text) {
		if tag, found := strings.CutPrefix(word, "#"); found && tag != "" && !strings.HasPrefix(tag, "\ufe0f") {
			tags = append(tags, strings.TrimRight(tag, ".,!?;:"))
		}
	}
	return tags
}
