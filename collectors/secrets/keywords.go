package secrets

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
)

// keywords matches the words without which no rule of gitleaks can match.
var keywords = sync.OnceValues(func() (*ahocorasick.Trie, error) {
	d, err := detector()
	if err != nil {
		return nil, fmt.Errorf("load gitleaks' rules: %w", err)
	}
	return ahocorasick.NewTrieBuilder().AddStrings(slices.Sorted(maps.Keys(d.Config.Keywords))).Build(), nil
})

// interesting blanks all lines but those with a keyword and their neighbours,
// and PEM blocks, so that the rules run over little text and line numbers stay.
// Lines in known were scanned elsewhere. ok is false when nothing is left.
func interesting(raw []byte, known map[string]bool) (text string, ok bool, err error) {
	raw = raw[:min(len(raw), maxScanned)]
	trie, err := keywords()
	if err != nil {
		return "", false, err
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	starts := make([]int, len(lines)+1)
	for i, l := range lines {
		starts[i+1] = starts[i] + len(l)
	}
	keep := make([]bool, len(lines))
	at := 0
	for _, m := range trie.Match(lowerASCII(raw)) {
		pos := int(m.Pos())
		// Matches come in order of their ends, almost that of their lines.
		for at > 0 && starts[at] > pos {
			at--
		}
		for at+1 < len(lines) && starts[at+1] <= pos {
			at++
		}
		for j := max(0, at-1); j <= min(len(lines)-1, at+1); j++ {
			keep[j] = true
		}
	}
	pem := false
	var b strings.Builder
	b.Grow(len(raw) / 4)
	for i, l := range lines {
		begin := bytes.Contains(l, []byte("-----BEGIN"))
		pem = pem || begin
		if pem || keep[i] && !known[string(bytes.TrimSpace(l))] {
			b.Write(l)
			ok = true
		} else {
			b.WriteByte('\n')
		}
		if pem && bytes.Contains(l, []byte("-----END")) {
			pem = false
		}
	}
	return b.String(), ok, nil
}

// lowerASCII keeps the length, unlike bytes.ToLower; the keywords are ASCII.
func lowerASCII(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}
