package api

import (
	"errors"
	"net/http"

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

func (a *API) serveLog(w http.ResponseWriter, r *http.Request, c caller, path, kind string) error {
	if err := a.readsLog(c); err != nil {
		return err
	}
	if err := checkQuery(r); err != nil {
		return err
	}
	content, err := a.log(r.Context(), path)
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
