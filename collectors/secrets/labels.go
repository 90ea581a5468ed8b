package secrets

import (
	"path"
	"strings"
	"unicode"
)

// isTranslation reports whether a file has the words that a program shows to people: its
// name says so, or most of its values are such words.
func isTranslation(name, text string) bool {
	if translationFile.MatchString(strings.ToLower(path.Base(name))) {
		return true
	}
	values, prose := 0, 0
	for _, m := range entryLine.FindAllStringSubmatch(text, -1) {
		values++
		if isProse(strings.Trim(m[1], `"', `)) {
			prose++
		}
	}
	return prose >= 3 && prose*10 >= values*8
}

var (
	translationFile = lazily(`^(messages?|labels?|translations?|i18n|locales?|strings)([._-][a-z]{2,3}([._-][a-z]{2,4})?)?\.(properties|json|ya?ml|po|ftl|xliff?|strings|arb|toml|ini)$|^[a-z]{2}([_-][a-z]{2})?\.(properties|json|ya?ml|po|ftl|arb)$`)
	entryLine       = lazily(`(?m)^[ \t]*["']?[\w.-]+["']?[ \t]*[=:][ \t]*(\S.*?)[ \t\r]*$`)
)

// isProse reports whether a text is words for people: several, or one that no machine
// has, without digits.
func isProse(v string) bool {
	v = strings.TrimSpace(v)
	if v == "" || strings.ContainsAny(v, "0123456789=/\\@$_") {
		return false
	}
	for _, c := range v {
		if c > unicode.MaxASCII && unicode.IsLetter(c) {
			return true
		}
	}
	return proseWords.MatchString(v)
}

// proseWords matches several words, or one with a capital.
var proseWords = lazily(`^[A-Za-z'’]+[,.!?:]*( [(]?[A-Za-z'’]+[,.!?:)]*)+$|^[A-Z][a-z]{2,}[.!?:]?$`)
