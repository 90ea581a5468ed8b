package chart

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"
	_ "time/tzdata" // dates in a zone are the same on every machine
)

// generatedMark is what replaced random text consists of.
const generatedMark = "generated"

// generatedTime stands for the time of rendering.
var generatedTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// recorder notes what rendering asked for; it belongs to one rendering.
type recorder struct {
	generated map[GeneratedValue]int // Count unset in the key
	ordered   map[GeneratedValue]int // likewise, of functions whose result has the random order of a map
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

func (r *recorder) lookup(apiVersion, kind, namespace, name string) {
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
	random := func(function string, alphabet string) func(int) (string, error) {
		return func(n int) (string, error) {
			if n < 0 || n > maxFileSize {
				return "", fmt.Errorf("%s %d: want at most %d characters", function, n, maxFileSize)
			}
			return generatedText(n, use(function), alphabet), nil
		}
	}
	f := template.FuncMap{
		"randAlphaNum": random("randAlphaNum", lowerDigits),
		"randAscii":    random("randAscii", lowerDigits),
		"randAlpha":    random("randAlpha", lowerDigits[10:]),
		"randNumeric":  random("randNumeric", lowerDigits[:10]),
		"randBytes": func(n int) (string, error) {
			s, err := random("randBytes", lowerDigits)(n)
			return base64.StdEncoding.EncodeToString([]byte(s)), err
		},
		"randInt": func(low, _ int) int {
			use("randInt")
			return low
		},
		"shuffle": func(s string) string {
			use("shuffle")
			return s
		},
		"uuidv4": func() string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", use("uuidv4")) },
		"bcrypt": func(string) string { return generatedBcrypt(use("bcrypt")) },
		"htpasswd": func(user, _ string) string {
			if strings.Contains(user, ":") {
				return "invalid username: " + user
			}
			return user + ":" + generatedBcrypt(use("htpasswd"))
		},
		"encryptAES": func(password, text string) (string, error) {
			if text == "" {
				return "", nil
			}
			use("encryptAES")
			return encryptAES(password, text)
		},
	}
	maps.Copy(f, dateFunctions(use))
	maps.Copy(f, certificateFunctions(use))
	return f
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

// encryptAES is sprig's (AES-256-CBC), with an initialization vector of zeros,
// so that decryptAES reads it.
func encryptAES(password, text string) (string, error) {
	key := make([]byte, 32)
	copy(key, password)
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	pad := aes.BlockSize - len(text)%aes.BlockSize
	content := append([]byte(text), strings.Repeat(string(rune(pad)), pad)...)
	out := make([]byte, aes.BlockSize+len(content))
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], content)
	return base64.StdEncoding.EncodeToString(out), nil
}

// dateFunctions are sprig's without clock and local time zone.
func dateFunctions(use func(string) int) template.FuncMap {
	now := func(function string) time.Time {
		use(function)
		return generatedTime
	}
	// moment is what sprig takes as a date; anything else means now.
	moment := func(function string, v any) time.Time {
		switch v := v.(type) {
		case time.Time:
			return v
		case *time.Time:
			if v != nil {
				return *v
			}
		case int64:
			return time.Unix(v, 0)
		case int:
			return time.Unix(int64(v), 0)
		case int32:
			return time.Unix(int64(v), 0)
		}
		return now(function)
	}
	in := func(function, layout string, v any, zone string) string {
		loc, err := time.LoadLocation(zone)
		if err != nil || zone == "Local" {
			loc = time.UTC
		}
		return moment(function, v).In(loc).Format(layout)
	}
	inZone := func(name string) func(string, any, string) string {
		return func(layout string, v any, zone string) string { return in(name, layout, v, zone) }
	}
	toDate := func(layout, s string) (time.Time, error) { return time.ParseInLocation(layout, s, time.UTC) }
	durationRound := durationRounder()
	return template.FuncMap{
		"now":            func() time.Time { return now("now") },
		"date":           func(layout string, v any) string { return in("date", layout, v, "UTC") },
		"htmlDate":       func(v any) string { return in("htmlDate", time.DateOnly, v, "UTC") },
		"htmlDateInZone": func(v any, zone string) string { return in("htmlDateInZone", time.DateOnly, v, zone) },
		"dateInZone":     inZone("dateInZone"),
		"date_in_zone":   inZone("date_in_zone"),
		"toDate": func(layout, s string) time.Time {
			t, _ := toDate(layout, s) // the zero time when s is no date, as in sprig
			return t
		},
		"mustToDate": toDate,
		"ago": func(v any) string {
			return now("ago").Sub(moment("ago", v)).Round(time.Second).String()
		},
		"durationRound": func(v any) string {
			if t, ok := v.(time.Time); ok {
				v = int64(now("durationRound").Sub(t))
			}
			return durationRound(v)
		},
	}
}
