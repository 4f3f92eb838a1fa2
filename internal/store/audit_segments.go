package store

import (
	"context"
	"fmt"

	"gatehouse/internal/audit"
)

const (
	these = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16`

	selectAt     statement = these + `)`
	selectManyAt statement = these +
		`, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32` +
		`, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48` +
		`, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64` +
		`, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80` +
		`, $81, $82, $83, $84, $85, $86, $87, $88, $89, $90, $91, $92, $93, $94, $95, $96` +
		`, $97, $98, $99, $100, $101, $102, $103, $104, $105, $106, $107, $108, $109, $110, $111, $112` +
		`, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122, $123, $124, $125, $126, $127, $128` + `)`

	selectBetween statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq`

	selectSegments statement = `SELECT s.seq, s.span, s.version, s.last_hash, s.oldest, s.newest, CASE WHEN e.leaf_hash = s.last_hash THEN 1 ELSE 0 END
		FROM audit_segments s LEFT JOIN audit_entries e ON e.seq = s.seq + s.span - 1
		WHERE s.seq < $1 AND s.seq >= $2 ORDER BY s.seq DESC, s.span DESC LIMIT $3`
	selectParts statement = `SELECT seq, content FROM audit_segment_parts WHERE span = $1 AND part = $2 AND seq < $3 AND seq >= $4 ORDER BY seq DESC LIMIT $5`

	deleteSegment statement = `DELETE FROM audit_segments WHERE seq = $1 AND span = $2`
	// deleteParts names all parts that there can be: the index is by span, part and seq,
	// and a statement for each was 65 journeys to the database for every segment.
	deleteParts statement = `DELETE FROM audit_segment_parts WHERE span = $1 AND seq = $2 AND part IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
		33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64)`
	insertSegment statement = `INSERT INTO audit_segments (seq, span, version, last_hash, oldest, newest) VALUES ($1, $2, $3, $4, $5, $6)`
	insertPart    statement = `INSERT INTO audit_segment_parts (span, part, seq, content) VALUES ($1, $2, $3, $4)`
	deleteBeyond  statement = `DELETE FROM audit_search WHERE seq IN (SELECT seq FROM audit_search WHERE seq >= $1 AND seq < $2 ORDER BY seq LIMIT $3)`
	selectDrop    statement = `SELECT seq FROM audit_segments WHERE span = $1 AND seq >= $2 AND seq < $3 ORDER BY seq LIMIT $4`
)

// atOnce is how many indexes selectAt takes, manyAtOnce how many selectManyAt.
const (
	atOnce     = 16
	manyAtOnce = 128
)

var _ audit.RollbackStore = (*Audit)(nil)

// At implements audit.SearchStore.
func (a *Audit) At(ctx context.Context, seqs []int64) ([]audit.Row, error) {
	var all []audit.Row
	for len(seqs) > 0 {
		n, ask := atOnce, selectAt
		if len(seqs) > atOnce {
			n, ask = manyAtOnce, selectManyAt
		}
		args := make([]any, 0, n)
		for len(args) < n {
			args = append(args, a.from(seqs[min(len(args), len(seqs)-1)]))
		}
		some, err := a.entries(a.db.query(ctx, ask, args...))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		seqs = seqs[min(len(seqs), n):]
	}
	return all, nil
}

// Between implements audit.SearchStore.
func (a *Audit) Between(ctx context.Context, from, to int64) ([]audit.Row, error) {
	return a.entries(a.db.query(ctx, selectBetween, a.from(from), a.from(to)))
}

// Segments implements audit.SearchStore.
func (a *Audit) Segments(ctx context.Context, before int64, limit int) ([]audit.IndexSegment, error) {
	all, err := collect[audit.IndexSegment](a.db.query(ctx, selectSegments, a.from(before), a.from(0), limit))(func(r *rows) (s audit.IndexSegment, err error) {
		var stands int
		err = r.Scan(&s.From, &s.Span, &s.Version, &s.LastHash, &s.Oldest, &s.Newest, &stands)
		s.From, s.Stands = a.index(s.From), stands == 1
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's search index: %w", err)
	}
	return all, nil
}

// Parts implements audit.SearchStore.
func (a *Audit) Parts(ctx context.Context, span int64, number int, before int64, limit int) ([]audit.Part, error) {
	all, err := collect[audit.Part](a.db.query(ctx, selectParts, span, number, a.from(before), a.from(0), limit))(func(r *rows) (p audit.Part, err error) {
		p.Number = number
		err = r.Scan(&p.From, &p.Content)
		p.From = a.index(p.From)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's search index: %w", err)
	}
	return all, nil
}

// PutSegment implements audit.SegmentStore.
func (a *Audit) PutSegment(ctx context.Context, s audit.IndexSegment, parts []audit.Part) error {
	err := a.db.logTx(ctx, func(t *tx) error {
		if err := t.deleteSegment(ctx, a.row(s.From), s.Span); err != nil {
			return err
		}
		for _, p := range parts {
			if _, err := t.exec(ctx, insertPart, s.Span, p.Number, a.row(s.From), p.Content); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, insertSegment, a.row(s.From), s.Span, s.Version, s.LastHash, s.Oldest, s.Newest)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the log's search index: %w", err)
	}
	return nil
}

func (t *tx) deleteSegment(ctx context.Context, from, span int64) error {
	n, err := t.exec(ctx, deleteSegment, from, span)
	if err != nil || n == 0 {
		return err // without a segment there are no parts
	}
	_, err = t.exec(ctx, deleteParts, span, from)
	return err
}

// DropSegments implements audit.SegmentStore.
func (a *Audit) DropSegments(ctx context.Context, span, from, to int64, limit int) (n int64, err error) {
	err = a.db.logTx(ctx, func(t *tx) error {
		seqs, err := collect[int64](t.query(ctx, selectDrop, span, a.from(from), a.from(to), limit))(func(r *rows) (seq int64, err error) { return seq, r.Scan(&seq) })
		if err != nil {
			return err
		}
		n = int64(len(seqs))
		for _, seq := range seqs {
			if err := t.deleteSegment(ctx, seq, span); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("dropping the log's search index: %w", err)
	}
	return n, nil
}

// DropIndexBeyond implements audit.RollbackStore.
func (a *Audit) DropIndexBeyond(ctx context.Context, limit int) (n int64, err error) {
	err = a.db.logTx(ctx, func(t *tx) error {
		head, err := auditReader{t, a.place}.Head(ctx)
		if err != nil {
			return err
		}
		n, err = t.exec(ctx, deleteBeyond, a.from(head.Size), a.end(), limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting what is left of entries of the log: %w", err)
	}
	return n, nil
}
