package store

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"gatehouse"
	"gatehouse/internal/lineage"
)

const (
	lineagePersonRow statement = `
		SELECT p.hash, p.platform, p.erased, COALESCE(c.person, '') FROM lineage_people p
		LEFT JOIN connect_people c ON c.user_hash = p.hash AND p.hash <> '' WHERE p.owner = $1`
	lineageCandidatesOf statement = `SELECT candidate FROM lineage_candidates WHERE owner = $1 ORDER BY candidate`
	lineageSetsOf       statement = `SELECT owner FROM lineage_candidates WHERE candidate = $1 ORDER BY owner`

	lineageEdgesAll statement = `SELECT edge FROM lineage_edges ORDER BY edge`
	lineageEdgesTo  statement = `SELECT edge FROM lineage_edges WHERE destination = $1 ORDER BY edge`
	lineageEdgesOf  statement = `SELECT edge FROM lineage_edges WHERE service = $1 ORDER BY edge`
	lineageEdgesFor statement = `SELECT edge FROM lineage_edges WHERE purpose = $1 OR sent_for = $1 ORDER BY edge`
	lineageEdge     statement = `SELECT kind, verdict, platform, app, class, operation, purpose, service, destination, sent_for, part
		FROM lineage_edges WHERE edge = $1`

	// As many people as originsAtOnce says, with -1 for those who are not wanted. Their
	// flows come first: the ways of deliveries lead to everybody's.
	lineageOrigins statement = `
		SELECT f.owner, f.edge, e.class, e.service, max(f.day) FROM lineage_flows f CROSS JOIN lineage_edges e
		WHERE f.owner IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) AND f.day >= $17
			AND e.edge = f.edge AND e.kind = 'delivery'
		GROUP BY f.owner, f.edge, e.class, e.service`

	lineageFlowsOfOwner statement = `
		SELECT owner, day, edge, handle, first_at, last_at, seen FROM lineage_flows
		WHERE owner = $1 AND seen > 0 AND day >= $2 AND (day, edge, handle) < ($3, $4, $5) ORDER BY day DESC, edge DESC, handle DESC LIMIT $6`
	lineageFlowsOfEdge statement = `
		SELECT owner, day, edge, handle, first_at, last_at, seen FROM lineage_flows
		WHERE edge = $1 AND seen > 0 AND day >= $2 AND (day, owner, handle) < ($3, $4, $5) ORDER BY day DESC, owner DESC, handle DESC LIMIT $6`
	lineageFlowsOfHandle statement = `
		SELECT owner, day, edge, handle, first_at, last_at, seen FROM lineage_flows
		WHERE handle = $1 AND handle > 0 AND seen > 0 AND day >= $2 AND (day, owner, edge) < ($3, $4, $5) ORDER BY day DESC, owner DESC, edge DESC LIMIT $6`
	lineageReached statement = `
		SELECT DISTINCT owner FROM lineage_flows WHERE edge = $1 AND day >= $2 AND day <= $3 AND owner > $4 ORDER BY owner LIMIT $5`
	lineageTotal statement = `
		SELECT count(DISTINCT owner), CAST(COALESCE(sum(seen), 0) AS BIGINT), COALESCE(min(first_at), 0), COALESCE(max(last_at), 0)
		FROM lineage_flows WHERE edge = $1 AND seen > 0 AND day >= $2 AND day <= $3`
	lineageHandleName statement = `SELECT handle FROM lineage_handles WHERE number = $1`
)

func scanNumber(r *rows) (n int64, err error) { return n, r.Scan(&n) }

func scanOwner(r *rows) (lineage.Owner, error) {
	n, err := scanNumber(r)
	return lineage.Owner(n), err
}

func (s lineageStore) Owners(ctx context.Context, hashes []string) ([]lineage.Owner, error) {
	var owners []lineage.Owner
	for _, hash := range hashes {
		found, err := collect[lineage.Owner](s.db.query(ctx, lineagePersonOf, hash))(scanOwner)
		if err != nil {
			return nil, err
		}
		owners = append(owners, found...)
	}
	return owners, nil
}

func (s lineageStore) People(ctx context.Context, owners []lineage.Owner) ([]lineage.PersonRow, error) {
	people := make([]lineage.PersonRow, 0, len(owners))
	for _, owner := range owners {
		p := lineage.PersonRow{Owner: owner}
		var erased int64
		err := s.db.queryRow(ctx, lineagePersonRow, int64(owner)).Scan(&p.Hash, &p.Platform, &erased, &p.Person)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.Erased = fromMicros(erased)
		if p.Candidates, err = collect[lineage.Owner](s.db.query(ctx, lineageCandidatesOf, int64(owner)))(scanOwner); err != nil {
			return nil, err
		}
		people = append(people, p)
	}
	return people, nil
}

func (s lineageStore) Sets(ctx context.Context, owner lineage.Owner) ([]lineage.Owner, error) {
	return collect[lineage.Owner](s.db.query(ctx, lineageSetsOf, int64(owner)))(scanOwner)
}

// originsAtOnce is how many people one statement asks about.
const originsAtOnce = 16

func (s lineageStore) Origins(ctx context.Context, keys []lineage.OriginKey, since lineage.Day) ([]lineage.Edge, error) {
	type newest struct {
		edge, day int64
		wanted    bool // it went to the service that was asked for
	}
	best := make([]newest, len(keys))
	places := map[lineage.Owner][]int{}
	var owners []lineage.Owner
	for i, k := range keys {
		if places[k.Owner] == nil {
			owners = append(owners, k.Owner)
		}
		places[k.Owner] = append(places[k.Owner], i)
	}
	for some := range slices.Chunk(owners, originsAtOnce) {
		args := make([]any, originsAtOnce+1)
		for i := range originsAtOnce {
			args[i] = int64(-1)
			if i < len(some) {
				args[i] = int64(some[i])
			}
		}
		args[originsAtOnce] = int64(since)
		type row struct {
			owner   lineage.Owner
			class   gatehouse.DataClass
			service gatehouse.ServiceName
			newest
		}
		found, err := collect[row](s.db.query(ctx, lineageOrigins, args...))(func(r *rows) (f row, err error) {
			var owner int64
			err = r.Scan(&owner, &f.edge, &f.class, &f.service, &f.day)
			f.owner = lineage.Owner(owner)
			return f, err
		})
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			for _, i := range places[f.owner] {
				if f.class != keys[i].Class {
					continue
				}
				f.wanted = f.service == keys[i].Service
				b := &best[i]
				if b.edge == 0 || f.wanted && !b.wanted || f.wanted == b.wanted && cmp.Or(cmp.Compare(f.day, b.day), cmp.Compare(f.edge, b.edge)) > 0 {
					*b = f.newest
				}
			}
		}
	}
	ways, out := map[int64]lineage.Edge{0: {}}, make([]lineage.Edge, len(keys))
	for i, b := range best {
		way, known := ways[b.edge]
		if !known {
			var err error
			if way, err = s.edge(ctx, b.edge); err != nil {
				return nil, err
			}
			ways[b.edge] = way
		}
		out[i] = way
	}
	return out, nil
}

func (s lineageStore) edge(ctx context.Context, id int64) (e lineage.Edge, err error) {
	err = s.db.queryRow(ctx, lineageEdge, id).Scan(&e.Kind, &e.Verdict, &e.Platform, &e.App, &e.Class, &e.Operation, &e.Purpose, &e.Service,
		&e.Destination, &e.SentFor, &e.Part)
	return e, err
}

func (s lineageStore) edges(ctx context.Context, list statement, args ...any) ([]int64, error) {
	return collect[int64](s.db.query(ctx, list, args...))(scanNumber)
}

// edgesOf returns the ways that a selection without an owner and a handle names.
func (s lineageStore) edgesOf(ctx context.Context, sel lineage.Selection) ([]int64, error) {
	switch {
	case sel.Destination != "":
		return s.edges(ctx, lineageEdgesTo, sel.Destination)
	case sel.Service != "":
		return s.edges(ctx, lineageEdgesOf, sel.Service)
	case sel.Purpose != "":
		return s.edges(ctx, lineageEdgesFor, sel.Purpose)
	}
	return s.edges(ctx, lineageEdgesAll)
}

// newestFirst is the order of every list of flows.
func newestFirst(a, b lineage.FlowKey) int {
	return cmp.Or(cmp.Compare(b.Day, a.Day), cmp.Compare(b.Owner, a.Owner), cmp.Compare(b.Edge, a.Edge), cmp.Compare(b.Handle, a.Handle))
}

func (s lineageStore) Flows(ctx context.Context, sel lineage.Selection) ([]lineage.FlowRow, error) {
	after := sel.After
	if after == (lineage.FlowKey{}) || after.Day > sel.Until {
		after = lineage.FlowKey{Day: sel.Until + 1}
	}
	var flows []lineage.FlowRow
	var err error
	switch {
	case sel.Owner != 0:
		flows, err = s.flows(ctx, lineageFlowsOfOwner, int64(sel.Owner), int64(sel.Since), int64(after.Day), after.Edge, after.Handle, sel.Limit)
	case sel.Handle != "":
		var number int64
		if err := s.db.queryRow(ctx, lineageHandleOf, sel.Handle).Scan(&number); err != nil {
			if errors.Is(err, gatehouse.ErrNotFound) {
				err = nil
			}
			return nil, err
		}
		flows, err = s.flows(ctx, lineageFlowsOfHandle, number, int64(sel.Since), int64(after.Day), int64(after.Owner), after.Edge, sel.Limit)
	default:
		flows, err = s.flowsOfEdges(ctx, sel, after)
	}
	if err != nil {
		return nil, err
	}
	return flows, s.complete(ctx, flows)
}

// flowsOfEdges merges the lists of the ways, each of which an index keeps in order.
func (s lineageStore) flowsOfEdges(ctx context.Context, sel lineage.Selection, after lineage.FlowKey) ([]lineage.FlowRow, error) {
	edges, err := s.edgesOf(ctx, sel)
	if err != nil {
		return nil, err
	}
	var all []lineage.FlowRow
	for _, e := range edges {
		// Of the same day and owner, what comes behind the end of the page before.
		handle := after.Handle
		if e > after.Edge {
			handle = 0
		} else if e < after.Edge {
			handle = math.MaxInt64
		}
		some, err := s.flows(ctx, lineageFlowsOfEdge, e, int64(sel.Since), int64(after.Day), int64(after.Owner), handle, sel.Limit)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		slices.SortFunc(all, func(a, b lineage.FlowRow) int { return newestFirst(a.FlowKey, b.FlowKey) })
		all = all[:min(len(all), sel.Limit)]
	}
	return all, nil
}

func (s lineageStore) flows(ctx context.Context, list statement, args ...any) ([]lineage.FlowRow, error) {
	return collect[lineage.FlowRow](s.db.query(ctx, list, args...))(func(r *rows) (lineage.FlowRow, error) {
		var f lineage.FlowRow
		var owner, day, first, last int64
		err := r.Scan(&owner, &day, &f.Edge, &f.Handle, &first, &last, &f.Seen)
		f.Owner, f.Day, f.First, f.Last = lineage.Owner(owner), lineage.Day(day), fromMicros(first), fromMicros(last)
		return f, err
	})
}

// complete puts the ways and handles into flows.
func (s lineageStore) complete(ctx context.Context, flows []lineage.FlowRow) error {
	ways, handles := map[int64]lineage.Edge{}, map[int64]gatehouse.HandleID{0: ""}
	for i := range flows {
		f := &flows[i]
		way, known := ways[f.Edge]
		if !known {
			var err error
			if way, err = s.edge(ctx, f.Edge); err != nil {
				return err
			}
			ways[f.Edge] = way
		}
		id, known := handles[f.Handle]
		if !known {
			if err := s.db.queryRow(ctx, lineageHandleName, f.Handle).Scan(&id); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
				return err
			}
			handles[f.Handle] = id
		}
		f.Way, f.HandleID = way, id
	}
	return nil
}

func (s lineageStore) Reached(ctx context.Context, sel lineage.Selection) ([]lineage.Owner, error) {
	edges, err := s.edgesOf(ctx, sel)
	if err != nil {
		return nil, err
	}
	var all []lineage.Owner
	for _, e := range edges {
		some, err := collect[lineage.Owner](s.db.query(ctx, lineageReached, e, int64(sel.Since), int64(sel.Until), int64(sel.After.Owner), sel.Limit))(scanOwner)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		slices.Sort(all)
		all = slices.Compact(all)
		all = all[:min(len(all), sel.Limit)]
	}
	return all, nil
}

func (s lineageStore) Totals(ctx context.Context, since, until lineage.Day) ([]lineage.Total, error) {
	edges, err := s.edges(ctx, lineageEdgesAll)
	if err != nil {
		return nil, err
	}
	var all []lineage.Total
	for _, e := range edges {
		t := lineage.Total{EdgeID: e}
		var first, last int64
		if err := s.db.queryRow(ctx, lineageTotal, e, int64(since), int64(until)).Scan(&t.People, &t.Seen, &first, &last); err != nil {
			return nil, err
		}
		if t.People == 0 {
			continue
		}
		t.First, t.Last = fromMicros(first), fromMicros(last)
		if t.Way, err = s.edge(ctx, e); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}
