// Package config owns the one file that is reviewed like code, gatehouse.yaml:
// its structs, strict decoding, references to secrets, validation against what
// the platforms offer, and differences between two versions.
//
// It promises that an unknown, doubled, misspelt or impossible entry is an error
// that names its line, column and field, all of them at once; that no secret
// stands in the file or in an error; and that the same file always means the
// same. It must never be imported by anything but cmd, which hands each part of
// it to the package that it concerns, and it reads the environment and other
// files only through the [Resolver] it is given.
package config

import (
	"net/netip"
	"strings"
	"time"

	"gatehouse"
)

// Config is the whole file. A value that was left out is the zero value; the
// accessors and comments say what zero means. It is not changed after [Load].
//
// The doc tags are the comments of `gatehouse config example`.
type Config struct {
	Environment gatehouse.Environment             `yaml:"environment" doc:"production, staging or development. It is bound into every key: a copy of one environment's database cannot be opened by another."`
	Node        string                            `yaml:"node" doc:"A name for this node, which then writes an audit log of its own, so that nodes of one database never wait for one another. Default: none; all nodes without a name share one log. See docs/audit-log.md."`
	PublicURL   string                            `yaml:"public_url" doc:"Where people's browsers and the platforms reach Gatehouse. https, or http on loopback."`
	Listen      Listen                            `yaml:"listen" doc:"Addresses to listen on: host:port, or unix:/path for the app."`
	Store       DSN                               `yaml:"store" doc:"sqlite:/path/file.db, postgres://user@host/database without a password, or a reference (env:NAME, file:/path) to a DSN."`
	RootKey     RootKey                           `yaml:"root_key" doc:"The key that wraps all others: file:PATH, which 'gatehouse init' makes, passphrase:PATH, transit:https://vault.example.com:8200/transit/keys/NAME (HashiCorp Vault, OpenBao), awskms:ARN, gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K, or pkcs11:token=T;object=O?module-path=FILE. See docs/keys.md. Keep a copy of a file elsewhere: without it nothing in the store can be opened."`
	RootAccess  RootAccess                        `yaml:"root_key_access" doc:"How to get at the root key, for those that are no file. Secrets are references; those of this block are read again each time they are needed."`
	Previous    []PreviousRoot                    `yaml:"previous_root_keys" doc:"Root keys that still wrap keys in the store, until 'gatehouse keys rewrap --root' has moved them to root_key; 'gatehouse keys status' says when: [{root_key: file:old.key}]"`
	Keys        Keys                              `yaml:"keys" doc:"The life of keys below the root key. Every entry has a default."`
	TLS         TLS                               `yaml:"tls" doc:"Certificates of the listeners: local-ca (made by 'gatehouse init'), {cert: FILE, key: FILE}, or off (plain http, on loopback only)."`
	Apps        map[gatehouse.AppName]App         `yaml:"apps" doc:"Your registrations at the platforms. Secrets are references, env:NAME or file:/path, never values."`
	Purposes    map[gatehouse.PurposeName]Purpose `yaml:"purposes" doc:"Why people's data is used, and the calls that this needs. What no purpose declares does not happen."`
	Services    map[gatehouse.ServiceName]Service `yaml:"services" doc:"The parts of your app that call through Gatehouse. Each gets its own keys: gatehouse service key create NAME."`
	ThirdParty  map[string]ThirdParty             `yaml:"third_parties" doc:"Others who receive data, by host name (names in other letters as xn--…). The proxy lets nothing out to anybody else. See docs/egress.md."`
	Mode        Mode                              `yaml:"mode" doc:"enforce (the default), or report: what no purpose declares is allowed and reported, until the day below."`
	Until       Date                              `yaml:"until" doc:"The last day of report mode."`
	Sandbox     Sandbox                           `yaml:"sandbox" doc:"Replaces every platform host by a sandbox ('gatehouse sandbox'). Refused in production."`
	Returns     []string                          `yaml:"returns" doc:"Where a person may be sent back to after connecting: URLs of your app, exactly, or everything below a path: https://app.example.com/connected/*"`
	Duties      Duties                            `yaml:"duties" doc:"How long you give yourself to delete a person's data, after they remove your app, ask for it, or a platform says that content is gone."`
	Events      Events                            `yaml:"events" doc:"What your app is told: signed events, posted to its endpoint or fetched by a service."`
	Stepup      Stepup                            `yaml:"stepup" doc:"Second factors of your own users: your app asks, and people prove or set up a passkey or an authenticator app on Gatehouse's pages. See docs/stepup.md."`
	Lineage     Lineage                           `yaml:"lineage" doc:"Whose data went where: what is recognised when it leaves, and how long that is on record. Every entry has a default. See docs/lineage.md."`
	Audit       Audit                             `yaml:"audit" doc:"The audit log: who may read it, where it is exported to, and how long it is kept."`
	Backup      Backup                            `yaml:"backup" doc:"Sealed copies of the database, taken by 'run' and by 'gatehouse backup', and the keys and the ledger that make people stay erased. See docs/backup.md."`
	Limits      Limits                            `yaml:"limits" doc:"Bounds. Every one has a default."`
	Metrics     Metrics                           `yaml:"metrics" doc:"What an operator watches: calls, refusals, latencies, duties, keys. See docs/metrics.md."`
	Console     Console                           `yaml:"console" doc:"The operators' pages at listen.console. Every entry but url has a default."`
	Public      Public                            `yaml:"public" doc:"What people's browsers and the platforms call, at listen.public."`
	Operators   Operators                         `yaml:"operators" doc:"Those who run Gatehouse: how long they stay signed in, and what takes two of them. Every entry has a default. See docs/operators.md."`
	Reviews     Reviews                           `yaml:"reviews" doc:"Reviews of all access: when they begin, when they are due, who decides. See docs/access-reviews.md."`
	Log         Log                               `yaml:"log" doc:"The program's own log, on standard error. (What was done with people's data is in the audit log, not here.)"`

	file string
	hash string
}

// Listen holds the addresses. An empty one is not listened on.
type Listen struct {
	App     string `yaml:"app" doc:"Your app's calls to the platforms, and Gatehouse's own API. Keep it on loopback or a private network."`
	Proxy   string `yaml:"proxy" doc:"Forward proxy for your app's calls to anyone else: HTTPS_PROXY=https://PURPOSE:SERVICE_KEY@127.0.0.1:8101. Keep it on loopback or a private network."`
	Console string `yaml:"console" doc:"The operators' pages. Keep it on loopback or a private network."`
	Public  string `yaml:"public" doc:"What people's browsers and the platforms call: everything under /_gatehouse/."`
}

// TLS says where the listeners' certificates come from.
type TLS struct {
	App     Certificate `yaml:"app" doc:"Default: local-ca; off on a Unix socket."`
	Proxy   Certificate `yaml:"proxy" doc:"Default: local-ca. off, on loopback, is for clients that speak plain http to a proxy only."`
	Console Certificate `yaml:"console" doc:"Default: off when listen.console is on loopback, and otherwise local-ca, which browsers do not trust: give {cert: FILE, key: FILE}."`
	Names   []string    `yaml:"names" doc:"More names that the local CA may certify for the app listener, such as api.x.com, if your clients reach Gatehouse by the platforms' own names. It already certifies loopback and the name in listen.app."`
	Public  Certificate `yaml:"public" doc:"{cert: FILE, key: FILE}. Default: off when the public address is loopback (something in front ends TLS), and otherwise local-ca, which browsers do not trust."`
}

// AppCertificate returns what the app listener uses, with the default filled in.
func (c *Config) AppCertificate() Certificate {
	switch {
	case !c.TLS.App.IsZero():
		return c.TLS.App
	case strings.HasPrefix(c.Listen.App, "unix:"):
		return Certificate{Source: "off"}
	default:
		return Certificate{Source: "local-ca"}
	}
}

// ProxyCertificate returns what the proxy listener uses, with the default filled in.
func (c *Config) ProxyCertificate() Certificate {
	if c.TLS.Proxy.IsZero() {
		return Certificate{Source: "local-ca"}
	}
	return c.TLS.Proxy
}

// PublicCertificate returns what the public listener uses, with the default
// filled in.
func (c *Config) PublicCertificate() Certificate {
	switch {
	case !c.TLS.Public.IsZero():
		return c.TLS.Public
	case privateListen(c.Listen.Public):
		return Certificate{Source: "off"}
	default:
		return Certificate{Source: "local-ca"}
	}
}

// App is one registration at a platform.
type App struct {
	Platform     gatehouse.Platform `yaml:"platform" doc:"x, facebook, instagram, threads, or oauth2 for any other provider."`
	ClientID     Value              `yaml:"client_id" doc:"Meta calls it app id. A value or a reference."`
	ClientSecret Secret             `yaml:"client_secret" doc:"Meta calls it app secret. A reference."`
	// The secret that the platform still uses beside the new one.
	ClientSecretPrevious   Secret     `yaml:"client_secret_previous" doc:"While the secret is being replaced at the platform: the old one. Calls use client_secret; what the platform signs is accepted under either."`
	ConsumerSecretPrevious Secret     `yaml:"consumer_secret_previous" doc:"x: likewise for consumer_secret."`
	Public                 bool       `yaml:"public" doc:"x, oauth2: a public client, which has no secret."`
	ConsumerKey            Value      `yaml:"consumer_key" doc:"x: the API key, for OAuth 1.0a and the app-only bearer."`
	ConsumerSecret         Secret     `yaml:"consumer_secret" doc:"x: the API key's secret."`
	Version                string     `yaml:"version" doc:"facebook, instagram, threads: the Graph API version that Gatehouse's own calls use."`
	Proof                  string     `yaml:"proof" doc:"facebook: appsecret_proof as timed (the default), plain or off."`
	AuthorizeURL           string     `yaml:"authorize_url" doc:"oauth2: the provider's endpoints."`
	TokenURL               string     `yaml:"token_url"`
	RevokeURL              string     `yaml:"revoke_url"`
	UserInfoURL            string     `yaml:"user_info_url"`
	UserIDPath             string     `yaml:"user_id_path" doc:"oauth2: where the user's id stands in the user info, such as data.id."`
	Scopes                 []string   `yaml:"scopes" doc:"oauth2: scopes that are always asked for."`
	Usage                  Usage      `yaml:"usage" doc:"x: compare the posts that X counts for this app each day with those that went through Gatehouse (docs/reconciliation.md). Needs consumer_key. Default: off."`
	Compliance             Compliance `yaml:"compliance" doc:"x: remember which posts and users were delivered, and ask X which of them must be deleted (docs/compliance.md). Needs consumer_key. Default: off."`
}

// Usage is about X's count of posts for one app. It is on when AppID is set.
type Usage struct {
	AppID     string `yaml:"app_id" doc:"The app's number in X's developer console, by which X names it in the answer of GET /2/usage/tweets. Needed."`
	Tolerance int    `yaml:"tolerance" doc:"By how many hundredths X's count may be above ours before it is reported, from 1 to 100: X does not say exactly which posts it counts. Default 10."`
}

// WithDefaults returns u with its defaults filled in.
func (u Usage) WithDefaults() Usage {
	orDefault(&u.Tolerance, 10)
	return u
}

// Compliance is about X's batch compliance for one app. It is on when Keep is set.
type Compliance struct {
	Keep   time.Duration `yaml:"keep" doc:"How long your app may hold what it was given: X is asked about it that long after its last delivery. Needed; 720h is 30 days."`
	MaxIDs int           `yaml:"max_ids" doc:"Most posts, and most users, that are remembered; beyond that the oldest are forgotten, and the log says so. Some 200 bytes each. Default 5000000."`
	Every  time.Duration `yaml:"every" doc:"How often X is asked, from 15m to 24h. Default 24h."`
}

// WithDefaults returns c with its defaults filled in.
func (c Compliance) WithDefaults() Compliance {
	orDefault(&c.MaxIDs, 5_000_000)
	orDefault(&c.Every, 24*time.Hour)
	return c
}

// Purpose is one declared reason for using people's data.
type Purpose struct {
	Why    string            `yaml:"why" doc:"One sentence that a person who asks would understand."`
	App    gatehouse.AppName `yaml:"app" doc:"Which registration it uses. Left out when the purpose is for your own data only: then it has no scopes and no calls."`
	Scopes []string          `yaml:"scopes" doc:"What is asked of the person."`
	Calls  []Call            `yaml:"calls" doc:"The platform's operations that it needs."`
	Keep   time.Duration     `yaml:"keep" doc:"How long data sealed or kept for it may live: the most that can be asked for, and what counts when nothing is. Default: no bound."`
}

// Call is one declared operation of a platform. A heading that is left out bounds
// nothing; one that is there names all that may be, also when it is empty.
type Call struct {
	Call   string          `yaml:"call" doc:"METHOD /path, as in the platform's own documentation."`
	Params map[string]Rule `yaml:"params" doc:"The parameters that it may carry, with bounds: {max_results: {max: 100}}. What is not named is refused. Default: any."`
	Body   map[string]Rule `yaml:"body" doc:"The fields that its body may have, with bounds: {text: {max: 280}, poll.duration_minutes: {max: 60}}. What is not named is refused. Default: any."`
	Fields []string        `yaml:"fields" doc:"The fields of the reply that are needed: [id, public_metrics.like_count, includes.users.username], on the Graph [id, accounts.name]. Asking for others is refused, and what else the platform sends is left out. Default: the reply is passed on whole."`
	// Unlisted is the explicit switch for names that the platform's documents do
	// not have.
	Unlisted []string `yaml:"unlisted" doc:"Names under params, body and fields that the platform's documents do not list and that are meant all the same."`

	// Operation is the platform's own name of the call, found by validation.
	Operation gatehouse.Operation `yaml:"-"`
}

// Rule bounds one parameter, or one field of a request's body.
type Rule struct {
	Type     string   `yaml:"type" doc:"text, number, boolean, list (values separated by commas in a query), object or file. Default: what the platform's document says of a parameter; otherwise any single value."`
	Min      int      `yaml:"min" doc:"Least length of a text in characters, or least value of a number."`
	Max      int      `yaml:"max" doc:"Greatest length of a text in characters, or greatest value of a number. In a list: of each entry."`
	Pattern  string   `yaml:"pattern" doc:"A regular expression (RE2) for the whole text."`
	OneOf    []string `yaml:"one_of" doc:"The only values; in a list, the only entries."`
	Entries  int      `yaml:"entries" doc:"The most that a list may hold."`
	Required bool     `yaml:"required"`
}

// Service is one part of the app.
type Service struct {
	Purposes []gatehouse.PurposeName `yaml:"purposes" doc:"What it may call for."`
	Rate     Rate                    `yaml:"rate" doc:"Most requests, calls and API together: 50/s, 600/m. Default: no limit of our own."`
	Sources  []netip.Prefix          `yaml:"sources" doc:"Networks that its keys and handles are accepted from. Needed when the app listener is not on loopback."`
	Accept   []string                `yaml:"accept" doc:"Where a handle is accepted: bearer, query, form, batch, oauth1. Default: everywhere."`
}

// ThirdParty is somebody else who receives data.
type ThirdParty struct {
	Purposes   []gatehouse.PurposeName `yaml:"purposes" doc:"What may be sent there for. Services send for their own purposes only."`
	MayReceive []string                `yaml:"may_receive" doc:"Kinds of people's data that it may have: pseudonymous-id, username, name, email, phone, profile-link, post-id, message-id. Default: none. It is looked for where requests are inspected, and in plain http."`
	Inspect    bool                    `yaml:"inspect" doc:"Look into what is sent over TLS. Otherwise host, bytes and times are recorded."`
	Ports      []int                   `yaml:"ports" doc:"Ports beside 443, and 80 for plain http."`
	Private    bool                    `yaml:"private" doc:"It is a host in networks of your own: its name may lead to private addresses (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7)."`
	Address    string                  `yaml:"address" doc:"Outside production: a loopback address and port to dial in its place, such as 127.0.0.1:9443."`
	CAFile     string                  `yaml:"ca_file" doc:"With private or address: the certificate authority that it is verified by where it is inspected."`
}

// Sandbox replaces the platforms.
type Sandbox struct {
	X      string `yaml:"x" doc:"The sandbox's X listener."`
	Meta   string `yaml:"meta" doc:"The sandbox's Meta listener."`
	CAFile string `yaml:"ca_file" doc:"Certificate authority of the sandbox's listeners, when they speak TLS."`
}

// Duties are the deadlines of what must be done about people's data, by platform.
type Duties struct {
	X     time.Duration `yaml:"x" doc:"Default 24h, which is the most that X's Developer Policy allows."`
	Meta  time.Duration `yaml:"meta" doc:"facebook, instagram, threads. Default 720h (30 days); Meta names no number."`
	Other time.Duration `yaml:"other" doc:"Everything else. Default 720h."`
}

// Backup says where backups go. The zero value means that none are taken.
type Backup struct {
	To                  Dir           `yaml:"to" doc:"The directory of backups, best on another machine's disk. It must exist."`
	Every               time.Duration `yaml:"every" doc:"How often 'run' takes one. Default 24h."`
	Keep                time.Duration `yaml:"keep" doc:"How long a backup can be opened: then the key of its day is destroyed. At least 48h. Default 720h."`
	EpochKeys           Dir           `yaml:"epoch_keys" doc:"The directory of the days' keys: neither in the directory of backups nor beside the live data, and best on a third machine. Copies that others make of it undo what 'keep' promises."`
	EpochKeysBesideData bool          `yaml:"epoch_keys_beside_data" doc:"true lets epoch_keys lie in the directory of the database or of this file: for a trial."`
	LedgerCopies        []Dir         `yaml:"ledger_copies" doc:"More directories that get each erasure at once, such as a witness's. Erasure duties wait for all of them."`
}

// IsZero reports whether the section was left out.
func (b Backup) IsZero() bool {
	return b.To.IsZero() && b.EpochKeys.IsZero() && b.Every == 0 && b.Keep == 0 && !b.EpochKeysBesideData && len(b.LedgerCopies) == 0
}

// Limits are bounds; see [Limits.WithDefaults].
type Limits struct {
	Calls           int           `yaml:"calls" doc:"Calls under way at once. Default 1024."`
	Streams         int           `yaml:"streams" doc:"Long-lived streams at once. Default 64."`
	Tunnels         int           `yaml:"tunnels" doc:"Tunnels through the proxy at once; of one service at most half of them. Default 1024."`
	TunnelIdle      time.Duration `yaml:"tunnel_idle" doc:"How long nothing may move in a tunnel, or its reader take nothing. Default 10m."`
	TunnelTime      time.Duration `yaml:"tunnel_time" doc:"How long a tunnel may be open, however busy. Default: no bound."`
	Body            Size          `yaml:"body" doc:"Largest request body. Default 32MiB."`
	UpstreamTimeout time.Duration `yaml:"upstream_timeout" doc:"How long a platform may take until its reply begins. Default 30s."`
	HandleTTL       time.Duration `yaml:"handle_ttl" doc:"Life of a handle for which none is asked. Default 24h."`
	HandleMaxTTL    time.Duration `yaml:"handle_max_ttl" doc:"Longest life of a handle. Default 2160h (90 days)."`
	ServiceKeyTTL   time.Duration `yaml:"service_key_ttl" doc:"Life of a service key for which none is asked. Default 8760h (a year)."`
	HoldDomainKeys  time.Duration `yaml:"hold_domain_keys" doc:"How long domain keys stay unwrapped in memory before the root key is asked again; if it then says no, they are dropped. Default 10m."`
	KeepWithoutRoot time.Duration `yaml:"keep_without_kms" doc:"How long they serve on while the root key's system is out of reach, since its last answer. Default 24h; at most 168h."`
	DocumentedOnly  bool          `yaml:"documented_budgets_only" doc:"Learn what is left at the platforms only from headers that they document: not from X's 24-hour ones and X-Page-Usage. Default false."`
}

// WithDefaults returns l with its defaults filled in.
func (l Limits) WithDefaults() Limits {
	orDefault(&l.Calls, 1024)
	orDefault(&l.Streams, 64)
	orDefault(&l.Tunnels, 1024)
	orDefault(&l.TunnelIdle, 10*time.Minute)
	orDefault(&l.Body, 32<<20)
	orDefault(&l.UpstreamTimeout, 30*time.Second)
	orDefault(&l.HandleTTL, 24*time.Hour)
	orDefault(&l.HandleMaxTTL, 90*24*time.Hour)
	orDefault(&l.ServiceKeyTTL, 365*24*time.Hour)
	orDefault(&l.HoldDomainKeys, 10*time.Minute)
	orDefault(&l.KeepWithoutRoot, 24*time.Hour)
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// PreviousRoot is a root key that was replaced, and how to get at it.
type PreviousRoot struct {
	RootKey RootKey    `yaml:"root_key" doc:"As root_key above."`
	Access  RootAccess `yaml:"root_key_access" doc:"As root_key_access above."`
}

// Keys is how keys live. Rotation and destruction by age are off at zero.
type Keys struct {
	RotateAfter  time.Duration `yaml:"rotate_after" doc:"Age at which the keys tokens, personal and system get a new version by themselves, such as 2160h. Default: only on command."`
	DestroyAfter time.Duration `yaml:"destroy_after" doc:"How long a replaced version that nothing needs is kept before its destruction is scheduled (7 days ahead) by itself, such as 720h. Default: only on command."`
	Keyring      Keyring       `yaml:"keyring" doc:"Where the key is kept that makes erased people unreadable on the raw disk within a day: file:/path, outside the database, on storage that overwrites in place and of which nobody takes snapshots; or database, which cannot quite forget. It changes daily where somebody was erased, so it belongs with each copy of the database. Several nodes need the file on storage that all of them see. Default: a file beside a SQLite database; database on PostgreSQL."`
}

// Log is about the program's own log.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info (the default), warn or error."`
	Format string `yaml:"format" doc:"text (the default) or json."`
}

// Path returns the path that the file was loaded from.
func (c *Config) Path() string { return c.file }

// Hash returns the SHA-256 of the file's bytes in hexadecimal: what sha256sum
// prints for it.
func (c *Config) Hash() string { return c.hash }

// Reporting reports whether report mode is in force at t.
func (c *Config) Reporting(t time.Time) bool {
	return c.Mode == ModeReport && !t.After(c.Until.End())
}
