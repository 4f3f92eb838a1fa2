package console

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Series is one line of a plot.
type Series struct {
	Name string
	// Tone colours the line: Plain is the first colour.
	Tone   Tone
	Points []Point
}

// Point is one value at one time. NaN is a gap.
type Point struct {
	At    time.Time
	Value float64
}

// Plot is a drawing of values over time, made on the server. newPlot makes one.
type Plot struct {
	Title, Desc string
	// Unit is what the figures at the axis are of.
	Unit string
	Href string
	// The drawing's own coordinates: 0 0 640 180.
	Lines  []plotLine
	Y, X   []plotTick
	Empty  bool
	Legend []plotLegend
}

type plotLine struct {
	Tone Tone
	// Points are the corners of the line; Area closes it to the axis, for one series.
	Points []string
	Area   string
	Dots   []plotDot
}

type plotDot struct{ X, Y string }

// plotTick is a mark at an axis. Side says which side of its text is there: start,
// middle or end.
type plotTick struct{ At, Text, Side string }

type plotLegend struct {
	Name string
	Tone Tone
	Last string
}

// Room for the axes, in the drawing's coordinates.
const (
	plotWidth, plotHeight                    = 640, 180
	plotLeft, plotTop, plotRight, plotBottom = 46, 10, 10, 24
)

// newPlot draws series over the time from begin to end. unit stands behind figures, and
// once for all of those at the axis, where a phone has no room for it.
func newPlot(title, unit, href string, begin, end time.Time, series ...Series) Plot {
	p := Plot{Title: title, Unit: strings.TrimSpace(unit), Href: href, Empty: true}
	top := 0.0
	for _, s := range series {
		for _, pt := range s.Points {
			if drawn(pt.Value) {
				top, p.Empty = max(top, pt.Value), false
			}
		}
	}
	if p.Empty || !end.After(begin) {
		p.Empty = true
		p.Desc = "Nothing yet: points come every few seconds, as soon as there is something to count."
		return p
	}
	step := niceStep(top)
	steps := max(1, int(math.Ceil(top/step)))
	ceiling := step * float64(steps)
	wide, high := float64(plotWidth-plotLeft-plotRight), float64(plotHeight-plotTop-plotBottom)
	x := func(t time.Time) float64 {
		return plotLeft + wide*max(0, min(1, float64(t.Sub(begin))/float64(end.Sub(begin))))
	}
	y := func(v float64) float64 { return plotTop + high*(1-v/ceiling) }
	for i := range steps + 1 {
		v := step * float64(i)
		p.Y = append(p.Y, plotTick{coordinate(y(v)), figure(v), "end"})
	}
	for _, at := range niceTimes(begin, end) {
		layout, side, px := "15:04", "middle", x(at)
		switch {
		case px < plotLeft+20:
			side = "start"
		case px > plotWidth-plotRight-20:
			side = "end"
		}
		if end.Sub(begin) > 36*time.Hour {
			layout = "2 Jan"
		}
		p.X = append(p.X, plotTick{coordinate(px), at.UTC().Format(layout), side})
	}
	var said []string
	for _, s := range series {
		line, last, least, most := plotLine{Tone: s.Tone}, math.NaN(), math.Inf(1), math.Inf(-1)
		var run, area []string
		flush := func() {
			if len(run) > 1 {
				line.Points = append(line.Points, strings.Join(run, " "))
				if len(series) == 1 {
					first, _, _ := strings.Cut(run[0], ",")
					final, _, _ := strings.Cut(run[len(run)-1], ",")
					floor := coordinate(y(0))
					area = append(area, "M"+first+","+floor+" L"+strings.Join(run, " L")+" L"+final+","+floor+" Z")
				}
			} else if len(run) == 1 {
				px, py, _ := strings.Cut(run[0], ",")
				line.Dots = append(line.Dots, plotDot{px, py})
			}
			run = nil
		}
		for _, pt := range s.Points {
			if !drawn(pt.Value) {
				flush()
				continue
			}
			if pt.At.Before(begin) || pt.At.After(end) {
				continue
			}
			last, least, most = pt.Value, min(least, pt.Value), max(most, pt.Value)
			run = append(run, coordinate(x(pt.At))+","+coordinate(y(max(0, pt.Value))))
		}
		flush()
		line.Area = strings.Join(area, " ")
		p.Lines = append(p.Lines, line)
		now := "–"
		if !math.IsNaN(last) {
			now = figure(last) + unit
			said = append(said, s.Name+": least "+figure(least)+unit+", most "+figure(most)+unit+", last "+now)
		}
		p.Legend = append(p.Legend, plotLegend{s.Name, s.Tone, now})
	}
	p.Desc = "From " + stamp(begin) + " to " + stamp(end) + ". " + strings.Join(said, "; ") + "."
	return p
}

// niceTimes are two to six times between begin and end at which a clock says something
// round.
func niceTimes(begin, end time.Time) []time.Time {
	step := 24 * time.Hour
	for _, s := range []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour} {
		if end.Sub(begin) <= 5*s {
			step = s
			break
		}
	}
	for end.Sub(begin) > 5*step {
		step *= 2
	}
	var out []time.Time
	for at := begin.UTC().Truncate(step); !at.After(end); at = at.Add(step) {
		if !at.Before(begin) {
			out = append(out, at)
		}
	}
	return out
}

// drawn reports whether a value has a place: it is a number that others can be told
// from at its size.
func drawn(v float64) bool { return math.Abs(v) <= 1e15 }

// niceStep returns a step of 1, 2 or 5 times a power of ten that makes three to six
// lines below top.
func niceStep(top float64) float64 {
	if top <= 0 {
		return 1
	}
	raw := top / 4
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if raw <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// figure returns a value with as many digits as matter.
func figure(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if v >= u.size {
			if u.name == "k" {
				return short(v/1e3) + "k"
			}
			return short(v/u.size) + u.name
		}
	}
	return short(v)
}

func short(v float64) string {
	digits := 0
	switch {
	case v == math.Trunc(v):
	case v < 1:
		digits = 3
	case v < 100:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
