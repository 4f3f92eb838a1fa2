package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
)

// A node that has a name writes a log of its own, with a key of its own; the others
// share log 0.

// nodeSecret is the name of the system secret that holds the signing key of a node's
// log; of log 0 for no name.
func nodeSecret(node string) string {
	if node == "" {
		return secretLogKey
	}
	return secretLogKey + "/" + node
}

// nodeKeyFile is the file with the public key of a node's log, beside the configuration.
func nodeKeyFile(node string) string {
	if node == "" {
		return logKeyFile
	}
	return "log-" + node + ".pub"
}

// publicKeyOf returns the public half of a log's signing key.
func publicKeyOf(private secret.Text) (string, error) {
	bad := errors.New("a log's signing key cannot be read")
	parts := strings.SplitN(strings.TrimSpace(private.Reveal()), "+", 5) // PRIVATE, KEY, name, hash, key
	if len(parts) != 5 {
		return "", bad
	}
	key, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize {
		return "", bad
	}
	defer clear(key)
	public, ok := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", bad
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}

// openSigner opens the signing key of log 0 and returns its public half. It also signs
// backups and the ledger of erasures, which are the database's and not a node's.
func (p *parts) openSigner(ctx context.Context) (first string, err error) {
	key, err := p.vault.System(ctx, secretLogKey)
	if err != nil {
		return "", fmt.Errorf("opening the audit log's signing key: %w", err)
	}
	if p.signer, err = note.NewSigner(key.Reveal()); err != nil {
		return "", errors.New("the audit log's signing key cannot be read")
	}
	if p.logIndex, err = newLogIndex(ctx, p.vault); err != nil {
		return "", err
	}
	return publicKeyOf(key)
}

// openLog opens the audit log of this node and starts its writer.
func (p *parts) openLog(ctx context.Context) error {
	first, err := p.openSigner(ctx)
	if err != nil {
		return err
	}
	own := audit.Registration{Origin: p.signer.Name(), Key: first}
	signer := p.signer
	if p.cfg.Node != "" {
		if own, signer, err = p.register(ctx); err != nil {
			return fmt.Errorf("the log of node %s: %w", p.cfg.Node, err)
		}
	}
	var stop func() error
	if p.log, stop, err = p.startLog(ctx, own, signer, first, p.aside); err != nil {
		return err
	}
	p.stopLog, p.firstKey, p.own, p.ownSigner = stop, first, own, signer
	if p.cfg.Node == "" || own.Entry != "" {
		return nil
	}
	return p.enter(ctx, own)
}

// startLog opens a log of the database and runs its writer until stop.
func (p *parts) startLog(ctx context.Context, l audit.Registration, signer note.Signer, first, aside string) (log *audit.Log, stop func() error, err error) {
	if log, err = audit.Open(ctx, audit.Config{
		Store: p.db.AuditLog(l.Number), Signer: signer, Environment: p.cfg.Environment, Seal: p.vault.SealPersonal, Index: p.logIndex, Log: p.logger, Entered: p.entered(),
		Aside: aside, Reserve: logReserve, Others: &audit.Others{Store: p.db, Number: l.Number, Key: first},
	}); err != nil {
		return nil, nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	group := new(errgroup.Group)
	group.Go(func() error { return log.Run(run) })
	return log, func() error {
		cancel()
		return group.Wait()
	}, nil
}

// register makes this node's key, if there is none, and enters its log in the list.
func (p *parts) register(ctx context.Context) (own audit.Registration, signer note.Signer, err error) {
	node := p.cfg.Node
	key, err := p.nodeKey(ctx, node)
	if err != nil {
		return own, nil, err
	}
	if signer, err = note.NewSigner(key.Reveal()); err != nil {
		return own, nil, errors.New("its signing key cannot be read")
	}
	public, err := publicKeyOf(key)
	if err != nil {
		return own, nil, err
	}
	if err := keepPublic(beside(p.cfg, nodeKeyFile(node)), public); err != nil {
		return own, nil, err
	}
	if own, err = p.db.RegisterLog(ctx, audit.Registration{Node: node, Origin: signer.Name(), Key: public}); err != nil {
		return own, nil, err
	}
	if own.Key != public || own.Origin != signer.Name() {
		return own, nil, fmt.Errorf("the list of logs has another key for it than the vault; `gatehouse audit verify` says more: %w", gatehouse.ErrConflict)
	}
	return own, signer, nil
}

// nodeKey returns the signing key of a node's log. Processes that start at once agree
// on one.
func (p *parts) nodeKey(ctx context.Context, node string) (secret.Text, error) {
	key, err := p.vault.System(ctx, nodeSecret(node))
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return key, err
	}
	private, _, err := note.GenerateKey(rand.Reader, p.signer.Name()+"/"+node)
	if err != nil {
		return secret.Text{}, fmt.Errorf("making its key: %w", err)
	}
	err = p.vault.SwapSystem(ctx, nodeSecret(node), secret.Text{}, secret.New(private))
	if err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		return secret.Text{}, err
	}
	return p.vault.System(ctx, nodeSecret(node))
}

// keepPublic writes a public key where 'audit verify' finds it, once.
func keepPublic(path, public string) error {
	kept, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFileSync(path, []byte(public+"\n"), 0o644)
	}
	if err == nil && string(bytes.TrimSpace(kept)) != public {
		err = fmt.Errorf("%s holds another key than the vault has: put back your copy of it: %w", path, gatehouse.ErrConflict)
	}
	return err
}

// enter records that a log begins: in it, and in log 0, which is what verification
// believes. If it is interrupted, the next start does it again.
func (p *parts) enter(ctx context.Context, own audit.Registration) error {
	e := audit.Entry{Action: "log.node", Verdict: "done", Facts: map[string]string{"node": own.Node, "origin": own.Origin, "key": own.Key}}
	head, err := p.db.AuditLog(own.Number).Head(ctx)
	if err != nil {
		return err
	}
	if head.Size == 0 {
		if _, err := p.log.Record(ctx, e); err != nil {
			return err
		}
	}
	id, err := p.recordInFirst(ctx, e)
	if err != nil {
		return err
	}
	return p.db.EnteredLog(ctx, own.Number, id)
}

// nodeLog is a log that a command works on.
type nodeLog struct {
	audit.Registration
	signer note.Signer
	log    *audit.Log
}

// ownLog returns the log of this configuration's node.
func (p *parts) ownLog() nodeLog { return nodeLog{p.own, p.ownSigner, p.log} }

// withFirst calls do with log 0, which a node with a name does not write otherwise.
func (p *parts) withFirst(ctx context.Context, do func(nodeLog) error) (err error) {
	if p.cfg.Node == "" {
		return do(p.ownLog())
	}
	aside := ""
	if p.aside != "" {
		aside = asideOf(p.cfg, "")
	}
	first := audit.Registration{Origin: p.signer.Name(), Key: p.firstKey}
	log, stop, err := p.startLog(ctx, first, p.signer, p.firstKey, aside)
	if err != nil {
		return fmt.Errorf("the log of nodes without a name: %w", err)
	}
	defer func() { err = errors.Join(err, stop()) }()
	return do(nodeLog{first, p.signer, log})
}

// withLog calls do with the log of a node, and with that of this configuration for the
// empty name. It opens one that is another's, as a process of that node would.
func (p *parts) withLog(ctx context.Context, node string, do func(nodeLog) error) (err error) {
	if node == "" || node == p.cfg.Node {
		return do(p.ownLog())
	}
	named, err := logNamed(ctx, p.db, node)
	if err != nil {
		return err
	}
	key, err := p.vault.System(ctx, nodeSecret(node))
	if err != nil {
		return fmt.Errorf("opening the signing key of node %s: %w", node, err)
	}
	signer, err := note.NewSigner(key.Reveal())
	if err != nil {
		return fmt.Errorf("the signing key of node %s cannot be read: %w", node, gatehouse.ErrInvalid)
	}
	// Beside the log lies what one machine has seen of it, and this is another one.
	log, stop, err := p.startLog(ctx, named, signer, p.firstKey, "")
	if err != nil {
		return fmt.Errorf("the log of node %s: %w", node, err)
	}
	defer func() { err = errors.Join(err, stop()) }()
	return do(nodeLog{named, signer, log})
}

// recordInFirst records something in log 0.
func (p *parts) recordInFirst(ctx context.Context, e audit.Entry) (id string, err error) {
	err = p.withFirst(ctx, func(l nodeLog) error {
		id, err = l.log.Record(ctx, e)
		return err
	})
	return id, err
}

// logNamed returns the log of a node; that of nodes without a name for none.
func logNamed(ctx context.Context, db *store.DB, node string) (audit.Registration, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return audit.Registration{}, err
	}
	for _, l := range list {
		if l.Node == node {
			return l, nil
		}
	}
	return audit.Registration{}, fmt.Errorf("--node %s: the database has no log of this node: %w", node, gatehouse.ErrNotFound)
}

// logOf returns the log that holds an entry.
func logOf(ctx context.Context, db *store.DB, id string) (audit.Registration, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return audit.Registration{}, err
	}
	for _, l := range list {
		_, err := db.AuditLog(l.Number).Find(ctx, id)
		if err == nil || !errors.Is(err, gatehouse.ErrNotFound) {
			return l, err
		}
	}
	return audit.Registration{}, fmt.Errorf("there is no entry %s: %w", id, gatehouse.ErrNotFound)
}

// verifierOfNode reads the public key of a node's log from beside the configuration, or
// else from the list of logs.
func verifierOfNode(cfg *config.Config, l audit.Registration) (note.Verifier, error) {
	path := beside(cfg, nodeKeyFile(l.Node))
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && l.Number != 0 {
		verifier, err := note.NewVerifier(l.Key)
		if err != nil {
			return nil, fmt.Errorf("the list of logs holds no public key of node %s: %w", l.Node, gatehouse.ErrInvalid)
		}
		return verifier, nil
	}
	return readVerifier(path)
}

// keptKeys reads the public keys of nodes' logs that lie beside the configuration.
func keptKeys(ctx context.Context, cfg *config.Config, db *store.DB) (map[string]note.Verifier, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	keys := map[string]note.Verifier{}
	for _, l := range list {
		path := beside(cfg, nodeKeyFile(l.Node))
		if _, err := os.Stat(path); l.Number == 0 || err != nil || config.CheckNode(l.Node) != nil {
			continue // of another machine: log 0 has it, too
		}
		if keys[l.Node], err = readVerifier(path); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// nodeSecrets returns the names of the signing keys of all logs.
func nodeSecrets(ctx context.Context, db *store.DB) ([]string, error) {
	records, err := db.Vault().SystemRecords(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range records {
		if r.Name == secretLogKey || strings.HasPrefix(r.Name, secretLogKey+"/") {
			names = append(names, r.Name)
		}
	}
	return names, nil
}

// logs returns all logs of the database, to be listed together.
func (p *parts) logs(ctx context.Context) ([]audit.ListedLog, error) {
	list, err := p.db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	logs := make([]audit.ListedLog, len(list))
	for i, l := range list {
		logs[i] = audit.ListedLog{Registration: l, Store: p.db.AuditLog(l.Number)}
	}
	return logs, nil
}

// searcher searches all logs of the database.
func (p *parts) searcher(ctx context.Context) (*audit.Searcher, error) {
	return searchLogs(ctx, p.db, p.logIndex)
}

// searchLogs returns the Searcher of all logs of a database; without the key of the
// index, hash is nil.
func searchLogs(ctx context.Context, db *store.DB, hash audit.IndexHash) (*audit.Searcher, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	logs := make([]audit.SearchedLog, len(list))
	for i, l := range list {
		logs[i] = audit.SearchedLog{Registration: l, Store: db.AuditLog(l.Number)}
	}
	return audit.NewSearcher(hash, logs...), nil
}

// listLogs returns the newest entries of all logs that a filter chooses.
func (p *parts) listLogs(ctx context.Context, f audit.Filter) ([]audit.Shown, error) {
	q := audit.Query{Since: f.Since, Action: f.Action, Service: f.Service, Purpose: f.Purpose, Operation: f.Operation, Verdict: f.Verdict}
	return p.newest(ctx, q, f.Last)
}

// newest returns the last entries of all logs that fit, the oldest of them first. The
// logs' indexes find them.
func (p *parts) newest(ctx context.Context, q audit.Query, last int) ([]audit.Shown, error) {
	in, err := p.searcher(ctx)
	if err != nil {
		return nil, err
	}
	var found []audit.Shown
	for cursor, more := "", true; more && len(found) < last; more = cursor != "" {
		page, err := in.Search(ctx, q, cursor, min(audit.MaxPage, last-len(found)))
		if err != nil {
			return nil, err
		}
		found, cursor = append(found, page.Entries...), page.Next
	}
	slices.Reverse(found)
	return found, nil
}

// showEntry returns the entry with an id, in whichever log, and its outcome.
func (p *parts) showEntry(ctx context.Context, id string) ([]audit.Shown, error) {
	logs, err := p.logs(ctx)
	if err != nil {
		return nil, err
	}
	return audit.ShowLogs(ctx, logs, id)
}

// nodeLogs returns the logs of nodes that have one of their own, to be served.
func (p *parts) nodeLogs(ctx context.Context) ([]api.NodeLog, error) {
	list, err := p.db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	var logs []api.NodeLog
	for _, l := range list {
		if l.Number != 0 {
			logs = append(logs, api.NodeLog{Node: l.Node, Origin: l.Origin, Key: l.Key, Source: audit.NewSource(p.db.AuditLog(l.Number))})
		}
	}
	return logs, nil
}
