package console

import (
	"slices"
	"time"
)

// ownPages are the routes that every console has.
func (k *Console) ownPages() Page {
	file := get("/assets/{hash}/{name}", anyone, (*visit).sendAsset)
	file.asset = true
	return Page{routes: slices.Concat([]route{file, post("/theme", anyone, chooseTheme)},
		k.signInRoutes(), k.proveRoutes(), k.enrolRoutes(), k.accountRoutes())}
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
