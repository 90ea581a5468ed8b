package pdf

import (
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Arabic letters change their form with their neighbours. Unicode has these forms as
// characters of their own, of which the fonts draw each: no engine for layout is
// needed. The file says of each which letters it means, for who takes the text out.

// letter is the forms of one Arabic letter; 0 where it has none.
type letter struct{ alone, end, start, middle rune }

type arabicForms struct {
	letters map[rune]letter
	lam     map[rune]letter // lam and this alef are one
	means   map[rune]string // what a form stands for
}

// forms are made from Unicode's own data: the forms of a letter follow each other.
var forms = sync.OnceValue(func() arabicForms {
	f := arabicForms{map[rune]letter{}, map[rune]letter{}, map[rune]string{}}
	const lam = '\u0644'
	for _, block := range [][2]rune{{0xfb50, 0xfbb1}, {0xfbd3, 0xfbe7}, {0xfbfc, 0xfbff}, {0xfe80, 0xfefc}} {
		for r := block[0]; r <= block[1]; r++ {
			s := []rune(norm.NFKC.String(string(r)))
			table, of := f.letters, s[0]
			switch {
			case len(s) == 2 && s[0] == lam:
				table, of = f.lam, s[1]
			case len(s) != 1 || s[0] == r:
				continue
			}
			l := table[of]
			switch {
			case l.alone == 0:
				l.alone = r
			case l.end == 0:
				l.end = r
			case l.start == 0:
				l.start = r
			case l.middle == 0:
				l.middle = r
			}
			table[of] = l
			f.means[r] = string(s)
		}
	}
	return f
})

const tatweel = '\u0640' // joins on both sides, and looks always the same

func isArabic(r rune) bool { return r >= 0x600 && r <= 0x8ff }

// joinArabic puts letters into the form that their neighbours ask for.
func joinArabic(s string) string {
	if strings.IndexFunc(s, isArabic) < 0 {
		return s
	}
	f := forms()
	rs := []rune(s)
	// next is the next letter, past marks, which join nothing.
	next := func(i int) rune {
		for i++; i < len(rs); i++ {
			if !unicode.Is(unicode.Mn, rs[i]) {
				return rs[i]
			}
		}
		return 0
	}
	takes := func(r rune) bool { return r == tatweel || f.letters[r].end != 0 }    // from the letter before
	gives := func(r rune) bool { return r == tatweel || f.letters[r].middle != 0 } // to the letter after
	out := make([]rune, 0, len(rs))
	joined := false // the letter before gives
	for i := 0; i < len(rs); i++ {
		r := rs[i]
		if unicode.Is(unicode.Mn, r) {
			out = append(out, r)
			continue
		}
		if r == '\u0644' && i+1 < len(rs) {
			if l, ok := f.lam[rs[i+1]]; ok {
				out = append(out, pick(joined, l.end, l.alone))
				i++
				joined = false
				continue
			}
		}
		l, ok := f.letters[r]
		if !ok {
			out = append(out, r)
			joined = gives(r)
			continue
		}
		before := joined && l.end != 0
		after := l.middle != 0 && takes(next(i))
		switch {
		case before && after:
			out = append(out, l.middle)
		case before:
			out = append(out, l.end)
		case after:
			out = append(out, l.start)
		default:
			out = append(out, pick(l.alone != 0, l.alone, r))
		}
		joined = l.middle != 0
	}
	return string(out)
}

func pick(first bool, a, b rune) rune {
	if first {
		return a
	}
	return b
}

// meaning is what the code of a font stands for.
func meaning(code rune) string {
	if code >= pictographCodes && code <= pictographCodes+lastPictograph-firstPictograph {
		return string(firstPictograph + code - pictographCodes)
	}
	if code >= 0xfb50 {
		if m, ok := forms().means[code]; ok {
			return m
		}
	}
	return string(code)
}
