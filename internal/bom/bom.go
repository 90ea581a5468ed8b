// Package bom reads text files that people bring: what starts with a byte order mark
// of UTF-16, as PowerShell's > writes it, or with one of UTF-8, is read as that, and
// anything else as it is.
package bom

import (
	"bytes"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Reader reads r as UTF-8 without a byte order mark. Halves of characters in UTF-16
// become U+FFFD. Errors are r's.
func Reader(r io.Reader) io.Reader {
	return transform.NewReader(r, unicode.BOMOverride(transform.Nop))
}

// Decode is Reader for what is in memory; text without a mark is returned itself.
func Decode(text []byte) []byte {
	if !Marked(text) {
		return text
	}
	out, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), text)
	if err != nil {
		return text // whoever parses it says what it is not
	}
	return out
}

// Marked reports whether text starts with a byte order mark.
func Marked(text []byte) bool {
	for _, mark := range []string{"\ufeff", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(text, []byte(mark)) {
			return true
		}
	}
	return false
}
