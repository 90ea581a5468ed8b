package secrets

import (
	"regexp"
	"strconv"
	"strings"
)

// class says where a secret value may be replaced.
type class int

const (
	// local values are short, or words that other texts have as well: "postgres",
	// "deployments". They are replaced at the places where they were found, and in
	// texts beside a key that says what they are.
	local class = iota
	// words are long, but could be one: "supersecretpassword". They are replaced
	// wherever they stand, except in the keys of records.
	words
	// odd values were made up by nobody but who chose the secret. They are replaced
	// wherever they stand, in names and keys too.
	odd
)

// minEverywhere is the shortest secret, in bytes, that is replaced wherever it
// stands; minWords the shortest one that reads like words.
const (
	minEverywhere = 8
	minWords      = 16
)

// wordLike matches what reads like words, versions and paths: deployments,
// RuntimeDefault, autoscaling/v2, app.kubernetes.io/name, my-app-01, 500m.
var wordLike = regexp.MustCompile(`^[-_./:, ]*(([A-Za-z]+[0-9]{0,3}|v[0-9]+(alpha|beta)[0-9]+|k8s|[0-9]+[A-Za-z]{0,2})([-_./:, ]+|$))*$`)

// classOf sorts a value of one line. taken are the keys, names and plain values of
// the release, which an everyday word must not be replaced in.
func classOf(v string, taken *nameSet) class {
	switch {
	case len(v) < minEverywhere || strings.Contains(mask, v):
		return local
	case strings.Trim(v, "0123456789+-.:,/ TZ") == "":
		// Numbers, dates and addresses stand in sizes and digests too.
		if len(v) < minWords || taken.contain(v) {
			return local
		}
		return words
	case looksRandom(v):
		return odd
	case strings.Trim(v, "0123456789abcdef") == "" && len(v) < minWords:
		return local // part of some digest, perhaps
	case !wordLike.MatchString(v):
		return odd
	case len(v) < minWords || taken.contain(v):
		return local
	}
	return words
}

// alias stands for an odd secret that is also part of a name: an image's tag, an
// object's name, a key. It is valid where the secret is, and invalid where the
// secret is not: signs stay, letters become letters and numbers numbers, and a
// digest stays one. n tells the secrets of a release apart.
func alias(v string, n int) string {
	out := aliasParts.ReplaceAllStringFunc(v, func(part string) string {
		switch {
		case part == "latest" || part == "sha256":
			return part // they say something about an image
		case strings.Trim(part, "0123456789") == "":
			return strings.Repeat("1", len(part))
		case len(part) >= 32 && strings.Trim(part, "0123456789abcdef") == "":
			return strings.Repeat("0", len(part)-1) + "1"
		}
		b := []byte(part)
		for i, c := range b {
			letter := "redacted"[i%8]
			switch {
			case c >= 'A' && c <= 'Z':
				letter -= 'a' - 'A'
			case i == 0 && c >= '0' && c <= '9':
				letter = '1'
			}
			b[i] = letter
		}
		return string(b)
	})
	if n == 0 {
		return out
	}
	// The number, in letters or digits as there is room.
	b, digits := []byte(out), strconv.Itoa(n)
	for i, d := len(b)-1, len(digits)-1; i >= 0 && d >= 0; i-- {
		switch c := b[i]; {
		case c >= 'a' && c <= 'z':
			b[i] = "ghijklmnop"[digits[d]-'0']
		case c >= 'A' && c <= 'Z':
			b[i] = "GHIJKLMNOP"[digits[d]-'0']
		case c >= '0' && c <= '9':
			b[i] = digits[d]
		default:
			continue
		}
		d--
	}
	return string(b)
}

var aliasParts = regexp.MustCompile(`[A-Za-z0-9]+`)
