package console

import (
	"strconv"
	"strings"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"

	"rsc.io/qr"
)

// totpView is what an authenticator app needs, as a person sees it.
type totpView struct {
	// Path draws the QR code in a square of Size units; Seed is the same in letters.
	Path string
	Size int
	Seed string
}

func newTOTPView(offer operator.TOTP) (totpView, error) {
	path, size, err := drawQR(offer.URI)
	if err != nil {
		return totpView{}, err
	}
	seed := offer.Seed.Reveal()
	var groups []string
	for len(seed) > 4 {
		groups, seed = append(groups, seed[:4]), seed[4:]
	}
	return totpView{Path: path, Size: size, Seed: strings.Join(append(groups, seed), " ")}, nil
}

// quiet is the margin that a reader of QR codes needs, in modules.
const quiet = 4

// drawQR returns the path of an SVG that draws a text as a QR code, and the length of
// its sides. Drawn here, the secret in it goes to nobody else.
func drawQR(text secret.Text) (path string, size int, err error) {
	code, err := qr.Encode(text.Reveal(), qr.M)
	if err != nil {
		return "", 0, err // it says how long the text is, and not what
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			if !code.Black(x, y) {
				continue
			}
			end := x
			for end < code.Size && code.Black(end, y) {
				end++
			}
			run := strconv.Itoa(end - x)
			b.WriteString("M" + strconv.Itoa(x+quiet) + " " + strconv.Itoa(y+quiet) + "h" + run + "v1h-" + run + "z")
			x = end
		}
	}
	return b.String(), code.Size + 2*quiet, nil
}
