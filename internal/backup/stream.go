package backup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The plaintext of a part: the Table as JSON, with its length before it, then
// rows. A row is the byte 1 and a value for each column; the byte 0 and the number
// of rows end the part, so that one that was cut short is not taken for whole. A
// value is a tag and, for a number, a varint, for text and bytes, a length and the
// content.
const (
	tagNull = iota
	tagInt
	tagText
	tagBlob
)

const (
	endOfRows = 0
	oneRow    = 1

	// maxTable bounds a table's description, maxValue one value.
	maxTable = 1 << 20
	maxValue = 1 << 28
)

var errStream = errors.New("the content of the part is malformed")

// rowWriter writes the plaintext of a part.
type rowWriter struct {
	w       *bufio.Writer
	columns []Column
	rows    int64
	buffer  []byte
}

func (r *rowWriter) table(t Table) error {
	description, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("describing the table: %w", err)
	}
	r.columns = t.Columns
	r.buffer = binary.AppendUvarint(r.buffer[:0], uint64(len(description)))
	r.buffer = append(r.buffer, description...)
	_, err = r.w.Write(r.buffer)
	return err
}

func (r *rowWriter) row(values []any) error {
	if len(values) != len(r.columns) {
		return fmt.Errorf("a row has %d values for %d columns", len(values), len(r.columns))
	}
	b := append(r.buffer[:0], oneRow)
	for i, v := range values {
		kind := ""
		switch v := v.(type) {
		case nil:
			b = append(b, tagNull)
			continue
		case int64:
			kind = Int
			b = binary.AppendVarint(append(b, tagInt), v)
		case string:
			kind = Text
			b = append(binary.AppendUvarint(append(b, tagText), uint64(len(v))), v...)
		case []byte:
			kind = Blob
			b = append(binary.AppendUvarint(append(b, tagBlob), uint64(len(v))), v...)
		}
		if kind != r.columns[i].Kind {
			return fmt.Errorf("column %s holds a %T and is declared as %s", r.columns[i].Name, v, r.columns[i].Kind)
		}
	}
	r.buffer = b
	r.rows++
	_, err := r.w.Write(b)
	return err
}

func (r *rowWriter) end() error {
	_, err := r.w.Write(binary.AppendUvarint([]byte{endOfRows}, uint64(r.rows)))
	return errors.Join(err, r.w.Flush())
}

// rowReader reads the plaintext of a part.
type rowReader struct {
	r     *bufio.Reader
	table Table
	rows  int64
}

func newRowReader(r io.Reader) (*rowReader, error) {
	in := &rowReader{r: bufio.NewReader(r)}
	description, err := in.bytes(maxTable)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(description))
	d.DisallowUnknownFields()
	if err := d.Decode(&in.table); err != nil || d.More() {
		return nil, errStream
	}
	if !partForm.MatchString(in.table.Name) || len(in.table.Columns) == 0 {
		return nil, errStream
	}
	for _, c := range in.table.Columns {
		if !partForm.MatchString(c.Name) || c.Kind != Int && c.Kind != Text && c.Kind != Blob {
			return nil, errStream
		}
	}
	if c := in.table.Counted; c != "" && !slices.Contains(in.table.Columns, Column{c, Int}) {
		return nil, errStream
	}
	return in, nil
}

// next fills row, or reports false at the end.
func (in *rowReader) next(row []any) (bool, error) {
	mark, err := in.r.ReadByte()
	switch {
	case err != nil:
		return false, cutShort(err)
	case mark == endOfRows:
		n, err := in.uvarint()
		if err != nil {
			return false, err
		}
		if n != uint64(in.rows) {
			return false, errStream
		}
		if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
			return false, errors.Join(errStream, err)
		}
		return false, nil
	case mark != oneRow:
		return false, errStream
	}
	for i, c := range in.table.Columns {
		if row[i], err = in.value(c.Kind); err != nil {
			return false, err
		}
	}
	in.rows++
	return true, nil
}

func (in *rowReader) value(kind string) (any, error) {
	tag, err := in.r.ReadByte()
	switch {
	case err != nil:
		return nil, cutShort(err)
	case tag == tagNull:
		return nil, nil
	case tag == tagInt && kind == Int:
		v, err := in.varint()
		return v, err
	case tag == tagText && kind == Text:
		b, err := in.bytes(maxValue)
		return string(b), err
	case tag == tagBlob && kind == Blob:
		return in.bytes(maxValue)
	}
	return nil, errStream
}

// bytes reads a length and so many bytes. It never allocates for what is not
// there.
func (in *rowReader) bytes(limit uint64) ([]byte, error) {
	n, err := in.uvarint()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, errStream
	}
	if n <= 64<<10 {
		b := make([]byte, n)
		_, err := io.ReadFull(in.r, b)
		return b, cutShort(err)
	}
	var b bytes.Buffer
	_, err = io.CopyN(&b, in.r, int64(n))
	return b.Bytes(), cutShort(err)
}

func (in *rowReader) uvarint() (uint64, error) {
	v, err := binary.ReadUvarint(in.r)
	if err != nil {
		return 0, cutShort(err)
	}
	return v, nil
}

func (in *rowReader) varint() (int64, error) {
	v, err := binary.ReadVarint(in.r)
	if err != nil {
		return 0, cutShort(err)
	}
	return v, nil
}

// cutShort turns an end of file in the middle into what it means.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errStream
	}
	return err
}
