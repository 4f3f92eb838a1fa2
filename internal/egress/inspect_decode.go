package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"gatehouse/internal/identity"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxEncodings bounds how often a body may be compressed over and over.
	maxEncodings = 3
	// decodedFree may come out of any body, and decodedRatio times what went in
	// besides: ordinary text stays below a tenth of that.
	decodedFree  = 8 << 20
	decodedRatio = 200
	// decodedStep is how much is judged at once of what comes out.
	decodedStep = 1 << 20
	// zstdWindow is the memory that a frame of Zstandard may ask for (RFC 9659).
	zstdWindow = 8 << 20
)

// unreadableError says why a compressed text cannot be looked into.
type unreadableError struct{ rule, why string }

func (e *unreadableError) Error() string { return e.rule + ": " + e.why }

var (
	errEncoding     = &unreadableError{"egress/content-encoding", "the body is compressed in a way that cannot be looked into; use gzip, deflate, br, zstd or none"}
	errNotEncoded   = &unreadableError{"egress/encoded-body", "the body is not what its encoding says"}
	errTooExpansive = &unreadableError{"egress/decoded-size", "the compressed body holds more than can be looked into; send it uncompressed or in parts"}
)

// decode undoes the encodings, the last of them first, and gives the inspection what
// comes out. An error is an *unreadableError, or the inspection's refusal.
func decode(ctx context.Context, names []string, raw []byte, most int64, inspection Inspection) error {
	if len(names) == 0 || len(names) > maxEncodings {
		return errEncoding
	}
	most = min(most, decodedFree+decodedRatio*int64(len(raw)))
	// Whether a stage was read to its end: what stands behind it would be read by
	// somebody else, perhaps.
	var ends []func() bool
	var source io.Reader = bytes.NewReader(raw)
	for _, name := range slices.Backward(names) {
		in := bufio.NewReaderSize(source, 4096)
		decoder, err := newDecoder(name, in)
		if err != nil {
			return err
		}
		defer decoder.close()
		ends = append(ends, func() bool {
			_, err := in.ReadByte()
			return errors.Is(err, io.EOF)
		})
		source = &boundedReader{decoder, most}
	}
	var keys identity.Scanner
	buffer := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buffer)
	unjudged := 0
	for {
		n, err := source.Read(buffer[:])
		if unjudged += n; n > 0 {
			if keys.Found(buffer[:n]) {
				return errKeyInside("the body")
			}
			_, _ = inspection.Write(buffer[:n])
		}
		// It is judged as a whole if that is possible: until then nobody knows that any of
		// it leaves. What is found needs memory.
		if unjudged >= decodedStep {
			unjudged = 0
			if _, err := inspection.Judge(ctx); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if slices.ContainsFunc(ends, func(end func() bool) bool { return !end() }) {
				return errNotEncoded
			}
			return nil
		case errors.Is(err, error(errTooExpansive)):
			return errTooExpansive
		case err != nil:
			return errNotEncoded
		}
	}
}

// decoder undoes one encoding.
type decoder struct {
	io.Reader
	close func()
}

func newDecoder(name string, in *bufio.Reader) (decoder, error) {
	nothing := func() {}
	switch name {
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(in)
		if err != nil {
			return decoder{}, errNotEncoded
		}
		return decoder{r, nothing}, nil
	case "deflate":
		// Some send the format of zlib (as RFC 9110 says), some the bare one.
		head, err := in.Peek(2)
		if err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			r, err := zlib.NewReader(in)
			if err != nil {
				return decoder{}, errNotEncoded
			}
			return decoder{r, nothing}, nil
		}
		return decoder{flate.NewReader(in), nothing}, nil
	case "br":
		return decoder{brotli.NewReader(in), nothing}, nil
	case "zstd":
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return decoder{}, errNotEncoded
		}
		return decoder{r, r.Close}, nil
	}
	return decoder{}, errEncoding
}

// boundedReader fails when more comes than may.
type boundedReader struct {
	io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	// One byte more decides between "exactly as much" and "too much".
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooExpansive
	}
	return n, err
}
