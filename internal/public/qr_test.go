package public_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/public"
	"gatehouse/internal/secret"

	"rsc.io/qr"
)

// The path paints exactly the code's black squares, inside a white border.
func TestPictureIsTheCode(t *testing.T) {
	text := "otpauth://totp/An%20app:ada@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=An%20app"
	side, path, err := public.Draw(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil || side != code.Size+8 {
		t.Fatalf("the side is %d, %v", side, err)
	}
	painted := map[[2]int]bool{}
	squares := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllStringSubmatch(path, -1)
	for _, m := range squares {
		var x, y, run, back int
		if _, err := fmt.Sscan(strings.Join(m[1:], " "), &x, &y, &run, &back); err != nil || run != back {
			t.Fatalf("%s: %v", m[0], err)
		}
		for i := range run {
			painted[[2]int{x + i, y}] = true
		}
	}
	for y := range side {
		for x := range side {
			if painted[[2]int{x, y}] != code.Black(x-4, y-4) {
				t.Fatalf("the square at %d, %d is wrong", x, y)
			}
		}
	}
	if _, _, err := public.Draw(secret.New(strings.Repeat("canary", 1000))); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a text that is too long: %v", err)
	}
}
