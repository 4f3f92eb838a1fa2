package console

import (
	"context"
	"time"
)

// HealthSource says how this installation is.
type HealthSource interface {
	Health(ctx context.Context) (HealthView, error)
}

// HealthView is what the page Health shows.
type HealthView struct {
	Node, Version string
	Started       time.Time
	Checks        []Check
}

// Check is one thing that must work. Next says what to do when it does not.
type Check struct {
	Name  string
	Tone  Tone
	State string
	Says  string
	Next  string
	Href  string
}

// Health returns the page about what must work: root key, log, store, backups.
func Health(from HealthSource) Page {
	p := healthPage{from}
	return Page{routes: []route{get("/health", healthRead, p.show)}}
}

type healthPage struct{ from HealthSource }

func (p healthPage) show(v *visit) error {
	h, err := p.from.Health(v.context())
	if err != nil {
		return err
	}
	data := struct {
		HealthView
		Summary string
		Tone    Tone
	}{HealthView: h, Summary: "Everything works", Tone: Good}
	wrong := 0
	for _, c := range h.Checks {
		if c.Tone == Bad || c.Tone == Warn {
			wrong++
		}
		if c.Tone == Bad || c.Tone == Warn && data.Tone == Good {
			data.Tone = c.Tone
		}
	}
	one, many := "One thing needs somebody", " things need somebody"
	if data.Tone != Bad {
		one, many = "One thing is worth a look", " things are worth a look"
	}
	switch wrong {
	case 0:
	case 1:
		data.Summary = one
	default:
		data.Summary = count(int64(wrong)) + many
	}
	return v.show("health.html", "Health", data)
}
