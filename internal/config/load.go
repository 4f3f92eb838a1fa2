package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"unicode/utf8"

	"gatehouse"

	"go.yaml.in/yaml/v3"
)

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Load reads, decodes and validates the file. Its error is [Errors] when the
// file's content is at fault. Warnings are returned beside either.
func Load(path string, r Resolver) (*Config, []Warning, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("finding the configuration %s: %w", path, err)
	}
	f, err := os.Open(abs)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("there is no configuration at %s; 'gatehouse init' makes one, --config names another: %w", abs, gatehouse.ErrNotFound)
		}
		return nil, nil, fmt.Errorf("opening the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(abs, data, r)
}

// Parse is [Load] for a file's content. path is used in errors and to resolve
// relative paths.
func Parse(path string, data []byte, r Resolver) (*Config, []Warning, error) {
	whole := func(text string) (*Config, []Warning, error) {
		return nil, nil, Errors{{File: path, Text: text}}
	}
	switch {
	case len(data) > maxFile:
		return whole("larger than 1 MiB: this is not a configuration")
	case !utf8.Valid(data):
		return whole("not UTF-8 text")
	}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := reader.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return whole("empty")
		}
		return nil, nil, syntaxError(path, err)
	}
	if err := reader.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, nil, syntaxError(path, err)
		}
		return whole("holds more than one YAML document")
	}
	d := &decoder{file: path, resolver: r, at: map[string]position{}}
	sum := sha256.Sum256(data)
	c := &Config{file: path, hash: hex.EncodeToString(sum[:])}
	if len(document.Content) != 1 {
		return whole("empty")
	}
	d.value(document.Content[0], reflect.ValueOf(c).Elem(), "")
	c.validate(d)
	if list := d.sorted(); len(list) > 0 {
		return nil, d.warnings, list
	}
	return c, d.warnings, nil
}
