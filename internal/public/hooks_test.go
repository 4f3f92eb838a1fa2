package public

import "gatehouse/internal/secret"

// Draw returns the side and the path of a QR code.
func Draw(text secret.Text) (int, string, error) {
	p, err := draw(text)
	if err != nil {
		return 0, "", err
	}
	return p.Side, p.Path, nil
}
