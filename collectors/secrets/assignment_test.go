package secrets

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestAssignments compares what the generic rule finds in the lines that
// assignments keeps with what it finds in the whole text.
func TestAssignments(t *testing.T) {
	t.Parallel()
	rule := regexOf(t, genericRule)
	same := func(t rapid.TB, text string) (whole int) {
		var lines []int
		for i := range strings.Count(text, "\n") + 1 {
			lines = append(lines, i+1)
		}
		starts := lineStarts(text, len(lines))
		var kept string
		var numbers []int
		if keep := assignments(text, starts, func(string) bool { return true }); keep != nil {
			kept, numbers = pick(text, starts, keep, lines)
		}
		all, part := rule.FindAllString(text, -1), rule.FindAllString(kept, -1)
		if diff := cmp.Diff(all, part); diff != "" {
			t.Fatalf("in %q the rule finds (-whole +kept):\n%s", text, diff)
		}
		// Each line that is kept has its own number.
		textLines := strings.Split(text, "\n")
		for i, line := range strings.Split(strings.TrimSuffix(kept, "\n"), "\n") {
			if line != "" && textLines[numbers[i]-1] != line {
				t.Fatalf("line %d of what is kept of %q is %q, not line %d", i, text, line, numbers[i])
			}
		}
		return len(all)
	}
	for _, text := range []string{
		"password: hunter2hunter2\n",
		"a: b\n\nsecret =>\n\n  \"abcdefghij0\"\nz: 1\n",
		"token :::================\n",
		"x.api-key_for.the.thing.of '\n = abcdefghijklmno\n",
		"auth=abc\nkey\n:\n''''0123456789\n",
		"api||=abcdefghij\nAPI,abcdefghij ApI:abcdefghij",
	} {
		if same(t, text) == 0 {
			t.Errorf("the rule finds nothing in %q: the case shows nothing", text)
		}
	}
	pieces := rapid.SampledFrom([]string{
		"password", "PASSWD", "key", "Api", "aPi", "token", "secret", " ", "  ", "\n", "\t", "\r\n", "'", `"`, "`", "=", ":", ":=", "=>", "||", "?=", ",", ">",
		"abcdefghij", "0123456789", "a.b-c_d", "x", "==", "+/", ";", "\\n", "{", "é", "abcdefghijklmnopqrstuvwx",
	})
	rapid.Check(t, func(t *rapid.T) {
		same(t, strings.Join(rapid.SliceOfN(pieces, 0, 60).Draw(t, "text"), ""))
	})
}

// TestWorthwhile holds that the lines whose values are worth it have all that the generic
// rule finds in the whole text.
func TestWorthwhile(t *testing.T) {
	t.Parallel()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	r := &set.rules[slices.IndexFunc(set.rules, func(r rule) bool { return r.id == genericRule })]
	d, err := r.detector()
	if err != nil {
		t.Fatal(err)
	}
	some := 0
	pieces := rapid.SampledFrom([]string{
		"password", "key", "token", " ", "\n", "'", `"`, "=", ":", "=>", "==", "_", ";", "-", "x",
		"k8Jw2Qz7Lm4XpVrT", "Zt5Rv9Bn3Yh6GsKd", "\ntoken: ", "\nkey = \"", "password=k8Jw2Qz7Lm4XpVrT\n", "aaaaaaaaaaaa1", "https", "example", "/", "+", "0",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 0, 40).Draw(t, "text"), "")
		starts := lineStarts(text, 0)
		keep := assignments(text, starts, func(v string) bool { return r.worthwhile(v, d.rule.Entropy) })
		var kept strings.Builder
		for l, from := range starts {
			if keep != nil && keep[l] {
				kept.WriteString(text[from:lineEnd(text, from)])
			}
		}
		for _, f := range d.detect(t.Context(), text, "") {
			if r.stop.within(f.Secret) {
				continue
			}
			some++
			if !strings.Contains(kept.String(), f.Secret) {
				t.Fatalf("in %q, %q is found, and %q is kept", text, f.Secret, kept.String())
			}
		}
	})
	if some == 0 {
		t.Error("nothing was found: the comparison shows nothing")
	}
}
