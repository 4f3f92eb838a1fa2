package public

import (
	"fmt"
	"strings"

	"gatehouse/internal/secret"

	"rsc.io/qr"
)

// quiet is the white border that a reader needs, in squares.
const quiet = 4

// picture is a QR code as the data of an SVG path, in a square of Side.
type picture struct {
	Side int
	Path string
}

// draw makes the QR code of a text. It shows a secret: it belongs on the one page that
// is for its owner, and nowhere else.
func draw(text secret.Text) (*picture, error) {
	code, err := qr.Encode(text.Reveal(), qr.M)
	if err != nil {
		// Its text may hold what it was about.
		return nil, fmt.Errorf("drawing a QR code of %d bytes", len(text.Reveal()))
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	return &picture{code.Size + 2*quiet, path.String()}, nil
}
