package chart

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
)

// What of generated texts is looked for in what is rendered.
const (
	minShown = 6  // bytes that a text has to have: fewer may stand there by chance
	maxShown = 20 // texts of one function in one template
)

// printsAddress is what is recorded where a template prints where a value lies.
const printsAddress = "printf %p"

// generatedMark is what replaced random text consists of.
const generatedMark = "generated"

// recorder notes what rendering asked for; it belongs to one rendering.
type recorder struct {
	generated map[GeneratedValue]int      // Count unset in the key
	texts     map[GeneratedValue][]string // what some of them were, of minShown bytes or more
	zones     map[GeneratedValue]int      // calls whose result depends on the time zone of the machine
	ordered   map[GeneratedValue]int      // likewise, of functions whose result has the random order of a map
	lookups   map[string]struct{}
	network   map[string]struct{}
	n         int // generated values so far
}

func (r *recorder) generate(function, file string) int {
	if r.generated == nil {
		r.generated = map[GeneratedValue]int{}
	}
	r.generated[GeneratedValue{Function: function, Template: file}]++
	r.n++
	return r.n
}

// text notes what a call returned.
func (r *recorder) text(function, file, text string) {
	if r.texts == nil {
		r.texts = map[GeneratedValue][]string{}
	}
	if g := (GeneratedValue{Function: function, Template: file}); len(text) >= minShown && len(r.texts[g]) < maxShown {
		r.texts[g] = append(r.texts[g], text)
	}
}

func (r *recorder) zone(function, file string) {
	if r.zones == nil {
		r.zones = map[GeneratedValue]int{}
	}
	r.zones[GeneratedValue{Function: function, Template: file}]++
}

// lookup notes a call, and says by what text.
func (r *recorder) lookup(apiVersion, kind, namespace, name string) string {
	if r.lookups == nil {
		r.lookups = map[string]struct{}{}
	}
	s := apiVersion + " " + kind
	switch {
	case namespace != "":
		s += " " + namespace + "/" + name
	case name != "":
		s += " " + name
	}
	r.lookups[s] = struct{}{}
	return s
}

func (r *recorder) call(s string) {
	if r.network == nil {
		r.network = map[string]struct{}{}
	}
	r.network[s] = struct{}{}
}

func (r *recorder) order(function, file string) {
	if r.ordered == nil {
		r.ordered = map[GeneratedValue]int{}
	}
	r.ordered[GeneratedValue{Function: function, Template: file}]++
}

// add takes over what another rendering asked for and this one did not.
func (r *recorder) add(other *recorder) {
	for g, n := range other.generated {
		if r.generated[g] < n {
			if r.generated == nil {
				r.generated = map[GeneratedValue]int{}
			}
			r.generated[g] = n
		}
	}
	for g, n := range other.zones {
		if r.zones == nil {
			r.zones = map[GeneratedValue]int{}
		}
		r.zones[g] = max(r.zones[g], n)
	}
	for s := range other.lookups {
		if r.lookups == nil {
			r.lookups = map[string]struct{}{}
		}
		r.lookups[s] = struct{}{}
	}
	for s := range other.network {
		r.call(s)
	}
}

func (r *recorder) lookupCalls() []string  { return slices.Sorted(maps.Keys(r.lookups)) }
func (r *recorder) networkCalls() []string { return slices.Sorted(maps.Keys(r.network)) }

func (r *recorder) generatedValues() []GeneratedValue {
	var out []GeneratedValue
	for g, n := range r.generated {
		g.Count = n
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b GeneratedValue) int {
		return cmp.Or(strings.Compare(a.Function, b.Function), strings.Compare(a.Template, b.Template))
	})
	return out
}

// generatedFunctions replaces every function of sprig whose result depends on
// chance, clock or machine. Each use of one is recorded.
func (r *rendering) generatedFunctions() template.FuncMap {
	// use records a call and returns a number that no other call gets.
	use := func(function string) int { return r.rec.generate(function, r.current) }
	shown := func(function, text string) string {
		r.rec.text(function, r.current, text)
		return text
	}
	random := func(function string, alphabet string) func(int) (string, error) {
		return func(n int) (string, error) {
			if n < 0 || n > maxFileSize {
				return "", fmt.Errorf("%s %d: want at most %d characters", function, n, maxFileSize)
			}
			return shown(function, r.varied(generatedText(n, use(function), alphabet), alphabet)), nil
		}
	}
	hash := func(function string) string {
		return "$2a$10$" + r.varied(generatedBcrypt(use(function))[len("$2a$10$"):], lowerDigits)
	}
	f := template.FuncMap{
		"randAlphaNum": random("randAlphaNum", lowerDigits),
		"randAscii":    random("randAscii", lowerDigits),
		"randAlpha":    random("randAlpha", lowerDigits[10:]),
		"randNumeric":  random("randNumeric", lowerDigits[:10]),
		"randBytes": func(n int) (string, error) {
			s, err := random("randBytes", lowerDigits)(n)
			return shown("randBytes", base64.StdEncoding.EncodeToString([]byte(s))), err
		},
		"randInt": func(low, high int) int {
			use("randInt")
			return r.variedInt(low, high)
		},
		"shuffle": func(s string) string {
			use("shuffle")
			return s
		},
		"uuidv4": func() string {
			id := fmt.Sprintf("00000000-0000-4000-8000-%012d", use("uuidv4"))
			return shown("uuidv4", r.varied(id, lowerDigits[:10]))
		},
		"bcrypt": func(string) string { return shown("bcrypt", hash("bcrypt")) },
		"htpasswd": func(user, _ string) string {
			if strings.Contains(user, ":") {
				return "invalid username: " + user
			}
			return shown("htpasswd", user+":"+hash("htpasswd"))
		},
		"encryptAES": func(password, text string) (string, error) {
			if text == "" {
				return "", nil
			}
			use("encryptAES")
			return encryptAES(password, text, byte(r.variant))
		},
	}
	maps.Copy(f, r.dateFunctions(use))
	maps.Copy(f, r.certificateFunctions(use))
	return f
}

// varied is a generated text or, in the other rendering, one that differs from it in
// each character of the alphabet.
func (r *rendering) varied(s, alphabet string) string {
	if r.variant == 0 {
		return s
	}
	return strings.Map(func(c rune) rune {
		if i := strings.IndexRune(alphabet, c); i >= 0 {
			return rune(alphabet[(i+3)%len(alphabet)])
		}
		return c
	}, s)
}

// variedInt is the least number or, in the other rendering, the highest one. Of
// numbers below and above zero the other one is zero, which alone counts as false.
func (r *rendering) variedInt(low, high int) int {
	switch {
	case r.variant == 0:
		return low
	case low < 0 && high > 0:
		return 0
	}
	return max(low, high-1)
}

const lowerDigits = "0123456789abcdefghijklmnopqrstuvwxyz"

// generatedText is n characters of the alphabet: generatedMark again and again
// (zeros, where the alphabet has digits only), its end numbered by call.
func generatedText(n, call int, alphabet string) string {
	mark := generatedMark
	if alphabet == lowerDigits[:10] {
		mark = "0"
	}
	b := []byte(strings.Repeat(mark, n/len(mark)+1)[:n])
	for i := n - 1; i >= n-generatedDigits(n); i-- {
		b[i] = alphabet[call%len(alphabet)]
		call /= len(alphabet)
	}
	return string(b)
}

// generatedDigits is how many of n characters number the call.
func generatedDigits(n int) int { return min(4, (n+1)/2) }

// generatedBcrypt has the form of a bcrypt hash, of no password.
func generatedBcrypt(call int) string { return "$2a$10$" + generatedText(53, call, lowerDigits) }

// encryptAES is sprig's (AES-256-CBC), with an initialization vector of one byte
// again and again, so that decryptAES reads it.
func encryptAES(password, text string, vector byte) (string, error) {
	key := make([]byte, 32)
	copy(key, password)
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	pad := aes.BlockSize - len(text)%aes.BlockSize
	content := append([]byte(text), strings.Repeat(string(rune(pad)), pad)...)
	out := make([]byte, aes.BlockSize+len(content))
	copy(out, bytes.Repeat([]byte{vector}, aes.BlockSize))
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], content)
	return base64.StdEncoding.EncodeToString(out), nil
}
