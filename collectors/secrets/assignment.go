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

// assignments keeps the lines of text in which a word that names a secret is
// followed by something like a value, all that gitleaks' generic rule can
// match: its pattern is slow, so that it sees these lines alone. lines are the
// numbers of text's lines; numbers are those of what is kept. TestAssignments
// compares both ways.
func assignments(text string, lines []int) (kept string, numbers []int) {
	starts := make([]int, 0, len(lines))
	for i := 0; i < len(text); i = lineEnd(text, i) {
		starts = append(starts, i)
	}
	keep := make([]bool, len(starts))
	line := 0
	any := false
	genericWords().Walk(lowerASCII(text), func(end, n, _ int64) bool {
		begin, after := int(end-n+1), int(end+1)
		for line+1 < len(starts) && starts[line+1] <= begin {
			line++
		}
		value := assigned(text, after)
		for l := line; value >= 0 && l < len(starts) && starts[l] < value; l++ {
			keep[l], any = true, true
		}
		return true
	})
	if !any {
		return "", nil
	}
	var b strings.Builder
	last := -1
	for l, from := range starts {
		if !keep[l] {
			continue
		}
		if last >= 0 && l > last+1 {
			// Neighbours here only: nothing may match across.
			b.WriteString(strings.Repeat("\n", apart))
			for range apart {
				numbers = append(numbers, lines[last])
			}
		}
		b.WriteString(text[from:lineEnd(text, from)])
		numbers = append(numbers, lines[l])
		last = l
	}
	return b.String(), numbers
}

// The generic rule wants after the word at most 23 characters of names, space
// and quotes; an operator of at most 4; at most 5 of space, quotes and "="; and a
// value of at least 10.
const (
	untilOperator = 23
	untilValue    = 3 + 5 // the rest of the operator, too
	shortestValue = 10
	// apart is more line ends than the rule can cross between word and value.
	apart = 12
)

// assigned returns where a value ends that is assigned to the word that ends at
// i, or -1.
func assigned(text string, i int) int {
	for limit := min(len(text), i+untilOperator+1); i < limit; i++ {
		c := text[i]
		if strings.IndexByte("=>:|?,", c) >= 0 {
			return valueEnd(text, i+1)
		}
		if !isName(c) && !isSpacing(c) {
			break
		}
	}
	return -1
}

func valueEnd(text string, i int) int {
	from := i
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
		return -1
	}
	return end
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
