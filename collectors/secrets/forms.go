package secrets

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// form is one way in which a secret stands in texts.
type form struct {
	encoded bool   // base64: it may stand in the middle of a longer one
	base32  bool   // the same of base32
	instead string // what replaces it
}

// formsOf hands to set each way in which a value stands in texts: as it is, escaped,
// and encoded as template functions do it.
func formsOf(v, instead string, set func(string, form)) {
	add := func(escape func(string) string) { set(escape(v), form{instead: escape(instead)}) }
	add(func(s string) string { return s })
	for _, escapeHTML := range []bool{true, false} {
		add(func(s string) string { return jsonEscaped(s, escapeHTML) })
		add(func(s string) string { // JSON within JSON
			if s = jsonEscaped(s, escapeHTML); strings.Contains(s, `\`) {
				return jsonEscaped(s, escapeHTML)
			}
			return s
		})
	}
	add(func(s string) string { return strings.ReplaceAll(s, "'", "''") })
	for _, escape := range []func(string) string{url.QueryEscape, url.PathEscape} {
		add(escape)
		add(func(s string) string { return lowerEscapes(escape(s)) })
	}
	encoded, dense := form{encoded: true, instead: mask}, form{base32: true, instead: mask}
	for _, s := range []string{v, v + "\n"} {
		b := []byte(s)
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			set(enc.EncodeToString(b), encoded)
		}
		once := []byte(base64.StdEncoding.EncodeToString(b))
		set(base64.StdEncoding.EncodeToString(once), encoded)
		shifted(once, 3, base64.StdEncoding.EncodeToString, encoded, set)
		set(base32.StdEncoding.EncodeToString(b), dense)
	}
	for _, in := range []func([]byte) string{base64.StdEncoding.EncodeToString, base64.URLEncoding.EncodeToString} {
		shifted([]byte(v), 3, in, encoded, func(s string, f form) {
			set(s, f)
			shifted([]byte(s), 3, base64.StdEncoding.EncodeToString, encoded, set) // and once more
		})
	}
	shifted([]byte(v), 5, base32.StdEncoding.EncodeToString, dense, set)
	shifted([]byte(v), 5, func(b []byte) string { return strings.ToLower(base32.StdEncoding.EncodeToString(b)) }, dense, set)
	digits := hex.EncodeToString([]byte(v))
	set(digits, form{instead: mask})
	set(strings.ToUpper(digits), form{instead: mask})
}

// shifted encodes what is certain of b inside a longer text, which is encoded in groups
// of that many bytes: b starts at one of as many offsets. The characters that it shares
// with its neighbours are left out here, and taken along when it is replaced.
func shifted(b []byte, group int, encode func([]byte) string, f form, set func(string, form)) {
	for skip := range group {
		if len(b)-skip >= 9 {
			c := b[skip:]
			set(encode(c[:len(c)/group*group]), f)
		}
	}
}

// lowerEscapes writes percent escapes as some do: %2f for %2F.
func lowerEscapes(s string) string {
	parts := strings.Split(s, "%")
	for i := 1; i < len(parts); i++ {
		if len(parts[i]) >= 2 {
			parts[i] = strings.ToLower(parts[i][:2]) + parts[i][2:]
		}
	}
	return strings.Join(parts, "%")
}

// cases are a value in upper and lower case, where it has another.
func cases(v string) []string {
	var out []string
	for _, s := range []string{strings.ToUpper(v), strings.ToLower(v)} {
		if s != v {
			out = append(out, s)
		}
	}
	return out
}

// shortForms are the encoded forms of a short value, each with what replaces it where
// it is a whole text.
func shortForms(v string) map[string]string {
	out := map[string]string{}
	for _, s := range []string{v, v + "\n"} {
		once, again := base64.StdEncoding.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(mask))
		out[once] = again
		out[base64.StdEncoding.EncodeToString([]byte(once))] = base64.StdEncoding.EncodeToString([]byte(again))
		out[base32.StdEncoding.EncodeToString([]byte(s))] = base32.StdEncoding.EncodeToString([]byte(mask))
		out[hex.EncodeToString([]byte(s))] = hex.EncodeToString([]byte(mask))
	}
	return out
}
