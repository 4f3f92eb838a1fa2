package main

import (
	"context"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// stepupsSource tells the console of the second factors of the app's users. A look at
// one person is in the log before it is taken, under the account of whoever looks.
type stepupsSource struct{ *parts }

const (
	// maxHolders is how many people a page lists, and maxOpens how many open step-ups.
	maxHolders = 50
	maxOpens   = 20
	// maxStepupSum bounds what is counted.
	maxStepupSum = 1000
)

func (s stepupsSource) Stepups(ctx context.Context, after string) (console.StepupsView, error) {
	view := console.StepupsView{Most: maxStepupSum}
	for _, name := range s.stepupSettings().Services {
		view.Services = append(view.Services, string(name))
	}
	place, err := stepup.ParsePlace(after)
	if err != nil {
		return view, err
	}
	holders, next, err := s.stepup.Holders(ctx, place, maxHolders)
	if err != nil {
		return view, err
	}
	view.After = next.String()
	for _, h := range holders {
		view.Holders = append(view.Holders, holderLine(h))
	}
	sums, err := s.stepup.Sums(ctx, maxStepupSum)
	if err != nil {
		return view, err
	}
	view.Open, view.Blocked = sums.Open, sums.Blocked
	open, err := s.stepup.Opens(ctx, maxOpens)
	view.Opens = openLines(open)
	return view, err
}

func holderLine(h stepup.Holder) console.HolderLine {
	return console.HolderLine{
		Person: string(h.Person), Passkeys: h.Passkeys, TOTP: h.TOTP, Blocked: h.Blocked, RecoveryLeft: h.RecoveryLeft, Open: h.Open, Asked: h.Asked, Proved: h.Proved,
	}
}

func openLines(list []stepup.Open) []console.OpenStepup {
	var out []console.OpenStepup
	for _, o := range list {
		out = append(out, console.OpenStepup{
			ID: o.ID, Person: string(o.Person), Service: string(o.Service), State: string(o.Stage), Wrong: o.Wrong, Created: o.Created, Expires: o.Expires,
		})
	}
	return out
}

func (s stepupsSource) Find(ctx context.Context, actor, subject string) (string, error) {
	ctx = audit.By(ctx, actor)
	// Also who is not found has been looked for.
	if _, err := s.log.Record(ctx, audit.Entry{Action: "audit.search", Verdict: "allow", Facts: map[string]string{"about": "person", "by": "subject"}}); err != nil {
		return "", err
	}
	person, err := s.records.PersonOfSubject(ctx, gatehouse.Subject(subject), false)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// Somebody whose records are sealed may never have been asked.
	if _, err := s.db.Stepup().Holder(ctx, person, time.Now()); errors.Is(err, gatehouse.ErrNotFound) {
		return "", nil
	}
	return string(person), err
}

func (s stepupsSource) Holder(ctx context.Context, actor, id string) (console.HolderView, error) {
	ctx = audit.By(ctx, actor)
	person := gatehouse.PersonID(id)
	var view console.HolderView
	// Nobody's id is written down as if it were somebody's.
	key, err := s.db.Vault().PersonKey(ctx, person, 0)
	if errors.Is(err, gatehouse.ErrNotFound) || err == nil && key.State == vault.Destroyed {
		return view, wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such person.")
	}
	if err != nil {
		return view, err
	}
	whose := []audit.Found{{Hash: s.logIndex, Person: person}}
	if err := s.recordSearch(ctx, "", whose); err != nil {
		return view, err
	}
	h, factors, open, err := s.stepup.Holder(ctx, person)
	if err != nil {
		return view, err
	}
	view.HolderLine, view.Subject, view.Opens = holderLine(h), string(h.Subject), openLines(open)
	for _, f := range factors {
		view.Factors = append(view.Factors, console.FactorLine{Kind: string(f.Method), Blocked: f.Blocked, Created: f.Created, Used: f.Used})
	}
	searcher, err := s.searcher(ctx)
	if err != nil {
		return view, err
	}
	view.Entries, err = s.newestLines(ctx, searcher, audit.Query{Found: whose}, maxEntries)
	return view, err
}

func (s stepupsSource) Reset(ctx context.Context, actor, person string) (int, error) {
	return s.stepup.ResetHolder(audit.By(ctx, actor), gatehouse.PersonID(person), "")
}
