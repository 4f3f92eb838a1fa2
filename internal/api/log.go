package api

import (
	"errors"
	"net/http"
	"slices"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// logPath is the prefix below which the audit log is served as C2SP tlog-tiles.
const logPath = Prefix + "log/"

// readsLog refuses a service that may not read the log.
func (a *API) readsLog(c caller) error {
	if a.log == nil || !a.logReaders(c.Name) {
		return wire.Refuse(gatehouse.ErrDenied, "log/reader", "This service may not read the log: name it under audit.readers in the configuration.")
	}
	return nil
}

// logCheckpoint serves the newest signed checkpoint.
func (a *API) logCheckpoint(w http.ResponseWriter, r *http.Request, c caller) error {
	return a.serveLog(w, r, c, audit.CheckpointPath, "text/plain; charset=utf-8")
}

// logTile serves tiles and bundles of entries, which never change.
func (a *API) logTile(w http.ResponseWriter, r *http.Request, c caller) error {
	return a.serveLog(w, r, c, "tile/"+r.PathValue("path"), "application/octet-stream")
}

// A NodeLog is the audit log of a node that has one of its own.
type NodeLog struct {
	Node string `json:"node"`
	// Origin and Key are the log's name and public key.
	Origin string `json:"origin"`
	Key    string `json:"key"`
	// Path is where it is served.
	Path string `json:"path"`
	// Source is where it is read from.
	Source audit.Source `json:"-"`
}

// listLogs says which logs there are, beside the one of nodes without a name.
func (a *API) listLogs(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := a.readsLog(c); err != nil {
		return err
	}
	if err := checkQuery(r); err != nil {
		return err
	}
	logs, err := a.logs(r.Context())
	if err != nil {
		return err
	}
	out := make([]NodeLog, len(logs))
	for i, l := range logs {
		l.Path = logPath + l.Node
		out[i] = l
	}
	return reply(w, http.StatusOK, map[string]any{"logs": out})
}

// nodeLog serves the log of a node.
func (a *API) nodeLog(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := a.readsLog(c); err != nil {
		return err
	}
	logs, err := a.logs(r.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(logs, func(l NodeLog) bool { return l.Node == r.PathValue("node") })
	if i < 0 {
		return wire.Refuse(gatehouse.ErrNotFound, "log/node", "No node of this name has a log: see "+Prefix+"logs.")
	}
	path, kind := r.PathValue("path"), "application/octet-stream"
	if path == audit.CheckpointPath {
		kind = "text/plain; charset=utf-8"
	}
	return a.serveLogOf(w, r, logs[i].Source, path, kind)
}

func (a *API) serveLog(w http.ResponseWriter, r *http.Request, c caller, path, kind string) error {
	if err := a.readsLog(c); err != nil {
		return err
	}
	return a.serveLogOf(w, r, a.log, path, kind)
}

func (a *API) serveLogOf(w http.ResponseWriter, r *http.Request, log audit.Source, path, kind string) error {
	if err := checkQuery(r); err != nil {
		return err
	}
	content, err := log(r.Context(), path)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return wire.Refuse(gatehouse.ErrNotFound, "log/path", "The log has nothing of this path: see C2SP tlog-tiles. A tile ends where the newest checkpoint does.")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	if path != audit.CheckpointPath {
		w.Header().Set("Cache-Control", "private, max-age=604800, immutable")
	}
	_, err = w.Write(content)
	return err
}
