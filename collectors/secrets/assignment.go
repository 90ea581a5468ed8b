package secrets

import (
	"strings"
	"sync"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
)

// genericWords are the words that gitleaks' generic rule wants.
var genericWords = sync.OnceValue(func() *ahocorasick.Trie {
	return ahocorasick.NewTrieBuilder().AddStrings([]string{
		"access", "auth", "api", "credential", "creds", "key", "password", "passwd", "secret", "token",
	}).Build()
})

// assignments returns the lines of text in which a word that names a secret is
// followed by something like a value, all that gitleaks' generic rule can
// match: its pattern is slow, so that it sees these lines alone. TestAssignments
// compares both ways. Of the values, wanted says which matter. It returns nil where
// there are none.
func assignments(text string, starts []int, wanted func(value string) bool) []bool {
	var keep []bool
	line := 0
	genericWords().Walk(lowerASCII(text), func(end, n, _ int64) bool {
		begin, after := int(end-n+1), int(end+1)
		for line+1 < len(starts) && starts[line+1] <= begin {
			line++
		}
		from, to := assigned(text, after)
		if to < 0 || !wanted(text[from:to]) {
			return true
		}
		if keep == nil {
			keep = make([]bool, len(starts))
		}
		for l := line; l < len(starts) && starts[l] < to; l++ {
			keep[l] = true
		}
		return true
	})
	return keep
}

// The generic rule wants after the word at most 23 characters of names, space
// and quotes; an operator of at most 4; at most 5 of space, quotes and "="; and a
// value of at least 10.
const (
	untilOperator = 23
	untilValue    = 3 + 5 // the rest of the operator, too
	shortestValue = 10
	// apart is more line ends than a rule can cross.
	apart = 16
)

// assigned returns where a value stands that is assigned to the word that ends at
// i, or -1.
func assigned(text string, i int) (from, to int) {
	for limit := min(len(text), i+untilOperator+1); i < limit; i++ {
		c := text[i]
		if strings.IndexByte("=>:|?,", c) >= 0 {
			return operand(text, i+1)
		}
		if !isName(c) && !isSpacing(c) {
			break
		}
	}
	return -1, -1
}

// operand returns where the value stands behind the operator's first byte.
func operand(text string, i int) (from, to int) {
	from = i
	for i < len(text) && i < from+untilValue && (isSpacing(text[i]) || strings.IndexByte("=>:|`", text[i]) >= 0) {
		i++
	}
	end := i
	for end < len(text) && (isName(text[end]) || strings.IndexByte("=+/", text[end]) >= 0) {
		end++
	}
	for i > from && text[i-1] == '=' { // which may be the value's
		i--
	}
	if end-i < shortestValue {
		return -1, -1
	}
	return i, end
}

// worthwhile reports whether the generic rule can report a value, which has a secret in
// it whole: one that has a digit or sign, no word that speaks against it, and is not too
// even.
func (r *rule) worthwhile(value string, least float64) bool {
	return strings.HasPrefix(value, "=") || strings.ContainsAny(value, "0123456789=+/") && entropy(value) > least && !r.stop.within(value)
}

func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

func isSpacing(c byte) bool { return strings.IndexByte(" \t\n\r\f\v'\"", c) >= 0 }

// lineEnd is the offset after the line that i is in.
func lineEnd(text string, i int) int {
	if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(text)
}

// lowerASCII keeps every byte where it is.
func lowerASCII(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}
