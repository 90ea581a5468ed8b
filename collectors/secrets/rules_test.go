package secrets

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
)

func regexOf(tb testing.TB, id string) *regexp.Regexp {
	tb.Helper()
	set, err := loadRules()
	if err != nil {
		tb.Fatal(err)
	}
	i := slices.IndexFunc(set.rules, func(r rule) bool { return r.id == id })
	if i < 0 {
		tb.Fatalf("no rule %s", id)
	}
	d, err := set.rules[i].detector()
	if err != nil {
		tb.Fatal(err)
	}
	return d.rule.Regex
}

// TestRules holds what running the rules one by one, near their words, rests on:
// they are all of gitleaks' rules, and none crosses more line ends than are kept.
func TestRules(t *testing.T) {
	t.Parallel()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range set.rules {
		ids = append(ids, r.id)
		if _, err := r.detector(); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(ids)
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(whole.Config.Rules)), func(id string) bool {
		return id == "kubernetes-secret-yaml" || id == "pkcs12-file" || id == keyRule
	})
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("rules (-gitleaks +here):\n%s", diff)
	}
	for _, id := range ids {
		pattern := whole.Config.Rules[id].Regex
		re, err := syntax.Parse(pattern.String(), syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if n := lineEnds(re); n > linesAfter != slices.Contains(unbounded, id) {
			t.Errorf("rule %s crosses %d line ends, %d are kept, and it is listed as unbounded: %t: %s", id, n, linesAfter, slices.Contains(unbounded, id), pattern)
		}
		if got := regexOf(t, id).String(); got != pattern.String() {
			t.Errorf("rule %s is compiled to %s, want %s", id, got, pattern)
		}
	}
}

// TestStopWords holds our search for stop words to that of gitleaks.
func TestStopWords(t *testing.T) {
	t.Parallel()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	stopped := func(lists []*config.Allowlist, secret string) bool {
		return slices.ContainsFunc(lists, func(a *config.Allowlist) bool {
			ok, _ := a.ContainsStopWord(secret)
			return ok
		})
	}
	words, met := 0, map[bool]int{}
	for i := range set.rules {
		r := &set.rules[i]
		want := whole.Config.Rules[r.id].Allowlists
		d, err := r.detector()
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{"", "x", "xy", "8d7Kq0ZpW3vRt5Yn", "AKIA8d7Kq0Zp"}
		for _, a := range want {
			for _, w := range a.StopWords {
				words++
				secrets = append(secrets, w, "8d7Kq0Zp"+strings.ToUpper(w)+"3v", w[:len(w)-1]+"8", w[1:])
			}
		}
		for _, s := range secrets {
			got := r.stop.within(s) || stopped(d.rule.Allowlists, s)
			if got != stopped(want, s) {
				t.Errorf("rule %s: %q has a stop word: %t, want %t", r.id, s, got, !got)
			}
			met[got]++
		}
	}
	if words < 1000 || met[true] < 1000 || met[false] < 500 {
		t.Errorf("%d words, %v: too few to tell", words, met)
	}
}

// lineEnds is the most line ends that re can match, beyond those at its ends.
func lineEnds(re *syntax.Regexp) int {
	const many = 1 << 20
	sum := 0
	switch re.Op {
	case syntax.OpLiteral:
		return strings.Count(string(re.Rune), "\n")
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i] <= '\n' && '\n' <= re.Rune[i+1] {
				return 1
			}
		}
		return 0
	case syntax.OpAnyChar:
		return 1
	case syntax.OpAlternate:
		for _, s := range re.Sub {
			sum = max(sum, lineEnds(s))
		}
		return sum
	}
	for _, s := range re.Sub {
		sum += lineEnds(s)
	}
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus:
		return min(sum*many, many)
	case syntax.OpRepeat:
		if re.Max < 0 {
			return min(sum*many, many)
		}
		return sum * re.Max
	}
	return sum
}

// TestRulesOneByOne compares the rules run near their words with gitleaks' own
// detector over the whole text.
func TestRulesOneByOne(t *testing.T) {
	t.Parallel()
	whole, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	delete(whole.Config.Rules, "kubernetes-secret-yaml")
	delete(whole.Config.Rules, keyRule) // TestKeys
	filler := strings.Repeat("image: registry.example.com/team/app-1.2\n", 40)
	var text strings.Builder
	for _, secret := range []string{
		"aws_access_key_id: AKIA" + "Q3EGRTYUIOPLKJH2", "gh: ghp_" + "0123456789abcdefABCDEF0123456789abcd",
		"slack: xoxb-" + "123456789012-123456789012-abcdefghijklmnopqrstuvwx", "password = \"kJ8s7Gq1Zx90pLmT\"",
		"curl -u user:Pa55w0rdPa55 \\\n  https://example.com/x", "t: s." + "Kd8f7Gh2Jk4Lq9Wz1Xc3Vb5N",
	} {
		text.WriteString(filler + secret + "\n")
	}
	want := map[string]bool{}
	for _, f := range whole.DetectContext(t.Context(), detect.Fragment{Raw: text.String(), FilePath: "values.txt.yaml"}) {
		if !harmless(f.RuleID, f.Secret, f.Match, f.Line, "values.yaml") {
			want[f.RuleID+" "+f.Secret] = true
		}
	}
	hits, err := scanText(t.Context(), []byte(text.String()), "values.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, h := range hits {
		got[h.rule+" "+h.secret] = true
		first, _, _ := strings.Cut(h.secret, "\n")
		if line := strings.Split(text.String(), "\n")[h.line-1]; !strings.Contains(line, first) {
			t.Errorf("%s on line %d, which is %q", h.rule, h.line, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("found (-gitleaks +here):\n%s", diff)
	}
	if len(want) < 5 {
		t.Errorf("gitleaks finds only %v: the comparison shows little", slices.Sorted(maps.Keys(want)))
	}
}

// TestTails holds that what follows a keyword is as long as tails says: with less, its
// rule matches nothing, and with as much its lines are seen.
func TestTails(t *testing.T) {
	t.Parallel()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	letters := strings.Repeat("a8F3c0B7", 20)
	for id, words := range tails {
		re := regexOf(t, id)
		i := slices.IndexFunc(set.rules, func(r rule) bool { return r.id == id })
		if diff := cmp.Diff(slices.Sorted(maps.Keys(words)), slices.Sorted(slices.Values(set.rules[i].keywords))); diff != "" {
			t.Errorf("%s: keywords (-tails +gitleaks):\n%s", id, diff)
		}
		for word, n := range words {
			text := func(n int) string {
				tail := letters[:n]
				switch id {
				case "jwt":
					return word + tail + ".ey" + letters[:17] + ".\n"
				case "octopus-deploy-api-key", "twilio-api-key":
					return strings.ToUpper(word + tail + "\n")
				}
				return word + tail + "\n"
			}
			if re.MatchString(text(n-1)) || !re.MatchString(text(n)) {
				t.Errorf("%s: %d behind %q is not the least that it matches", id, n, word)
			}
			if near := set.near(text(n), []int{0}); near[i] == nil {
				t.Errorf("%s does not see %q", id, text(n))
			}
			if near := set.near(text(n-1), []int{0}); id != "jwt" && word != "hvs." && near[i] != nil {
				t.Errorf("%s is run on %q", id, text(n-1))
			}
		}
	}
}
