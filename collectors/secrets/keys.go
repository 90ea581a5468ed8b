package secrets

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// keyRule is gitleaks' rule for private keys. Its pattern goes from one line that
// names a private key to any later one, so that two placeholders make a key, and
// a placeholder hides the key after it: keys looks at each block by itself.
const keyRule = "private-key"

var (
	keyBegin = regexp.MustCompile(`-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----`)
	keyEnd   = regexp.MustCompile(`-----(?:BEGIN|END)[ A-Z0-9_-]{1,100}-----`)
	// cutBody matches lines that hold nothing but encoded bytes.
	cutBody = regexp.MustCompile(`^(?:\s*[#"']*\s*[A-Za-z0-9+/=]{24,}["',]*[ \t\r]*\n)+`)
	// keyRun matches encoded bytes.
	keyRun = regexp.MustCompile(`[A-Za-z0-9+/=]{16,}`)
)

// A key has at least keyBytes characters in its body; what ends later than after
// keyReach is no key.
const (
	keyBytes = 60
	keyReach = 1 << 14
)

// keys returns the private keys of text, whose lines have these numbers: from the
// first line of a block to its last. A block without a body is a placeholder.
func keys(text string, numbers []int) []finding {
	if !strings.Contains(text, "PRIVATE KEY") {
		return nil
	}
	var out []finding
	line, counted := 0, 0
	for _, at := range keyBegin.FindAllStringIndex(text, -1) {
		rest := text[at[1]:min(len(text), at[1]+keyReach)]
		var body string
		var end int
		if e := keyEnd.FindStringIndex(rest); e != nil && strings.HasPrefix(rest[e[0]:], "-----END") {
			body, end = rest[:e[0]], e[1]
		} else {
			// Cut off: what follows directly may be one still.
			body = cutBody.FindString(rest)
			end = len(body)
		}
		if !holdsKey(body) {
			continue
		}
		line += strings.Count(text[counted:at[0]], "\n")
		counted = at[0]
		block := text[at[0] : at[1]+end]
		from := strings.LastIndexByte(text[:at[0]], '\n') + 1
		out = append(out, finding{RuleID: keyRule, Secret: block, Match: block, Line: text[from:at[1]], StartLine: numbers[min(line, len(numbers)-1)]})
	}
	return out
}

// holdsKey reports whether the body of a PEM block holds more than dots, or words
// that say what belongs there.
func holdsKey(body string) bool {
	n := 0
	for _, run := range keyRun.FindAllString(strings.ReplaceAll(body, `\n`, "\n"), -1) {
		different := map[rune]bool{}
		for _, c := range run {
			different[c] = true
		}
		if len(different) >= 8 {
			n += len(run)
		}
	}
	return n >= keyBytes
}

// encodedBegins are "-----BEGIN " in base64, and that in base64 once more.
var encodedBegins = []string{"LS0tLS1CRUdJTi", "TFMwdExTMUNSVWRK"}

// encodedKeys is keys for private keys in base64.
func encodedKeys(text string, numbers []int) []finding {
	var out []finding
	for _, begin := range encodedBegins {
		for at := 0; ; {
			i := strings.Index(text[at:], begin)
			if i < 0 {
				break
			}
			from := at + i
			at = from + max(len(begin), len(wrapped.FindString(text[from:min(len(text), from+2*keyReach)])))
			run := strings.TrimRight(text[from:at], " \t\r\n")
			if !decodesToKey(run) {
				continue
			}
			start := strings.LastIndexByte(text[:from], '\n') + 1
			line := strings.Count(text[:from], "\n")
			out = append(out, finding{RuleID: keyRule, Secret: run, Match: text[start:from] + run, Line: text[start:at], StartLine: numbers[min(line, len(numbers)-1)]})
		}
	}
	return out
}

// wrapped matches base64, in lines of at least 40.
var wrapped = lazily(`^(?:[A-Za-z0-9+/]{40,}\r?\n[ \t]*)*[A-Za-z0-9+/]+={0,2}`)

func decodesToKey(v string) bool {
	for range 2 {
		v = strings.Join(strings.Fields(v), "")
		plain, err := base64.StdEncoding.DecodeString(v[:len(v)/4*4])
		if err != nil {
			return false
		}
		if v = string(plain); len(keys(v, []int{1})) > 0 {
			return true
		}
	}
	return false
}
