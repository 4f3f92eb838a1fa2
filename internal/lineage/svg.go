package lineage

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// The measures of the picture, in its own units.
const (
	boxWidth    = 240.0
	columnGap   = 110.0
	margin      = 32.0
	headHeight  = 122.0
	lineHeight  = 18.0
	boxPadding  = 14.0
	boxGap      = 22.0
	nameHeight  = 22.0
	nameLetters = 24
	lineLetters = 32
	maxBoxLines = 10
)

// svgStyle works in light and in dark surroundings; what is stopped is also dashed,
// so that it does not depend on colour.
const svgStyle = `
svg{--paper:#ffffff;--ink:#1c2024;--soft:#59626b;--box:#f4f6f8;--edge:#c3cbd3;--flow:#2f6fab;--bad:#b3261e;--warn:#8a5a00}
@media(prefers-color-scheme:dark){svg{--paper:#14171a;--ink:#eceff2;--soft:#a3adb7;--box:#1f2429;--edge:#47515b;--flow:#7db6e8;--bad:#ff8a80;--warn:#f0b95a}}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink);font-size:13px}
.paper{fill:var(--paper)}.title{font-size:20px;font-weight:600}.soft{fill:var(--soft)}.head{font-size:12px;fill:var(--soft);letter-spacing:.04em}
.box{fill:var(--box);stroke:var(--edge)}.name{font-weight:600;font-size:14px}
.link{fill:none;stroke:var(--flow);stroke-opacity:.45}.stopped{stroke:var(--bad);stroke-dasharray:7 5;stroke-opacity:.9}
.reported,.unknown{stroke:var(--warn);stroke-opacity:.8}text.bad{fill:var(--bad)}text.warn{fill:var(--warn)}
`

// legend says how to read the description.
const legend = "× is the number of replies from platforms, and of transfers to third parties, that held such data. " +
	"Stopped (dashed): it never left. Reported: it may not go there, and was let through. " +
	"Unknown: let go before the rest of its request was stopped."

// SVG writes the diagram as a picture that stands by itself.
func (d *Diagram) SVG(w io.Writer) error {
	width := 2*margin + 4*boxWidth + 3*columnGap
	height := d.place() + margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-labelledby="t d">`,
		width, height, width, height)
	fmt.Fprintf(&b, "\n<title id=\"t\">%s</title>\n<desc id=\"d\">%s</desc>\n<style>%s</style>\n", escaped(d.title()), escaped(d.description()), svgStyle)
	fmt.Fprintf(&b, "<rect class=\"paper\" width=\"%g\" height=\"%g\"/>\n", width, height)
	fmt.Fprintf(&b, "<text class=\"title\" x=\"%g\" y=\"42\">%s</text>\n", margin, escaped(d.title()))
	fmt.Fprintf(&b, "<text class=\"soft\" x=\"%g\" y=\"66\">%s</text>\n", margin, escaped(legend))
	for i, name := range columnNames {
		fmt.Fprintf(&b, "<text class=\"head\" x=\"%g\" y=\"%g\">%s</text>\n", columnX(i), headHeight-16, strings.ToUpper(name))
	}
	for _, l := range d.links {
		l.draw(&b)
	}
	for _, column := range d.columns {
		for _, n := range column {
			n.draw(&b)
		}
	}
	if len(d.links) == 0 {
		fmt.Fprintf(&b, "<text class=\"soft\" x=\"%g\" y=\"%g\">No flows were observed.</text>\n", margin, headHeight+24)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func columnX(i int) float64 { return margin + float64(i)*(boxWidth+columnGap) }

// place lays the boxes out, each column centred beside the highest, and returns
// where they end.
func (d *Diagram) place() float64 {
	heights, highest := [4]float64{}, 60.0
	for i, column := range d.columns {
		for _, n := range column {
			n.height = 2*boxPadding + nameHeight + lineHeight*float64(len(n.text()))
			heights[i] += n.height + boxGap
		}
		highest = max(highest, heights[i]-boxGap)
	}
	for i, column := range d.columns {
		y := headHeight + (highest-(heights[i]-boxGap))/2
		for _, n := range column {
			n.x, n.y = columnX(i), y
			y += n.height + boxGap
		}
	}
	return headHeight + highest
}

// text is what stands in a box under its name.
func (n *node) text() []string {
	list := lines(n.kinds)
	if len(list) > maxBoxLines {
		list = append(list[:maxBoxLines-1:maxBoxLines-1], fmt.Sprintf("and %d more kinds", len(list)-maxBoxLines+1))
	}
	return list
}

func (n *node) draw(b *strings.Builder) {
	fmt.Fprintf(b, "<g><title>%s</title><rect class=\"box\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" rx=\"8\"/>", escaped(n.name), n.x, n.y, boxWidth, n.height)
	y := n.y + boxPadding + 14
	fmt.Fprintf(b, "<text class=\"name\" x=\"%g\" y=\"%g\">%s</text>", n.x+boxPadding, y, escaped(cut(n.name, nameLetters)))
	for _, line := range n.text() {
		y += lineHeight
		fmt.Fprintf(b, "<text class=\"%s\" x=\"%g\" y=\"%g\">%s</text>", lineClass(line), n.x+boxPadding, y+4, escaped(cut(line, lineLetters)))
	}
	b.WriteString("</g>\n")
}

func lineClass(line string) string {
	switch {
	case strings.HasSuffix(line, "("+string(Stopped)+")"):
		return "bad"
	case strings.HasSuffix(line, "("+string(Reported)+")"), strings.HasSuffix(line, "("+string(Unknown)+")"):
		return "warn"
	}
	return "soft"
}

// draw draws one curve for each verdict, as wide as there is much.
func (l *link) draw(b *strings.Builder) {
	var offset float64
	for _, verdict := range []Verdict{Passed, Reported, Unknown, Stopped} {
		var total int64
		for k, t := range l.kinds {
			if k.verdict == verdict {
				total += t.count
			}
		}
		if total == 0 {
			continue
		}
		x1, y1 := l.from.x+boxWidth, l.from.y+l.from.height/2+offset
		x2, y2 := l.to.x, l.to.y+l.to.height/2+offset
		fmt.Fprintf(b, "<path class=\"link %s\" stroke-width=\"%.1f\" d=\"M%g %.1fC%g %.1f %g %.1f %g %.1f\"><title>%s</title></path>\n",
			verdict, min(12, 1.5+1.5*math.Log10(float64(total))), x1, y1, x1+columnGap/2, y1, x2-columnGap/2, y2, x2, y2,
			escaped(l.from.name+" → "+l.to.name+": "+strings.Join(lines(l.kinds), ", ")))
		offset += 14
	}
}

// description says in words what the picture shows, for whoever does not see it.
func (d *Diagram) description() string {
	if len(d.links) == 0 {
		return "No flows were observed."
	}
	var parts []string
	for _, l := range d.links {
		parts = append(parts, l.from.name+" → "+l.to.name+": "+strings.Join(lines(l.kinds), ", "))
	}
	return strings.Join(parts, "; ") + "."
}

// cut shortens a text to a number of letters.
func cut(s string, letters int) string {
	if r := []rune(s); len(r) > letters {
		return string(r[:letters-1]) + "…"
	}
	return s
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder never fails
	return b.String()
}
