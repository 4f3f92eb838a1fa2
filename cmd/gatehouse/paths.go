package main

import (
	"os"
	"path/filepath"
	"strings"

	"gatehouse/internal/config"
	"gatehouse/internal/vault"
)

// Files that init makes beside the configuration.
const (
	logKeyFile = "log.pub" // the audit log's public key
	caFile     = "ca.pem"  // the app listener's certificate authority
)

// localCA is the configuration's word for certificates that we issue.
const localCA = "local-ca"

// beside returns the path of a file next to the configuration.
func beside(cfg *config.Config, name string) string {
	return filepath.Join(filepath.Dir(cfg.Path()), name)
}

// asideDir is what the log keeps outside the database: beside its file, since the
// space that is held back has to be on the same disk, or beside the configuration
// if the database is elsewhere.
func asideDir(cfg *config.Config) string { return asideOf(cfg, cfg.Node) }

// asideOf is asideDir for the log of a node.
func asideOf(cfg *config.Config, node string) string {
	dir := beside(cfg, "gatehouse-log")
	if file := storeFile(cfg); file != "" {
		dir = file + "-log"
	}
	if node != "" {
		dir += "-" + node
	}
	return dir
}

// resolver lets the configuration's references reach the environment and files:
// only this package may.
func resolver() config.Resolver {
	return config.Resolver{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile}
}

// storeFile returns the database file of a SQLite DSN, or "".
func storeFile(cfg *config.Config) string { return dsnFile(cfg.Store.Text().Reveal()) }

// dsnFile returns the database file of a SQLite DSN, or "".
func dsnFile(dsn string) string {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return ""
	}
	return path
}

// writeFileSync makes a file durable under its name, replacing another in one
// step: a crash leaves the old one or the new one.
func writeFileSync(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return vault.SyncDirectory(filepath.Dir(path))
}
