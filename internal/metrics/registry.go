package metrics

import "slices"

// instruments is the registry, in the order in which the document shows it.
var instruments = slices.Concat(ofCalls, ofPeople, ofThirdParties, ofLog, ofHouse)

// ofCalls are those of calls at the gates, and the renewals that keep them going.
var ofCalls = []Instrument{
	{
		Name: nameCalls, Type: Counter, Unit: "calls", Labels: []string{"service", "purpose", "platform", "outcome"}, keep: []string{"service", "outcome"},
		Meaning: "Calls of services to platforms, by how they ended: done, failed, aborted (the caller hung up, or a reply broke off), refused, or unrecorded (the log could not be written, or a limit was reached so often that refusals get no entry of their own). Each but the unrecorded has its entries in the log.",
		Bad:     "Rising refused: gatehouse_refusals_total says by which rule, `gatehouse audit search --action call --verdict refuse` which calls. Rising failed: gatehouse_upstream_errors_total. Unrecorded: gatehouse_log_condition.",
		Entries: "`--action call --verdict done`, `failed`, `aborted`, `refuse`",
	},
	{
		Name: nameCallSeconds, Type: Histogram, Unit: "seconds", Labels: []string{"platform"}, keep: []string{},
		Meaning: "How long whole calls took that were neither refused nor streams, from the request's header to the reply's last byte.",
		Bad:     "Compare with gatehouse_call_part_duration_seconds: upstream is the platform, log the database's disk, credential a renewal or the root key's system.",
		Entries: "`--action call --kind outcome`",
	},
	{
		Name: nameOwnSeconds, Type: Histogram, Unit: "seconds", keep: []string{},
		Meaning: "How long calls were in Gatehouse before the platform was asked: judging, the durable intent and the credential, without what is done while the reply passes.",
		Bad:     "Look at the parts judge, log and credential of gatehouse_call_part_duration_seconds, and at process_cpu_seconds_total.",
		Entries: "`--action call --kind outcome`",
	},
	{
		Name: namePartSeconds, Type: Histogram, Unit: "seconds", Labels: []string{"part"},
		Meaning: "How long the parts of calls took: judge (reading, classifying, deciding, limits), log (until the intent is durable), credential (opening the token, or renewing it), upstream (from asking the platform to its reply's header, a repetition included), relay (the reply's body, to its end).",
		Bad:     "log: the disk under the database, or a backup on it. credential: gatehouse_renewals_total and gatehouse_root_key_state. upstream: the platform's status page.",
		Entries: "`--action call --kind outcome`",
	},
	{
		Name: nameReplyBytes, Type: Counter, Unit: "bytes", Labels: []string{"platform"},
		Meaning: "Bytes of replies' bodies that were passed on to services.",
		Bad:     "A sudden rise is a new use, or somebody who copies: `gatehouse policy unused` and the log say which.",
		Entries: "`--action call --kind outcome`",
	},
	{
		Name: nameUpstream, Type: Counter, Unit: "calls", Labels: []string{"platform", "kind"}, keep: []string{"kind"},
		Meaning: "Calls that the platform, or the way to it, did not answer as wanted: kind is what the platform's error says (throttled, dead, ...) or the rule with which the call failed.",
		Bad:     "throttled: gatehouse_budget_remaining_ratio. dead: people must connect again. upstream/...: the platform or the network.",
		Entries: "`--action call --kind outcome --verdict failed`, `--fact class=KIND`",
	},
	{
		Name: nameRefusals, Type: Counter, Unit: "entries", Labels: []string{"action", "rule"}, keep: []string{"rule"},
		Meaning: "Entries of the log that say that something was refused, by the action and the rule.",
		Bad:     "docs/log-events.md and the rule's name say what it is about; `gatehouse audit search --rule RULE` finds who. A new rule after a release of the app is a call that no purpose declares.",
		Entries: "`--verdict refuse --rule RULE`",
	},
	{
		Name: nameRenewals, Type: Counter, Unit: "renewals", Labels: []string{"app", "outcome"}, keep: []string{"outcome"},
		Meaning: "Renewals of connections' tokens, by registration, done or failed.",
		Bad:     "`gatehouse audit search --action connect.refresh --verdict failed`. Connections that the platform has ended are in gatehouse_connections as reconnect_needed; others are tried again.",
		Entries: "`--action connect.refresh --kind outcome`",
	},
}

// ofPeople are those of connections, duties and what the app is told.
var ofPeople = []Instrument{
	{
		Name: Connections, Type: Gauge, Unit: "connections", Labels: []string{"app", "status"}, keep: []string{"status"},
		Meaning: "Connections in the database, by registration and state. They are counted once a minute.",
		Bad:     "in_doubt and reconnect_needed: `gatehouse connect list` says for each what has to be done. A fall of healthy within an hour: the app's secret, or the platform ended grants.",
		Entries: "`--action connect.redeem`, `connect.dead`, `connect.revoke`",
	},
	{
		Name: BudgetLeft, Type: Gauge, Unit: "ratio", Labels: []string{"app", "pool"}, keep: []string{"app"}, least: true,
		Meaning: "What the platforms still allow of each registration's own budgets, from 0 (closed) to 1; the least of the pools of one kind. Budgets of single people are not shown.",
		Bad:     "Below 0.1: calls are about to be refused here, with the time to ask again. Spread the calls, or ask the platform for more.",
		Entries: "`--action call --status 429`",
	},
	{
		Name: DutiesOpen, Type: Gauge, Unit: "duties", Labels: []string{"kind"}, keep: []string{},
		Meaning: "Duties that are not done yet, overdue ones included.",
		Bad:     "`gatehouse case list` says which, and what each waits for.",
		Entries: "`--action duty.open`",
	},
	{
		Name: DutiesOverdue, Type: Gauge, Unit: "duties", Labels: []string{"kind"}, keep: []string{},
		Meaning: "Duties whose deadline passed before they were done.",
		Bad:     "The app has not answered that its copy is deleted: `gatehouse case list --state overdue`, then make the app answer, or answer for it.",
		Entries: "`--action duty.overdue`",
	},
	{
		Name: DutyDeadline, Type: Gauge, Unit: "seconds",
		Meaning: "The nearest deadline of an open duty that is not overdue, in seconds since 1970; absent when there is none.",
		Bad:     "Less than a day away: see gatehouse_duties_open.",
		Entries: "`--action duty.open`",
	},
	{
		Name: Events, Type: Gauge, Unit: "events", Labels: []string{"state"}, keep: []string{"state"},
		Meaning: "Events for the app that wait, and dead letters.",
		Bad:     "waiting rises: the app's endpoint does not answer 2xx. dead: `gatehouse events list --state dead`, repair the app, `gatehouse events replay`.",
		Entries: "`--action event.deliver`",
	},
	{
		Name: EventOldest, Type: Gauge, Unit: "seconds",
		Meaning: "When the event was put that has been waiting longest, in seconds since 1970; absent when none waits.",
		Bad:     "After three days it becomes a dead letter. See gatehouse_events.",
		Entries: "`--action event.deliver`",
	},
	{
		Name: nameDeliveries, Type: Counter, Unit: "attempts", Labels: []string{"outcome"},
		Meaning: "Attempts to deliver an event to the app's endpoint, done or failed.",
		Bad:     "`gatehouse audit search --action event.deliver --verdict failed`.",
		Entries: "`--action event.deliver --kind outcome`",
	},
}

// ofThirdParties are those of what goes to others than the platforms, and whose data it is.
var ofThirdParties = []Instrument{
	{
		Name: nameEgress, Type: Counter, Unit: "requests", Labels: []string{"destination", "action", "outcome"}, keep: []string{"outcome"},
		Meaning: "Tunnels and requests to others than platforms, by declared destination ((undeclared) for every other) and how they ended.",
		Bad:     "refused: gatehouse_refusals_total says by which rule; a destination that is new must be declared under third_parties. failed: the destination or the network.",
		Entries: "`--action egress.tunnel`, `egress.call`, `egress.request`; `--destination HOST`",
	},
	{
		Name: nameEgressSent, Type: Counter, Unit: "bytes", Labels: []string{"destination"}, keep: []string{},
		Meaning: "Bytes sent to others than platforms. Of a tunnel they are those of TLS. What is inspected counts once as its tunnel's and is not added again.",
		Bad:     "A rise without a release: somebody sends more, or something else. `gatehouse lineage flows` says whose data.",
		Entries: "`--action egress.tunnel --kind outcome`",
	},
	{
		Name: nameEgressBack, Type: Counter, Unit: "bytes", Labels: []string{"destination"},
		Meaning: "Bytes received from others than platforms, as gatehouse_egress_sent_bytes_total.",
		Bad:     "–",
		Entries: "`--action egress.tunnel --kind outcome`",
	},
	{
		Name: LineageHeld, Type: Gauge, Unit: "fingerprints",
		Meaning: "Fingerprints of delivered values by which data of people is recognised when it leaves.",
		Bad:     "Near gatehouse_lineage_fingerprints_limit the oldest are forgotten before their time: raise lineage.max_fingerprints, or shorten lineage.keep.",
		Entries: "`--action lineage.full`",
	},
	{
		Name: nameRecognised, Type: Counter, Unit: "hits", Labels: []string{"class", "verdict", "destination"}, keep: []string{"verdict"},
		Meaning: "Kinds of people's data, and secrets, that were recognised in what is sent to others, once for each transfer and way: passed (the destination may have it), reported (it may not, and report mode let it pass) or stopped.",
		Bad:     "reported or stopped: the app sends what this destination may not have. `gatehouse lineage destination` says whose, and where it came from.",
		Entries: "`--action egress.request --verdict refuse`",
	},
	{
		Name: LineageLimit, Type: Gauge, Unit: "fingerprints",
		Meaning: "The bound of gatehouse_lineage_fingerprints.",
		Bad:     "–",
		Entries: "–",
	},
	{
		Name: LineageReady, Type: Gauge, Unit: "boolean",
		Meaning: "Whether this process has read the index of fingerprints: 1, or 0 while it does.",
		Bad:     "0 for minutes after the start is normal with millions; inspected transfers wait meanwhile.",
		Entries: "–",
	},
}

// ofLog are those of the log and its export.
var ofLog = []Instrument{
	{
		Name: nameEntries, Type: Counter, Unit: "entries", Labels: []string{"action", "verdict"}, keep: []string{},
		Meaning: "Entries that this process added to the log. Its rate is the log's append rate.",
		Bad:     "A fall to nothing while the app calls: gatehouse_log_condition.",
		Entries: "`--action ACTION --verdict VERDICT`",
	},
	{
		Name: nameAppendSeconds, Type: Histogram, Unit: "seconds", keep: []string{},
		Meaning: "How long callers waited until an intent, or an entry that stands for itself, was durable.",
		Bad:     "Above a few tens of milliseconds: the disk's sync, PostgreSQL's commit, or too many writers.",
		Entries: "–",
	},
	{
		Name: LogCondition, Type: Gauge, Unit: "boolean", Labels: []string{"condition"},
		Meaning: "Whether the log is writable, slow, unwritable, full, tampered, owing or stopped: 1 for the condition that it is in, 0 for the others. In all but writable every call is refused.",
		Bad:     "full: make room. tampered: `gatehouse audit verify`, then docs/audit-log.md. Others end by themselves when the database is back.",
		Entries: "`--action log.close`, `log.open`, `log.tampered`",
	},
	{
		Name: LogSize, Type: Gauge, Unit: "entries",
		Meaning: "Entries in this node's log, pruned ones included.",
		Bad:     "A fall is tampering or a restore.",
		Entries: "–",
	},
	{
		Name: LogQueued, Type: Gauge, Unit: "entries",
		Meaning: "Entries that wait to be written.",
		Bad:     "More than a few thousand for minutes: the database is slower than what is asked of it.",
		Entries: "–",
	},
	{
		Name: LogOwed, Type: Gauge, Unit: "deeds",
		Meaning: "What took access away, was done, and could not be stored yet: it is in the spool beside the log, and the gates are closed until it is stored.",
		Bad:     "Do not remove the files beside the configuration. Bring the database back.",
		Entries: "–",
	},
	{
		Name: LogReserve, Type: Gauge, Unit: "boolean",
		Meaning: "Whether the space is held back that lets access be taken away on a full disk (or none is to be held).",
		Bad:     "0: there was no room for it. Make room and restart.",
		Entries: "–",
	},
	{
		Name: ExportLag, Type: Gauge, Unit: "entries", Labels: []string{"sink"}, keep: []string{"sink"},
		Meaning: "Entries of all logs that a sink of the log has not accepted yet.",
		Bad:     "`gatehouse audit export status` says what the sink answers. Nothing is lost; entries wait in the log.",
		Entries: "`--action log.export.stuck`",
	},
	{
		Name: ExportLagSeconds, Type: Gauge, Unit: "seconds", Labels: []string{"sink"},
		Meaning: "How long the first of those entries has been waiting.",
		Bad:     "As gatehouse_export_lag_entries.",
		Entries: "`--action log.export.stuck`",
	},
	{
		Name: ExportState, Type: Gauge, Unit: "boolean", Labels: []string{"sink", "state"},
		Meaning: "1 for the state that a sink is in: new, ok, retrying, stuck, unserved, removed.",
		Bad:     "stuck or unserved: as gatehouse_export_lag_entries.",
		Entries: "`--action log.export.stuck`",
	},
}

// ofHouse are those of keys, sign-ins and the program itself.
var ofHouse = []Instrument{
	{
		Name: KeyCreated, Type: Gauge, Unit: "seconds", Labels: []string{"key"},
		Meaning: "When the version in force of each domain key, and of the daily key, was made, in seconds since 1970.",
		Bad:     "Older than keys.rotate_after: the work on keys does not come through; `gatehouse keys list`.",
		Entries: "`--action keys.rotate`",
	},
	{
		Name: RootKeyState, Type: Gauge, Unit: "boolean", Labels: []string{"state"},
		Meaning: "1 for the state that the root key is in, as the health page names it.",
		Bad:     "Not answers: the key management system is out of reach or refuses. What is held serves until gatehouse_root_key_serves_until_timestamp_seconds; docs/keys.md.",
		Entries: "`--action keys.kms.lost`",
	},
	{
		Name: RootKeyServesUntil, Type: Gauge, Unit: "seconds",
		Meaning: "When the keys in memory are dropped if the root key stays out of reach, in seconds since 1970; absent while it answers.",
		Bad:     "After it nothing opens: bring the key management system back before.",
		Entries: "`--action keys.kms.lost`",
	},
	{
		Name: nameSignIns, Type: Counter, Unit: "attempts", Labels: []string{"outcome"}, keep: []string{"outcome"},
		Meaning: "Attempts of operators to sign in to the console: done, refused, and locked (so many failed that no more are taken for a while).",
		Bad:     "Many refused, or locked: somebody is guessing; `gatehouse audit search --action operator.refuse`.",
		Entries: "`--action operator.sign-in`, `operator.refuse`",
	},
	{
		Name: nameFactorAlarms, Type: Counter, Unit: "alarms", Labels: []string{"whose", "cause"}, keep: []string{"whose", "cause"},
		Meaning: "Second factors that something is wrong with, by whose they are, an operator's or a user's of the app: cloned (a passkey answered with a counter that went back, so there are two of it; it is blocked) and guessing (so many codes were tried that no more are taken).",
		Bad:     "More than none: of an operator, `gatehouse audit search --action operator.cloned`, and have them enrol anew; of the app's user, the app got the event stepup.alarm and should ask them.",
		Entries: "`--action operator.cloned`, `stepup.alarm`",
	},
	{
		Name: nameLookFailures, Type: Counter, Unit: "looks", Labels: []string{"look"},
		Meaning: "How often figures could not be read that stand in the database. Meanwhile they are absent, rather than old.",
		Bad:     "The database does not answer in time.",
		Entries: "–",
	},
	{
		Name: nameDropped, Type: Counter, Unit: "traces",
		Meaning: "Traces that were not sent because the collector is slower than calls, or away.",
		Bad:     "Sample fewer (metrics.otlp.sample_percent), or see to the collector. Calls never wait for it.",
		Entries: "–",
	},
	{
		Name: nameExports, Type: Counter, Unit: "requests", Labels: []string{"signal", "outcome"},
		Meaning: "Requests to the OpenTelemetry collector, of metrics or traces, done or failed.",
		Bad:     "The operator's log says what the collector answers.",
		Entries: "–",
	},
	{
		Name: nameBuild, Type: Gauge, Unit: "info", Labels: []string{"version", "environment", "node"},
		Meaning: "Always 1: which version runs where.",
		Bad:     "–",
		Entries: "–",
	},
}
