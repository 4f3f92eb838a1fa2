package console

import (
	"math"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

func TestPlot(t *testing.T) {
	begin := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	at := func(minute int, v float64) Point { return Point{begin.Add(time.Duration(minute) * time.Minute), v} }
	p := newPlot("Calls <a minute>", "/s", "/calls", begin, begin.Add(time.Hour), Series{Name: "calls", Points: []Point{
		at(0, 1), at(15, 4), at(20, math.NaN()), at(30, 2.5), at(45, math.NaN()), at(50, math.Inf(1)), at(60, 3), at(61, 100),
	}})
	if p.Empty || len(p.Lines) != 1 || len(p.Lines[0].Points) != 1 || len(p.Lines[0].Dots) != 2 {
		t.Fatalf("gaps: %+v", p.Lines)
	}
	if got := p.Lines[0].Points[0]; !strings.HasPrefix(got, "46,") || strings.Count(got, ",") != 2 {
		t.Errorf("the line is %q", got)
	}
	if !strings.Contains(p.Desc, "least 1/s, most 4/s, last 3/s") {
		t.Errorf("it says %q", p.Desc)
	}
	if len(p.X) != 5 || p.X[0] != (plotTick{"46", "12:00", "start"}) || p.X[1].Text != "12:15" || p.X[4] != (plotTick{"630", "13:00", "end"}) {
		t.Errorf("times: %v", p.X)
	}
	if p.Unit != "/s" || p.Y[1].Text != "50" || p.Legend[0].Last != "3/s" {
		t.Errorf("the unit is said as %q, %v, %v", p.Unit, p.Y, p.Legend)
	}
	// Times at the axis are round, few, and there is more than one.
	for span, first := range map[time.Duration]string{10 * time.Minute: "12:04", 2 * time.Hour: "12:30", 24 * time.Hour: "18:00", 40 * 24 * time.Hour: "3 Dec"} {
		p := newPlot("x", "", "", begin.Add(3*time.Minute), begin.Add(3*time.Minute+span), Series{Points: []Point{at(4, 1)}})
		if len(p.X) < 2 || len(p.X) > 6 || p.X[0].Text != first {
			t.Errorf("%s: times are %v", span, p.X)
		}
	}
	for _, none := range []Plot{newPlot("x", "", "", begin, begin.Add(time.Hour)), newPlot("x", "", "", begin, begin, Series{Points: []Point{at(0, 1)}}),
		newPlot("x", "", "", begin, begin.Add(time.Hour), Series{Points: []Point{at(0, math.NaN()), at(1, math.MaxFloat64)}})} {
		if !none.Empty || none.Desc == "" {
			t.Errorf("nothing is drawn as %+v", none)
		}
	}
	// Zero is a value, and so is a lot.
	for _, v := range []float64{0, 1e-9, 0.3, 7, 99, 123456, 3e12, 1e15} {
		p := newPlot("x", "", "", begin, begin.Add(time.Hour), Series{Points: []Point{at(0, v), at(1, v)}})
		if p.Empty || len(p.Y) < 2 || len(p.Y) > 8 || strings.Contains(p.Lines[0].Points[0], "NaN") {
			t.Errorf("%g: %d lines, %v", v, len(p.Y), p.Lines)
		}
	}
	page := Page{routes: []route{get("/plot", healthRead, func(v *visit) error {
		html, err := v.render("plot", "health.html", "", p)
		if err == nil {
			_, err = v.w.Write(html)
		}
		return err
	})}}
	newDesk(t, operator.Auditor, page).get("/plot").shows(t, `role="img"`, "<title>Calls &lt;a minute&gt;</title>", `<a href="/calls">`, "<polyline", "<circle", "!style=")
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 0.12345: "0.123", 12.34: "12.3", 1234: "1234", 12345: "12.3k", 2.5e6: "2.5M", 3e9: "3G"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%g) = %q, want %q", v, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "−1\u202f234\u202f567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{50 * time.Millisecond: "50 ms", 90 * time.Second: "1 min", 49 * time.Hour: "2 d", 800 * 24 * time.Hour: "2 y"} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
}
