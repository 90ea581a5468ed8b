package secrets

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
	"github.com/go-viper/mapstructure/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
)

// rule is one rule of gitleaks, compiled when a text first has one of its words.
type rule struct {
	id       string
	keywords []string // in lower case: without one of them the rule cannot match
	byPath   bool     // the file's name matters to it
	// unbounded says that a match may have any number of lines.
	unbounded bool
	tails     map[string]int // of tails
	stop      stopWords
	detector  func() (*detector, error)
}

// ruleSet is gitleaks' own rules. They are run one by one, each on the lines
// near its own words: gitleaks runs every rule that has a word anywhere in a
// text over all of it.
type ruleSet struct {
	rules   []rule
	words   *ahocorasick.Trie
	list    []string // the words
	byWord  [][]int  // the rules of each of words
	allowed []*config.Allowlist
	paths   sync.Map // of pathAllowed: by name, bool
	known   atomic.Int64
}

var loadRules = sync.OnceValues(func() (*ruleSet, error) {
	set, err := parseRules(config.DefaultConfig)
	if err != nil {
		return nil, fmt.Errorf("load gitleaks' rules: %w", err)
	}
	return set, nil
})

func parseRules(text string) (*ruleSet, error) {
	var tree map[string]any
	if err := toml.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	var all config.ViperConfig
	if err := mapstructure.WeakDecode(tree, &all); err != nil {
		return nil, err
	}
	common := all
	common.Rules = nil
	base, err := common.Translate()
	if err != nil {
		return nil, err
	}
	set := &ruleSet{allowed: base.Allowlists}
	byWord := map[string][]int{}
	for i := range all.Rules {
		r := &all.Rules[i]
		switch {
		case r.ID == "kubernetes-secret-yaml":
			continue // secret-data judges Secrets with all that YAML allows
		case r.ID == "pkcs12-file":
			continue // keyStore stands for it
		case r.ID == keyRule:
			continue // keys stands for it
		case len(r.Required) > 0:
			return nil, fmt.Errorf("%s: rules that need others are not run one by one", r.ID)
		case len(r.Keywords) == 0:
			return nil, fmt.Errorf("%s: without a keyword it would have to see every text", r.ID)
		}
		one := config.ViperConfig{}
		one.Rules = all.Rules[i : i+1 : i+1]
		l := rule{id: r.ID, byPath: r.Path != "", unbounded: slices.Contains(unbounded, r.ID), tails: tails[r.ID], stop: stopWords{}}
		for _, a := range r.Allowlists {
			l.byPath = l.byPath || len(a.Paths) > 0
			// gitleaks wants something to be left of an allowlist.
			if len(a.Regexes) > 0 && l.stop.add(a.StopWords, a.Condition) {
				a.StopWords = nil
			}
		}
		for _, k := range r.Keywords {
			l.keywords = append(l.keywords, strings.ToLower(k))
		}
		l.detector = sync.OnceValues(func() (*detector, error) {
			cfg, err := one.Translate()
			if err != nil {
				return nil, fmt.Errorf("compile gitleaks' rule %s: %w", l.id, err)
			}
			return &detector{cfg.Rules[l.id], base.Allowlists}, nil
		})
		for _, k := range l.keywords {
			byWord[k] = append(byWord[k], len(set.rules))
		}
		set.rules = append(set.rules, l)
	}
	words := make([]string, 0, len(byWord))
	for w := range byWord {
		words = append(words, w)
	}
	slices.Sort(words)
	set.list = words
	for _, w := range words {
		set.byWord = append(set.byWord, byWord[w])
	}
	set.words = ahocorasick.NewTrieBuilder().AddStrings(words).Build()
	return set, nil
}

// stopWords are words that no secret of a rule holds, in lower case, by their
// first bytes. gitleaks makes a tree of them, which takes 10 MB and longer to
// build than all else that a chart's scan needs.
type stopWords map[[stopPrefix]byte][]string

const stopPrefix = 3

// add takes over the words of an allowlist in which each by itself allows a match.
func (s stopWords) add(words []string, condition string) bool {
	if condition != "" && !strings.EqualFold(condition, "or") || slices.ContainsFunc(words, func(w string) bool { return len(w) < stopPrefix }) {
		return false
	}
	for _, w := range words {
		w = strings.ToLower(w)
		p := [stopPrefix]byte([]byte(w))
		s[p] = append(s[p], w)
	}
	return true
}

// within reports whether one of the words is in a secret.
func (s stopWords) within(secret string) bool {
	if len(s) == 0 {
		return false
	}
	secret = strings.ToLower(secret)
	for i := 0; i+stopPrefix <= len(secret); i++ {
		for _, w := range s[[stopPrefix]byte([]byte(secret[i:i+stopPrefix]))] {
			if strings.HasPrefix(secret[i:], w) {
				return true
			}
		}
	}
	return false
}

// pathAllowed reports whether gitleaks leaves a file out by its name, which most charts
// have, too.
func (s *ruleSet) pathAllowed(name string) bool {
	if known, ok := s.paths.Load(name); ok {
		return known.(bool)
	}
	allowed := slices.ContainsFunc(s.allowed, func(a *config.Allowlist) bool { return a.PathAllowed(name) })
	if s.known.Add(1) < maxRemembered {
		s.paths.Store(name, allowed)
	}
	return allowed
}

// A match begins at most linesBefore lines before its keyword and ends at most
// linesAfter after it; those of the rules in unbounded could be of any length,
// and are looked for in linesUnbounded. TestRules holds it.
const (
	linesBefore    = 3
	linesAfter     = 12
	linesUnbounded = 200
)

var unbounded = []string{"curl-auth-user", "freemius-secret-key", "jwt-base64", "nuget-config-password"}

// tails are how many letters, digits and "_-" follow a keyword at least in what its
// rule matches: these keywords stand in every other word. TestRules holds it.
var tails = map[string]map[string]int{
	"vault-service-token":    {"s.": 24, "hvs.": 90},
	"jwt":                    {"ey": 17},
	"twilio-api-key":         {"sk": 32},
	"octopus-deploy-api-key": {"api-": 26},
}

// hasTail reports whether at least n letters, digits and "_-" stand at i.
func hasTail(text string, i, n int) bool {
	if i+n > len(text) {
		return false
	}
	for _, c := range []byte(text[i : i+n]) {
		if !isName(c) || c == '.' {
			return false
		}
	}
	return true
}

// near returns, for each rule that has a word in text, by index, which of
// text's lines it has to see.
func (s *ruleSet) near(text string, starts []int) map[int][]bool {
	out := map[int][]bool{}
	line := 0
	s.words.Walk(lowerASCII(text), func(end, n, word int64) bool {
		// Words are met in the order of their ends: one that contains another begins before it.
		begin := int(end - n + 1)
		for line > 0 && starts[line] > begin {
			line--
		}
		for line+1 < len(starts) && starts[line+1] <= begin {
			line++
		}
		for _, r := range s.byWord[word] {
			if tail := s.rules[r].tails; tail != nil && !hasTail(text, int(end)+1, tail[s.list[word]]) {
				continue
			}
			keep := out[r]
			if keep == nil {
				keep = make([]bool, len(starts))
				out[r] = keep
			}
			after := linesAfter
			if s.rules[r].unbounded {
				after = linesUnbounded
			}
			for l := max(0, line-linesBefore); l <= min(line+after, len(starts)-1); l++ {
				keep[l] = true
			}
		}
		return true
	})
	return out
}

// lineStarts are the offsets at which the lines of text begin.
func lineStarts(text string, n int) []int {
	starts := make([]int, 0, n)
	for i := 0; i < len(text); i = lineEnd(text, i) {
		starts = append(starts, i)
	}
	return starts
}

// pick keeps some lines of text; those that were no neighbours stand so far apart
// that nothing matches across. numbers are those of the lines kept, out of lines.
func pick(text string, starts []int, keep []bool, lines []int) (kept string, numbers []int) {
	var b strings.Builder
	last := -1
	for l, from := range starts {
		if !keep[l] {
			continue
		}
		if last >= 0 && l > last+1 {
			b.WriteString(strings.Repeat("\n", apart))
			for range apart {
				numbers = append(numbers, lines[last])
			}
		}
		b.WriteString(text[from:lineEnd(text, from)])
		numbers = append(numbers, lines[l])
		last = l
	}
	return b.String(), numbers
}
