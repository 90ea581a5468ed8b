package secrets

import (
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
		if keep := assignments(text, starts); keep != nil {
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
