package audit

// contents checks what the tree does not: the columns beside the leaf, and that
// outcomes follow intents.
func (v *verification) contents(r *Row) {
	where := entryName(r.Seq, r.ID)
	leaf, err := DecodeLeaf(r.Leaf)
	if err != nil {
		v.report.add(where, "%v", err)
		return
	}
	if leaf.ID != r.ID {
		v.report.add(where, "the id stored beside it was changed; it is %s", leaf.ID)
	}
	v.beside(where, leaf, r)
	switch leaf.Kind {
	case KindIntent:
		v.open[leaf.ID] = OpenIntent{r.Seq, leaf.ID, leaf.Action, leaf.When()}
	case KindOutcome:
		if _, ok := v.open[leaf.Intent]; !ok && v.start == 0 {
			v.report.add(where, "is the outcome of %q, which is no open intent before it", leaf.Intent)
		}
		delete(v.open, leaf.Intent)
	}
}

// beside checks what lies beside the tree and a leaf commits to.
func (v *verification) beside(where string, leaf *Leaf, r *Row) {
	switch {
	case leaf.PersonalHash != "" && r.Personal == nil && r.SearchV1 == "":
		// Of version 1 nothing can go and leave the rest provable, so an erasure
		// takes all of it. The report says how many these are.
		v.report.Erased++
	case leaf.SealedHash == "" && leaf.PersonalHash == "" && (r.Personal != nil || r.SearchV1 != ""),
		leaf.SealedHash != "" && r.SearchV1 != "":
		v.report.add(where, "personal fields were added to it")
	case leaf.SealedHash == "" && leaf.PersonalHash == "":
	case r.Personal == nil:
		v.report.add(where, "its personal fields were removed")
	case leaf.PersonalHash != "" && leaf.PersonalHash != commitmentV1(r.Personal, r.SearchV1):
		v.report.add(where, "its sealed personal fields or its search key were changed")
	case leaf.SealedHash != "" && leaf.SealedHash != sealedHash(r.Personal):
		v.report.add(where, "its sealed personal fields were changed")
	}
}
