package secrets

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// mask replaces a secret: a plain YAML scalar.
const mask = "REDACTED"

// notBase64 stands for what the API server refuses as base64, and should refuse still.
const notBase64 = "(" + mask + ")"

// shaped is what stands for a whole text that is a secret. A key or certificate
// stays a PEM block, JSON stays JSON with the same keys, an empty text stays empty:
// whoever checks the form of the text finds the same as before.
func shaped(v string) string {
	switch t := strings.TrimSpace(v); {
	case t == "":
		return v
	case strings.Contains(t, "-----BEGIN"):
		if out := pemBody.ReplaceAllString(v, "${1}\n"+mask+"\n${3}"); out != v && !strings.Contains(t, mask) {
			return keepEnd(out, v)
		}
	case t[0] == '{' || t[0] == '[':
		if x, err := decodeJSON([]byte(t)); err == nil {
			if raw, err := encodeJSON(blank(x)); err == nil {
				return string(raw)
			}
		}
	}
	if strings.Contains(v, "\n") {
		return keepEnd(mask, v)
	}
	return mask
}

// pemBody matches a PEM block: its first line, its body, its last line.
var pemBody = regexp.MustCompile(`(?s)(-----BEGIN [A-Z0-9 _-]{1,60}-----)(.*?)(-----END [A-Z0-9 _-]{1,60}-----|$)`)

// keepEnd ends out with a line end where v does.
func keepEnd(out, v string) string {
	out = strings.TrimRight(out, "\n")
	if strings.HasSuffix(v, "\n") {
		out += "\n"
	}
	return out
}

// blank copies decoded JSON with every text and number replaced.
func blank(v any) any {
	switch x := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = blank(e)
		}
		return m
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = blank(e)
		}
		return list
	case string:
		if x == "" {
			return x
		}
		return mask
	}
	return number(v)
}

// number stands for a number: one of the same kind. Whatever else v is stays.
func number(v any) any {
	switch x := v.(type) {
	case int, int64, uint64:
		return int64(0)
	case float64:
		return 0.5
	case json.Number:
		if strings.ContainsAny(x.String(), ".eE") {
			return json.Number("0.5")
		}
		return json.Number("0")
	}
	return v
}

// shapedBase64 is shaped for an entry of a Secret's data: base64 of a text of the
// same kind; what is no base64 stays none.
func shapedBase64(v string) string {
	plain, err := strictBase64(v)
	switch {
	case err != nil:
		return notBase64
	case len(plain) == 0:
		return v
	case !utf8.Valid(plain):
		return base64.StdEncoding.EncodeToString([]byte(mask))
	}
	return base64.StdEncoding.EncodeToString([]byte(shaped(string(plain))))
}

// strictBase64 decodes as the API server does.
func strictBase64(v string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(v))
}

// inside masks the short secrets inside of a text where reading it, as it was read to
// find them, says that they are secrets.
func (r *Redactor) inside(text, name string) (string, int) {
	if len(r.short) == 0 || len(text) > maxRead || !r.hasShort(text) {
		return text, 0
	}
	var list []part
	for _, k := range []kind{kindOf(name, text), inline, shell} {
		list = append(list, partsOf(text, name, k)...)
	}
	slices.SortStableFunc(list, func(a, b part) int { return a.from - b.from })
	isJSON := json.Valid([]byte(text))
	var out strings.Builder
	n, done := 0, 0
	for _, p := range list {
		if v := text[p.from:p.to]; p.from < done || r.partial[v] == nil {
			continue
		}
		out.WriteString(text[done:p.from])
		if isJSON && text[p.from-1] != '"' {
			out.WriteString("0") // a number stays one
		} else {
			out.WriteString(mask)
		}
		n, done = n+1, p.to
	}
	if n == 0 {
		return text, 0
	}
	return out.String() + text[done:], n
}

// hasShort reports whether one of the short secrets stands in a text.
func (r *Redactor) hasShort(text string) bool {
	root := r.short[0].next
	found := false
	for i := 0; i < len(text) && !found; i++ {
		if _, ok := root[text[i]]; ok {
			r.short.walk([]byte(text[i:min(len(text), i+minWords+200)]), func(int) { found = true })
		}
	}
	return found
}
