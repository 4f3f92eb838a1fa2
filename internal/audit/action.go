package audit

import (
	"maps"
	"slices"
)

// actions is the registry: every action that may stand in the log, and what it
// means to somebody who reads the log. docs/log-events.md is generated from it.
// A name is never given a second meaning and never removed. Its code stands in classes.
var actions = map[string]string{
	"audit.reveal":       "Personal fields of an entry were opened for a proof that somebody else can check; facts hold their names.",
	"audit.search":       "Entries of one person, connection or handle were searched for; whose is sealed. Without a service, an operator did.",
	"audit.unregistered": "An entry came with an action that is not registered (a mistake in Gatehouse; the fault is in the operator's log).",

	"call":        "A service's call to a platform. The intent is written before any credential is opened; the outcome says how the platform answered, or that the call was refused or aborted.",
	"call.stream": "A long-lived stream from a platform to a service; the outcome is written when it ends.",

	"backup.create":  "A backup of the database was taken; facts hold its id, its epoch and how many connections it holds.",
	"backup.drill":   "A backup was opened on trial: it was loaded, its log verified, and its connections were counted. Nothing of it was kept.",
	"backup.prune":   "The time of an epoch was over: its key is destroyed, after which no backup of that day opens, and its backups are deleted.",
	"backup.restore": "The database was restored from a backup; facts hold its id, how many erasures were done again, how many were accepted to be missing, how many sessions and recovery codes were ended because they may have been used since, and the approval, or why there was none. With the verdict allow: it is about to be restored beside this installation although nobody agreed.",

	"compliance.result": "X was asked how a compliance job is doing, its answer was read, or what it found was handed over; facts hold counts only.",
	"compliance.submit": "A compliance job was made at X, or the list of identifiers for it was opened and sent; facts hold counts only.",

	"config.apply":   "A configuration was put into force; facts hold the hash of its file.",
	"demo.start":     "A demonstration was started on this machine.",
	"doctor.at-rest": "Storage was searched for secrets in plain. Of the whole search, facts hold the verdict and counts; for each batch of connections whose tokens were opened to look for them, their number. Nothing that was opened leaves the search.",
	"init":           "The database, its root key and its log were made.",
	"run.start":      "The gateway started serving.",
	"run.stop":       "The gateway stopped serving.",

	"connect.adopt":      "A token that a platform's reply contained was taken out of it and became a child connection.",
	"connect.app":        "A request was made to a platform in the app's own name (app token or app secret).",
	"connect.begin":      "A service asked for a person to be connected.",
	"connect.callback":   "A person came back from a platform's consent page.",
	"connect.check":      "A platform was asked whether a connection's token is still good, and what it may do.",
	"connect.dead":       "A platform said that a grant no longer exists.",
	"connect.everything": "An operator ended everything in a scope from the console: keys of services, handles, connections. The entry's app and platform are the scope, without one it is all; facts of the intent hold the reason, those of the outcome counts. Each of them has entries of its own.",
	"connect.export":     "Tokens were taken out of the vault for use elsewhere.",
	"connect.guard":      "Stored tokens were opened to note by what they can be recognised, so that they are found in what the app sends to others. Facts hold how many connections; nothing that was opened is kept.",
	"connect.import":     "A token obtained elsewhere was handed in and checked at its platform.",
	"connect.redeem":     "The app redeemed the one-time code of a connection for its subject; only now is the connection usable.",
	"connect.refresh":    "A connection's tokens were renewed at its platform.",
	"connect.revoke":     "A connection was cut off here and revoked at its platform.",
	"connect.start":      "A person's browser was sent to a platform's consent page.",

	"duty.answer":         "The app, or an operator for it, said that its own copy of a person's data is deleted.",
	"duty.done":           "A duty was closed: everything that it demanded is done.",
	"duty.open":           "A duty came about: a person took access away or asked for deletion, or the platform says that content is gone.",
	"duty.overdue":        "A duty's deadline passed before it was done.",
	"duty.refuse":         "An operator closed a duty without erasing anything, with a justification that the person can read.",
	"event.ack":           "A service of the app acknowledged an event that it had fetched.",
	"event.deliver":       "An event was sent to the app's endpoint. The intent is written before its content is opened; the outcome says what the endpoint answered.",
	"event.fetch":         "A service of the app fetched an event. The intent is written before its content is opened.",
	"event.replay":        "An operator put a dead letter, or an event that waited for its next attempt, back in line.",
	"event.secret.rotate": "The secret that signs events for the app was replaced; facts hold the version and how long the one before signs beside it.",
	"event.secret.show":   "The secret that signs events for the app was shown.",

	"egress.authority": "The authority for inspection was made anew, since its hosts changed or its time came, or there is none any more; facts hold how many hosts it may sign for and its fingerprint.",
	"egress.call":      "A service's request without TLS to somebody who is no platform. The intent is written before anything is resolved or sent; facts hold the destination if it is declared (any other is sealed), its port, and of the outcome the bytes of content sent and received and the time it took.",
	"egress.request":   "A request inside a tunnel that is looked into. The intent is written before the destination gets anything of it; facts hold the tunnel's entry, and of the outcome the bytes of content sent and received, the time it took and, in report mode, why a part could not be searched.",
	"egress.tunnel":    "A service's tunnel to somebody who is no platform, as egress.call. The bytes are those of TLS.",

	"handle.create": "A handle was made for a service, a connection and a purpose.",
	"handle.refuse": "A handle or service key was presented and refused.",
	"handle.revoke": "A handle, and those made from it, stopped working.",

	"keys.destroy":  "A version of a domain key was destroyed; what it alone could open is unreadable for good.",
	"keys.disable":  "A version of a domain key was disabled: it opens nothing until it is enabled again.",
	"keys.enable":   "A disabled version of a domain key opens again, or the schedule of its destruction was taken back.",
	"keys.import":   "A keyset that was made elsewhere became the new version of a domain key.",
	"keys.kms.back": "The root key's system answers again.",
	"keys.kms.lost": "The root key's system is out of reach, or refuses (facts: state): what is held serves on until the time given, or nothing opens any more.",
	"keys.rewrap":   "What stood under an older key was moved under a newer one: a domain key under another root key, keys of people or a system secret under another domain key.",
	"keys.rotate":   "A new version of a domain key was made, or the keyring was made anew where somebody was erased.",
	"keys.unseal":   "A Gatehouse that had started sealed was given its passphrase; facts hold how many wrong ones came before.",
	"keys.schedule": "The destruction of a version of a domain key was scheduled; facts hold the time. Until then it opens nothing and can be enabled again.",

	"lineage.ask":     "Somebody looked at whose data went where; facts say about what. Of one person, it is sealed who that was. Without a service, an operator did.",
	"lineage.erase":   "What led from flows to erased people was removed, and their fingerprints deleted; facts hold counts.",
	"lineage.full":    "There are more fingerprints than the configuration allows: the oldest are forgotten before their time, and are not recognised any more.",
	"lineage.probing": "A service tried to send many different values that were stopped. The destinations where they were are closed to it for an hour.",

	"log.accept":   "An operator accepted the log as it is after tampering was noticed; facts hold how many entries it had when that was noticed, and how many when it was accepted.",
	"log.clock":    "This machine's clock was set: times before this entry and after it do not follow one another. Facts hold by how many seconds. The order of entries does not depend on it.",
	"log.close":    "The log could not be written, and everything that has to be recorded was refused from then on. The rule and facts say why: slow, unwritable or full.",
	"log.cross":    "The newest checkpoint of another log of the same database: facts hold its origin, size and root. `audit verify` compares that log with it.",
	"log.node":     "A node began a log of its own; facts hold the node's name, and the log's origin and public key. It stands in that log and in the one of nodes without a name; there again when the entry before is pruned.",
	"log.open":     "The log could be written again. Facts hold why it could not, for how many seconds, and how many intents and records were refused.",
	"log.archive":  "A period of the log was copied into an archive; facts name its first and last entry and its SHA-256.",
	"log.prune":    "A segment of the log, 65,536 entries, was older than it is kept: its entries and what lies beside them are deleted. Facts hold its first and last entry, the root of its tree, and name its archive and that one's SHA-256. The tree still covers it.",
	"log.verify":   "An operator had all logs verified from the console: every hash and signature. The outcome's facts hold how many entries there are, how many things are not as written, and for how many seconds it took; failed is also one that came to no result.",
	"log.tampered": "The log, or a spool beside it, was found not to be as it was written. The gates are closed until an operator accepts it, but for a spool.",

	"log.export.gap":      "Entries that a sink should get next are not in the log any more; facts hold the sink, the log, and from which index to which. It gets what comes after them.",
	"log.export.move":     "An operator put a sink's cursor somewhere else; facts hold the sink, the log, and from which index to which.",
	"log.export.ok":       "A sink that was stuck has caught up; facts hold for how many seconds it was stuck.",
	"log.export.rejected": "A sink answered that it threw entries away. By its protocol they are not sent again. Facts hold the sink, the log, the first and the last index of what was sent, and how many entries of it were rejected.",
	"log.export.stuck":    "A sink does not take the log's entries: the first that waits has done so for longer than the configuration allows. Facts hold the sink and for how many seconds. Nothing is lost; entries wait in the log.",

	"notice.refuse": "A notice that claims to be a platform's was refused: its signature is wrong, or it is too old or malformed.",
	"notice.take":   "A platform's signed notice was taken in and put before the app.",

	"operator.altered":   "A role, passkey, session, proposal or review in the database was found not to be as Gatehouse wrote it: somebody else did, so it gives nothing. Facts hold the kind of row and its name; each is recorded once an hour.",
	"operator.approve":   "An operator agreed to what another one proposed; facts hold the approval, the act and who proposed it. It can be used once.",
	"operator.returned":  "The act that an approval was used for has failed: it can be used again until it ends. Facts hold the approval, the act and who approved it.",
	"operator.approved":  "An approval was used: the act that it is for follows. Facts hold the approval, the act and who approved it.",
	"operator.cloned":    "A passkey answered with a counter that went back: there are two of it. It was taken away, and all sessions of the account ended.",
	"operator.decline":   "An operator disagreed with what another one proposed.",
	"operator.enrol":     "An invited operator finished enrolling: the account signs in from now on, and its link is used up.",
	"operator.factor":    "A factor of an operator, or their name and address, was added, replaced or removed; facts say which. All other sessions of the account ended.",
	"operator.grant":     "An operator was given a role, or another end to one; facts hold the role and the end.",
	"operator.hand-over": "All roles of one operator's account were given to another's.",
	"operator.invite":    "An account was made for an operator, and a link to enrol; with the fact again, a new link for an account whose factors are lost and are now gone.",
	"operator.locked":    "So many attempts to sign in failed that no more are taken for a while, for this account or from one place; facts say of which kind. Browsers that the operator has signed in with before, and passkeys, are counted apart.",
	"operator.propose":   "An operator proposed an act that takes two; facts hold the approval and the act.",
	"operator.prove":     "An operator showed a factor again in a session, which got a new token.",
	"operator.refuse":    "Somebody did not get in; facts say at which step and why. They were told the same whatever the reason.",
	"operator.remove":    "An operator's account was removed: its sessions, factors, roles, name and address are gone.",
	"operator.resume":    "A suspended operator's account signs in again.",
	"operator.revoke":    "A role was taken from an operator.",
	"operator.sign-in":   "An operator signed in; facts say with which factors.",
	"operator.sign-out":  "A session of an operator, or all of them, ended before its time. With the fact reason=binding its token came from another browser.",
	"operator.suspend":   "An operator's account was suspended: its sessions ended and it does not sign in. Facts say whether by an operator, by an identity provider (scim) or because it was idle.",

	"person.erase":   "Everything that is held of a person is destroyed: their key, and with it tokens, names and their fields of this log.",
	"platform.clock": "This machine's clock was found to differ much from a platform's, or to agree with it again; facts hold the difference in seconds.",

	"open": "A service had sealed texts opened that it keeps itself, of one person and for one purpose. The intent is written before anything is opened.",
	"seal": "A service had data of one person sealed for one purpose, to keep it itself.",

	"reconcile.difference": "What the log says and a figure that Gatehouse does not make differ; facts hold what was compared, the two figures and the time that they are about (docs/reconciliation.md). A token or app that is used elsewhere appears here.",
	"reconcile.done":       "The log was compared with what the platforms count and with what the database holds; facts hold counts, and why counts began anew if they did.",

	"record.delete": "Records that Gatehouse keeps for the app were deleted: a service asked, or their person was erased.",
	"record.expire": "Records of one purpose were deleted because their time, or that for which the purpose keeps data, was over.",
	"record.get":    "A service had a record opened that Gatehouse keeps for it. The intent is written before anything is opened.",
	"record.put":    "A service gave a record to be kept, sealed under its person's key.",

	"review.closed":  "What a review of access had left to be done elsewhere is done: the next list, or the configuration, does not have it any more. Facts hold the review and the item.",
	"review.decide":  "A reviewer decided about one right; facts hold the review, the item, the decision, and whose right it is by its holder's identifier.",
	"review.discard": "A review that was found not to be as Gatehouse wrote it was removed, with what was decided in it, since another one began.",
	"review.finish":  "A review of access was finished; facts hold counts of what was confirmed, removed, lapsed, kept as an exception and left to be done elsewhere, and the SHA-256 of the signed evidence. The verdict is failed if something is left to be done.",
	"review.import":  "A list of access to another system was taken in; facts hold the system, how many rights it has, and the SHA-256 of the file.",
	"review.lapse":   "A right ended because nobody confirmed it in time, or because a reviewer wanted it so; facts hold the review, the item and what was done.",
	"review.remind":  "Rights wait to be decided; facts hold the review, how many, and when it is due.",
	"review.start":   "A review of all access began; facts hold how many rights it lists, how many of them were not used, and when it is due.",

	"scim.group":        "An identity provider made, changed or removed a group; facts say how many joined and left. Each role that was thereby given or taken has an entry of its own.",
	"scim.link":         "An account came under the management of an identity provider (SCIM), or left it.",
	"scim.refuse":       "Somebody asked for accounts without a token of an identity provider that is taken; facts say whether there was none, or it was unknown or over. Of many refusals the log has some.",
	"scim.token":        "A token for an identity provider was made; facts hold its end, and when the others end.",
	"scim.token.revoke": "An identity provider's token stopped working.",

	"service.create":       "A service of the configuration was entered in the database.",
	"service.disable":      "A service that left the configuration was disabled.",
	"service.enable":       "A disabled service came back into the configuration.",
	"service.key.create":   "A service was given a key, bound to the purpose if one is named; facts hold its end, which key it replaces, and when that one ends.",
	"service.key.expire":   "A service's key was given an end, beside a newer one; facts hold the time.",
	"service.key.expiring": "A service's key ends soon and has no successor; facts hold the time.",
	"service.key.revoke":   "A service's key stopped working.",
	"service.source.new":   "A service called from a network address that it had not used before.",

	"stepup.alarm":  "Something is wrong with the second factor of one of the app's users: facts hold the cause, guessing (too many codes were tried) or cloned (a passkey exists twice, and is blocked).",
	"stepup.begin":  "A service asked for the second factor of one of its users.",
	"stepup.cancel": "A person did not go on with a step-up.",
	"stepup.enrol":  "A person set up a second factor, or began to; it counts when the app has redeemed the step-up. Facts hold the method.",
	"stepup.prove":  "A person proved a second factor, or tried to. The intent is written before the factor is opened; facts hold the method.",
	"stepup.redeem": "The app took the signed result of a step-up for its one-time code; what was set up on the way counts from here on.",
	"stepup.reset":  "A service, or an operator, had the second factors of one of the app's users removed; facts hold how many there were.",
	"stepup.start":  "A browser opened the link of a step-up, and is bound to it.",
}

// An Action is what the registry says of a name.
type Action struct {
	Name, Meaning string
	// Codes are those that its entries may have, in order of the results.
	Codes []Code
	// Controls are the practices that its entries are evidence of.
	Controls []string
}

// Actions returns the registry in order of names.
func Actions() []Action {
	all := make([]Action, 0, len(actions))
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		c, ok := classes[name]
		if !ok {
			c = unknown
		}
		all = append(all, Action{name, actions[name], c.codes(), slices.Clone(c.controls)})
	}
	return all
}
