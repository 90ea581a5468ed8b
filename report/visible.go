package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible returns s with everything that a reader could not see, or that would
// rearrange what the reader sees, written out: control characters, bidirectional
// overrides, zero-width and private-use characters become "[U+202E]", a line
// break " ↵ ", invalid UTF-8 "[0xFF]". The result is one line of valid UTF-8.
func Visible(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && w == 1:
			fmt.Fprintf(&b, "[0x%02X]", s[i])
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
		case r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' || r == '\u0085':
			if i+w < len(s) { // a final line break says nothing
				b.WriteString(" ↵ ")
			}
		case r == '\t' || r == '\u00a0':
			b.WriteByte(' ')
		case Hidden(r):
			fmt.Fprintf(&b, "[U+%04X]", r)
		default:
			b.WriteRune(r)
		}
		i += w
	}
	return b.String()
}

// EscapeJSON writes to w, to which JSON is written, every character without a visible
// form as an escape: who reads the JSON gets the same text, a terminal nothing to obey.
func EscapeJSON(w io.Writer) io.Writer { return jsonEscaper{w} }

type jsonEscaper struct{ w io.Writer }

// Write takes whole characters, as an Encoder writes them.
func (e jsonEscaper) Write(p []byte) (int, error) {
	done := 0
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRune(p[i:])
		if r != '\n' && r != '\t' && (r < utf8.RuneSelf && (r < 0x20 || r == 0x7f) || r >= utf8.RuneSelf && Hidden(r)) {
			escaped := fmt.Sprintf(`\u%04x`, r)
			if r > 0xffff {
				high, low := utf16.EncodeRune(r)
				escaped = fmt.Sprintf(`\u%04x\u%04x`, high, low)
			}
			if _, err := e.w.Write(p[done:i]); err != nil {
				return done, err
			}
			if _, err := io.WriteString(e.w, escaped); err != nil {
				return i, err
			}
			done = i + n
		}
		i += n
	}
	n, err := e.w.Write(p[done:])
	return done + n, err
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// Hidden reports whether r has no visible form of its own.
func Hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) ||
		r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0' // Hangul fillers draw as nothing
}
