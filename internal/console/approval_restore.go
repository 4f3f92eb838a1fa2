package console

import (
	"regexp"
	"strings"

	"gatehouse/internal/identity/operator"
)

// restoreCode is how the host's refusal names a backup: its id and the SHA-256 of its
// manifest.
var restoreCode = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[a-z0-9]{8}/[0-9a-f]{64}$`)

// restoreProposal is the form that proposes to restore a backup.
type restoreProposal struct{ backup, manifest string }

func (r *restoreProposal) read(f *form) {
	code := f.need("code", 120)
	if code != "" && !restoreCode.MatchString(code) {
		f.refuse("code", "is not what 'gatehouse restore' printed")
		return
	}
	r.backup, r.manifest, _ = strings.Cut(code, "/")
}

func proposeRestore(v *visit, in *restoreProposal) (*outcome, error) {
	if _, err := v.console.directory.Propose(v.context(), v.by(), operator.ProposalToRestore(in.backup, in.manifest)); err != nil {
		return nil, err
	}
	return goTo("/operators/approvals").saying("It is proposed. When another operator has approved it, whoever has the host runs gatehouse restore with --approval and the id that gatehouse account approvals shows."), nil
}
