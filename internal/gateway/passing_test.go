package gateway

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// FuzzPassingForm holds that a form passes as it is, however it is read, and that what
// is read of it on its way is what would be read before.
func FuzzPassingForm(f *testing.F) {
	const text = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n"
	const file = "--b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"f\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n"
	for _, form := range []string{text + file + "--b--\r\n", text + "--b--", file + text + "--b--\r\n", text + file, text + text + "--b--", "--b\r\n\r\n"} {
		f.Add([]byte(form), true)
		f.Add([]byte(form), false)
	}
	f.Fuzz(func(t *testing.T, form []byte, slowly bool) {
		const limit = 64
		var source io.Reader = strings.NewReader(string(form))
		if slowly {
			source = iotest.OneByteReader(source)
		}
		on := observeParts(platform.X, platform.Call{}, "b", limit)
		passed, err := io.ReadAll(on.watch(source))
		on.stop()
		list, read := on.result()
		if err != nil || string(passed) != string(form) {
			t.Fatalf("%q became %q, %v", form, passed, err)
		}
		b := body{rest: strings.NewReader(string(form)), boundary: "b"}
		var want []policy.Argument
		err = b.readWholeParts(platform.X, limit)
		if err == nil {
			want = b.partArguments(nil, platform.X, platform.Call{})
		}
		if read && (err != nil || !slices.Equal(list, want)) {
			t.Fatalf("%q is read as %v, want %v, %v", form, list, want, err)
		}
		if !read && (len(list) > 0 || err == nil && b.parts.file == nil) {
			t.Fatalf("%q is not read, and is %v", form, list)
		}
	})
}

// A form that is not over when its call is counts as unread, and so does one whose
// sender fails.
func TestPassingFormBrokenOff(t *testing.T) {
	const form = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n--b--"
	for end, want := range map[error]bool{io.EOF: true, io.ErrUnexpectedEOF: false, nil: false} {
		on := observeParts(platform.X, platform.Call{}, "b", 64)
		source := io.MultiReader(strings.NewReader(form), iotest.ErrReader(end))
		if end == nil {
			source = strings.NewReader(form)
		}
		r := on.watch(source)
		n, err := io.ReadFull(r, make([]byte, len(form)))
		if end != nil {
			_, err = r.Read(make([]byte, 1))
		}
		on.stop()
		if list, read := on.result(); read != want || want != (len(list) == 1) {
			t.Errorf("after %v (%d bytes, %v): %v, %t", end, n, err, list, read)
		}
	}
}
