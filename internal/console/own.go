package console

import (
	"errors"
	"time"

	"gatehouse"
)

// isSignedOut reports whether an error of the directory means that nobody is signed
// in, rather than that it cannot be known.
func isSignedOut(err error) bool {
	return errors.Is(err, gatehouse.ErrDenied) || errors.Is(err, gatehouse.ErrNotFound)
}

// refused turns what an owner of a rule says to a command into what the browser gets.
func (v *visit) refused(err error) error { return err }

// ownPages are the routes that every console has.
func (k *Console) ownPages() Page {
	file := get("/assets/{hash}/{name}", anyone, (*visit).sendAsset)
	file.asset = true
	return Page{routes: []route{
		file,
		post("/theme", anyone, chooseTheme),
	}}
}

// themeChoice is the command of the buttons for light and dark.
type themeChoice struct{ theme string }

func (c *themeChoice) read(f *form) { c.theme = f.choice("theme", "", "light", "dark") }

func chooseTheme(v *visit, in *themeChoice) (*outcome, error) {
	life := 400 * 24 * time.Hour
	if in.theme == "" {
		life = -1
	}
	v.setCookie(themeCookie, in.theme, life)
	return goTo(v.back()), nil
}
