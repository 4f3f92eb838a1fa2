// Logverify checks a log, or a proof of one of its entries, with nothing but the
// log's public key. It is written from docs/log-format.md and shares no code with
// Gatehouse.
//
//	logverify -key log.pub DIRECTORY            every entry, tile and signature
//	logverify -key log.pub https://host/prefix  the same over HTTP
//	logverify -key log.pub -proof FILE          one entry, offline
//	logverify -key log.pub -archive DIRECTORY   an archive of a period, unpacked
//
// A witness's co-signature is demanded with -witness KEY. The exit status is 0 if all
// is as it was signed, 1 if not, and 2 for wrong use.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	key := flag.String("key", "", "file with the log's public key")
	proof := flag.String("proof", "", "file with a proof to check, instead of a log")
	archive := flag.Bool("archive", false, "check an unpacked archive of a period")
	witness := flag.String("witness", "", "file with the public key of a witness who must have co-signed")
	header := flag.String("header", "", "a header for requests, such as 'Authorization: Bearer …'")
	flag.Parse()
	if *key == "" || (*proof == "") == (flag.NArg() == 0) || flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	v, err := newVerifier(*key, *witness)
	switch {
	case err != nil:
	case *proof != "":
		err = v.proof(*proof)
	case *archive:
		err = v.archive(flag.Arg(0))
	default:
		err = v.log(flag.Arg(0), *header)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "logverify:", err)
		os.Exit(1)
	}
}

type verifier struct{ key, witness note.Verifier }

func newVerifier(key, witness string) (v verifier, err error) {
	text, err := os.ReadFile(key)
	if err != nil {
		return v, err
	}
	if v.key, err = note.NewVerifier(strings.TrimSpace(string(text))); err != nil || witness == "" {
		return v, err
	}
	if text, err = os.ReadFile(witness); err != nil {
		return v, err
	}
	v.witness, err = newWitness(strings.TrimSpace(string(text)))
	return v, err
}

// checkpoint returns what a signed checkpoint says.
func (v verifier) checkpoint(signed []byte) (tree tlog.Tree, err error) {
	n, err := note.Open(signed, note.VerifierList(v.key))
	if err != nil {
		return tree, fmt.Errorf("checkpoint: %w", err)
	}
	if v.witness != nil {
		if _, err := note.Open(signed, note.VerifierList(v.witness)); err != nil {
			return tree, fmt.Errorf("checkpoint: the witness has not co-signed it: %w", err)
		}
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != v.key.Name() {
		return tree, errors.New("checkpoint: its text is not of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err == nil {
		tree.Hash, err = tlog.ParseHash(lines[2])
	}
	return tree, err
}

// log checks a whole log: the root follows from the entries, and so does every tile.
func (v verifier) log(where, header string) error {
	get := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(where, filepath.FromSlash(path))) }
	if strings.Contains(where, "://") {
		get = func(path string) ([]byte, error) { return fetch(strings.TrimSuffix(where, "/")+"/"+path, header) }
	}
	signed, err := get("checkpoint")
	if err != nil {
		return err
	}
	tree, err := v.checkpoint(signed)
	if err != nil {
		return err
	}
	var hashes []tlog.Hash // all stored hashes of the tree, in the order of package tlog
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			list[i] = hashes[x]
		}
		return list, nil
	})
	for first := int64(0); first < tree.N; first += 256 {
		width := min(256, tree.N-first)
		bundle, err := get(path("entries", first/256, width))
		if err != nil {
			return err
		}
		for n := first; n < first+width; n++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("entry %d is cut off", n)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			more, err := tlog.StoredHashes(n, bundle[2:end], stored)
			if err != nil {
				return err
			}
			hashes, bundle = append(hashes, more...), bundle[end:]
		}
		if len(bundle) > 0 {
			return fmt.Errorf("there is something behind entry %d", first+width-1)
		}
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the %d entries have the root %s, and the checkpoint says %s", tree.N, root, tree.Hash)
	}
	for _, t := range tlog.NewTiles(8, 0, tree.N) {
		want, err := tlog.ReadTileData(t, stored)
		if err != nil {
			return err
		}
		name := path(strconv.Itoa(t.L), t.N, int64(t.W))
		got, err := get(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s does not follow from the entries", name)
		}
	}
	fmt.Printf("ok: %s, %d entries, root %s\n", v.key.Name(), tree.N, tree.Hash)
	return nil
}

// archive checks an unpacked archive: all entries of its period stand in the log.
func (v verifier) archive(dir string) error {
	get := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, filepath.FromSlash(path))) }
	signed, err := get("manifest")
	if err != nil {
		return err
	}
	n, err := note.Open(signed, note.VerifierList(v.key))
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	text, ok := strings.CutPrefix(n.Text, "gatehouse archive 1\n")
	var m struct{ First, Last, Checkpoint int64 }
	if err := json.Unmarshal([]byte(text), &m); !ok || err != nil {
		return errors.New("manifest: its text is not of an archive")
	}
	if signed, err = get("checkpoint"); err != nil {
		return err
	}
	tree, err := v.checkpoint(signed)
	if err != nil {
		return err
	}
	if tree.N != m.Checkpoint || m.First < 0 || m.First%256 != 0 || m.Last < m.First || m.Last >= tree.N {
		return errors.New("manifest: it does not suit the checkpoint")
	}
	proved := tlog.TileHashReader(tree, tiles(get))
	for first := m.First; first <= m.Last; first += 256 {
		width := min(256, m.Last+1-first)
		bundle, err := get(path("entries", first/256, width))
		if err != nil {
			return err
		}
		var indexes []int64
		for n := first; n < first+width; n++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, n))
		}
		hashes, err := proved.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, h := range hashes {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("entry %d is cut off", first+int64(i))
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			if tlog.RecordHash(bundle[2:end]) != h {
				return fmt.Errorf("entry %d is not the one that the checkpoint covers", first+int64(i))
			}
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return fmt.Errorf("there is something behind entry %d", first+width-1)
		}
	}
	fmt.Printf("ok: %s, entries %d to %d of %d\n", v.key.Name(), m.First, m.Last, tree.N)
	return nil
}

// tiles reads tiles for package tlog, which checks them against the checkpoint.
type tiles func(path string) ([]byte, error)

func (t tiles) Height() int                         { return 8 }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (t tiles) ReadTiles(list []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range list {
		data, err := t(path(strconv.Itoa(tile.L), tile.N, int64(tile.W)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// path is that of a tile or a bundle of entries.
func path(level string, n, width int64) string {
	p := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		p = fmt.Sprintf("x%03d/%s", n%1000, p)
	}
	if width < 256 {
		p += fmt.Sprintf(".p/%d", width)
	}
	return "tile/" + level + "/" + p
}

func fetch(url, header string) ([]byte, error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return nil, err
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	reply, err := (&http.Client{Timeout: time.Minute}).Do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, reply.Status)
	}
	return io.ReadAll(io.LimitReader(reply.Body, 256*(2+65535)))
}

// proof checks that an entry stands in the log, and its opened personal fields.
func (v verifier) proof(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, signed, _ := strings.Cut(string(data), "\n\n")
	tree, err := v.checkpoint([]byte(signed))
	if err != nil {
		return err
	}
	lines := strings.Split(head, "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("this is no proof")
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	var extra struct {
		Entry  string
		Opened map[string]struct {
			Salt  []byte
			Value string
		}
	}
	if err := json.Unmarshal(text, &extra); err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var hashes tlog.RecordProof
	for _, line := range lines[3:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		hashes = append(hashes, h)
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash([]byte(extra.Entry))); err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	var leaf struct{ Personal map[string]string }
	if err := json.Unmarshal([]byte(extra.Entry), &leaf); err != nil {
		return err
	}
	for name, o := range extra.Opened {
		sum := sha256.Sum256([]byte(string(o.Salt) + "gatehouse/personal/v2\n" + name + "\n" + o.Value))
		if len(o.Salt) != 16 || leaf.Personal[name] != hex.EncodeToString(sum[:]) {
			return fmt.Errorf("the field %s is not the one that the entry commits to", name)
		}
		fmt.Printf("%s: %s\n", name, o.Value)
	}
	fmt.Printf("ok: %s, entry %d of %d: %s\n", v.key.Name(), index, tree.N, extra.Entry)
	return nil
}

// witness verifies C2SP cosignature/v1.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("this is no witness's key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("this is no witness's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	return &witness{parts[0], binary.BigEndian.Uint32(sum[:]), key[1:]}, nil
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}
