package secrets

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeys is which PEM blocks are private keys, by the lines that they start on.
func TestKeys(t *testing.T) {
	t.Parallel()
	begin, end := "-----BEGIN RSA PRIVATE "+"KEY-----\n", "-----END RSA PRIVATE "+"KEY-----\n"
	body := "MIIEpAIBAAKCAQEA7bq9cZk3vQm1x8TnYp0LsRw2dGh5JkPo\nA1s2D3f4G5h6J7k8L9qWeRtYuIoPzXcVbNm\n"
	key := begin + body + end
	for name, tt := range map[string]struct {
		file, text string
		want       []int
	}{
		"a key":                      {"a.yaml", key, []int{1}},
		"indented":                   {"a.yaml", "a:\n  key: |\n" + indented(key, "    "), []int{3}},
		"in a comment":               {"a.yaml", "a: b\n" + indented(key, "#   "), []int{2}},
		"escaped":                    {"a.json", `{"key": "` + strings.ReplaceAll(key, "\n", `\n`) + "\"}\n", []int{1}},
		"two":                        {"a.yaml", key + "\n" + key, []int{1, 6}},
		"of PGP":                     {"a.asc", "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----\n\n" + body + "-----END PGP PRIVATE " + "KEY BLOCK-----\n", []int{1}},
		"without an end":             {"a.yaml", begin + body, []int{1}},
		"dots":                       {"a.yaml", begin + "...\n" + end, nil},
		"dots in comments, twice":    {"values.yaml", indented(begin+"...\n"+end, "##   ") + "ingress: {enabled: false}\nannotations:\n  nginx.ingress.kubernetes.io/ssl-redirect: \"true\"\n" + indented(begin+"...\n"+end, "##   "), nil},
		"dots, then a key":           {"a.yaml", indented(begin+"...\n"+end, "# ") + key, []int{4}},
		"words":                      {"a.yaml", begin + "<your key here>\n" + end, nil},
		"more words":                 {"a.yaml", begin + "put the PEM encoded key of the certificate authority here, all of it\n" + end, nil},
		"one letter":                 {"a.yaml", begin + strings.Repeat("x", 64) + "\n" + strings.Repeat("x", 64) + "\n" + end, nil},
		"a template":                 {"a.yaml", begin + "{{ .Values.key | indent 4 }}\n" + end, nil},
		"nothing":                    {"a.yaml", begin + end, nil},
		"shortened in documentation": {"a.md", begin + body + "...\n" + end, nil},
		"a public key":               {"a.yaml", strings.ReplaceAll(key, "RSA PRIVATE", "PUBLIC"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hits, err := scanText(t.Context(), []byte(tt.text), tt.file, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, h := range hits {
				if h.rule == keyRule {
					got = append(got, h.line)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("lines (-want +got):\n%s", d)
			}
		})
	}
}

func indented(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+by) + "\n"
}
