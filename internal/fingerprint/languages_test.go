package fingerprint_test

import "strings"

// languages are twenty, with names and a few words of each.
var languages = []language{
	{"en", strings.Fields("James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph Jessica"), strings.Fields("Smith Johnson Williams Brown Jones Garcia Miller Davis O'Brien Wilson-Reed"), true, "The quick report was shared with everybody in the team, and they liked it."},
	{"de", strings.Fields("Jürgen Björn Käthe Anna Lukas Sören Heike Günther"), strings.Fields("Müller Schmidt Größe Weiß Schäfer Vogt Köhler"), true, "Der neue Bericht ist für alle da, und das Büro öffnet später."},
	{"fr", strings.Fields("François Hélène Benoît Zoé Anaïs Jérôme Chloé"), strings.Fields("Lefèvre Dupont Gérard Béranger Noël Faure"), true, "L’équipe a publié la vidéo après le déjeuner, très bien reçue."},
	{"es", strings.Fields("José María Íñigo Begoña Andrés Lucía Ramón"), strings.Fields("Muñoz García Peña Ibáñez López Núñez"), true, "El equipo publicó ayer la campaña del año, ¡qué éxito!"},
	{"pt", strings.Fields("João Conceição Inês Antônio Luís Flávia"), strings.Fields("Gonçalves Araújo Magalhães Simões Brandão"), true, "A equipa publicou ontem a informação sobre a reunião."},
	{"it", strings.Fields("Niccolò Chiara Giosuè Matteo Noemi Alessandra"), strings.Fields("Esposito Bianchi D'Amico Forlì Rossi"), true, "La squadra ha pubblicato il filmato, perché piace a tutti."},
	{"pl", strings.Fields("Łukasz Małgorzata Paweł Żaneta Grażyna Kamil"), strings.Fields("Wójcik Kowalczyk Zieliński Dąbrowska Nowak"), true, "Zespół opublikował wczoraj zdjęcie, które się wszystkim podoba."},
	{"cs", strings.Fields("Jiří Tomáš Kateřina Ondřej Žofie Lenka"), strings.Fields("Dvořák Svoboda Černý Novotný Růžička"), true, "Tým včera zveřejnil zprávu, která se všem líbila."},
	{"tr", strings.Fields("Ayşe Mehmet Çağla Gökhan Şule Işıl İbrahim"), strings.Fields("Yılmaz Öztürk Çelik Şahin Doğan"), true, "Ekip dün yeni bir rapor yayımladı, çok beğenildi."},
	{"ru", strings.Fields("Анна Дмитрий Екатерина Сергей Мария Фёдор"), strings.Fields("Иванов Смирнова Кузнецов Попова Соколов"), true, "Команда вчера опубликовала новый отчёт, и он всем понравился."},
	{"uk", strings.Fields("Олена Богдан Їржі Наталія Андрій Юлія"), strings.Fields("Шевченко Коваленко Бондаренко Ткачук"), true, "Команда вчора опублікувала новий звіт, і він усім сподобався."},
	{"el", strings.Fields("Γιώργος Μαρία Νίκος Ελένη Κώστας Σοφία"), strings.Fields("Παπαδόπουλος Νικολάου Γεωργίου Ιωάννου"), true, "Η ομάδα δημοσίευσε χθες τη νέα αναφορά."},
	{"ar", strings.Fields("محمد فاطمة أحمد عائشة يوسف مريم"), strings.Fields("العلي الحسن المصري الخطيب"), true, "نشر الفريق أمس التقرير الجديد وأعجب الجميع"},
	{"he", strings.Fields("דוד שרה יוסף רחל משה נועה"), strings.Fields("כהן לוי מזרחי פרץ"), true, "הצוות פרסם אתמול את הדוח החדש וכולם אהבו"},
	{"hi", strings.Fields("राहुल प्रिया अमित सुनीता विकास नेहा"), strings.Fields("शर्मा वर्मा गुप्ता सिंह"), true, "टीम ने कल नई रिपोर्ट प्रकाशित की और सबको पसंद आई"},
	{"th", strings.Fields("สมชาย สมหญิง ประเสริฐ อรุณี วิชัย"), strings.Fields("ใจดี ศรีสุข ทองคำ แก้วมณี"), true, "ทีมงานเผยแพร่รายงานฉบับใหม่เมื่อวานนี้"},
	{"ja", strings.Fields("太郎 花子 健一 美咲 翔太 さくら"), strings.Fields("山田 佐藤 鈴木 高橋 渡辺"), false, "昨日チームは新しい報告書を公開しました。"},
	{"zh", strings.Fields("伟 芳 秀英 娜 敏 静 建国 小明"), strings.Fields("王 李 张 刘 陈 杨 欧阳"), false, "团队昨天发布了新的报告大家都很喜欢这个结果并且分享给了朋友"},
	{"ko", strings.Fields("민준 서연 도윤 지우 하은 준서"), strings.Fields("김 이 박 최 정"), false, "팀은 어제 새로운 보고서를 발표했고 모두가 좋아했다."},
	{"vi", strings.Fields("Minh Hương Tuấn Thảo Đức Ngọc"), strings.Fields("Nguyễn Trần Phạm Lê Võ"), true, "Nhóm đã công bố báo cáo mới hôm qua và mọi người đều thích."},
}

// words are what texts are made of, the common ones first.
var words = strings.Fields(`the of and to in for is on that by this with you it not or be are from at as your all have new more an was we will
home can us about if page my has search free but our one other do no information time they site he up may what which their news out use any there see only
so his when contact here business who web also now help get view online first been would how were services some these click its like service than
find price date back top people had list name just over state year day into email two health world next used go work last most products music buy data make them
should product system post her city add policy number such please available copyright support message after best software then good video well where info rights
public books high school through each links she review years order very privacy book items company read group need many user said does set under general research
university january mail full map reviews program life know games way days management part could great united hotel real item international center must store
travel comments made development report off member details line terms before hotels did send right type because local those using results office education national
car design take posted internet address community within states area want phone shipping reserved subject between forum family long based code show even black check
special prices website index being women much sign file link open today technology south case project same pages version section own found sports house related
security both county american photo game members power while care network down computer systems three total place end following download him without per access think
north resources current posts big media law control water history pictures size art personal since including guide shop directory board location change white text
small rating rate government children during return students shopping account times sites level digital profile previous form events love old john main call hours
image department title description insurance another why shall property class still money quality every listing content country private little visit save tools
low reply customer december compare movies include college value article york man card jobs provide food source author different press learn sale around print course
job canada process room stock training too credit point join science men categories advanced west sales look english left team estate box conditions select
windows photos thread week category note live large gallery table register however june october november market library really action start series model features
air industry plan human provided required second accessories cost movie forums march september better say questions july going medical test friend come dec
server study application cart staff articles san feedback again play looking issues april never users complete street topic comment financial things working against`)
