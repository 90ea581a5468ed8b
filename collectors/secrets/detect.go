package secrets

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/zricethezav/gitleaks/v8/config"
)

// detector runs one of gitleaks' rules as gitleaks' own detector does, whose
// package links readers for a dozen archive formats, Git and a terminal; except that
// no comment in a chart waives what is found there.
type detector struct {
	rule    config.Rule
	allowed []*config.Allowlist // of all rules
}

// finding has gitleaks' names.
type finding struct {
	RuleID    string
	StartLine int    // of the match, from 0
	Line      string // the match's lines, with the line end before them
	Match     string
	Secret    string
}

// detect returns what the rule finds in raw; path is "" when it does not matter.
func (d *detector) detect(ctx context.Context, raw, path string) []finding {
	r := &d.rule
	lower := strings.ToLower(raw)
	switch {
	case ctx.Err() != nil, r.Regex == nil, r.SkipReport:
		return nil
	case len(r.Keywords) > 0 && !slices.ContainsFunc(r.Keywords, func(k string) bool { return strings.Contains(lower, strings.ToLower(k)) }):
		return nil
	case path != "" && (pathAllowed(d.allowed, path) || pathAllowed(r.Allowlists, path)), r.Path != nil && !r.Path.MatchString(path):
		return nil
	}
	var list []finding
	for _, at := range r.Regex.FindAllStringIndex(raw, -1) {
		match := strings.Trim(raw[at[0]:at[1]], "\n")
		f := finding{RuleID: r.RuleID, Match: match, Secret: match}
		f.StartLine, f.Line = lineOf(raw, at[0], at[0]+len(match))
		if groups := r.Regex.FindStringSubmatch(match); len(groups) >= 2 {
			if r.SecretGroup > 0 {
				f.Secret = groups[r.SecretGroup]
			} else if i := slices.IndexFunc(groups[1:], func(s string) bool { return s != "" }); i >= 0 {
				f.Secret = groups[1+i]
			}
		}
		if r.Entropy != 0 && entropy(f.Secret) <= r.Entropy || findingAllowed(d.allowed, &f, path) || findingAllowed(r.Allowlists, &f, path) {
			continue
		}
		list = append(list, f)
	}
	return list
}

// pathAllowed reports whether an allowlist leaves a file out by its name alone.
func pathAllowed(lists []*config.Allowlist, path string) bool {
	return slices.ContainsFunc(lists, func(a *config.Allowlist) bool {
		if a.MatchCondition == config.AllowlistMatchAnd && len(a.Commits)+len(a.Regexes)+len(a.StopWords) > 0 {
			return false
		}
		return a.PathAllowed(path)
	})
}

// findingAllowed reports whether an allowlist leaves a finding out.
func findingAllowed(lists []*config.Allowlist, f *finding, path string) bool {
	return slices.ContainsFunc(lists, func(a *config.Allowlist) bool {
		target := f.Secret
		switch a.RegexTarget {
		case "match":
			target = f.Match
		case "line":
			target = f.Line
		}
		word, _ := a.ContainsStopWord(f.Secret)
		if a.MatchCondition != config.AllowlistMatchAnd {
			return a.RegexAllowed(target) || word
		}
		return len(a.Commits) == 0 && (len(a.Paths) == 0 || a.PathAllowed(path)) &&
			(len(a.Regexes) == 0 || a.RegexAllowed(target)) && (len(a.StopWords) == 0 || word)
	})
}

// lineOf returns the number of the line at start, from 0, and the lines from
// there to end. gitleaks counts a line end to the line after it.
func lineOf(raw string, start, end int) (n int, lines string) {
	upTo := raw[:min(start+1, len(raw))]
	from, to := strings.LastIndexByte(upTo, '\n'), strings.IndexByte(raw[len(upTo):], '\n')
	n = strings.Count(upTo, "\n")
	switch {
	case to >= 0:
		if to += len(upTo); end > to { // the match has several lines
			if more := strings.IndexByte(raw[end:], '\n'); more >= 0 {
				to = end + more
			}
		}
	case from < 0: // there is one line
		to = len(raw)
	default: // the last line has no end
		from, to = 0, len(raw)
		if r := strings.IndexByte(raw[end:], '\r'); r >= 0 {
			to = end + r
		}
	}
	return n, raw[max(from, 0):max(to, end)]
}

// entropy is Shannon's, in bits per character, of a text's characters to its bytes.
func entropy(s string) float64 {
	counts := map[rune]int{}
	for _, c := range s {
		counts[c]++
	}
	sum := 0.0
	for _, n := range counts {
		p := float64(n) / float64(len(s))
		sum -= p * math.Log2(p)
	}
	return sum
}
