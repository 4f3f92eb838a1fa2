package audit

import (
	"fmt"
	"slices"
)

// A Severity says how much an entry asks of whoever reads the log.
type Severity string

// The severities, from the least on.
const (
	// SeverityInfo is everyday.
	SeverityInfo Severity = "info"
	// SeverityNotice changes who may do what, or is rare.
	SeverityNotice Severity = "notice"
	// SeverityWarning is to be looked at: something was refused, or did not work.
	SeverityWarning Severity = "warning"
	// SeverityAlert needs somebody now.
	SeverityAlert Severity = "alert"
)

// Severities returns all severities, from the least on.
func Severities() []Severity {
	return []Severity{SeverityInfo, SeverityNotice, SeverityWarning, SeverityAlert}
}

// letter ends a code.
func (s Severity) letter() string {
	switch s {
	case SeverityNotice:
		return "N"
	case SeverityWarning:
		return "W"
	case SeverityAlert:
		return "A"
	}
	return "I"
}

// A Result is how an entry ended, as far as its code says it: the code's last digit.
type Result int

// The results.
const (
	// Went is what was begun, allowed or done.
	Went Result = 0
	// Refused is what did not happen because Gatehouse refused it.
	Refused Result = 1
	// Failed is what was begun and did not come about.
	Failed Result = 2
	// Reported is what was let pass in report mode only.
	Reported Result = 3
)

// verdictResults says what each verdict is.
var verdictResults = map[string]Result{
	"": Went, "allow": Went, "done": Went, "refuse": Refused, "failed": Failed, "aborted": Failed, "report": Reported,
}

// A class is what the registry says of an action beside its meaning. A code is GH, the
// number, the result's digit and the severity's letter. It is derived from an entry and
// stands in no leaf, so numbers and severities are fixed for good: who watches for a code
// would miss what became another one. A new action takes the next free number of its
// hundred.
type class struct {
	// number is the code's, in hundreds: 1 Gatehouse itself, 2 what is sent, 3
	// connections, 4 who may call, 5 data, 6 people and duties, 7 the app's events,
	// 8 keys, 9 the log.
	number int
	// severity is that of what went; empty means SeverityInfo.
	severity Severity
	// refused and failed are those of what did not; empty means SeverityWarning.
	refused, failed Severity
	// reports says that report mode lets the action pass.
	reports bool
	// controls are the practices that entries of the action are evidence of.
	controls []string
}

// classes holds each action of the registry, in order of the numbers.
var classes = map[string]class{
	"init":           {number: 101, severity: SeverityNotice, controls: []string{"X-MONITOR"}},
	"run.start":      {number: 102, controls: []string{"X-MONITOR"}},
	"run.stop":       {number: 103, controls: []string{"X-MONITOR"}},
	"config.apply":   {number: 104, severity: SeverityNotice, controls: []string{"X-MONITOR", "M-PURPOSE"}},
	"demo.start":     {number: 105, severity: SeverityNotice, controls: []string{"X-MONITOR"}},
	"doctor.at-rest": {number: 106, severity: SeverityNotice, failed: SeverityAlert, controls: []string{"M-VERIFYENC", "M-REGULAR"}},
	"backup.create":  {number: 107, failed: SeverityAlert, controls: []string{"M-REGULAR", "M-REST"}},
	"backup.drill":   {number: 108, failed: SeverityAlert, controls: []string{"M-REGULAR"}},
	"backup.prune":   {number: 109, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"backup.restore": {number: 110, severity: SeverityNotice, failed: SeverityAlert, controls: []string{"X-MONITOR"}},

	"call":             {number: 201, failed: SeverityNotice, reports: true, controls: []string{"M-ACCESSLOG", "M-PURPOSE", "X-OAUTH"}},
	"call.stream":      {number: 202, failed: SeverityNotice, reports: true, controls: []string{"M-ACCESSLOG", "M-PURPOSE", "X-OAUTH"}},
	"egress.call":      {number: 203, failed: SeverityNotice, reports: true, controls: []string{"M-ACCESSLOG", "M-EGRESS", "M-LEAK3P"}},
	"egress.tunnel":    {number: 204, failed: SeverityNotice, reports: true, controls: []string{"M-ACCESSLOG", "M-EGRESS", "M-LEAK3P"}},
	"egress.request":   {number: 205, failed: SeverityNotice, reports: true, controls: []string{"M-ACCESSLOG", "M-EGRESS", "M-LEAK3P"}},
	"egress.authority": {number: 206, severity: SeverityNotice, controls: []string{"M-EGRESS", "M-LEAK3P"}},

	"connect.begin":      {number: 301, refused: SeverityNotice, failed: SeverityNotice, controls: []string{"M-ACCESSLOG", "X-OAUTH"}},
	"connect.start":      {number: 302, refused: SeverityNotice, failed: SeverityNotice, controls: []string{"M-ACCESSLOG", "X-OAUTH"}},
	"connect.callback":   {number: 303, failed: SeverityNotice, controls: []string{"M-ACCESSLOG", "X-OAUTH"}},
	"connect.redeem":     {number: 304, refused: SeverityNotice, controls: []string{"M-ACCESSLOG", "X-OAUTH"}},
	"connect.import":     {number: 305, severity: SeverityNotice, controls: []string{"M-ACCESSLOG", "X-TOKENSTORE"}},
	"connect.adopt":      {number: 306, controls: []string{"M-ACCESSLOG", "X-TOKENSTORE"}},
	"connect.check":      {number: 307, failed: SeverityNotice, controls: []string{"X-ROTATE"}},
	"connect.refresh":    {number: 308, controls: []string{"X-ROTATE"}},
	"connect.dead":       {number: 309, severity: SeverityNotice, controls: []string{"X-ROTATE"}},
	"connect.revoke":     {number: 310, severity: SeverityNotice, controls: []string{"X-COMPROMISE"}},
	"connect.export":     {number: 311, severity: SeverityWarning, controls: []string{"M-ACCESSLOG", "X-TOKENSTORE"}},
	"connect.app":        {number: 312, failed: SeverityNotice, controls: []string{"X-OAUTH"}},
	"connect.guard":      {number: 313, controls: []string{"M-ACCESSLOG", "X-TOKENSTORE"}},
	"connect.everything": {number: 314, severity: SeverityAlert, failed: SeverityAlert, controls: []string{"X-COMPROMISE"}},

	"handle.create":      {number: 401, controls: []string{"M-ROLES"}},
	"handle.refuse":      {number: 402, severity: SeverityWarning, controls: []string{"M-ROLES", "X-MONITOR"}},
	"handle.revoke":      {number: 403, severity: SeverityNotice, controls: []string{"M-ROLES", "X-COMPROMISE"}},
	"service.create":     {number: 404, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"service.disable":    {number: 405, severity: SeverityNotice, controls: []string{"M-ROLES", "X-COMPROMISE"}},
	"service.enable":     {number: 406, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"service.key.create": {number: 407, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"service.key.expire": {number: 408, severity: SeverityNotice, controls: []string{"M-ROLES", "X-ROTATE"}},
	"service.key.revoke": {number: 409, severity: SeverityNotice, controls: []string{"M-ROLES", "X-COMPROMISE"}},
	"service.source.new": {number: 410, severity: SeverityNotice, controls: []string{"M-ROLES", "X-MONITOR"}},

	"operator.sign-in":   {number: 411, controls: []string{"M-2FA"}},
	"operator.prove":     {number: 412, controls: []string{"M-2FA"}},
	"operator.refuse":    {number: 413, severity: SeverityWarning, controls: []string{"M-2FA", "X-MONITOR"}},
	"operator.locked":    {number: 414, severity: SeverityWarning, controls: []string{"M-2FA", "X-MONITOR"}},
	"operator.sign-out":  {number: 415, controls: []string{"M-ACCOUNTS"}},
	"operator.invite":    {number: 416, severity: SeverityNotice, controls: []string{"M-ACCOUNTS", "M-NODEFAULT"}},
	"operator.enrol":     {number: 417, severity: SeverityNotice, controls: []string{"M-2FA", "M-NODEFAULT"}},
	"operator.factor":    {number: 418, severity: SeverityNotice, controls: []string{"M-2FA"}},
	"operator.grant":     {number: 419, severity: SeverityNotice, controls: []string{"M-ROLES", "M-ACCOUNTS"}},
	"operator.revoke":    {number: 420, severity: SeverityNotice, controls: []string{"M-ROLES", "M-ACCOUNTS"}},
	"operator.hand-over": {number: 421, severity: SeverityWarning, controls: []string{"M-ACCOUNTS"}},
	"operator.suspend":   {number: 422, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"operator.resume":    {number: 423, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"operator.remove":    {number: 424, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"operator.propose":   {number: 425, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"operator.approve":   {number: 426, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"operator.decline":   {number: 427, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"operator.approved":  {number: 428, severity: SeverityWarning, controls: []string{"M-ROLES"}},
	"operator.cloned":    {number: 429, severity: SeverityAlert, controls: []string{"M-2FA", "X-MONITOR"}},
	"operator.returned":  {number: 437, severity: SeverityNotice, controls: []string{"M-ROLES"}},
	"operator.altered":   {number: 436, severity: SeverityAlert, controls: []string{"M-ROLES", "X-MONITOR"}},

	"service.key.expiring": {number: 440, severity: SeverityWarning, controls: []string{"M-ROLES", "X-ROTATE"}},
	"review.start":         {number: 441, severity: SeverityNotice, controls: []string{"M-ACCOUNTS", "M-ROLES"}},
	"review.decide":        {number: 442, severity: SeverityNotice, controls: []string{"M-ACCOUNTS", "M-ROLES"}},
	"review.remind":        {number: 443, severity: SeverityWarning, controls: []string{"M-ACCOUNTS", "M-ROLES"}},
	"review.lapse":         {number: 444, severity: SeverityWarning, controls: []string{"M-ACCOUNTS", "M-ROLES"}},
	"review.finish":        {number: 445, severity: SeverityNotice, controls: []string{"M-ACCOUNTS", "M-ROLES"}},
	"review.import":        {number: 446, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"review.discard":       {number: 448, severity: SeverityAlert, controls: []string{"M-ACCOUNTS", "X-MONITOR"}},
	"review.closed":        {number: 447, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},

	"scim.token":        {number: 451, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"scim.token.revoke": {number: 452, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"scim.refuse":       {number: 453, severity: SeverityWarning, controls: []string{"M-ACCOUNTS", "X-MONITOR"}},
	"scim.link":         {number: 454, severity: SeverityNotice, controls: []string{"M-ACCOUNTS"}},
	"scim.group":        {number: 455, severity: SeverityNotice, controls: []string{"M-ACCOUNTS", "M-ROLES"}},

	"seal":            {number: 501, controls: []string{"M-ACCESSLOG", "M-REST"}},
	"open":            {number: 502, controls: []string{"M-ACCESSLOG", "M-PURPOSE", "X-ENCRYPT"}},
	"record.put":      {number: 503, controls: []string{"M-ACCESSLOG", "M-REST"}},
	"record.get":      {number: 504, controls: []string{"M-ACCESSLOG", "M-PURPOSE", "X-ENCRYPT"}},
	"record.delete":   {number: 505, severity: SeverityNotice, controls: []string{"M-PURPOSE"}},
	"record.expire":   {number: 506, controls: []string{"M-PURPOSE"}},
	"lineage.ask":     {number: 507, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"lineage.erase":   {number: 508, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"lineage.full":    {number: 509, severity: SeverityWarning, controls: []string{"M-EGRESS", "X-MONITOR"}},
	"lineage.probing": {number: 510, severity: SeverityAlert, refused: SeverityAlert, failed: SeverityAlert, controls: []string{"M-EGRESS", "X-MONITOR"}},

	"person.erase":      {number: 601, severity: SeverityNotice, failed: SeverityAlert, controls: []string{"M-KEYLIFE"}},
	"duty.open":         {number: 602, severity: SeverityNotice, controls: []string{"X-CHANNEL"}},
	"duty.answer":       {number: 603, controls: []string{"X-CHANNEL"}},
	"duty.done":         {number: 604, controls: []string{"X-CHANNEL"}},
	"duty.refuse":       {number: 605, severity: SeverityNotice, controls: []string{"X-CHANNEL"}},
	"duty.overdue":      {number: 606, severity: SeverityWarning, controls: []string{"X-CHANNEL", "X-MONITOR"}},
	"notice.take":       {number: 607, controls: []string{"X-INPUT", "X-MONITOR"}},
	"notice.refuse":     {number: 608, severity: SeverityWarning, controls: []string{"X-INPUT", "X-MONITOR"}},
	"compliance.submit": {number: 609, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"compliance.result": {number: 610, controls: []string{"M-ACCESSLOG"}},
	"stepup.begin":      {number: 611, refused: SeverityNotice, failed: SeverityNotice, controls: []string{"M-2FAUSERS"}},
	"stepup.start":      {number: 612, controls: []string{"M-2FAUSERS"}},
	"stepup.prove":      {number: 613, failed: SeverityNotice, controls: []string{"M-2FAUSERS"}},
	"stepup.enrol":      {number: 614, severity: SeverityNotice, failed: SeverityNotice, controls: []string{"M-2FAUSERS"}},
	"stepup.redeem":     {number: 615, controls: []string{"M-2FAUSERS"}},
	"stepup.cancel":     {number: 616, controls: []string{"M-2FAUSERS"}},
	"stepup.reset":      {number: 617, severity: SeverityNotice, controls: []string{"M-2FAUSERS", "M-ACCESSLOG"}},
	"stepup.alarm":      {number: 618, severity: SeverityWarning, controls: []string{"M-2FAUSERS", "X-MONITOR"}},

	"event.deliver":       {number: 701, failed: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"event.fetch":         {number: 702, failed: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"event.ack":           {number: 703, controls: []string{"M-ACCESSLOG"}},
	"event.replay":        {number: 704, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"event.secret.show":   {number: 705, severity: SeverityWarning, controls: []string{"M-KEYLIFE", "X-MONITOR"}},
	"event.secret.rotate": {number: 706, severity: SeverityNotice, controls: []string{"X-ROTATE"}},

	"keys.rotate":   {number: 801, severity: SeverityNotice, controls: []string{"M-KEYLIFE", "X-ROTATE"}},
	"keys.rewrap":   {number: 802, severity: SeverityNotice, controls: []string{"M-KEYLIFE", "X-ROTATE"}},
	"keys.import":   {number: 803, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"keys.disable":  {number: 804, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"keys.enable":   {number: 805, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"keys.schedule": {number: 806, severity: SeverityNotice, controls: []string{"M-KEYLIFE"}},
	"keys.destroy":  {number: 807, severity: SeverityWarning, failed: SeverityAlert, controls: []string{"M-KEYLIFE"}},
	"keys.unseal":   {number: 808, severity: SeverityNotice, controls: []string{"M-KMS", "X-MONITOR"}},
	"keys.kms.lost": {number: 809, severity: SeverityWarning, controls: []string{"M-KMS", "X-MONITOR"}},
	"keys.kms.back": {number: 810, severity: SeverityNotice, controls: []string{"M-KMS", "X-MONITOR"}},

	"log.open":           {number: 901, severity: SeverityNotice, controls: []string{"X-MONITOR", "M-ACCESSLOG"}},
	"log.close":          {number: 902, severity: SeverityAlert, refused: SeverityAlert, failed: SeverityAlert, controls: []string{"X-MONITOR", "M-ACCESSLOG"}},
	"log.clock":          {number: 903, severity: SeverityNotice, controls: []string{"X-MONITOR", "M-REGULAR"}},
	"log.tampered":       {number: 904, severity: SeverityAlert, refused: SeverityAlert, failed: SeverityAlert, controls: []string{"X-MONITOR", "M-REGULAR"}},
	"log.accept":         {number: 905, severity: SeverityAlert, failed: SeverityAlert, controls: []string{"X-MONITOR", "M-REGULAR"}},
	"audit.reveal":       {number: 906, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"audit.unregistered": {number: 907, severity: SeverityWarning, failed: SeverityAlert, controls: []string{"X-MONITOR"}},
	"platform.clock":     {number: 908, severity: SeverityNotice, controls: []string{"X-MONITOR", "M-REGULAR"}},
	"audit.search":       {number: 909, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"log.node":           {number: 910, severity: SeverityNotice, controls: []string{"M-ACCESSLOG", "M-REGULAR"}},
	"log.cross":          {number: 911, controls: []string{"M-ACCESSLOG", "M-REGULAR"}},
	"log.archive":        {number: 912, severity: SeverityNotice, controls: []string{"M-ACCESSLOG"}},
	"log.prune":          {number: 913, severity: SeverityNotice, failed: SeverityWarning, controls: []string{"M-ACCESSLOG", "M-REGULAR"}},

	"log.export.stuck":     {number: 914, severity: SeverityWarning, controls: []string{"X-MONITOR"}},
	"log.export.ok":        {number: 915, severity: SeverityNotice, controls: []string{"X-MONITOR"}},
	"log.export.gap":       {number: 916, severity: SeverityAlert, refused: SeverityAlert, failed: SeverityAlert, controls: []string{"X-MONITOR"}},
	"log.export.rejected":  {number: 917, severity: SeverityWarning, controls: []string{"X-MONITOR"}},
	"log.export.move":      {number: 918, severity: SeverityNotice, controls: []string{"X-MONITOR"}},
	"reconcile.done":       {number: 919, controls: []string{"X-MONITOR", "M-REGULAR"}},
	"reconcile.difference": {number: 920, severity: SeverityAlert, refused: SeverityAlert, failed: SeverityAlert, controls: []string{"X-MONITOR", "X-COMPROMISE", "M-REGULAR"}},
	"log.verify":           {number: 921, severity: SeverityNotice, failed: SeverityAlert, controls: []string{"M-REGULAR", "M-ACCESSLOG"}},
}

// unknown stands for the actions of programs newer than this one.
var unknown = class{number: 0, severity: SeverityWarning}

// of returns the result of an entry with the verdict. Where report mode makes no
// difference, there is no such result.
func (c *class) of(verdict string) Result {
	r := verdictResults[verdict]
	if r == Reported && !c.reports {
		return Went
	}
	return r
}

func (c *class) severityOf(r Result) Severity {
	s, otherwise := c.severity, SeverityInfo
	switch r {
	case Refused:
		s, otherwise = c.refused, SeverityWarning
	case Failed:
		s, otherwise = c.failed, SeverityWarning
	case Reported:
		s, otherwise = SeverityNotice, SeverityNotice
	}
	if s == "" {
		return otherwise
	}
	return s
}

func (c *class) code(r Result) string {
	return fmt.Sprintf("GH%03d%d%s", c.number, int(r), c.severityOf(r).letter())
}

// A Code is what entries of one action and one result are called.
type Code struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Result   Result   `json:"-"`
}

// codes returns the codes that the class has, in order of the results.
func (c *class) codes() []Code {
	all := []Code{}
	for _, r := range []Result{Went, Refused, Failed, Reported} {
		if r != Reported || c.reports {
			all = append(all, Code{c.code(r), c.severityOf(r), r})
		}
	}
	return all
}

// coded is the code of every action and verdict, made once: each entry that is shown
// or searched asks.
var coded = func() map[[2]string]Code {
	all := map[[2]string]Code{}
	for action, c := range classes {
		for verdict := range verdictResults {
			r := c.of(verdict)
			all[[2]string{action, verdict}] = Code{c.code(r), c.severityOf(r), r}
		}
	}
	return all
}()

// CodeOf returns the code of an entry. An action that this program does not know has
// one of 0, and so has a verdict.
func CodeOf(action, verdict string) Code {
	if c, ok := coded[[2]string{action, verdict}]; ok {
		return c
	}
	r := unknown.of(verdict)
	return Code{unknown.code(r), unknown.severityOf(r), r}
}

// IsCode reports whether some entry may have the code.
func IsCode(code string) bool {
	is := func(c Code) bool { return c.Code == code }
	if slices.ContainsFunc(unknown.codes(), is) {
		return true
	}
	for _, c := range classes {
		if slices.ContainsFunc(c.codes(), is) {
			return true
		}
	}
	return false
}
