package evidence

import "unicode"

// Visible counts the characters of a text that a reader sees: neither space, nor what has
// no width, such as marks, variation selectors and fillers.
func Visible(s string) int {
	n := 0
	for _, r := range s {
		if r != unicode.ReplacementChar && r != brailleBlank && unicode.IsGraphic(r) && !unicode.IsSpace(r) &&
			!unicode.In(r, unicode.Zs, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point) {
			n++
		}
	}
	return n
}

const brailleBlank = '\u2800'

// MinReason is how many visible characters say why something is as it is.
const MinReason = 10
