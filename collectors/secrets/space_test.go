package secrets

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestSpace holds what white space and control characters of every kind do beside a
// secret: no panic, the secret is found, and what is sealed decodes to the same text
// but for it.
func TestSpace(t *testing.T) {
	t.Parallel()
	for _, space := range []string{"\u00a0", "\u0085", "\u2003", "\u2028", "\u2029", "\u3000", "\v", "\f", "\u007f", "\u0099", "\ufeff"} {
		blank := strings.TrimSpace(space) == ""
		for name, tt := range map[string]struct {
			kind, key, in, want string // want "" means that nothing is found
		}{
			"nothing in a file":  {"ConfigMap", "app.conf", "a: b\npassword: " + space + "\n", ""},
			"nothing in a value": {"ConfigMap", "note", "Key=" + space, ""},
			"nothing in quotes":  {"ConfigMap", "app.conf", "a: b\npassword: \"" + space + "\"\n", ""},
			"before it":          {"ConfigMap", "app.conf", "a: b\npassword: " + space + "hunter2zeta\n", "REDACTED"},
			"after it":           {"ConfigMap", "app.conf", "a: b\npassword: hunter2zeta" + space + "\n", "REDACTED"},
			"beside an address":  {"ConfigMap", "a.xml", space + " app:hunter2zeta@tcp(h)", "REDACTED"},
			"in single lines":    {"ConfigMap", "a.conf", "a: " + space + "\npassword: hunter2zeta\n", "REDACTED"},
			"in a Secret":        {"Secret", "Key", "password=hunter2zeta" + space, "REDACTED"},
		} {
			if !blank && tt.want == "" {
				continue
			}
			quoted, err := encodeFlow(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			field := map[string]string{"ConfigMap": "data", "Secret": "stringData"}[tt.kind]
			text := "---\n# Source: a.yaml:1\napiVersion: v1\nkind: " + tt.kind + "\nmetadata: {name: c}\n" + field + ": {" + tt.key + ": " + string(quoted) + "}\n"
			rep, red, err := Scan(t.Context(), release(text, nil))
			if err != nil {
				t.Errorf("%s, %q: %v", name, space, err)
				continue
			}
			if (len(rep.Places) > 0) != (tt.want != "") {
				t.Errorf("%s, %q: found %v", name, space, rep.Places)
				continue
			}
			if tt.want == "" {
				continue
			}
			out, _ := red.Redact([]byte(text))
			if strings.Contains(string(out), "hunter2zeta") {
				t.Errorf("%s, %q: %s", name, space, out)
			}
			content, err := manifest.Decode(out)
			if err != nil {
				t.Errorf("%s, %q: %v in %q", name, space, err, out)
				continue
			}
			object, _ := content.(map[string]any)
			m, _ := object[field].(map[string]any)
			got, _ := m[tt.key].(string)
			without := func(s string) string { return strings.ReplaceAll(s, space, "") }
			if tt.kind == "ConfigMap" && without(got) != without(strings.Replace(tt.in, "hunter2zeta", tt.want, 1)) {
				t.Errorf("%s, %q: sealed as %q", name, space, got)
			}
		}
	}
}

// TestOddLines are lines of one character that no reading may fall over.
func TestOddLines(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"a: b\npassword: \u00a0\n", "\u0085::@tcp(", "Key=\u0085", "key: ' \u00a0 '\n", "<password>\u00a0</password>", "password=\u3000;x=1"} {
		for _, name := range []string{"", "a.sh", "a.py", "a.xml", "a.conf"} {
			for _, p := range parts(in, name) {
				if strings.TrimSpace(in[p.from:p.to]) == "" {
					t.Errorf("%q in %q: found %q", in, name, in[p.from:p.to])
				}
			}
		}
		quoted, err := encodeFlow(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Scan(t.Context(), release("---\n# Source: a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a.xml: "+string(quoted)+"}\n", nil)); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}
