package secrets

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"pgregory.net/rapid"
)

// TestDetectIsGitleaks compares, for every rule, what is found in texts that the
// rule matches, and in others, with what gitleaks' own detector finds.
func TestDetectIsGitleaks(t *testing.T) {
	t.Parallel()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	random := rand.New(rand.NewPCG(1, 2))
	for i := range set.rules {
		r := &set.rules[i]
		ours, err := r.detector()
		if err != nil {
			t.Fatal(err)
		}
		theirs := detect.NewDetector(config.Config{
			Rules: map[string]config.Rule{r.id: ours.rule}, Keywords: wordSet(r.keywords), Allowlists: ours.allowed,
		})
		theirs.IgnoreGitleaksAllow = true
		like := rapid.StringMatching(ours.rule.Regex.String())
		for n := range 12 {
			text := strings.Repeat("a: b\n", n%3)
			for range 1 + n%3 {
				text += fmt.Sprintf("%s %s%s", []string{"", "key: x\r", r.keywords[0] + ":"}[random.IntN(3)], like.Example(random.IntN(1<<20)), []string{"\n", "", "\r\n", " # gitleaks:allow\n", "\nEXAMPLE\n"}[random.IntN(5)])
			}
			for _, path := range []string{"", "values.yaml", "go.sum", "a.tf"} {
				var want []finding
				for _, f := range theirs.DetectContext(context.Background(), detect.Fragment{Raw: text, FilePath: path}) {
					want = append(want, finding{f.RuleID, f.StartLine, f.Line, f.Match, f.Secret})
				}
				got := ours.detect(t.Context(), text, path)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s in %s of %q: (-gitleaks +here)\n%s", r.id, path, text, diff)
				}
				found += len(got)
			}
		}
	}
	if found < 5000 {
		t.Errorf("only %d findings: the comparison shows little", found)
	}
}

func wordSet(list []string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, w := range list {
		m[w] = struct{}{}
	}
	return m
}

var anyMatch = regexp.MustCompile(`\n?k[\na]{0,3}x\n?`)

// TestLineOf compares the line of a match with gitleaks', by a rule that matches anything.
func TestLineOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[\nax]{0,5}(k[\na]{0,3}x[a\n\r]{0,6}){1,3}`).Draw(t, "text")
		rule := config.Rule{RuleID: "r", Regex: anyMatch}
		var want []finding
		for _, f := range detect.NewDetector(config.Config{Rules: map[string]config.Rule{"r": rule}}).Detect(detect.Fragment{Raw: text}) {
			want = append(want, finding{f.RuleID, f.StartLine, f.Line, f.Match, f.Secret})
		}
		got := (&detector{rule: rule}).detect(context.Background(), text, "")
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %+v, want %+v", text, got, want)
		}
	})
}
