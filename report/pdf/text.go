package pdf

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/companyos/helmproof/report"
)

// Faces, by index into faces().
const (
	sans = iota
	bold
	mono
)

// The type scale, in points: three sizes and a small one for notes.
const (
	big  = 20
	head = 12
	body = 8.6
	note = 7
)

// leading is the distance of baselines, relative to the size.
const leading = 1.31

type color [3]uint8

var (
	ink   = color{0x1f, 0x23, 0x28}
	soft  = color{0x57, 0x60, 0x6a}
	hair  = color{0xd0, 0xd7, 0xde}
	link  = color{0x05, 0x50, 0xae}
	white = color{0xff, 0xff, 0xff}
)

type style struct {
	face  int
	size  float64
	color color
}

func (s style) line() float64 { return s.size * leading }

// with returns s in another colour.
func (s style) with(c color) style { s.color = c; return s }

var (
	bodyText  = style{sans, body, ink}
	bodyBold  = style{bold, body, ink}
	bodySoft  = style{sans, body, soft}
	bodyMono  = style{mono, body - 1, ink} // the mono face looks larger
	noteText  = style{sans, note, soft}
	rowText   = style{sans, note, ink}
	rowMono   = style{mono, note - .5, ink}
	noteMono  = style{mono, note - .5, soft}
	headText  = style{bold, head, ink}
	leadText  = style{sans, head, ink}
	titleText = style{bold, big, ink}
)

func hexColor(s string) color {
	var c color
	if _, err := fmt.Sscanf(s, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
		return ink
	}
	return c
}

// text makes s drawable in a face: hidden characters made visible, and every
// character that no face has written as its code point, [U+0939].
func (f *face) text(s string) string {
	s = joinArabic(report.Visible(s))
	ok := true
	for _, r := range s {
		if !f.has(r) {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !f.has(r) {
			fmt.Fprintf(&b, "[U+%04X]", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// measure is the width of s at a size; s has passed through text.
func (f *face) measure(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		w += f.width(r)
	}
	return w * size
}

// wrap breaks s, which has passed through text, into lines no wider than width:
// at spaces, else after one of / - . : @ _ , = ], else anywhere. A line that ends at a
// space keeps it, which is seen by nobody and read by whoever takes the text out.
func (f *face) wrap(s string, size, width float64) []string {
	var lines []string
	rs := []rune(s)
	max := width / size
	start, soft, at := 0, -1, 0.0
	for i := 0; i < len(rs); i++ {
		r := rs[i]
		w := f.width(r)
		if at+w > max && i > start && r != ' ' {
			end := i
			if soft > start {
				end = soft
			}
			l := strings.TrimRight(string(rs[start:end]), " ")
			if rs[end-1] == ' ' || rs[end] == ' ' {
				l += " "
			}
			lines = append(lines, l)
			for end < len(rs) && rs[end] == ' ' {
				end++
			}
			start, soft, at = end, -1, 0
			i = end - 1
			continue
		}
		at += w
		switch r {
		case ' ':
			soft = i + 1
		case '/', '-', '.', ':', '@', '_', ',', '=', ']':
			// A break inside a word only where the word is too long for any line, or is
			// no word: names of that length would leave half of a line empty.
			if f.longWord(rs, i, min(max, longName)) {
				soft = i + 1
			}
		}
	}
	return append(lines, strings.TrimRight(string(rs[start:]), " "))
}

// longName is the width, in ems, from which on a name may be broken.
const longName = 15.0

// longWord reports whether the word around rs[i] is wider than max.
func (f *face) longWord(rs []rune, i int, max float64) bool {
	w := 0.0
	for k := i; k >= 0 && rs[k] != ' '; k-- {
		if w += f.width(rs[k]); w > max {
			return true
		}
	}
	for k := i + 1; k < len(rs) && rs[k] != ' '; k++ {
		if w += f.width(rs[k]); w > max {
			return true
		}
	}
	return false
}

// visual puts right-to-left stretches of a line into the order in which they are
// drawn; a mark stays behind its letter.
func visual(s string) string {
	if strings.IndexFunc(s, rightToLeft) < 0 {
		return s
	}
	rs := []rune(s)
	for i := 0; i < len(rs); i++ {
		if !rightToLeft(rs[i]) {
			continue
		}
		end := i + 1 // one past the last right-to-left letter before a left-to-right one
		for k := i + 1; k < len(rs) && (rightToLeft(rs[k]) || !unicode.IsLetter(rs[k]) && !unicode.IsDigit(rs[k])); k++ {
			if rightToLeft(rs[k]) {
				end = k + 1
			}
		}
		for a, b := i, end-1; a < b; a, b = a+1, b-1 {
			rs[a], rs[b] = rs[b], rs[a]
		}
		for k := i; k < end; k++ { // marks are before their letters now
			n := k
			for n < end && unicode.Is(unicode.Mn, rs[n]) {
				n++
			}
			if n > k && n < end {
				letter := rs[n]
				copy(rs[k+1:n+1], rs[k:n])
				rs[k] = letter
				k = n
			}
		}
		i = end - 1
	}
	return string(rs)
}

func rightToLeft(r rune) bool {
	return r >= 0x590 && r <= 0x8ff || r >= 0xfb1d && r <= 0xfdff || r >= 0xfe70 && r <= 0xfeff
}
