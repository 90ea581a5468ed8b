package platform

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/report"
)

var guides = []string{
	"docs/platform-guide.md", "docs/app-team-guide.md", "docs/scaling.md", "docs/hardening-checklist.md",
	"docs/secrets-and-rotation.md", chartDir + "/README.md",
}

// block is a fenced block of a guide, with the mark in the line before it.
type block struct{ mark, argument, language, text string }

var (
	blocks = regexp.MustCompile("(?ms)(?:^<!-- (values|file|output): ([^\n]+) -->\n)?^```([a-z]+)\n(.*?)^```$")
	flags  = regexp.MustCompile(`(?m)^ +(?:-([a-zA-Z]), )? *--([a-z0-9-]+)`)
)

func blocksOf(tb testing.TB, file string) []block {
	tb.Helper()
	var out []block
	for _, m := range blocks.FindAllStringSubmatch(read(tb, file), -1) {
		out = append(out, block{m[1], m[2], m[3], m[4]})
	}
	return out
}

// TestGuides holds what the guides show: values pass, files and output are the
// real ones, YAML parses, and helmproof has the commands and flags.
func TestGuides(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, file := range guides {
		for _, b := range blocksOf(t, file) {
			seen[b.language]++
			seen[b.mark]++
			switch b.mark {
			case "file", "output":
				var want string
				if b.mark == "file" {
					want = read(t, b.argument)
				} else {
					want = verdictLines(t, strings.Fields(b.argument)...)
				}
				start := "<!-- " + b.mark + ": " + b.argument + " -->\n```" + b.language
				replaceBetween(t, file, start, "```\n", want)
			case "values":
				values := filepath.Join(t.TempDir(), "values.yaml")
				if err := os.WriteFile(values, []byte(b.text), 0o600); err != nil {
					t.Fatal(err)
				}
				chart, control, fails := strings.Cut(b.argument, " fails ")
				want := 0
				if fails {
					want = 3
				}
				out, errs, code := helmproof(t, "check", chart, "-f", values)
				if code != want || fails && !strings.Contains(out, control+" ") {
					t.Errorf("%s: values of %s: exit %d\n%s\n%s%s", file, b.argument, code, b.text, out, errs)
				}
			}
			if b.language == "yaml" {
				for doc := range strings.SplitSeq(b.text, "\n---\n") {
					var v any
					if err := yaml.UnmarshalStrict([]byte(doc), &v); err != nil {
						t.Errorf("%s: %v in\n%s", file, err, doc)
					}
				}
			}
			if b.language == "sh" {
				for line := range strings.Lines(b.text) {
					if strings.HasPrefix(line, "helmproof ") {
						seen["helmproof"]++
						if problem := command(t, strings.Fields(line)); problem != "" {
							t.Errorf("%s: %s: %s", file, strings.TrimSpace(line), problem)
						}
					}
				}
			}
		}
	}
	for what, least := range map[string]int{"values": 8, "file": 2, "output": 2, "yaml": 10, "helmproof": 8} {
		if seen[what] < least {
			t.Errorf("only %d blocks of %s", seen[what], what)
		}
	}
	if command(t, []string{"helmproof", "check", "--no-such-flag"}) == "" || command(t, []string{"helmproof", "invent"}) == "" {
		t.Error("a command or flag that does not exist is not noticed")
	}
}

// verdictLines are the table of controls and the verdict: how the output of a check ends.
func verdictLines(tb testing.TB, args ...string) string {
	tb.Helper()
	out, errs, code := helmproof(tb, args...)
	at := strings.Index(out, "\ncontrols ")
	if at < 0 || code != 0 && code != 3 {
		tb.Fatalf("%v: exit %d\n%s%s", args, code, out, errs)
	}
	return out[at+1:]
}

// command says what is wrong with a command line, by the reference in docs/cli.
func command(tb testing.TB, words []string) string {
	tb.Helper()
	if len(words) < 2 {
		return "no command"
	}
	raw, err := os.ReadFile(filepath.Join(root, "docs", "cli", "helmproof_"+words[1]+".md"))
	if err != nil {
		return err.Error()
	}
	known := map[string]bool{}
	for _, m := range flags.FindAllStringSubmatch(string(raw), -1) {
		known["--"+m[2]] = true
		if m[1] != "" {
			known["-"+m[1]] = true
		}
	}
	for _, w := range words[2:] {
		name, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(name, "-") && !known[name] {
			return "there is no flag " + name
		}
	}
	for i, w := range words {
		// Charts and values files of this repository have to be there.
		if strings.HasPrefix(w, "charts/") || strings.HasPrefix(w, "test/") {
			if _, err := os.Stat(filepath.Join(root, words[i])); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}

var controlID = regexp.MustCompile(`\b([A-Z]{3})-([0-9]+)\b`)

// TestControlIDs holds that the checklist has a line for each control of the
// catalog, and that no guide names one that does not exist.
func TestControlIDs(t *testing.T) {
	t.Parallel()
	_, catalog := config.Catalog()
	var want []string
	for _, c := range catalog.Controls {
		want = append(want, string(c.ID))
	}
	var listed []string
	for line := range strings.Lines(read(t, "docs/hardening-checklist.md")) {
		if rest, ok := strings.CutPrefix(line, "- [ ] **"); ok {
			id, _, _ := strings.Cut(rest, "**")
			listed = append(listed, id)
		}
	}
	if !slices.Equal(want, listed) {
		t.Errorf("the checklist has\n%v, the catalog\n%v", listed, want)
	}
	for _, file := range append([]string{chartDir + "/templates/_checks.tpl"}, guides...) {
		for _, id := range controlID.FindAllString(read(t, file), -1) {
			if !slices.Contains(want, id) {
				t.Errorf("%s names %s, which is no control", file, id)
			}
		}
	}
}

// TestBeforeAndAfter holds that the guide's plain chart fails and its hardened one passes.
func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"test/platform/testdata/plain"}, 3},
		{[]string{"charts/service", "-f", "test/platform/testdata/after.yaml"}, 0},
	} {
		out, errs, code := helmproof(t, append([]string{"check", "-o", "json"}, tt.args...)...)
		var got report.OutputJSON
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != tt.code {
			t.Errorf("%v: exit %d, want %d, %v: %s", tt.args, code, tt.code, err, errs)
		}
	}
}
