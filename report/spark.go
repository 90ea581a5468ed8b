package report

import (
	"math"
	"strings"
)

// sparkColumns is the width of the one-line plot in Markdown.
const sparkColumns = 60

// Spark is the availability plot in a few lines of text, all of the same width.
type Spark struct {
	Marks  string // the fault, what came after it until all was well, the actions
	Bars   string // a block for each column; empty: there is nothing to plot
	Digits string // the same in ASCII
	Times  string // begin and end
	Legend string // what Marks and Bars mean
	Failed []bool // columns with a failed request
}

var blocks = []rune("▁▂▃▄▅▆▇")

// Spark draws the availability by the worst probe in so many columns, each by its
// worst second.
func (d *Drill) Spark(columns int) Spark {
	if d.Unread != "" || len(d.Charts) == 0 || d.Charts[0].Empty != "" || columns < 1 {
		return Spark{}
	}
	c := d.Charts[0]
	marks := []rune(strings.Repeat(" ", columns))
	s := Spark{Failed: make([]bool, columns), Legend: "Block: share of good requests, █ all, _ none, · no request due. Over it ─ fault, ┄ until recovered, ▼ action."}
	column := func(x float64) int { return min(int(unit(x)*float64(columns)), columns-1) }
	if r := d.Recovered; r != nil && len(d.Fault) > 0 {
		for i := column(d.Fault[0].From); i <= column(r.At); i++ {
			marks[i] = '┄'
		}
	}
	for _, f := range d.Fault {
		for i := column(f.From); i <= column(f.To); i++ {
			marks[i] = '─'
		}
	}
	for _, k := range d.Clusters {
		for i := column(k.From); i <= column(k.To); i++ {
			marks[i] = '▼'
		}
	}
	s.Marks = strings.TrimRight(string(marks), " ")
	levels := c.Lines[len(c.Lines)-1].Levels
	var bars, digits strings.Builder
	first, failed := 0, 0
	for i := range columns {
		from, to := float64(i)/float64(columns), float64(i+1)/float64(columns)
		for first < len(levels) && levels[first].To <= from {
			first++
		}
		y, known := 1.0, false
		for _, l := range levels[first:] {
			if l.From >= to {
				break
			}
			y, known = min(y, l.Y), true
		}
		for failed < len(c.Failed) && c.Failed[failed].To <= from {
			failed++
		}
		s.Failed[i] = failed < len(c.Failed) && c.Failed[failed].From < to
		switch {
		case !known:
			bars.WriteRune('·')
			digits.WriteByte('.')
		case y >= 1:
			bars.WriteRune('█')
			digits.WriteByte('#')
		case y <= 0:
			bars.WriteByte('_')
			digits.WriteByte('0')
		default:
			bars.WriteRune(blocks[min(int(y*float64(len(blocks))), len(blocks)-1)])
			digits.WriteByte('0' + byte(math.Min(9, y*10)))
		}
	}
	s.Bars, s.Digits = bars.String(), digits.String()
	begin, end := "0", d.Length
	s.Times = begin + strings.Repeat(" ", max(1, columns-len(begin)-len([]rune(end)))) + end
	return s
}
