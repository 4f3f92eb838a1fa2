package gateway

import (
	"errors"
	"io"

	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// A passingForm reads a multipart form for its names and measures while the form goes
// by, so that observing neither holds it back nor refuses it. Its own goroutine reads;
// it ends when the form does, when something cannot be read, or at stop.
type passingForm struct {
	to   *io.PipeWriter
	done chan struct{} // closed when the two below are set
	list []policy.Argument
	// read is set when the form was read as far as one that is judged would be, and
	// nothing followed its first file.
	read bool
}

// errPassed ends the reading of a form that was not over.
var errPassed = errors.New("the form was broken off")

// observeParts starts reading a form of a call, at most limit bytes of its text.
func observeParts(p platform.Name, class platform.Call, boundary string, limit int64) *passingForm {
	from, to := io.Pipe()
	f := &passingForm{to: to, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer from.Close() // what comes now goes by unread
		b := body{rest: from, boundary: boundary}
		if err := b.readWholeParts(p, limit); err != nil {
			return
		}
		if b.parts.file != nil {
			if _, err := b.parts.reader.NextRawPart(); !errors.Is(err, io.EOF) {
				return
			}
		}
		f.list, f.read = b.partArguments(nil, p, class), true
	}()
	return f
}

// watch returns a reader of r that shows the form what was read.
func (f *passingForm) watch(r io.Reader) io.Reader { return &passingReader{r, f} }

type passingReader struct {
	r    io.Reader
	form *passingForm
}

func (r *passingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	// That nobody reads any more is no failure of what is sent.
	_, _ = r.form.to.Write(p[:n])
	if errors.Is(err, io.EOF) {
		r.form.to.Close()
	}
	return n, err
}

// stop ends the reading; what was not over by then counts as unread.
func (f *passingForm) stop() { _ = f.to.CloseWithError(errPassed) }

// result waits until nothing is read any more, and says what was. It is called after
// stop.
func (f *passingForm) result() ([]policy.Argument, bool) {
	<-f.done
	return f.list, f.read
}
