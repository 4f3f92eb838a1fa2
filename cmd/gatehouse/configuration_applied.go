package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"regexp"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/store"
)

// keepApplied keeps what this node put into force, for the console of every node. That
// it cannot be kept keeps nothing else: the log has its hash.
func (s *server) keepApplied(ctx context.Context, r *rules, entry string) {
	text := appliedText(r.cfg)
	err := s.db.Configurations().Save(ctx, store.AppliedConfiguration{
		Log: s.own.Number, Node: s.cfg.Node, Hash: r.cfg.Hash(), Mode: r.policy.Mode().String(), Text: text, Entry: entry, At: time.Now().UTC(),
	})
	if err != nil {
		s.logger.WarnContext(ctx, "the text of the configuration in force could not be kept for the console", slog.Any("error", err))
	}
}

// appliedText is the text of a configuration in force, if the file still is what was
// read; "" otherwise, or when it is too long to keep.
func appliedText(cfg *config.Config) string {
	data, err := os.ReadFile(cfg.Path())
	if err != nil {
		return ""
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != cfg.Hash() {
		return ""
	}
	text, err := config.Text(data)
	if text = withoutUserinfo(text); err != nil || len(text) > store.MaxConfiguration {
		return ""
	}
	return text
}

// userinfo is what an address may have in front of its host. No field of the
// configuration takes a password there, and where one is not looked at it is left out.
var userinfo = regexp.MustCompile(`(://[^/\s"'@:]*):[^/\s"'@]*@`)

func withoutUserinfo(text string) string { return userinfo.ReplaceAllString(text, "$1:…@") }
