package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// contents checks what the tree does not: the columns beside the leaf, and that
// outcomes follow intents.
func (v *verification) contents(r *Row) {
	leaf, err := readContents(r.Leaf)
	if err != nil {
		v.report.add(entryName(r.Seq, r.ID), "%v", err)
		return
	}
	if string(leaf.id) != r.ID {
		v.report.add(entryName(r.Seq, r.ID), "the id stored beside it was changed; it is %s", leaf.id)
	}
	v.beside(&leaf, r)
	switch string(leaf.kind) {
	case KindIntent:
		v.intents.begin(v.number, OpenIntent{Seq: r.Seq, ID: string(leaf.id), Action: string(leaf.action), Time: time.UnixMicro(leaf.time).UTC()})
	case KindOutcome:
		early := earlyOutcome{v.number, r.Seq, r.ID}
		if !v.intents.end(string(leaf.intent), early, v.logs != nil) && v.start == 0 {
			v.report.add(entryName(r.Seq, r.ID), "is the outcome of %q, which is no open intent before it", leaf.intent)
		}
	case KindEvent:
		if v.logs != nil && bytes.HasPrefix(leaf.action, []byte("log.")) {
			v.logs.said(v.number, r)
		}
	}
}

// readContents is DecodeLeaf for what is looked at here.
func readContents(data []byte) (leafScan, error) {
	if len(data) <= maxLeaf {
		if scan, ok := scanLeaf(data); ok {
			return scan, nil
		}
	}
	l, err := DecodeLeaf(data)
	if err != nil {
		return leafScan{}, err
	}
	return leafScan{
		action: []byte(l.Action), id: []byte(l.ID), intent: []byte(l.Intent), kind: []byte(l.Kind),
		personalHash: []byte(l.PersonalHash), sealedHash: []byte(l.SealedHash), time: l.Time,
	}, nil
}

// beside checks what lies beside the tree and a leaf commits to.
func (v *verification) beside(leaf *leafScan, r *Row) {
	hasV1, has := len(leaf.personalHash) > 0, len(leaf.sealedHash) > 0
	problem := ""
	switch {
	case hasV1 && r.Personal == nil && r.SearchV1 == "":
		// Of version 1 nothing can go and leave the rest provable, so an erasure
		// takes all of it. The report says how many these are.
		v.report.Erased++
	case !has && !hasV1 && (r.Personal != nil || r.SearchV1 != ""), has && r.SearchV1 != "":
		problem = "personal fields were added to it"
	case !has && !hasV1:
	case r.Personal == nil:
		problem = "its personal fields were removed"
	case hasV1 && string(leaf.personalHash) != commitmentV1(r.Personal, r.SearchV1):
		problem = "its sealed personal fields or its search key were changed"
	case has && !isHashOf(leaf.sealedHash, r.Personal):
		problem = "its sealed personal fields were changed"
	}
	if problem != "" {
		v.report.add(entryName(r.Seq, r.ID), "%s", problem)
	}
}

// isHashOf compares what a leaf holds with the sealedHash of what was sealed.
func isHashOf(text, sealed []byte) bool {
	h := sha256.Sum256(sealed)
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], h[:])
	return string(want[:]) == string(text)
}
